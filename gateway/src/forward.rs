//! ⑦–⑩ A request on its way to the upstream, and the answer on its way to the client.
//!
//! To upstreams over HTTP/1.1 [we lead it ourselves](http_1), to those over HTTP/2 [Pingora's proxy](http_2) does. What is
//! changed on the way is here, and the same for both.

mod changes;
mod hop_by_hop;
mod http_1;
mod http_2;

use std::future::pending;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{self, InvalidHeaderValue};
use phantomgate_introspection::Ended;
use phantomgate_upstreams::Visit;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::server::Session as HttpSession;
use pingora::{Error, ErrorType, Result};

use crate::authorize::Grant;
use crate::context::{Admitted, RequestContext};
use crate::credential;
use crate::downstream::{Duties, Slot};
use crate::mcp::SESSION_ID;
use crate::respond;
use crate::route::rewrite;
use crate::stopping::Stopping;
use crate::stopwatch::Stage;
use crate::token_swap;
use crate::visit;

pub use changes::Changes;
pub use http_1::Http1;
pub use http_2::Http2;

/// ⑧ What is changed in the head of a request, as it was `received`, for the upstream.
///
/// # Errors
/// There is no grant, or `Connection` makes no sense.
fn prepare_request<'a>(received: &RequestHeader, context: &'a RequestContext) -> Result<Changes<'a>> {
    let Admitted { grant, credential } = context.admitted.as_ref().ok_or_else(no_grant)?;
    let authority = context.visit.as_ref().and_then(Visit::authority).ok_or_else(no_grant)?;
    let mut changes = Changes::default();
    hop_by_hop::strip(&received.headers, &mut changes)?;
    token_swap::swap(grant, credential, authority, context.request_id, &received.headers, &mut changes)
        .map_err(unsayable)?;
    rewrite::request(grant.route(), received, &mut changes);
    if let Some(trace) = &context.trace {
        trace.propagate(&mut changes).map_err(unsayable)?;
    }
    if context.mcp.ignores_sessions() {
        changes.remove(&SESSION_ID);
    }
    if context.mcp.is_filtered {
        changes.remove(&header::ACCEPT_ENCODING);
    }
    if context.mcp.messages.is_some() {
        changes.remove(&header::EXPECT); // the body is here already
    }
    Ok(changes)
}

fn unsayable(error: InvalidHeaderValue) -> Box<Error> {
    Error::because(ErrorType::InternalError, "what the upstream is told", error).into_in()
}

/// ⑨ Lets a part of the request's body pass.
///
/// # Errors
/// There is no grant, or the body is larger than its route lets it be.
fn pass_body(part: Option<&Bytes>, context: &mut RequestContext) -> Result<()> {
    let Some(Admitted { grant, .. }) = &context.admitted else { return Err(no_grant()) };
    grant.route().limits.of_body(part, &mut context.limits)
}

/// ⑩ Makes the head of an upstream's answer one for the client.
///
/// # Errors
/// There is no grant, a limit is reached, or Pingora refuses a header value.
fn prepare_answer(
    stopping: &Stopping,
    session: &mut HttpSession,
    response: &mut ResponseHeader,
    context: &mut RequestContext,
) -> Result<()> {
    if respond::is_final(response.status) {
        visit::answered(session, context, response);
    }
    let Some(Admitted { grant, .. }) = &context.admitted else { return Err(no_grant()) };
    if !response.status.is_informational() {
        context.stopwatch.enter(Stage::Answer);
        if let Some(trace) = &mut context.trace {
            trace.attempt_is_over(false);
        }
    }
    if let Some(authority) = context.visit.as_ref().and_then(Visit::authority) {
        rewrite::answer(grant.route(), authority, session.req_header().uri.path(), response)?;
    }
    if let Some(mcp) = &grant.route().mcp {
        let method = &session.req_header().method;
        let answer = (response.status, &response.headers);
        mcp.note_session(
            grant,
            context.mcp.session.as_deref(),
            method,
            answer,
            context.visit.as_ref().and_then(Visit::place),
        );
        respond::share(&mcp.cross_origin, session.req_header(), response)?;
    }
    let is_stream = respond::is_event_stream(response);
    if !response.status.is_informational() {
        grant.route().limits.answered(is_stream, grant.token(), &mut context.limits)?;
    }
    if is_stream {
        context.stream = Some(grant.route().counters.open_stream());
        let method = session.req_header().method.clone();
        let token_ended = end_of_token(session, grant);
        let slot = context.slot.get_or_insert_with(|| Slot::install(session, Duties::default()));
        slot.set_stream_end(context.mcp.stream_end(&method, token_ended, stopping.clone()));
    }
    Ok(())
}

/// Resolves when the token that `grant` was given for has ended; never where there is no token.
fn end_of_token(session: &HttpSession, grant: &Grant) -> BoxFuture<'static, Ended> {
    let token = credential::from(session.req_header()).ok();
    match (&grant.route().protection, grant.token(), token) {
        (Some(protection), Some(known), Some(token)) => {
            protection.introspector.watch(token, known.clone(), protection.accepts).boxed()
        }
        _ => pending().boxed(),
    }
}

/// What must never be: a request on its way upstream that nothing has let pass.
pub(crate) fn no_grant() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "there is no grant").into_in()
}

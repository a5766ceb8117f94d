//! ⑦ A request at its upstream: what is said to its [`Visit`], and what that says of errors.

use std::borrow::Cow;

use phantomgate_upstreams::{HashBy, NoTarget, Upstream, Visit};
use pingora::http::ResponseHeader;
use pingora::protocols::http::server::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result, RetryType};

use crate::authorize::Grant;
use crate::context::{Admitted, RequestContext};
use crate::deadline::{self, Spans};
use crate::downstream::{Duties, Slot};
use crate::forward::no_grant;
use crate::limits::stream::WatchedStream;
use crate::mcp::SESSION_ID;
use crate::respond::is_event_stream;

/// What an error says when the upstream has as many requests as it may have.
pub const OVERLOADED: ErrorType = ErrorType::Custom("upstream overloaded");

/// Lets the request go to where it goes next: on its first attempt, and again whenever one has failed and another may be made.
///
/// # Errors
/// There is no grant, or nowhere to go.
pub fn next(session: &mut Session, context: &mut RequestContext) -> Result<()> {
    let Admitted { grant, .. } = context.admitted.as_ref().ok_or_else(no_grant)?;
    let upstream = &grant.route().upstream;
    let visit = match &mut context.visit {
        Some(visit) => visit,
        none => none.insert(upstream.enter().map_err(refused)?),
    };
    let key = key(upstream, grant, session);
    let place = context.mcp.session.as_ref().and_then(|session| session.place.as_ref());
    visit.next(key.as_deref(), place).map_err(refused)?;
    let timeouts = &upstream.config().timeouts;
    let spans = Spans {
        first_byte: timeouts.first_byte,
        pause: timeouts.idle_stream,
        until: timeouts.total.map(|total| (visit.began() + total).into()),
    };
    match (&context.slot, WatchedStream::of_session(session)) {
        (None, Some(stream)) => stream.awaits_answer(spans),
        _ => context.slot.get_or_insert_with(|| Slot::install(session, Duties::default())).set_deadline(spans),
    }
    if let (Some(trace), Some(authority)) = (&mut context.trace, visit.authority()) {
        trace.attempt(authority);
    }
    Ok(())
}

/// How a connection to where it is now is made.
///
/// # Errors
/// It is nowhere.
pub fn peer(context: &RequestContext) -> Result<HttpPeer> {
    context.visit.as_ref().and_then(Visit::peer).ok_or_else(|| refused(NoTarget::Nowhere))
}

fn refused(nowhere: NoTarget) -> Box<Error> {
    let kind = match nowhere {
        NoTarget::Nowhere => ErrorType::ConnectNoRoute,
        NoTarget::Overloaded => OVERLOADED,
    };
    Error::explain(kind, nowhere.to_string()).into_up()
}

/// What consistent hashing goes by; none where the request has nothing of that kind.
fn key<'a>(upstream: &Upstream, grant: &'a Grant, session: &'a Session) -> Option<Cow<'a, [u8]>> {
    let token = grant.token().map(|token| token.active());
    match upstream.hash_by()? {
        HashBy::Subject => Some(token?.subject.as_deref()?.as_bytes().into()),
        HashBy::Client => Some(token?.client_id.as_deref()?.as_bytes().into()),
        HashBy::Session => Some(session.req_header().headers.get(SESSION_ID)?.as_bytes().into()),
        HashBy::Address => Some(session.client_addr()?.as_inet()?.ip().to_string().into_bytes().into()),
    }
}

/// Notes that a connection stands.
pub fn connected(context: &RequestContext, is_reused: bool) {
    if let Some(visit) = context.visit.as_ref().filter(|_| !is_reused) {
        visit.connected();
    }
}

/// Notes that an answer has begun.
pub fn answered(session: &Session, context: &mut RequestContext, response: &ResponseHeader) {
    if let Some(visit) = &mut context.visit {
        visit.answered();
    }
    if let Some(stream) = WatchedStream::of_session(session) {
        stream.answer_begins(is_event_stream(response));
    }
}

/// Notes that no connection could be made, and decides whether another is tried. Nothing has been sent, so that is safe
/// whatever the method is.
pub fn failed_to_connect(context: &mut RequestContext, error: &mut Error) {
    error.set_retry(context.visit.as_mut().is_some_and(Visit::failed_to_connect));
}

/// Notes that something went wrong once a connection stood, and decides whether the request is sent again: only when its
/// method is idempotent (RFC 9110 §9.2.2), all of it is still at hand, and nothing of an answer has arrived.
pub fn failed(session: &Session, context: &mut RequestContext, error: &mut Error, is_reused: bool) {
    if let Some(missed) = WatchedStream::of_session(session).and_then(WatchedStream::missed) {
        *error = *deadline::passed(missed);
    }
    let was_idle = is_reused && matches!(error.retry, RetryType::ReusedOnly);
    let would_be_retried = matches!(error.retry, RetryType::Decided(true));
    error.set_retry(false);
    let Some(visit) = context.visit.as_mut().filter(|visit| !visit.has_answer()) else { return };
    if *error.etype() == deadline::NO_ANSWER {
        visit.was_not_answered(false);
        return;
    }
    if *error.esource() != ErrorSource::Upstream {
        return;
    }
    let is_repeatable = session.req_header().method.is_idempotent()
        && session.response_written().is_none()
        && !session.retry_buffer_truncated();
    let is_retried = match error.etype() {
        _ if was_idle || would_be_retried => visit.lost_an_idle_connection(is_repeatable),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError | ErrorType::H2Error => {
            visit.was_not_answered(is_repeatable)
        }
        // It has had its time, or has sent what is no answer: another time would be no better.
        _ => visit.was_not_answered(false),
    };
    error.set_retry(is_retried);
}

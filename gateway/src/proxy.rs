//! A request, from its head to the end of its answer. Each step calls a stage and holds no logic of its own.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use phantomgate_introspection::NumericDate;
use phantomgate_mcp::{Id, Messages};
use pingora::protocols::http::server::{ReusableHttpStream, Session as HttpSession};
use pingora::server::ShutdownWatch;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::admission::admit;
use crate::answer::Answer;
use crate::audit::NoRoom;
use crate::authorize::authorize;
use crate::context::{Admitted, InFlight, RequestContext};
use crate::cross_origin;
use crate::deadline;
use crate::downstream::{Duties, STREAM_CUT, Slot, UNFILTERABLE};
use crate::forward::{Http1, Http2};
use crate::gateway::{Current, Gateway};
use crate::limits::stream::WatchedStream;
use crate::limits::{BODY_TOO_LARGE, TOO_MANY_STREAMS};
use crate::listener::ClientCertificate;
use crate::mcp::McpEndpoint;
use crate::rejection::{MalformedRequest, Rejection, UpstreamFault};
use crate::request_body;
use crate::request_target::{RequestTarget, check_form};
use crate::respond;
use crate::stopping::Stopping;
use crate::stopwatch::Stage;
use crate::upstream_credential;
use crate::visit;
use crate::well_known;

/// Serves requests.
pub struct Proxy {
    current: Current,
    in_flight: InFlight,
    http_1: Http1,
    http_2: Http2,
}

/// What to do with a request that is not refused.
enum Verdict {
    Answer(Answer),
    Forward(Admitted),
}

impl Proxy {
    /// Serves requests by what is `current`, and counts those `in_flight`. Event streams end when it is `stopping`.
    pub fn new(current: Current, in_flight: InFlight, stopping: Stopping) -> Self {
        Self { current, in_flight, http_1: Http1::new(stopping.clone()), http_2: Http2::new(stopping) }
    }

    /// Serves the next request of `session`. Gives its connection, where that can serve another.
    pub async fn serve(&self, mut session: Box<HttpSession>, shutdown: &ShutdownWatch) -> Option<ReusableHttpStream> {
        if !read_head(&mut session).await {
            return None;
        }
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        let gateway = self.current.get();
        let mut context = Box::new(RequestContext::new(&self.in_flight, &gateway));
        let peer = session.client_addr().and_then(|address| address.as_inet()).copied();
        context.begin(session.req_header(), peer);
        context.client_certificate = ClientCertificate::of(&session).cloned();
        if let Some(stream) = WatchedStream::of_session(&session) {
            stream.head_is_whole();
        }
        let served = match decide(&gateway, &mut session, &mut context).await {
            Ok(Verdict::Forward(admitted)) => {
                let is_http_1 = admitted.grant.route().upstream.is_http_1();
                context.admitted = Some(admitted);
                context.stopwatch.enter(Stage::Upstream);
                if !is_http_1 {
                    let (context, is_good) = Box::pin(self.http_2.forward(&mut session, context, shutdown)).await;
                    return Box::pin(end(session, context?, is_good)).await;
                }
                self.http_1.forward(&mut session, &mut context).await
            }
            Ok(Verdict::Answer(answer)) => {
                context.answered_here();
                context.stopwatch.enter(Stage::Answer);
                Box::pin(respond::send(&mut session, answer)).await
            }
            Err(rejection) => Box::pin(refuse(&mut session, &mut context, &rejection)).await,
        };
        if let Err(error) = &served {
            Box::pin(fail(&mut session, &mut context, error)).await;
        }
        end(session, context, served.is_ok()).await
    }
}

/// Reads the head of a request. Gives whether it can be served.
async fn read_head(session: &mut HttpSession) -> bool {
    let status = match session.read_request().await {
        Ok(true) if session.req_header().method != Method::CONNECT => return true,
        Ok(true) => 405,
        Ok(false) => return false,
        Err(error) if *error.etype() == ErrorType::InvalidHTTPHeader => 400,
        Err(_) => 0, // nobody is there to be told
    };
    if status != 0 {
        let _ = session.respond_error(status).await;
    }
    session.shutdown().await;
    false
}

/// ②–⑦ for one request.
async fn decide(
    gateway: &Gateway,
    session: &mut HttpSession,
    context: &mut RequestContext,
) -> Result<Verdict, Rejection> {
    let now = NumericDate::now();
    let patience = gateway.config.limits.body_timeout;
    let request = session.req_header();
    // Before anything that could not be recorded.
    gateway.audit.has_room().await.map_err(|NoRoom| Rejection::AuditUnavailable)?;
    check_form(request.raw_path())?;
    let target = RequestTarget::of(request)?;
    if let Some(answer) = gateway.well_known.answer(request, &target, gateway.signer.as_deref()).await? {
        return Ok(Verdict::Answer(answer));
    }
    let route = match gateway.routes.find(&target, request) {
        Ok(route) => context.route.insert(route.clone()).clone(),
        // Whether there is such a document is for any page to know.
        Err(rejection) => match well_known::preflight(request, &target) {
            Some(answer) => return Ok(Verdict::Answer(answer)),
            None => return Err(rejection),
        },
    };
    route.limits.enter(session, &mut context.limits)?;
    // Before a token is asked for, which a browser's preflight cannot carry.
    if let Some(mcp) = &route.mcp
        && let Some(answer) = mcp.cross_origin.check(request)?
    {
        return Ok(Verdict::Answer(answer));
    }
    context.stopwatch.enter(Stage::Introspection);
    let certificate = context.client_certificate.as_ref();
    let caller = admit(&route, request, certificate, now, &mut context.token_lookup).await?;
    context.stopwatch.enter(Stage::Decision);
    context.token = caller.token().cloned();
    route.limits.of_caller(caller.token())?;
    let body = match &route.mcp {
        Some(mcp) => read_message(mcp, session, context, patience).await?,
        None => None,
    };
    route.limits.of_batch(context.mcp.count(), session, caller.token())?;
    let grant = authorize(caller, context.mcp.messages.as_ref())?;
    route.limits.of_stream(session.req_header(), grant.token(), &mut context.limits)?;
    let request = session.req_header();
    if let Some(mcp) = &route.mcp
        && !context.mcp.ignores_sessions()
    {
        context.mcp.session = mcp.enter_session(request, &grant, now)?;
    }
    context.stopwatch.enter(Stage::Credential);
    let credential = upstream_credential::obtain(&grant, request, now, &mut context.has_exchanged).await?;
    context.stopwatch.enter(Stage::Decision);
    if let Some(mcp) = &route.mcp {
        let visibility = mcp.visibility(&grant, context.mcp.messages.as_ref());
        context.mcp.is_filtered = visibility.is_some();
        if body.is_some() || visibility.is_some() {
            context.slot = Some(Slot::install(session, Duties { body, visibility, patience: None }));
        }
    } else if session.as_http2().is_some() && !session.is_body_done() {
        // Pingora waits for ever for what is left of it.
        let duties = Duties { patience: Some(patience), ..Duties::default() };
        context.slot = Some(Slot::install(session, duties));
    }
    Ok(Verdict::Forward(Admitted { grant, credential }))
}

/// Answers a request that is not to pass.
async fn refuse(session: &mut HttpSession, context: &mut RequestContext, rejection: &Rejection) -> Result<()> {
    context.rejected(rejection);
    context.stopwatch.enter(Stage::Answer);
    let id = match context.json_rpc_id.take() {
        Some(id) => Some(id),
        None => respond::json_rpc_id(session).await,
    };
    let route = context.route.as_deref();
    let mut answer = rejection.answer(route.and_then(|route| route.protection.as_ref()), id.as_ref());
    match route {
        Some(route) => {
            let mcp = route.mcp.iter();
            answer.headers.extend(mcp.flat_map(|mcp| mcp.cross_origin.fields(&session.req_header().headers)));
        }
        None if well_known::is_below(session.req_header().uri.path()) => answer.headers.push(cross_origin::PUBLIC),
        None => {}
    }
    respond::send(session, answer).await
}

/// Tells the client of what went wrong on the way to the upstream, if it has no answer yet.
pub(crate) async fn fail(session: &mut HttpSession, context: &mut RequestContext, error: &Error) {
    match fault(error) {
        _ if *error.etype() == STREAM_CUT => context.cut(),
        None => context.disconnected(),
        // Too late for an answer: the client sees the connection end.
        Some(rejection) if respond::sent(session).is_some() => context.rejected(&rejection),
        Some(rejection) => {
            // What is left of the request is not read: the answer says that the connection ends with it, which only
            // Pingora's own session can say.
            if let Some(slot) = context.slot.take() {
                slot.restore(session);
            }
            session.set_keepalive(None);
            if refuse(session, context, &rejection).await.is_err() {
                context.disconnected();
            }
        }
    }
    if let Some(trace) = &mut context.trace {
        trace.attempt_is_over(true);
    }
}

/// Ends the request, and leaves its record. Gives its connection where that can serve another: nothing went wrong, or it did
/// after we had finished the answer.
async fn end(
    mut session: Box<HttpSession>,
    mut context: Box<RequestContext>,
    is_good: bool,
) -> Option<ReusableHttpStream> {
    let is_finished = context.slot.take().is_some_and(|slot| slot.restore(&mut session));
    if let Some(response) = respond::sent(&session) {
        context.answered(response.status.as_u16());
    }
    context.transferred(session.body_bytes_read(), session.body_bytes_sent());
    if !is_good && !is_finished {
        return None;
    }
    match *session {
        HttpSession::H1(mut session) => {
            session.finish_body().await.ok()?;
            session.reuse().await.ok().flatten()
        }
        session => Box::pin(session.finish()).await.ok().flatten(),
    }
}

/// ③ What a request to an MCP endpoint says; gives its body, if it has one. Read after the token, so that nobody makes us
/// keep a body who has none.
async fn read_message(
    mcp: &McpEndpoint,
    session: &mut HttpSession,
    context: &mut RequestContext,
    patience: Duration,
) -> Result<Option<Bytes>, Rejection> {
    let request = session.req_header();
    McpEndpoint::check_head(request)?;
    if request.method != Method::POST {
        context.mcp.revision = mcp.check_version(&request.headers)?;
        // HTTP/2 need not announce content: only the end of the request shows that there is none.
        request_body::read(session, 0, patience).await.map_err(|rejection| match rejection {
            Rejection::RequestTimeout => rejection,
            _ => Rejection::UnsupportedMediaType,
        })?;
        return Ok(None);
    }
    // Whatever is refused from here on is a JSON-RPC request, even if its id cannot be told.
    let id = context.json_rpc_id.insert(Id::Null);
    context.stopwatch.enter(Stage::Message);
    let body = request_body::read(session, mcp.max_body, patience).await?;
    context.stopwatch.enter(Stage::Decision);
    let messages = Messages::parse(&body).map_err(Rejection::MalformedMessage)?;
    *id = messages.id();
    let messages = context.mcp.messages.insert(messages);
    context.mcp.revision = Some(mcp.check_messages(&session.req_header().headers, messages)?);
    Ok(Some(body))
}

/// Whose fault an error of Pingora's is. None: the client went away.
fn fault(error: &Error) -> Option<Rejection> {
    use ErrorType::{
        ConnectTimedout, HTTPStatus, InvalidCert, InvalidHTTPHeader, ReadTimedout, TLSHandshakeFailure,
        TLSHandshakeTimedout, WriteTimedout,
    };
    let rejection = match (error.esource(), error.etype()) {
        (_, InvalidHTTPHeader) if *error.esource() != ErrorSource::Upstream => MalformedRequest::Http.into(),
        (_, HTTPStatus(400)) => MalformedRequest::Http.into(),
        (_, etype) if *etype == BODY_TOO_LARGE => Rejection::BodyTooLarge,
        (_, etype) if *etype == TOO_MANY_STREAMS => Rejection::TooManyStreams,
        (_, etype) if *etype == visit::OVERLOADED => Rejection::UpstreamOverloaded,
        (_, etype) if [deadline::NO_ANSWER, deadline::TOO_QUIET, deadline::TOO_LONG].contains(etype) => {
            Rejection::UpstreamUnavailable(UpstreamFault::Timeout)
        }
        (_, etype) if *etype == UNFILTERABLE => Rejection::UpstreamUnavailable(UpstreamFault::Unfilterable),
        (ErrorSource::Upstream, ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout) => {
            Rejection::UpstreamUnavailable(UpstreamFault::Timeout)
        }
        (ErrorSource::Upstream, TLSHandshakeFailure | InvalidCert) => {
            Rejection::UpstreamUnavailable(UpstreamFault::Tls)
        }
        (ErrorSource::Upstream, _) => Rejection::UpstreamUnavailable(UpstreamFault::Unreachable),
        (ErrorSource::Downstream, ReadTimedout) => Rejection::RequestTimeout,
        (ErrorSource::Downstream, _) => return None,
        (ErrorSource::Internal | ErrorSource::Unset, _) => {
            // The kind of error only: its context may quote the request.
            tracing::error!(kind = error.etype().as_str(), "cannot serve a request");
            Rejection::Internal("an error inside the proxy")
        }
    };
    Some(rejection)
}

//! Pingora's phases, in the order it calls them. Each calls a stage and holds no logic of its own.

use std::os::fd::RawFd;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, header};
use phantomgate_introspection::{Ended, NumericDate};
use phantomgate_mcp::{Id, Messages};
use phantomgate_upstreams::Visit;
use pingora::connectors::TransportConnector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::admission::admit;
use crate::answer::Answer;
use crate::audit::NoRoom;
use crate::authorize::{Grant, authorize};
use crate::context::{Admitted, InFlight, RequestContext};
use crate::credential;
use crate::cross_origin;
use crate::deadline;
use crate::downstream::{self, Duties, STREAM_CUT, Slot, UNFILTERABLE};
use crate::gateway::Current;
use crate::limits::stream::WatchedStream;
use crate::limits::{BODY_TOO_LARGE, TOO_MANY_STREAMS};
use crate::listener::ClientCertificate;
use crate::mcp::{McpEndpoint, SESSION_ID};
use crate::rejection::{MalformedRequest, Rejection, UpstreamFault};
use crate::request_body;
use crate::request_target::{RequestTarget, check_form};
use crate::respond;
use crate::route::rewrite;
use crate::stopping::Stopping;
use crate::stopwatch::Stage;
use crate::token_swap;
use crate::upstream_credential;
use crate::visit;
use crate::well_known;

/// The proxy: a gateway behind Pingora's interface.
pub struct Proxy {
    /// What requests run on.
    pub current: Current,
    /// Counts them.
    pub in_flight: InFlight,
    /// Tells event streams when to end.
    pub stopping: Stopping,
    /// Makes connections to upstreams that speak HTTP/1.1.
    pub connector: TransportConnector,
}

/// What to do with a request that is not refused.
enum Verdict {
    Answer(Answer),
    Forward(Admitted),
}

impl Proxy {
    /// ②–⑦ for one request.
    async fn decide(&self, session: &mut Session, context: &mut RequestContext) -> Result<Verdict, Rejection> {
        let now = NumericDate::now();
        let gateway = self.current.get();
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

    async fn refuse(&self, session: &mut Session, context: &mut RequestContext, rejection: &Rejection) -> Result<()> {
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

    /// ⑩ Makes the head of an upstream's answer one for the client.
    ///
    /// # Errors
    /// There is no grant, a limit is reached, or Pingora refuses a header value.
    pub(crate) fn prepare_answer(
        &self,
        session: &mut Session,
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
            slot.set_stream_end(context.mcp.stream_end(&method, token_ended, self.stopping.clone()));
        }
        Ok(())
    }
}

/// ⑧ Makes `header` the head of the request that the upstream gets.
///
/// # Errors
/// There is no grant, or Pingora refuses a header value.
pub(crate) fn prepare_request(session: &Session, header: &mut RequestHeader, context: &RequestContext) -> Result<()> {
    let Admitted { grant, credential } = context.admitted.as_ref().ok_or_else(no_grant)?;
    let authority = context.visit.as_ref().and_then(Visit::authority).ok_or_else(no_grant)?;
    token_swap::swap(grant, credential, authority, context.request_id, header)?;
    rewrite::request(grant.route(), header)?;
    downstream::keep_te(session.req_header(), header)?;
    if let Some(trace) = &context.trace {
        trace.propagate(header)?;
    }
    if context.mcp.ignores_sessions() {
        header.remove_header(&SESSION_ID);
    }
    if context.mcp.is_filtered {
        header.remove_header(&header::ACCEPT_ENCODING);
    }
    if context.mcp.messages.is_some() {
        header.remove_header(&header::EXPECT); // the body is here already
    }
    Ok(())
}

/// ⑨ Lets a part of the request's body pass.
///
/// # Errors
/// There is no grant, or the body is larger than its route lets it be.
pub(crate) fn pass_body(part: Option<&Bytes>, context: &mut RequestContext) -> Result<()> {
    let Some(Admitted { grant, .. }) = &context.admitted else { return Err(no_grant()) };
    grant.route().limits.of_body(part, &mut context.limits)
}

/// ③ What a request to an MCP endpoint says; gives its body, if it has one. Read after the token, so that nobody makes us
/// keep a body who has none.
async fn read_message(
    mcp: &McpEndpoint,
    session: &mut Session,
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

#[async_trait]
impl ProxyHttp for Proxy {
    /// In a box, because Pingora moves it about.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(RequestContext::new(&self.in_flight, &self.current.get()))
    }

    /// None: bodies pass as they are.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, context: &mut Self::CTX) -> Result<()> {
        let peer = session.client_addr().and_then(|address| address.as_inet()).copied();
        context.begin(session.req_header(), peer);
        context.client_certificate = ClientCertificate::of(session).cloned();
        if let Some(stream) = WatchedStream::of_session(session) {
            stream.head_is_whole();
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Self::CTX) -> Result<bool> {
        match self.decide(session, context).await {
            Ok(Verdict::Forward(admitted)) => {
                let upstream = &admitted.grant.route().upstream;
                let is_forwarded_here = upstream.is_http_1();
                context.admitted = Some(admitted);
                context.stopwatch.enter(Stage::Upstream);
                if !is_forwarded_here {
                    return Ok(false);
                }
                self.forward(session, context).await?;
            }
            Ok(Verdict::Answer(answer)) => {
                context.answered_here();
                context.stopwatch.enter(Stage::Answer);
                respond::send(session, answer).await?;
            }
            Err(rejection) => self.refuse(session, context, &rejection).await?,
        }
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        visit::next(session, context)?;
        visit::peer(context).map(Box::new)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        visit::failed_to_connect(context, &mut error);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        is_reused: bool,
        _: &HttpPeer,
        _: RawFd,
        _: Option<&Digest>,
        context: &mut Self::CTX,
    ) -> Result<()> {
        visit::connected(context, is_reused);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Self::CTX,
    ) -> Result<()> {
        pass_body(body.as_ref(), context)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        header: &mut RequestHeader,
        context: &mut Self::CTX,
    ) -> Result<()> {
        prepare_request(session, header, context)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Self::CTX,
    ) -> Result<()> {
        self.prepare_answer(session, response, context)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Self::CTX,
        is_reused: bool,
    ) -> Box<Error> {
        visit::failed(session, context, &mut error, is_reused);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Self::CTX) -> FailToProxy {
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
                if self.refuse(session, context, &rejection).await.is_err() {
                    context.disconnected();
                }
            }
        }
        if let Some(trace) = &mut context.trace {
            trace.attempt_is_over(true);
        }
        let error_code = respond::sent(session).map_or(0, |response| response.status.as_u16());
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut Self::CTX) {
        if let Some(response) = respond::sent(session) {
            context.answered(response.status.as_u16());
        }
        context.transferred(session.body_bytes_read(), session.body_bytes_sent());
        if let Some(slot) = context.slot.take() {
            slot.restore(session);
        }
    }

    /// The audit record says it, and nothing of the request that should not be in a log.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, _: &Self::CTX) -> String {
        let request = session.req_header();
        format!("{} {}", request.method, request.uri.path())
    }
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

/// Resolves when the token that `grant` was given for has ended; never where there is no token.
fn end_of_token(session: &Session, grant: &Grant) -> impl Future<Output = Ended> + Send + use<> {
    let token = credential::from(session.req_header()).ok();
    let watch = match (&grant.route().protection, grant.token(), token) {
        (Some(protection), Some(known), Some(token)) => {
            Some(protection.introspector.watch(token, known.clone(), protection.accepts))
        }
        _ => None,
    };
    async {
        match watch {
            Some(watch) => watch.await,
            None => std::future::pending().await,
        }
    }
}

/// What must never be: a request on its way upstream that nothing has let pass.
pub(crate) fn no_grant() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "there is no grant").into_in()
}

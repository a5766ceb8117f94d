//! Pingora's phases, in the order it calls them. Each calls a stage and holds no logic of its own.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use phantomgate_introspection::NumericDate;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::admission::admit;
use crate::answer::Answer;
use crate::context::{Admitted, InFlight, RequestContext};
use crate::gateway::Gateway;
use crate::rejection::{MalformedRequest, Rejection, UpstreamFault};
use crate::request_target::{RequestTarget, check_form};
use crate::respond;
use crate::token_swap;
use crate::upstream_credential;

/// How many endpoints are tried before a request is given up.
const CONNECTION_ATTEMPTS: usize = 3;

/// The proxy: a gateway behind Pingora's interface.
pub struct Proxy {
    /// What requests run on.
    pub gateway: Arc<Gateway>,
    /// Counts them.
    pub in_flight: InFlight,
}

/// What to do with a request that is not refused.
enum Verdict {
    Answer(Answer),
    Forward(Admitted),
}

impl Proxy {
    /// ②–⑦ for one request.
    async fn decide(&self, request: &RequestHeader, context: &mut RequestContext) -> Result<Verdict, Rejection> {
        let now = NumericDate::now();
        check_form(request.raw_path())?;
        let target = RequestTarget::of(request)?;
        if let Some(answer) = self.gateway.well_known.answer(request, &target, self.gateway.signer.as_deref()).await? {
            return Ok(Verdict::Answer(answer));
        }
        let route = context.route.insert(self.gateway.routes.find(&target)?.clone());
        // Before a token is asked for, which a browser's preflight cannot carry.
        if let Some(cross_origin) = &route.cross_origin
            && let Some(answer) = cross_origin.check(request)?
        {
            return Ok(Verdict::Answer(answer));
        }
        let grant = admit(route, request, now).await?;
        let credential = upstream_credential::obtain(&grant, request, now)
            .await
            .inspect_err(|_| context.token = grant.token().cloned())?;
        Ok(Verdict::Forward(Admitted { grant, credential }))
    }

    async fn refuse(&self, session: &mut Session, context: &mut RequestContext, rejection: &Rejection) -> Result<()> {
        context.rejected(rejection);
        let id = respond::json_rpc_id(session).await;
        let route = context.route.as_deref();
        let protection = route.and_then(|route| route.protection.as_ref());
        let mut answer = rejection.answer(protection, id.as_ref());
        if let Some(cross_origin) = route.and_then(|route| route.cross_origin.as_ref()) {
            answer.headers.extend(cross_origin.fields(&session.req_header().headers));
        }
        respond::send(session, answer).await
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        RequestContext::new(&self.in_flight)
    }

    /// None: bodies pass as they are.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, context: &mut RequestContext) -> Result<()> {
        let request = session.req_header();
        context.begin(&request.method, &request.uri);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut RequestContext) -> Result<bool> {
        match self.decide(session.req_header(), context).await {
            Ok(Verdict::Forward(admitted)) => {
                context.admitted = Some(admitted);
                return Ok(false);
            }
            Ok(Verdict::Answer(answer)) => {
                context.answered_here();
                respond::send(session, answer).await?;
            }
            Err(rejection) => self.refuse(session, context, &rejection).await?,
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut RequestContext) -> Result<Box<HttpPeer>> {
        let grant = &context.admitted.as_ref().ok_or_else(no_grant)?.grant;
        let upstream = &grant.route().upstream;
        let target = upstream.target().ok_or_else(|| {
            Error::explain(ErrorType::ConnectNoRoute, "no endpoint of the upstream has an address").into_up()
        })?;
        context.authority = Some(target.endpoint.authority().to_owned());
        Ok(Box::new(target.peer))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut RequestContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing has been sent, so another endpoint may be tried whatever the method is.
        context.failed_connections += 1;
        error.set_retry(context.failed_connections < CONNECTION_ATTEMPTS);
        error
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        header: &mut RequestHeader,
        context: &mut RequestContext,
    ) -> Result<()> {
        let Admitted { grant, credential } = context.admitted.as_ref().ok_or_else(no_grant)?;
        let authority = context.authority.as_deref().ok_or_else(no_grant)?;
        token_swap::swap(grant, credential, authority, &context.request_id, header)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut RequestContext,
    ) -> Result<()> {
        let cross_origin = context.route.as_ref().and_then(|route| route.cross_origin.as_ref());
        cross_origin.map_or(Ok(()), |cross_origin| respond::share(cross_origin, session.req_header(), response))
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        _: &mut RequestContext,
    ) -> Result<()> {
        // An empty last frame of HTTP/2 would end the body twice on an HTTP/1.1 connection, and spoil it for the next.
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut RequestContext) -> FailToProxy {
        match fault(error) {
            None => context.disconnected(),
            // Too late for an answer: the client sees the connection end.
            Some(rejection) if session.response_written().is_some() => context.rejected(&rejection),
            Some(rejection) => {
                if self.refuse(session, context, &rejection).await.is_err() {
                    context.disconnected();
                }
            }
        }
        let error_code = session.response_written().map_or(0, |response| response.status.as_u16());
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut RequestContext) {
        if let Some(response) = session.response_written() {
            context.answered(response.status.as_u16());
        }
    }

    /// The audit record says it, and nothing of the request that should not be in a log.
    fn suppress_error_log(&self, _: &Session, _: &RequestContext, _: &Error) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, _: &RequestContext) -> String {
        let request = session.req_header();
        format!("{} {}", request.method, request.uri.path())
    }
}

/// Whose fault an error of Pingora's is. None: the client went away.
fn fault(error: &Error) -> Option<Rejection> {
    use ErrorType::{
        ConnectTimedout, HTTPStatus, InvalidHTTPHeader, ReadTimedout, TLSHandshakeTimedout, WriteTimedout,
    };
    let rejection = match (error.esource(), error.etype()) {
        (_, InvalidHTTPHeader) if *error.esource() != ErrorSource::Upstream => MalformedRequest::Http.into(),
        (_, HTTPStatus(400)) => MalformedRequest::Http.into(),
        (ErrorSource::Upstream, ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout) => {
            Rejection::UpstreamUnavailable(UpstreamFault::Timeout)
        }
        (ErrorSource::Upstream, _) => Rejection::UpstreamUnavailable(UpstreamFault::Unreachable),
        (ErrorSource::Downstream, _) => return None,
        (ErrorSource::Internal | ErrorSource::Unset, _) => {
            // The kind of error only: its context may quote the request.
            tracing::error!(kind = error.etype().as_str(), "cannot serve a request");
            Rejection::Internal("an error inside the proxy")
        }
    };
    Some(rejection)
}

/// What must never be: a request on its way upstream that nothing has let pass.
fn no_grant() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "there is no grant").into_in()
}

//! To upstreams that speak HTTP/2, or might: Pingora's proxy leads the request.
//!
//! It gets the session and the context of a request that has been decided, and calls here at each step. The session is in a
//! [`Slot`], so that it outlives Pingora's; the context goes to Pingora and comes back through a place that belongs to the
//! task.

use std::os::fd::RawFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Version, header};
use parking_lot::Mutex;
use pingora::apps::HttpServerApp as _;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::protocols::http::server::Session as HttpSession;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::{no_grant, pass_body, prepare_answer, prepare_request};
use crate::context::RequestContext;
use crate::downstream::{Duties, Slot, placeholder};
use crate::proxy::fail;
use crate::respond;
use crate::stopping::Stopping;
use crate::visit;

/// How many connections to upstreams are kept for another request, of all upstreams. Of Pingora's 128, each of hundreds of
/// endpoints would lose its own before it is used again.
const IDLE_CONNECTIONS: usize = 16 * 1024;

/// How often Pingora would try; how often it may is ours to say, and less.
const MAX_RETRIES: usize = 16;

tokio::task_local! {
    /// The request that Pingora leads.
    static HANDED: Mutex<Handed>;
}

struct Handed {
    /// Here before and after Pingora has it.
    context: Option<Box<RequestContext>>,
    /// Something went wrong; the client has been told, if it could be.
    has_failed: bool,
}

/// The way to upstreams over HTTP/2.
pub struct Http2(Arc<HttpProxy<Phases>>);

impl Http2 {
    /// Event streams end when the gateway is `stopping`.
    pub fn new(stopping: Stopping) -> Self {
        let conf = ServerConf {
            max_retries: MAX_RETRIES,
            upstream_keepalive_pool_size: IDLE_CONNECTIONS,
            ..ServerConf::default()
        };
        Self(Arc::new(http_proxy(&Arc::new(conf), Phases { stopping })))
    }

    /// Sends a request that may pass to its upstream, to another endpoint when one fails and that is safe, and the answer to
    /// the client. Gives the context back, and whether the client's connection is as good as before.
    pub async fn forward(
        &self,
        session: &mut HttpSession,
        mut context: Box<RequestContext>,
        shutdown: &ShutdownWatch,
    ) -> (Option<Box<RequestContext>>, bool) {
        context.slot.get_or_insert_with(|| Slot::install(session, Duties::default()));
        let session = std::mem::replace(session, placeholder());
        let led = async {
            self.0.process_new_http(session, shutdown).await;
            HANDED.with(|handed| {
                let mut handed = handed.lock();
                (handed.context.take(), !handed.has_failed)
            })
        };
        HANDED.scope(Mutex::new(Handed { context: Some(context), has_failed: false }), led).await
    }
}

/// What Pingora asks on the way.
struct Phases {
    stopping: Stopping,
}

/// The context, while Pingora has it.
type Context = Option<Box<RequestContext>>;

fn of(context: &mut Context) -> Result<&mut RequestContext> {
    context.as_deref_mut().ok_or_else(no_grant)
}

#[async_trait]
impl ProxyHttp for Phases {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        HANDED.try_with(|handed| handed.lock().context.take()).ok().flatten()
    }

    /// None: bodies pass as they are.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let context = of(context)?;
        visit::next(session, context)?;
        visit::peer(context).map(Box::new)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(context) = context {
            visit::failed_to_connect(context, &mut error);
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        is_reused: bool,
        _: &HttpPeer,
        _: RawFd,
        _: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        visit::connected(of(context)?, is_reused);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        header: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        prepare_request(header, of(context)?)?.apply(header)?;
        keep_te(session.req_header(), header)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> Result<()> {
        pass_body(body.as_ref(), of(context)?)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        prepare_answer(&self.stopping, &mut session.downstream_session, response, of(context)?)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        is_reused: bool,
    ) -> Box<Error> {
        if let Some(context) = context {
            visit::failed(session, context, &mut error, is_reused);
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        let session = &mut session.downstream_session;
        if let Some(context) = context {
            fail(session, context, error).await;
            // However it was told, the session comes back.
            context.slot.get_or_insert_with(|| Slot::install(session, Duties::default()));
        }
        let _ = HANDED.try_with(|handed| handed.lock().has_failed = true);
        let error_code = respond::sent(session).map_or(0, |response| response.status.as_u16());
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// The last of all.
    async fn logging(&self, _: &mut Session, _: Option<&Error>, context: &mut Context) {
        let _ = HANDED.try_with(|handed| handed.lock().context = context.take());
    }

    /// The audit record says it, and nothing of the request that should not be in a log.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, _: &Context) -> String {
        let request = session.req_header();
        format!("{} {}", request.method, request.uri.path())
    }
}

/// Tells an upstream over HTTP/2 that its client, over HTTP/2 too, asks for trailers (RFC 9113 §8.2.2). Pingora passes that on
/// by itself, but not where its session is in a [`Slot`].
///
/// # Errors
/// When Pingora refuses a header value.
fn keep_te(received: &RequestHeader, sent: &mut RequestHeader) -> Result<()> {
    let asks = received.headers.get(header::TE).is_some_and(|te| te == "trailers");
    if asks && received.version == Version::HTTP_2 && sent.version == Version::HTTP_2 {
        sent.insert_header(header::TE, "trailers")?;
    }
    Ok(())
}

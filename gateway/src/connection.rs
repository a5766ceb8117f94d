//! ① A client's connection, request after request: around Pingora's proxy, which serves one.
//!
//! Pingora closes the connection after a request that it could not finish by itself. An event stream that was cut between two
//! events was finished by us, and its client comes back at once: over the same connection, which it has no reason to think
//! closed. So the session of such a request is handed here, and its connection serves the next.

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::server::Session as HttpSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use crate::proxy::Proxy;

tokio::task_local! {
    /// The request under way.
    static REQUEST: Request;
}

#[derive(Default)]
struct Request {
    /// Whether its head is here. Until then the connection is idle.
    has_begun: Cell<bool>,
    /// Its session, once we have finished it.
    finished: Mutex<Option<HttpSession>>,
}

/// Serves connections.
pub struct Connections {
    /// Serves each request.
    pub proxy: Arc<HttpProxy<Proxy>>,
    /// How connections are spoken on.
    pub options: HttpServerOptions,
}

/// Notes that the head of a request is here.
pub fn begun() {
    // Without a connection around it there is nothing to tell.
    let _ = REQUEST.try_with(|request| request.has_begun.set(true));
}

/// Hands over the session of a request whose answer is whole, so that its connection is used again.
pub fn finished(session: HttpSession) {
    // Without a connection around it there is nothing to use again.
    let _ = REQUEST.try_with(|request| *request.finished.lock() = Some(session));
}

#[async_trait]
impl HttpServerApp for Connections {
    async fn process_new_http(
        self: &Arc<Self>,
        session: HttpSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let serve = async {
            let reused = self.proxy.process_new_http(session, shutdown).await;
            if reused.is_some() {
                return reused;
            }
            let session = REQUEST.with(|request| request.finished.lock().take())?;
            let settings = HttpPersistentSettings::for_session(&session);
            let stream = session.finish().await.ok().flatten()?;
            Some(ReusedHttpStream::from_reusable_stream(stream, settings))
        };
        let serve = async {
            tokio::select! {
                biased; // a request that is here already is served
                reused = serve => reused,
                () = idle_at_end(shutdown.clone()) => None,
            }
        };
        REQUEST.scope(Request::default(), serve).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Resolves when the listener stops while the connection waits for a request.
async fn idle_at_end(mut shutdown: ShutdownWatch) {
    let _ = shutdown.wait_for(|stopped| *stopped).await;
    if REQUEST.with(|request| request.has_begun.get()) {
        pending::<()>().await;
    }
}

//! ① A client's connection, request after request: around Pingora's proxy, which serves one.
//!
//! Pingora closes the connection after a request that it could not finish by itself. An event stream that was cut between two
//! events was finished by us, and its client comes back at once: over the same connection, which it has no reason to think
//! closed. So the session of such a request is handed here, and its connection serves the next.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::server::Session as HttpSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use crate::proxy::Proxy;

tokio::task_local! {
    /// The session of the request under way, once we have finished it.
    static FINISHED: Mutex<Option<HttpSession>>;
}

/// Serves connections.
pub struct Connections {
    /// Serves each request.
    pub proxy: Arc<HttpProxy<Proxy>>,
    /// How connections are spoken on.
    pub options: HttpServerOptions,
}

/// Hands over the session of a request whose answer is whole, so that its connection is used again.
pub fn finished(session: HttpSession) {
    // Without a connection around it there is nothing to use again.
    let _ = FINISHED.try_with(|finished| *finished.lock() = Some(session));
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
            let session = FINISHED.with(|finished| finished.lock().take())?;
            let settings = HttpPersistentSettings::for_session(&session);
            let stream = session.finish().await.ok().flatten()?;
            Some(ReusedHttpStream::from_reusable_stream(stream, settings))
        };
        FINISHED.scope(Mutex::default(), serve).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

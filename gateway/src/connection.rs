//! ① A client's connection, request after request.
//!
//! It is counted from its first moment to its last, and watched for waits that have to end
//! ([`limits::stream`](crate::limits::stream)).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp as _};
use pingora::protocols::http::server::{ReusableHttpStream, Session as HttpSession};
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;

use crate::config::ConnectionConfig;
use crate::context::InFlight;
use crate::gateway::Current;
use crate::limits::connections::{ConnectionLimits, Entered};
use crate::limits::stream::{PREFACE, WatchedStream};
use crate::proxy::Proxy;
use crate::stopping::idle_is_over;
use crate::workers::Crew;

/// How much of an answer is kept for a stream of HTTP/2 whose client reads slowly, in bytes.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// How many streams of HTTP/2 may have been reset by the client before they are looked at (CVE-2023-44487).
const H2_PENDING_RESETS: usize = 20;

/// How many streams of HTTP/2 may be reset for what its client did wrong, before its connection is.
const H2_LOCAL_RESETS: usize = 100;

/// Serves connections.
pub struct Connections {
    /// Serves each request.
    pub proxy: Arc<Proxy>,
    /// Serves each connection.
    pub crew: Crew,
    /// Says what they may take.
    pub current: Current,
    /// Counts them, of all listeners.
    pub limits: ConnectionLimits,
    /// Counts them, so that their end can be waited for.
    pub open: InFlight,
}

impl Connections {
    /// Lets a connection of this client in; none when there are as many as there may be.
    pub fn enter(&self, client: SocketAddr) -> Option<Entered> {
        self.limits.enter(self.current.get().config.limits.clone(), client.ip())
    }

    /// Serves a connection that was let in, to its end.
    pub async fn serve(&self, stream: Stream, entered: Entered, shutdown: &ShutdownWatch) {
        let mut options = HttpServerOptions::default();
        options.h2c = true; // without TLS, too
        options.h2_idle_timeout = Some(entered.config.idle_timeout);
        let served = Arc::new(Served { proxy: self.proxy.clone(), options, config: entered.config.clone() });
        let last_request = idle_is_over(shutdown.clone());
        let mut stream: Stream = Box::new(WatchedStream::new(stream, entered, last_request));
        match speaks_http_2(&mut stream).await {
            Ok(true) => drop(served.process_new(stream, shutdown).await),
            Ok(false) => served.http_1(stream, shutdown).await,
            Err(_) => {} // it is gone, or has had its time
        }
    }
}

/// Whether the client speaks HTTP/2: as agreed on over TLS, without TLS as it begins (RFC 9113 §3.3).
async fn speaks_http_2(stream: &mut Stream) -> io::Result<bool> {
    if stream.get_ssl_digest().is_some() {
        return Ok(stream.selected_alpn_proto() == Some(ALPN::H2));
    }
    let mut beginning = [0; PREFACE.len()];
    stream.try_peek(&mut beginning).await?;
    Ok(beginning == PREFACE)
}

/// One connection, while it is served.
struct Served {
    proxy: Arc<Proxy>,
    options: HttpServerOptions,
    config: Arc<ConnectionConfig>,
}

impl Served {
    /// Request after request over HTTP/1.1.
    async fn http_1(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        loop {
            let mut session = Box::new(HttpSession::new_http1(stream));
            // For ever: the stream itself ends waits for a request. Where the listener has stopped there is no other one.
            session.set_keepalive((!*shutdown.borrow()).then_some(0));
            let Some(reusable) = self.request(session, shutdown).await else { return };
            (stream, _) = reusable.into_parts();
        }
    }

    async fn request(&self, mut session: Box<HttpSession>, shutdown: &ShutdownWatch) -> Option<ReusableHttpStream> {
        if let Some(stream) = session.stream().and_then(WatchedStream::of) {
            stream.awaits_request();
        }
        session.set_read_timeout(Some(self.config.body_timeout));
        if session.as_http2().is_some() {
            // That a stream is not read while others are, only Pingora sees.
            session.set_write_timeout(Some(self.config.write_timeout));
        }
        self.proxy.serve(session, shutdown).await
    }
}

/// Over HTTP/2, where Pingora takes a connection apart into requests.
#[async_trait]
impl HttpServerApp for Served {
    async fn process_new_http(
        self: &Arc<Self>,
        session: HttpSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.request(Box::new(session), shutdown).await;
        None // the connection goes on by itself
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_concurrent_streams(self.config.streams_per_connection);
        options.max_header_list_size(u32::try_from(self.config.largest_header).unwrap_or(u32::MAX));
        options.max_send_buffer_size(H2_SEND_BUFFER);
        options.max_pending_accept_reset_streams(H2_PENDING_RESETS);
        options.max_local_error_reset_streams(Some(H2_LOCAL_RESETS));
        Some(options)
    }
}

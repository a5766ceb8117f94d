//! Connections to the admin listener: so many, and each for so long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// How many connections there may be. More wait until one ends.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection is read from: who sends slowly, or nothing, does not keep others out.
const LIFETIME: Duration = Duration::from_secs(60);

/// A connection that is older takes no further request: its client opens another before this one ends.
const LAST_REQUEST: Duration = Duration::from_secs(45);

/// When a connection was made.
#[derive(Clone, Copy)]
pub(super) struct Opened(Instant);

impl Opened {
    /// Whether the request that is answered now should be the connection's last.
    pub(super) fn is_old(self) -> bool {
        self.0.elapsed() > LAST_REQUEST
    }
}

impl Connected<IncomingStream<'_, Connections>> for Opened {
    fn connect_info(_: IncomingStream<'_, Connections>) -> Self {
        Self(Instant::now())
    }
}

/// The connections of one socket.
pub(super) struct Connections {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, room: Arc::new(Semaphore::new(MAX_CONNECTIONS)) })
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = self.room.clone().acquire_owned().await.ok();
        // Goes on after errors, which are of single connections, or end when descriptors are free again.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Connection { stream, over: Box::pin(tokio::time::sleep(LIFETIME)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends in time.
pub(super) struct Connection {
    stream: TcpStream,
    over: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

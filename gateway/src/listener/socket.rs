//! The TCP connection of a client, as Pingora takes it: what is read can be looked at ahead, and what is written in small
//! pieces goes out in few.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf};
use tokio::net::TcpStream;

/// What a client begins with that speaks HTTP/2 without TLS (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The size of the write buffer, in bytes: the head of an answer and its beginning, in one packet.
const WRITE_BUFFER: usize = 1460;

/// A client's TCP connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: BufWriter<TcpStream>,
    /// What was read ahead.
    ahead: BytesMut,
    digest: Arc<SocketDigest>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, client: SocketAddr) -> Self {
        // Small answers are not held back to go with others. A socket that cannot do that has failed, as reading will show.
        let _ = stream.set_nodelay(true);
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        let _ = digest.peer_addr.set(Some(client.into()));
        let stream = BufWriter::with_capacity(WRITE_BUFFER, stream);
        Self { stream, ahead: BytesMut::new(), digest: Arc::new(digest) }
    }

    /// Waits until it can be told which HTTP the client speaks. Not more is read than it takes: a request may be shorter
    /// than HTTP/2's preface. False: the client closed the connection.
    pub(super) async fn first_bytes(&mut self) -> io::Result<bool> {
        while self.ahead.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&self.ahead) {
            let missing = HTTP2_PREFACE.len() - self.ahead.len();
            let mut rest = (&mut self.stream).take(missing as u64);
            if rest.read_buf(&mut self.ahead).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl Peek for Socket {
    /// What was read ahead, and zeros.
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        buffer.fill(0);
        for (to, from) in buffer.iter_mut().zip(&self.ahead) {
            *to = *from;
        }
        Ok(true)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(length));
        if !self.ahead.has_remaining() {
            self.ahead = BytesMut::new(); // for the rest of a connection's life it would be memory for nothing
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What was written and not sent yet is sent, as far as the client takes it at once.
impl Drop for Socket {
    fn drop(&mut self) {
        let _ = Pin::new(&mut self.stream).poll_flush(&mut Context::from_waker(Waker::noop()));
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        // The client may have gone already.
        let _ = self.stream.shutdown().await;
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        self.stream.get_ref().as_raw_fd()
    }
}

impl Ssl for Socket {}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.digest = Arc::new(digest);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        (client, Socket::new(stream, address))
    }

    #[tokio::test]
    async fn a_request_shorter_than_the_preface_is_not_waited_to_grow() {
        let (mut client, mut socket) = connected().await;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(socket.first_bytes().await.unwrap());
        let mut peeked = [1; 24];
        assert!(socket.try_peek(&mut peeked).await.unwrap());
        assert!(peeked.starts_with(b"GET / ") && peeked != HTTP2_PREFACE);
        let mut read = [0; 18];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"GET / HTTP/1.0\r\n\r\n");
    }

    #[tokio::test]
    async fn the_preface_is_recognized_however_it_arrives() {
        let (mut client, mut socket) = connected().await;
        let (begin, end) = HTTP2_PREFACE.split_at(5);
        client.write_all(begin).await.unwrap();
        let recognizing = tokio::spawn(async move {
            assert!(socket.first_bytes().await.unwrap());
            socket
        });
        client.write_all(end).await.unwrap();
        client.write_all(b"more").await.unwrap();
        let mut socket = recognizing.await.unwrap();
        let mut peeked = [0; 24];
        socket.try_peek(&mut peeked).await.unwrap();
        assert_eq!(peeked, HTTP2_PREFACE);
        let mut read = [0; 28];
        socket.read_exact(&mut read).await.unwrap();
        assert!(read.ends_with(b"more"));
    }

    #[tokio::test]
    async fn a_connection_that_ends_before_it_begins_is_told_from_others() {
        let (client, mut socket) = connected().await;
        drop(client);
        assert!(!socket.first_bytes().await.unwrap());
    }
}

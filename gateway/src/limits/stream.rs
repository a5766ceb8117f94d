//! A client's connection with an eye on the clock: between Pingora and the socket, or TLS.
//!
//! Pingora gives each read of a head a time, however small what it brings; waits for ever for the next request and for
//! whoever does not read; and looks for the beginning of HTTP/2 without any. Here each of these has an end. What arrives or
//! leaves without waiting costs no look at the clock, and timers are kept from one wait to the next.
//!
//! While a request is at its upstream, Pingora reads here to see whether the client is still there: so this is where an
//! answer that does not come in time is given up ([`deadline`](crate::deadline)), at no cost to those that do. Over HTTP/2, where one
//! connection has many requests, [`downstream`](crate::downstream) does it.
//!
//! Only waits end here. The pauses in a request's body are Pingora's, which knows where it begins; how slowly the streams of
//! an HTTP/2 connection are read, it knows too.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use pingora::ErrorType;
use pingora::protocols::http::server::Session;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connections::{Cut, Entered};
use crate::config::ConnectionConfig;
use crate::deadline::{Deadline, Spans, TOO_LONG, Timer};

/// What HTTP/2 begins with (RFC 9113 §3.4).
pub const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much may be read of a head beyond what the largest route takes: the rest of what came with it, and what is no header.
const SLACK: usize = 64 * 1024;

/// What is being waited for.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first request, or the beginning of HTTP/2.
    First,
    /// A further request.
    Idle,
    /// The rest of a head.
    Head,
    /// What a request that is being served waits for.
    Open,
}

impl Phase {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::First,
            1 => Self::Idle,
            2 => Self::Head,
            _ => Self::Open,
        }
    }
}

/// A connection, watched.
pub struct WatchedStream {
    inner: Stream,
    /// Changed by whoever serves requests, too.
    phase: AtomicU8,
    speaks_http_2: bool,
    /// What has been read of a head.
    head: usize,
    reading: Timer,
    /// Since when the client is waited for to send, and in which phase that began.
    reading_since: Option<Instant>,
    waited_in: Phase,
    writing: Timer,
    /// Since when the client is waited for to read.
    writing_since: Option<Instant>,
    is_cut: bool,
    answer: Mutex<Answer>,
    last_request: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    entered: Entered,
}

/// What the request under way waits for at its upstream.
#[derive(Default)]
struct Answer {
    deadline: Deadline,
    /// What did not come in time.
    missed: Option<ErrorType>,
}

impl WatchedStream {
    /// Watches `inner`. When `last_request` resolves, no further one is waited for.
    pub fn new(
        inner: Stream,
        entered: Entered,
        last_request: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> Self {
        let speaks_http_2 = inner.selected_alpn_proto() == Some(ALPN::H2);
        Self {
            inner,
            phase: AtomicU8::new(Phase::First as u8),
            speaks_http_2,
            head: 0,
            reading: Timer::default(),
            reading_since: None,
            waited_in: Phase::First,
            writing: Timer::default(),
            writing_since: None,
            is_cut: false,
            answer: Mutex::default(),
            last_request: Box::pin(last_request.fuse()),
            entered,
        }
    }

    /// The watched stream in `stream`.
    pub fn of(stream: &Stream) -> Option<&Self> {
        stream.as_any().downcast_ref()
    }

    /// The watched stream of `session`; none over HTTP/2, and where we stand in the place of Pingora's session.
    pub fn of_session(session: &Session) -> Option<&Self> {
        session.stream().and_then(Self::of)
    }

    /// Notes that the head of a request is whole.
    pub fn head_is_whole(&self) {
        self.phase.store(Phase::Open as u8, Ordering::Relaxed);
    }

    /// Notes that the next request is waited for.
    pub fn awaits_request(&self) {
        *self.answer.lock() = Answer::default();
        let _ = self.phase.compare_exchange(Phase::Open as u8, Phase::Idle as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Says how long the answer may take to the request that is about to be sent.
    pub fn awaits_answer(&self, spans: Spans) {
        self.answer.lock().deadline.start(spans);
    }

    /// Notes that the answer begins.
    pub fn answer_begins(&self, is_event_stream: bool) {
        self.answer.lock().deadline.answer_begins(is_event_stream);
    }

    /// Notes that a part of the answer has come.
    pub fn answer_goes_on(&self) {
        self.answer.lock().deadline.goes_on();
    }

    /// What the upstream was waited for in vain. Reading and writing have failed because of that; the client is still there.
    pub fn missed(&self) -> Option<ErrorType> {
        self.answer.lock().missed.clone()
    }

    fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Notes that so much was read.
    fn has_read(&mut self, count: usize) -> io::Result<()> {
        match self.phase() {
            _ if count == 0 => return Ok(()),
            Phase::Open => {
                self.answer.get_mut().deadline.goes_on();
                return Ok(());
            }
            Phase::First => {
                // Of HTTP/2 only the beginning has to be there in time.
                self.head += count;
                if self.speaks_http_2 {
                    if self.head >= PREFACE.len() {
                        self.set_phase(Phase::Open);
                    }
                    return Ok(());
                }
                self.set_phase(Phase::Head);
            }
            Phase::Idle => {
                self.head = count;
                self.reading_since = None;
                self.set_phase(Phase::Head);
            }
            Phase::Head => self.head += count,
        }
        if self.head > self.entered.config.largest_header + SLACK { Err(self.cut(Cut::Header)) } else { Ok(()) }
    }

    /// Waits for something to read, as long as that may take. Where its listener has stopped, the end of what can be read is
    /// told to have come.
    fn wait_for_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ConnectionConfig { header_timeout, idle_timeout, .. } = *self.entered.config;
        let phase = self.phase();
        // The time of a first head began with the connection; any other wait begins anew.
        if phase != self.waited_in && phase != Phase::Head {
            self.reading_since = None;
        }
        self.waited_in = phase;
        let (began, patience, cut) = match phase {
            Phase::Open => return self.wait_for_answer(context).map(Err),
            Phase::First => (Some(self.entered.began), header_timeout, Cut::HeaderTimeout),
            Phase::Head => (None, header_timeout, Cut::HeaderTimeout),
            Phase::Idle => (None, idle_timeout, Cut::IdleTimeout),
        };
        let since = *self.reading_since.get_or_insert_with(|| began.unwrap_or_else(Instant::now));
        if self.reading.poll(since + patience, context).is_ready() {
            return Poll::Ready(Err(self.cut(cut)));
        }
        self.last_request.as_mut().poll(context).map(Ok)
    }

    /// Waits for the upstream, as long as that may take.
    fn wait_for_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some((at, kind)) = self.answer.get_mut().deadline.wait(Instant::now) else { return Poll::Pending };
        ready!(self.reading.poll(at, context));
        Poll::Ready(self.miss(kind))
    }

    /// Waits for room to write, as long as that may take.
    fn wait_for_room<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing_since = None;
            self.answer.get_mut().deadline.goes_on();
            return written;
        }
        let since = *self.writing_since.get_or_insert_with(Instant::now);
        let deadline = since + self.entered.config.write_timeout;
        // A client that reads slowly does not prolong what an answer may take.
        let end = self.answer.get_mut().deadline.end_of_answer().filter(|end| *end < deadline);
        ready!(self.writing.poll(end.unwrap_or(deadline), context));
        Poll::Ready(Err(if end.is_some() { self.miss(TOO_LONG) } else { self.cut(Cut::WriteTimeout) }))
    }

    /// The upstream has had its time. Its client is told, who has done nothing wrong.
    fn miss(&mut self, kind: ErrorType) -> io::Error {
        *self.answer.get_mut() = Answer { deadline: Deadline::default(), missed: Some(kind) };
        io::ErrorKind::TimedOut.into()
    }

    fn cut(&mut self, why: Cut) -> io::Error {
        self.is_cut = true;
        why.count();
        io::ErrorKind::TimedOut.into()
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(this.has_read(buffer.filled().len() - before)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.wait_for_more(context),
        }
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.wait_for_room(written, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(context);
        this.wait_for_room(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.inner).poll_shutdown(context);
        this.wait_for_room(ended, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        this.wait_for_room(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Peek for WatchedStream {
    /// Looks for the beginning of HTTP/2.
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let deadline = self.entered.began + self.entered.config.header_timeout;
        let Ok(peeked) = tokio::time::timeout_at(deadline, self.inner.try_peek(buffer)).await else {
            return Err(self.cut(Cut::HeaderTimeout));
        };
        let peeked = peeked?;
        if peeked && buffer == PREFACE {
            self.set_phase(Phase::Open);
        }
        Ok(peeked)
    }
}

#[async_trait]
impl Shutdown for WatchedStream {
    async fn shutdown(&mut self) {
        // To say goodbye means to write.
        let patience = if self.is_cut { Duration::ZERO } else { self.entered.config.write_timeout };
        let _ = tokio::time::timeout(patience, self.inner.shutdown()).await;
    }
}

impl UniqueID for WatchedStream {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for WatchedStream {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for WatchedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for WatchedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for WatchedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl fmt::Debug for WatchedStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WatchedStream").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::super::connections::{ConnectionLimits, tests::config};
    use super::*;

    fn watched() -> (WatchedStream, DuplexStream) {
        let (client, server) = duplex(64);
        let entered = ConnectionLimits::default().enter(Arc::new(config(1, 1)), "192.0.2.1".parse().unwrap());
        (WatchedStream::new(Box::new(server), entered.unwrap(), std::future::pending()), client)
    }

    async fn read(stream: &mut WatchedStream) -> io::Result<usize> {
        stream.read(&mut [0; 8]).await
    }

    fn seconds(began: Instant) -> u64 {
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_its_time_from_the_beginning_however_it_trickles() {
        let (mut stream, mut client) = watched();
        let began = Instant::now();
        tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let error = loop {
            if let Err(error) = read(&mut stream).await {
                break error;
            }
        };
        assert_eq!((error.kind(), seconds(began)), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_request_may_be_long_in_coming_and_its_head_has_a_time_of_its_own() {
        let (mut stream, mut client) = watched();
        client.write_all(b"x").await.unwrap();
        read(&mut stream).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), read(&mut stream)).await.unwrap_err();
        stream.head_is_whole();
        stream.awaits_request();
        let began = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(59)).await;
            client.write_all(b"x").await.unwrap();
            std::future::pending::<()>().await;
        });
        read(&mut stream).await.unwrap();
        read(&mut stream).await.unwrap_err();
        assert_eq!(seconds(began), 69);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_is_kept_for_a_while() {
        let (mut stream, _client) = watched();
        stream.head_is_whole();
        stream.awaits_request();
        let began = Instant::now();
        read(&mut stream).await.unwrap_err();
        assert_eq!(seconds(began), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_request_is_served_nothing_read_here_has_an_end() {
        let (mut stream, _client) = watched();
        stream.head_is_whole();
        tokio::time::timeout(Duration::from_secs(100_000), read(&mut stream)).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_cut_before_it_takes_much_memory() {
        let (mut stream, mut client) = watched();
        tokio::spawn(async move { while client.write_all(&[b'x'; 64]).await.is_ok() {} });
        let mut total = 0;
        while let Ok(count) = read(&mut stream).await {
            total += count;
        }
        assert!(total <= 1024 + SLACK, "{total}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_and_one_that_reads_slowly_is_not() {
        let (mut stream, mut client) = watched();
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(15)).await;
                client.read_exact(&mut [0; 8]).await.unwrap();
            }
            client
        });
        stream.write_all(&[0; 64 + 80]).await.unwrap();
        let _client = slow.await.unwrap();
        let began = Instant::now();
        let error = stream.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!((error.kind(), seconds(began)), (io::ErrorKind::TimedOut, 20));
    }
}

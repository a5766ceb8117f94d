//! The client's side of a request that needs more than being passed on.
//!
//! [`Downstream`] stands where Pingora's own session to the client stood, does all that this does, and some things more, for
//! us and for Pingora's proxy, which asks us at few points only:
//!
//! - it hands over, as often as it is asked, a request body that has been read already (an MCP message is judged before
//!   the upstream hears of the request; what goes there are the very bytes that were judged),
//! - it leads an answer through a filter (lists show what the caller may use),
//! - it ends an event stream when its token ends, whether anything is being sent or not,
//! - over HTTP/2, it gives up an answer that does not begin, go on or end in time (over HTTP/1.1 the connection does that:
//!   [`limits::stream`](crate::limits::stream)), and waits so long, and no longer, for the rest of a body.
//!
//! Requests that need none of this never meet it, unless their upstream speaks HTTP/2: what Pingora's proxy is given, it does
//! not give back. When a request is over, [`Slot::restore`] puts Pingora's session back, so that the connection can serve the
//! next.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use phantomgate_mcp::{EventBoundary, ListFilter, Visibility};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::server::Session as HttpSession;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use tokio::time::Instant;

use crate::deadline::{self, Deadline, Spans, Timer};
use crate::limits::stream::WatchedStream;
use crate::respond::is_event_stream;

/// What an error says that ends a stream whose token has ended.
pub const STREAM_CUT: ErrorType = ErrorType::Custom("stream cut");

/// What an error says when an answer cannot be filtered.
pub const UNFILTERABLE: ErrorType = ErrorType::Custom("answer cannot be filtered");

/// The largest list that is filtered, and the largest event of a stream with lists in it.
const LARGEST_LIST: usize = 16 * 1024 * 1024;

/// What is to be done for a request beyond passing it on.
#[derive(Default)]
pub struct Duties {
    /// The request's body, read and judged.
    pub body: Option<Bytes>,
    /// What lists may show; none when nothing is to be taken out of the answer.
    pub visibility: Option<Arc<dyn Visibility>>,
    /// The longest pause in the request's body, where Pingora knows of none.
    pub patience: Option<Duration>,
}

/// Resolves when an event stream must end, to what its client gets to see last.
pub type StreamEnd = BoxFuture<'static, Bytes>;

/// Where Pingora's own session waits while [`Downstream`] stands in its place.
#[derive(Clone, Default)]
pub struct Slot(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    session: Mutex<Option<HttpSession>>,
    stream_end: Mutex<Option<StreamEnd>>,
    deadline: Mutex<Option<Spans>>,
    /// The answer was ended before the upstream had ended it, and is whole.
    is_finished: AtomicBool,
}

impl Slot {
    /// Puts a [`Downstream`] with these `duties` in the place of the session to the client.
    pub fn install(session: &mut HttpSession, duties: Duties) -> Self {
        let slot = Self::default();
        let inner = std::mem::replace(session, placeholder());
        let downstream = Downstream {
            inner,
            slot: slot.clone(),
            body: duties.body,
            visibility: duties.visibility,
            patience: duties.patience,
            filter: None,
            boundary: EventBoundary::default(),
            stream_end: None,
            deadline: Deadline::default(),
            timer: Timer::default(),
            is_plain: true,
            is_cut: false,
        };
        *session = HttpSession::new_custom(Box::new(downstream));
        slot
    }

    /// Says when the event stream must end that is about to begin.
    pub fn set_stream_end(&self, end: StreamEnd) {
        *self.0.stream_end.lock() = Some(end);
    }

    /// Says how long the answer may take to the request that is about to be sent.
    pub fn set_deadline(&self, spans: Spans) {
        *self.0.deadline.lock() = Some(spans);
    }

    /// Puts Pingora's session back. Gives whether we have finished its answer, which the upstream had not.
    pub fn restore(self, session: &mut HttpSession) -> bool {
        drop(std::mem::replace(session, placeholder()));
        if let Some(inner) = self.0.session.lock().take() {
            *session = inner;
        }
        self.0.is_finished.load(Ordering::Relaxed)
    }
}

/// A session that nobody uses.
pub(crate) fn placeholder() -> HttpSession {
    HttpSession::new_custom(Box::new(()))
}

struct Downstream {
    inner: HttpSession,
    slot: Slot,
    body: Option<Bytes>,
    visibility: Option<Arc<dyn Visibility>>,
    patience: Option<Duration>,
    filter: Option<ListFilter>,
    boundary: EventBoundary,
    /// There while the answer is an event stream with an end. In a lock because it must be `Sync`; it is never locked.
    stream_end: Option<Mutex<StreamEnd>>,
    /// Of an answer over HTTP/2.
    deadline: Deadline,
    timer: Timer,
    /// The answer goes out as it is read by its client: an event of ours can be put in.
    is_plain: bool,
    /// The stream has been ended; nothing more may follow.
    is_cut: bool,
}

impl Drop for Downstream {
    fn drop(&mut self) {
        *self.slot.0.session.lock() = Some(std::mem::replace(&mut self.inner, placeholder()));
    }
}

impl Downstream {
    /// What is to be done is known when the answer begins.
    fn begin(&mut self, header: &mut ResponseHeader) -> Result<()> {
        self.answer_begins(is_event_stream(header));
        self.stream_end = self.slot.0.stream_end.lock().take().map(Mutex::new);
        self.is_plain = !header.headers.contains_key(header::CONTENT_ENCODING);
        // An error is passed on as it is: clients look at what it says.
        let Some(visibility) = self.visibility.take().filter(|_| header.status.is_success()) else { return Ok(()) };
        let filter = ListFilter::new(&header.headers, visibility, LARGEST_LIST).map_err(unfilterable)?;
        let Some(filter) = filter else { return Ok(()) };
        if header.remove_header(&header::CONTENT_LENGTH).is_some() && matches!(self.inner, HttpSession::H1(_)) {
            header.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        if filter.is_decoding() {
            header.remove_header(&header::CONTENT_ENCODING);
            self.is_plain = true;
        }
        // It would be the validator of another list.
        header.remove_header(&header::ETAG);
        self.filter = Some(filter);
        Ok(())
    }

    /// A deadline that was set since counts from now on.
    fn start_deadline(&mut self) {
        let Some(spans) = self.slot.0.deadline.lock().take() else { return };
        match self.watched() {
            Some(stream) => stream.awaits_answer(spans),
            None => self.deadline.start(spans),
        }
    }

    fn answer_begins(&mut self, is_event_stream: bool) {
        match self.watched() {
            Some(stream) => stream.answer_begins(is_event_stream),
            None => self.deadline.answer_begins(is_event_stream),
        }
    }

    fn goes_on(&mut self) {
        match self.watched() {
            Some(stream) => stream.answer_goes_on(),
            None => self.deadline.goes_on(),
        }
    }

    /// The connection, where it looks after deadlines itself.
    fn watched(&self) -> Option<&WatchedStream> {
        self.inner.stream().and_then(WatchedStream::of)
    }

    /// What `error` is about, where the connection knows it better.
    fn explained(&self, error: Box<Error>) -> Box<Error> {
        self.watched().and_then(WatchedStream::missed).map_or(error, deadline::passed)
    }

    fn filter(&mut self, chunk: Option<Bytes>, end: bool) -> Result<Option<Bytes>> {
        let Some(filter) = &mut self.filter else {
            if let (Some(_), Some(chunk)) = (&self.stream_end, &chunk) {
                self.boundary.push(chunk);
            }
            return Ok(chunk);
        };
        let mut passed = filter.push(chunk.as_deref().unwrap_or_default()).map_err(unfilterable)?;
        if end {
            let rest = filter.finish().map_err(unfilterable)?;
            self.filter = None;
            if !rest.is_empty() {
                let mut whole = BytesMut::from(&passed[..]);
                whole.extend_from_slice(&rest);
                passed = whole.freeze();
            }
        }
        self.boundary.push(&passed);
        Ok(Some(passed))
    }

    /// The tasks as they go to the client.
    fn filter_tasks(&mut self, tasks: Vec<HttpTask>) -> Result<Vec<HttpTask>> {
        let mut filtered = Vec::with_capacity(tasks.len() + 1);
        for task in tasks {
            match task {
                HttpTask::Header(mut header, end) => {
                    if !header.status.is_informational() {
                        self.begin(&mut header)?;
                    }
                    filtered.push(HttpTask::Header(header, end));
                }
                HttpTask::Body(chunk, end) => {
                    let chunk = self.filter(chunk, end)?;
                    // Nothing yet is nothing to write; an empty chunk would end the answer.
                    if end || chunk.as_ref().is_some_and(|chunk| !chunk.is_empty()) {
                        filtered.push(HttpTask::Body(chunk, end));
                    }
                }
                HttpTask::Trailer(_) | HttpTask::Done if self.filter.is_some() => {
                    filtered.push(HttpTask::Body(self.filter(None, true)?, false));
                    filtered.push(task);
                }
                HttpTask::Trailer(_) | HttpTask::Done | HttpTask::Failed(_) | HttpTask::UpgradedBody(..) => {
                    filtered.push(task);
                }
            }
        }
        Ok(filtered)
    }

    /// Ends the stream the way its client recovers from: the request that waits is told, and the stream ends whole, so that
    /// the client comes back at once and is told to get a new token. In the middle of an event it can only break off.
    async fn cut(&mut self, last_event: Bytes) -> Box<Error> {
        self.is_cut = true;
        if self.is_plain && self.boundary.is_between_events() {
            let written = self.inner.write_response_body(last_event, true).await;
            self.slot.0.is_finished.store(written.is_ok(), Ordering::Relaxed);
        }
        cut_error()
    }
}

fn unfilterable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Box<Error> {
    Error::because(UNFILTERABLE, "a list of the upstream", error).into_up()
}

fn cut_error() -> Box<Error> {
    Error::explain(STREAM_CUT, "the token has ended").into_in()
}

/// Resolves when the stream must end; never where there is no end.
async fn ended(end: &mut Option<Mutex<StreamEnd>>) -> Bytes {
    match end {
        Some(end) => end.get_mut().await,
        None => std::future::pending().await,
    }
}

/// Resolves when `deadline` has passed; never where there is none.
async fn passed(deadline: &mut Deadline, timer: &mut Timer) -> Box<Error> {
    let Some((at, kind)) = deadline.wait(Instant::now) else { return std::future::pending().await };
    poll_fn(|context| timer.poll(at, context)).await;
    deadline::passed(kind)
}

/// Resolves after `patience`; never where there is none.
async fn pause(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
}

#[async_trait]
impl CustomSession for Downstream {
    // --- the request --------------------------------------------------------------------------------------------------

    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.body {
            Some(_) => Ok(None),
            None => self.inner.read_request_body().await,
        }
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if self.is_cut {
            return Err(cut_error());
        }
        self.start_deadline();
        let no_body_expected = no_body_expected || self.body.is_some();
        let patience = self.patience.filter(|_| !no_body_expected && !self.inner.is_body_done());
        let body = tokio::select! {
            body = self.inner.read_body_or_idle(no_body_expected) => body.map_err(|error| self.explained(error)),
            () = pause(patience) => {
                return Err(Error::explain(ErrorType::ReadTimedout, "a pause in the body").into_down());
            }
            last_event = ended(&mut self.stream_end) => return Err(self.cut(last_event).await),
            error = passed(&mut self.deadline, &mut self.timer) => return Err(error),
        };
        self.goes_on();
        body
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.inner.drain_request_body().await
    }

    fn is_body_done(&mut self) -> bool {
        self.body.is_some() || self.inner.is_body_done()
    }

    fn is_body_empty(&mut self) -> bool {
        match &self.body {
            Some(body) => body.is_empty(),
            None => self.inner.is_body_empty(),
        }
    }

    fn enable_retry_buffering(&mut self) {
        if self.body.is_none() {
            self.inner.enable_retry_buffering();
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.body.is_none() && self.inner.retry_buffer_truncated()
    }

    /// The whole body: Pingora asks here first for what it sends, on every attempt anew.
    fn get_retry_buffer(&self) -> Option<Bytes> {
        match &self.body {
            Some(body) => Some(body.clone()).filter(|body| !body.is_empty()),
            None => self.inner.get_retry_buffer(),
        }
    }

    // --- the answer ---------------------------------------------------------------------------------------------------

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        if self.is_cut {
            return Err(cut_error());
        }
        let tasks = self.filter_tasks(tasks)?;
        self.goes_on();
        tokio::select! {
            biased;
            done = self.inner.response_duplex_vec(tasks) => return done.map_err(|error| self.explained(error)),
            error = passed(&mut self.deadline, &mut self.timer) => {
                self.is_cut = true;
                return Err(error);
            }
            // A client that reads slowly does not prolong the life of its token.
            _ = ended(&mut self.stream_end) => {}
        }
        // What was being written is not whole: nothing can follow it.
        self.is_cut = true;
        Err(cut_error())
    }

    async fn write_response_header(&mut self, header: Box<ResponseHeader>, _: bool) -> Result<()> {
        self.inner.write_response_header(header).await
    }

    async fn write_response_header_ref(&mut self, header: &ResponseHeader, _: bool) -> Result<()> {
        self.inner.write_response_header_ref(header).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner.write_response_trailers(trailers).await
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response_written()
    }

    async fn finish(&mut self) -> Result<()> {
        self.inner.finish_body().await
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.inner.shutdown().await;
    }

    fn is_upgrade_req(&self) -> bool {
        self.inner.is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.inner.was_upgraded()
    }

    // --- the connection -----------------------------------------------------------------------------------------------

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner.request_summary()
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner.to_h1_raw()
    }

    // --- messages beside HTTP, which neither side has -----------------------------------------------------------------

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}

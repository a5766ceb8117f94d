//! Traces, for OpenTelemetry: what a request did and how long each part of it took, as spans of one trace that may have begun
//! before us and goes on behind us.
//!
//! ```text
//! traceparent of the client ─► request (server) ─┬─► introspection (client), where the authorization server was asked
//!                                                ├─► exchange (client), where it was asked for another token
//!                                                └─► each attempt at an upstream (client) ─► traceparent of the upstream
//! ```
//! While a request is under way only its ids and its moments are noted. Spans are made of them, and of its audit record, when
//! it is over, and sent by a thread of its own. What there is no room for is dropped and counted: no request waits for a trace.

mod collector;
mod context;
pub mod logs;
mod otlp;
mod spans;

pub use context::{SpanId, TraceId, TraceParent};

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::audit::AuditRecord;
use crate::config::TracesConfig;
use crate::delivery::{Delivery, Setup, Threads, WhenFull};
use crate::forward::Changes;
use crate::route::Route;
use crate::telemetry::otlp::Span;
use crate::telemetry::spans::Spans;

/// Names the trace that a request is part of (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What tracing systems say to each other beside that.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How many requests may wait until their spans are sent.
const QUEUE: usize = 10_000;

/// Traces requests.
pub struct Tracing {
    config: TracesConfig,
    delivery: Delivery<Vec<Span>>,
}

/// The trace of one request that is under way.
pub struct RequestTrace {
    trace_id: TraceId,
    span_id: SpanId,
    parent: Option<SpanId>,
    /// What other tracing systems said.
    state: Option<HeaderValue>,
    is_sampled: bool,
    attempts: Vec<Attempt>,
}

/// One attempt at an upstream.
struct Attempt {
    span_id: SpanId,
    began: Instant,
    ended: Option<Instant>,
    endpoint: String,
    has_failed: bool,
}

/// A request that is over, and was traced.
pub struct Finished<'a> {
    /// Its trace.
    pub trace: &'a RequestTrace,
    /// What is recorded of it.
    pub record: &'a AuditRecord<'a>,
    /// Its route, if one was found.
    pub route: Option<&'a Route>,
    /// When it arrived, by the clock of [`RequestTrace`]'s moments.
    pub began: Instant,
    /// When the authorization server was asked about the token, and for how long that was waited for.
    pub introspection: Option<(Instant, Duration)>,
    /// The same, for another token in exchange.
    pub exchange: Option<(Instant, Duration)>,
}

impl Tracing {
    /// Begins to trace as `config` says, or goes on as before if that is the same.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn open(
        config: Option<&TracesConfig>,
        previous: Option<&Arc<Self>>,
        threads: &Threads,
    ) -> io::Result<Option<Arc<Self>>> {
        let Some(config) = config else { return Ok(None) };
        if let Some(previous) = previous.filter(|previous| previous.config == *config) {
            return Ok(Some(previous.clone()));
        }
        let setup = Setup { kind: "trace", name: "otlp", capacity: QUEUE, when_full: WhenFull::Drop };
        let collector = config.collector.clone();
        let delivery = Delivery::start(&setup, threads, move || Spans::new(&collector))?;
        Ok(Some(Arc::new(Self { config: config.clone(), delivery })))
    }

    /// The trace of a request with these `headers`: the client's, or a new one.
    pub fn begin(&self, headers: &HeaderMap) -> RequestTrace {
        let parent = if self.config.continues { TraceParent::of(headers) } else { None };
        let span_id = new_span_id();
        match parent {
            Some(parent) => RequestTrace {
                trace_id: parent.trace_id,
                span_id,
                parent: Some(parent.span_id),
                state: context::state(headers),
                is_sampled: parent.is_sampled,
                attempts: Vec::new(),
            },
            None => {
                let trace_id = TraceId::new(Uuid::new_v4().into_bytes());
                let is_sampled = self.config.sample.contains(trace_id.end());
                RequestTrace { trace_id, span_id, parent: None, state: None, is_sampled, attempts: Vec::new() }
            }
        }
    }

    /// Sends the spans of a request, when there is time.
    pub fn finish(&self, finished: &Finished<'_>) {
        self.delivery.push_with(|| spans::of(finished));
    }

    /// Brings the gauge of the queue up to date.
    pub fn report(&self) {
        self.delivery.report();
    }

    /// Takes nothing more. What is there is still sent.
    pub fn close(&self) {
        self.delivery.close();
    }
}

impl RequestTrace {
    /// Where in the trace the request is.
    pub fn position(&self) -> TraceParent {
        TraceParent { trace_id: self.trace_id, span_id: self.span_id, is_sampled: self.is_sampled }
    }

    /// Whether spans are made of it.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// An endpoint is tried.
    pub fn attempt(&mut self, endpoint: &str) {
        self.attempt_is_over(true);
        let (span_id, began) = (new_span_id(), Instant::now());
        // Where nothing is sampled, the upstream still has a parent of its own in what it logs.
        if !self.is_sampled {
            self.attempts.clear();
        }
        self.attempts.push(Attempt { span_id, began, ended: None, endpoint: endpoint.to_owned(), has_failed: false });
    }

    /// The endpoint has answered, or has failed to.
    pub fn attempt_is_over(&mut self, has_failed: bool) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended.is_none()) {
            (attempt.ended, attempt.has_failed) = (Some(Instant::now()), has_failed);
        }
    }

    /// Tells the upstream which trace its request is part of, in place of whatever the client said.
    ///
    /// # Errors
    /// It cannot be said in a field.
    pub fn propagate<'a>(&'a self, changes: &mut Changes<'a>) -> Result<(), InvalidHeaderValue> {
        let span_id = self.attempts.last().map_or(self.span_id, |attempt| attempt.span_id);
        let parent = TraceParent { trace_id: self.trace_id, span_id, is_sampled: self.is_sampled };
        changes.insert(TRACEPARENT, Cow::Owned(HeaderValue::try_from(parent.to_string())?));
        match &self.state {
            Some(state) => changes.insert(TRACESTATE, Cow::Borrowed(state)),
            None => changes.remove(&TRACESTATE),
        }
        Ok(())
    }
}

/// The second half of a random UUID: 62 random bits, and never only zeros.
fn new_span_id() -> SpanId {
    let bytes = Uuid::new_v4().as_u64_pair().1;
    SpanId::new(bytes.to_be_bytes())
}

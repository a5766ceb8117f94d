//! Spans, made of what was noted of a request and of its record. Attributes have the names of OpenTelemetry's semantic
//! conventions where those have one.

use std::time::{Duration, Instant};

use super::collector::{Collector, Reply, number, scope, text};
use super::context::SpanId;
use super::logs::nanoseconds;
use super::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, ResourceSpans, ScopeSpans, Span, SpanKind, Status,
    StatusCode,
};
use super::{Attempt, Finished, new_span_id};
use crate::audit::Decision;
use crate::config::CollectorConfig;
use crate::delivery::Destination;

/// Sends spans to a collector.
pub(super) struct Spans(Collector);

impl Spans {
    /// To the collector that `config` names.
    pub(super) fn new(config: &CollectorConfig) -> Self {
        Self(Collector::new(config, "v1/traces"))
    }
}

impl Destination<Vec<Span>> for Spans {
    fn deliver(&mut self, batch: &[Vec<Span>]) -> Result<usize, String> {
        let spans = batch.concat();
        let scope_spans = ScopeSpans { scope: Some(scope()), spans };
        let resource = Some(self.0.resource());
        let resource_spans = ResourceSpans { resource, scope_spans: vec![scope_spans] };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
        match self.0.send::<ExportTraceServiceResponse>(&request)? {
            Reply::Taken(_) => Ok(0),
            Reply::Refused(status) => {
                tracing::error!(%status, "the collector refuses spans");
                Ok(batch.len())
            }
        }
    }
}

/// All spans of a request.
pub(super) fn of(finished: &Finished<'_>) -> Vec<Span> {
    let mut spans = vec![request(finished)];
    spans.extend(finished.introspection.map(|when| asked(finished, "introspection", when)));
    spans.extend(finished.exchange.map(|when| asked(finished, "exchange", when)));
    spans.extend(finished.trace.attempts.iter().map(|attempt| upstream(finished, attempt)));
    spans
}

/// The span that all others of the request are children of.
fn request(finished: &Finished<'_>) -> Span {
    let (record, trace) = (finished.record, finished.trace);
    let mut attributes = vec![
        text("http.request.method", known_method(&record.method).unwrap_or("_OTHER")),
        text("url.path", &*record.path),
        text("network.protocol.version", record.protocol.trim_start_matches("HTTP/").trim_end_matches(".0")),
        text("phantomgate.request_id", record.request_id.to_string()),
        text("phantomgate.decision", <&str>::from(record.decision)),
        text("phantomgate.reason", <&str>::from(record.reason)),
    ];
    attributes.extend(
        record
            .peer
            .iter()
            .flat_map(|peer| [text("client.address", peer.ip().to_string()), number("client.port", peer.port())]),
    );
    if record.status != 0 {
        attributes.push(number("http.response.status_code", record.status));
    }
    let optional = [
        ("phantomgate.route", record.route),
        ("phantomgate.client_id", record.client_id.as_deref()),
        ("user.id", record.subject.as_deref()),
        ("mcp.method.name", record.mcp_method.as_deref()),
        ("phantomgate.mcp_name", record.mcp_name.as_deref()),
    ];
    attributes.extend(optional.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    attributes.extend(record.token.map(|token| text("phantomgate.token", token.to_string())));
    let route = finished.route.as_ref().map(|route| route.matches.path.to_string());
    attributes.extend(route.as_deref().map(|route| text("http.route", route)));
    let method = known_method(&record.method).unwrap_or("HTTP");
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let has_failed = record.decision == Decision::Fail || record.status >= 500;
    if has_failed {
        attributes.push(text("error.type", <&str>::from(record.reason)));
    }
    Span {
        span_id: trace.span_id.bytes(),
        parent_span_id: trace.parent.map(SpanId::bytes).unwrap_or_default(),
        ..span(finished, name, SpanKind::Server, (finished.began, record.latency.total), attributes, has_failed)
    }
}

/// The authorization server was asked for something.
fn asked(finished: &Finished<'_>, name: &str, when: (Instant, Duration)) -> Span {
    let server = finished.route.as_ref().and_then(|route| route.protection.as_ref());
    let attributes =
        server.map(|protection| text("phantomgate.authorization_server", &*protection.authorization_server));
    Span {
        span_id: new_span_id().bytes(),
        parent_span_id: finished.trace.span_id.bytes(),
        ..span(finished, name.to_owned(), SpanKind::Client, when, attributes.into_iter().collect(), false)
    }
}

/// An endpoint was tried: until the head of its answer, or its failure.
fn upstream(finished: &Finished<'_>, attempt: &Attempt) -> Span {
    let record = finished.record;
    let method = known_method(&record.method);
    let mut attributes = vec![text("http.request.method", method.unwrap_or("_OTHER"))];
    attributes.extend(record.upstream.map(|upstream| text("phantomgate.upstream", upstream)));
    match attempt.endpoint.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) {
        Some((host, port)) => attributes.extend([text("server.address", host), number("server.port", port)]),
        None => attributes.push(text("server.address", &*attempt.endpoint)),
    }
    if attempt.has_failed {
        attributes.push(text("error.type", "upstream_unavailable"));
    }
    let end = attempt.ended.unwrap_or(finished.began + record.latency.total);
    let when = (attempt.began, end.saturating_duration_since(attempt.began));
    let name = method.unwrap_or("HTTP").to_owned();
    Span {
        span_id: attempt.span_id.bytes(),
        parent_span_id: finished.trace.span_id.bytes(),
        ..span(finished, name, SpanKind::Client, when, attributes, attempt.has_failed)
    }
}

fn span(
    finished: &Finished<'_>,
    name: String,
    kind: SpanKind,
    (began, took): (Instant, Duration),
    attributes: Vec<KeyValue>,
    has_failed: bool,
) -> Span {
    let trace = finished.trace;
    let start = finished.record.time.since_epoch() + began.saturating_duration_since(finished.began);
    let code = if has_failed { StatusCode::Error } else { StatusCode::Unset };
    let state = trace.state.as_ref().and_then(|state| state.to_str().ok()).unwrap_or_default();
    Span {
        trace_id: trace.trace_id.bytes(),
        trace_state: state.to_owned(),
        flags: u32::from(trace.is_sampled),
        name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(start),
        end_time_unix_nano: nanoseconds(start + took),
        attributes,
        status: Some(Status { code: code.into() }),
        ..Span::default()
    }
}

/// A method that everybody knows; a client may make up others, and names of spans are to be few.
fn known_method(method: &str) -> Option<&str> {
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"].contains(&method).then_some(method)
}

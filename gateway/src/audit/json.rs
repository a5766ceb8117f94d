//! A record as JSON, on one line.
//!
//! Each request leaves one, so it is written by hand: what serde_json would look for in each name and each text (something to
//! escape), names do not have, and texts hardly ever. A test holds it to what serde_json makes of the same record.

use std::fmt::Display;
use std::io::Write as _;
use std::time::UNIX_EPOCH;

use phantomgate_introspection::ScopeSet;
use uuid::Uuid;

use super::AuditRecord;
use super::record::{Latency, bounded, whole_micros};

/// Puts `record` at the end of `line`, without an end of the line.
pub(super) fn write(record: &AuditRecord, line: &mut Vec<u8>) {
    // All of them, so that none is forgotten that is added.
    let AuditRecord {
        time,
        request_id,
        trace,
        decision,
        reason,
        cause,
        status,
        route,
        method,
        path,
        mcp_method,
        mcp_name,
        client_id,
        subject,
        token,
        token_lookup,
        scopes_required,
        scopes_granted,
        peer,
        protocol,
        upstream,
        endpoint,
        retries,
        bytes_received,
        bytes_sent,
        latency,
    } = record;
    let Latency { introspection, message, credential, decision: own, upstream: at_upstream, total } = *latency;
    let mut object = Object { line };
    object.line.push(b'{');
    object.plain("time", humantime::format_rfc3339_micros(UNIX_EPOCH + time.since_epoch()));
    object.text("request_id", request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    if let Some(trace) = trace {
        object.plain("trace_id", trace.trace_id);
    }
    object.text("decision", decision.into());
    object.text("reason", reason.into());
    object.text_if("cause", cause.as_deref());
    object.number("status", (*status).into());
    object.text_if("route", route.as_deref());
    object.text("method", &bounded(method.as_str()));
    object.text("path", path);
    object.text_if("mcp_method", mcp_method.as_deref());
    object.text_if("mcp_name", mcp_name.as_deref());
    object.text_if("client_id", client_id.as_deref());
    object.text_if("subject", subject.as_deref());
    if let Some(token) = token {
        object.plain("token", token);
    }
    object.text_if("token_lookup", *token_lookup);
    for (name, scopes) in [("scopes_required", scopes_required), ("scopes_granted", scopes_granted)] {
        object.text_if(name, scopes.as_ref().map(ScopeSet::to_string).as_deref().map(bounded).as_deref());
    }
    if let Some(peer) = peer {
        object.plain("peer", peer);
    }
    object.text("protocol", protocol);
    object.text_if("upstream", upstream.as_deref());
    object.text_if("endpoint", endpoint.as_deref());
    for (name, count) in [("retries", retries), ("bytes_received", bytes_received), ("bytes_sent", bytes_sent)] {
        object.number(name, u64::try_from(*count).unwrap_or(u64::MAX));
    }
    for (name, span) in [
        ("introspection_us", introspection),
        ("message_us", message),
        ("credential_us", credential),
        ("decision_us", own),
        ("upstream_us", at_upstream),
        ("total_us", Some(total)),
    ] {
        if let Some(span) = span {
            object.number(name, whole_micros(span));
        }
    }
    object.line.push(b'}');
}

/// An object that has begun.
struct Object<'a> {
    line: &'a mut Vec<u8>,
}

impl Object<'_> {
    fn name(&mut self, name: &'static str) {
        if self.line.last() != Some(&b'{') {
            self.line.push(b',');
        }
        self.line.push(b'"');
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A text whose characters are letters, digits and punctuation that JSON has no use for.
    fn plain(&mut self, name: &'static str, text: impl Display) {
        self.name(name);
        // A vector takes whatever comes.
        let _ = write!(self.line, "\"{text}\"");
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        // All of them, one or not: so the processor can look at many at once.
        let needs_escapes =
            text.bytes().fold(false, |any, byte| any | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
        if needs_escapes {
            // A text has nothing in it that could not be written.
            let _ = serde_json::to_writer(&mut *self.line, text);
            return;
        }
        self.line.push(b'"');
        self.line.extend_from_slice(text.as_bytes());
        self.line.push(b'"');
    }

    fn text_if(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use strum::VariantArray as _;

    use super::super::record::tests::record;
    use super::super::{Decision, Reason};
    use super::*;
    use crate::telemetry::{SpanId, TraceId, TraceParent};

    fn assert_same(record: &AuditRecord) {
        let mut line = b"before".to_vec();
        write(record, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), format!("before{}", serde_json::to_string(record).unwrap()));
    }

    #[test]
    fn it_is_what_serde_json_makes() {
        assert_same(&record());
        let scopes = ScopeSet::from_granted(&"s".repeat(300));
        let trace = TraceParent { trace_id: TraceId::new([0xab; 16]), span_id: SpanId::new([1; 8]), is_sampled: true };
        assert_same(&AuditRecord {
            trace: Some(trace),
            cause: Some("a cause".to_owned()),
            peer: Some("[2001:db8::1]:443".parse().unwrap()),
            scopes_granted: Some(scopes),
            scopes_required: Some(ScopeSet::default()),
            method: Method::from_bytes("M".repeat(300).as_bytes()).unwrap(),
            retries: 3,
            latency: Latency {
                introspection: Some(Duration::from_nanos(1)),
                message: Some(Duration::from_micros(2)),
                credential: Some(Duration::from_millis(3)),
                decision: Some(Duration::from_secs(4)),
                upstream: Some(Duration::MAX),
                total: Duration::ZERO,
            },
            ..record()
        });
        assert_same(&AuditRecord {
            route: None,
            mcp_method: None,
            mcp_name: None,
            client_id: None,
            subject: None,
            token_lookup: None,
            scopes_required: None,
            scopes_granted: None,
            peer: None,
            upstream: None,
            endpoint: None,
            latency: Latency::default(),
            ..record()
        });
        for (decision, reason) in Decision::VARIANTS.iter().cycle().zip(Reason::VARIANTS) {
            assert_same(&AuditRecord { decision: *decision, reason: *reason, ..record() });
        }
    }

    #[test]
    fn whatever_stands_in_a_text_is_escaped_as_serde_json_does() {
        for character in ('\0'..'\u{100}').chain(['\u{2028}', '\u{fffd}', '\u{10ffff}']) {
            let text = format!("before{character}after");
            assert_same(&AuditRecord { path: text.clone(), subject: Some(text.into()), ..record() });
        }
        assert_same(&AuditRecord { path: String::new(), ..record() });
    }
}

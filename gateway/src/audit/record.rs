//! What is recorded of a request.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::Method;
use phantomgate_introspection::clock::Timestamp;
use phantomgate_introspection::{ScopeSet, TokenDigest};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{Decision, Reason};
use crate::telemetry::TraceParent;

/// What is recorded of a request: as JSON, one object on one line. What is not known is left out.
///
/// The token is known by its digest only, the query of the request not at all. What a client decides the length of is cut
/// off (with `…`): the path, what its message names, and what its token says.
///
/// One is made for each request: what lasts longer than that is shared, and put into words where the record goes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AuditRecord {
    /// When the request arrived, in UTC, to the microsecond (RFC 3339).
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// What the request is called in our log, and at the upstream as `x-request-id`.
    #[schemars(with = "String")]
    pub request_id: Uuid,
    /// The trace it is part of, in hexadecimal (W3C Trace Context), where requests are traced.
    #[serde(rename = "trace_id", skip_serializing_if = "Option::is_none", serialize_with = "trace_id")]
    #[schemars(with = "Option<String>")]
    pub trace: Option<TraceParent>,
    /// What became of it.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// What the operator should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The status sent; 0 when none was.
    pub status: u16,
    /// The route, if one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    /// The method.
    #[serde(serialize_with = "method")]
    #[schemars(with = "String")]
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The method of its MCP message; of a batch, of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_method: Option<String>,
    /// The tool, prompt or resource that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_name: Option<String>,
    /// The agent's client identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Arc<str>>,
    /// The subject of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Arc<str>>,
    /// What the token is known by: the first 64 bits of its digest, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "token")]
    #[schemars(with = "Option<String>")]
    pub token: Option<TokenDigest>,
    /// How the token was known: from the cache (`hit`, `negative`, `stale`), by asking (`miss`), by waiting for the answer to
    /// another request's question (`coalesced`), or not at all, because too many waited (`refused`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_lookup: Option<&'static str>,
    /// The scopes that this takes, by the route and by the rules for what its message asks for; separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "scopes")]
    #[schemars(with = "Option<String>")]
    pub scopes_required: Option<ScopeSet>,
    /// The scopes that the token was granted, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "scopes")]
    #[schemars(with = "Option<String>")]
    pub scopes_granted: Option<ScopeSet>,
    /// Where the request came from: the other end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The protocol it came by: `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: &'static str,
    /// The upstream it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Arc<str>>,
    /// The endpoint of the upstream, the last that was tried: host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Arc<str>>,
    /// How many further attempts were made to reach the upstream after the first.
    pub retries: usize,
    /// The bytes of the request's body that were read from the client.
    pub bytes_received: usize,
    /// The bytes of the answer's body that were sent to the client.
    pub bytes_sent: usize,
    /// How long it took, and what of that.
    #[serde(flatten)]
    pub latency: Latency,
}

/// How long a request took, in microseconds. What it never came to is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Latency {
    /// Until the token was known: from the cache, or by asking the authorization server.
    #[serde(rename = "introspection_us", skip_serializing_if = "Option::is_none", serialize_with = "micros_if_any")]
    #[schemars(with = "Option<u64>")]
    pub introspection: Option<Duration>,
    /// Until the message of an MCP request was here: mostly the client's time.
    #[serde(rename = "message_us", skip_serializing_if = "Option::is_none", serialize_with = "micros_if_any")]
    #[schemars(with = "Option<u64>")]
    pub message: Option<Duration>,
    /// Until there was a credential for the upstream: kept from before, signed, or by asking the authorization server.
    #[serde(rename = "credential_us", skip_serializing_if = "Option::is_none", serialize_with = "micros_if_any")]
    #[schemars(with = "Option<u64>")]
    pub credential: Option<Duration>,
    /// All else until it was decided: our own work.
    #[serde(rename = "decision_us", skip_serializing_if = "Option::is_none", serialize_with = "micros_if_any")]
    #[schemars(with = "Option<u64>")]
    pub decision: Option<Duration>,
    /// From when it was decided to the head of the upstream's answer: connecting, retries and the upstream's own time.
    #[serde(rename = "upstream_us", skip_serializing_if = "Option::is_none", serialize_with = "micros_if_any")]
    #[schemars(with = "Option<u64>")]
    pub upstream: Option<Duration>,
    /// From the arrival of the request to the end of the answer.
    #[serde(rename = "total_us", serialize_with = "micros")]
    #[schemars(with = "u64")]
    pub total: Duration,
}

/// Whether the log shows records.
pub(super) fn is_logged() -> bool {
    tracing::enabled!(target: "audit", tracing::Level::INFO)
}

impl AuditRecord {
    /// Writes the record to the log.
    pub(super) fn log(&self) {
        tracing::info!(
            target: "audit",
            request_id = %self.request_id,
            trace_id = self.trace.map(|trace| tracing::field::display(trace.trace_id)),
            decision = <&str>::from(self.decision),
            reason = <&str>::from(self.reason),
            cause = self.cause,
            status = self.status,
            route = self.route.as_deref(),
            method = %bounded(self.method.as_str()),
            path = self.path,
            mcp_method = self.mcp_method,
            mcp_name = self.mcp_name,
            client_id = self.client_id.as_deref(),
            subject = self.subject.as_deref(),
            token = self.token.map(tracing::field::display),
            peer = self.peer.map(tracing::field::display),
            endpoint = self.endpoint.as_deref(),
            duration_us = whole_micros(self.latency.total),
        );
    }
}

/// The time as RFC 3339 has it.
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(UNIX_EPOCH + time.since_epoch()))
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn trace_id<S: Serializer>(trace: &Option<TraceParent>, serializer: S) -> Result<S::Ok, S::Error> {
    match trace {
        Some(trace) => serializer.collect_str(&trace.trace_id),
        None => serializer.serialize_none(),
    }
}

fn method<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&bounded(method.as_str()))
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn token<S: Serializer>(token: &Option<TokenDigest>, serializer: S) -> Result<S::Ok, S::Error> {
    match token {
        Some(token) => serializer.collect_str(token),
        None => serializer.serialize_none(),
    }
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn scopes<S: Serializer>(scopes: &Option<ScopeSet>, serializer: S) -> Result<S::Ok, S::Error> {
    match scopes {
        Some(scopes) => serializer.serialize_str(&bounded(&scopes.to_string())),
        None => serializer.serialize_none(),
    }
}

/// The beginning of a text: a client decides how long a path is, but not how long our records get.
pub(crate) fn bounded(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 256;
    match text.get(..text.floor_char_boundary(LONGEST)) {
        Some(start) if start.len() < text.len() => format!("{start}\u{2026}").into(),
        _ => text.into(),
    }
}

/// The same, of a text that is shared with others.
pub(crate) fn bounded_share(text: &Arc<str>) -> Arc<str> {
    match bounded(text) {
        Cow::Borrowed(_) => text.clone(),
        Cow::Owned(start) => start.into(),
    }
}

fn micros<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole_micros(*span))
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn micros_if_any<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    micros(&span.unwrap_or_default(), serializer)
}

/// As records have it.
pub(super) fn whole_micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The record of a request that was granted.
    pub(crate) fn record() -> AuditRecord {
        AuditRecord {
            time: Timestamp::from_epoch(Duration::from_micros(1_700_000_000_000_007)),
            request_id: Uuid::from_u128(1),
            trace: None,
            decision: Decision::Allow,
            reason: Reason::Granted,
            cause: None,
            status: 200,
            route: Some("mcp".into()),
            method: Method::POST,
            path: "/mcp".to_owned(),
            mcp_method: Some("tools/call".to_owned()),
            mcp_name: Some("fetch-users".to_owned()),
            client_id: Some("agent".into()),
            subject: Some("alice".into()),
            token: None,
            token_lookup: Some("hit"),
            scopes_required: Some(ScopeSet::from_granted("users:read")),
            scopes_granted: Some(ScopeSet::from_granted("users:read users:write")),
            peer: Some(([127, 0, 0, 1], 40_000).into()),
            protocol: "HTTP/1.1",
            upstream: Some("users-mcp".into()),
            endpoint: Some("10.0.0.5:3000".into()),
            retries: 0,
            bytes_received: 120,
            bytes_sent: 340,
            latency: Latency {
                introspection: Some(Duration::from_micros(3)),
                upstream: Some(Duration::from_millis(4)),
                total: Duration::from_millis(5),
                ..Latency::default()
            },
        }
    }

    #[test]
    fn a_record_is_one_line_of_json_whatever_is_in_it() {
        let hostile = "a\r\n{\"decision\":\"allow\"}\u{2028}\u{1b}[31m\0";
        let record = AuditRecord { path: hostile.to_owned(), subject: Some(hostile.into()), ..record() };
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains(['\n', '\r', '\u{1b}', '\0']), "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["path"], hostile);
        assert_eq!(read["decision"], "allow");
    }

    #[test]
    fn what_is_cut_off_shows_it() {
        assert_eq!(bounded(&"a".repeat(256)), "a".repeat(256));
        assert_eq!(bounded(&"é".repeat(200)), format!("{}…", "é".repeat(128)));
        let long = Arc::from("a".repeat(300));
        assert_eq!(*bounded_share(&long), format!("{}…", "a".repeat(256)));
        let scopes_granted = Some(ScopeSet::from_granted(&"s".repeat(300)));
        let record = serde_json::to_value(AuditRecord { scopes_granted, ..record() }).unwrap();
        assert_eq!(record["scopes_granted"], format!("{}…", "s".repeat(256)));
    }

    #[test]
    fn times_are_exact_to_the_microsecond_and_what_never_happened_is_left_out() {
        let record = serde_json::to_value(AuditRecord { retries: 2, ..record() }).unwrap();
        assert_eq!(record["time"], "2023-11-14T22:13:20.000007Z");
        assert_eq!(record["introspection_us"], 3);
        assert_eq!(record["upstream_us"], 4_000);
        assert_eq!(record["total_us"], 5_000);
        assert_eq!(record["peer"], "127.0.0.1:40000");
        assert_eq!(record["retries"], json!(2));
        for absent in ["credential_us", "message_us", "decision_us", "trace_id", "cause"] {
            assert!(record.get(absent).is_none(), "{absent}");
        }
    }
}

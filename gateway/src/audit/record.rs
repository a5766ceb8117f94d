//! What is recorded of a request.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use phantomgate_introspection::clock::Timestamp;
use phantomgate_introspection::{ScopeSet, TokenDigest};
use schemars::JsonSchema;
use uuid::Uuid;

use super::{Decision, Reason};
use crate::telemetry::TraceParent;

/// What is recorded of a request: as JSON, one object on one line. What is not known is left out.
///
/// The token is known by its digest only, the query of the request not at all. What a client decides the length of is cut
/// off (with `…`): the path, what its message names, and what its token says.
///
/// One is made for each request that is over, of what the request still has. It is put into words at once
/// ([`JsonRecord`](super::JsonRecord)): other threads get the words, and share nothing with the one that serves requests.
#[derive(Debug, JsonSchema)]
pub struct AuditRecord<'a> {
    /// When the request arrived, in UTC, to the microsecond (RFC 3339).
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// What the request is called in our log, and at the upstream as `x-request-id`.
    #[schemars(with = "String")]
    pub request_id: Uuid,
    /// The trace it is part of, in hexadecimal (W3C Trace Context), where requests are traced.
    #[schemars(rename = "trace_id", with = "Option<String>", skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// What became of it.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// What the operator should know beyond that.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cow<'a, str>>,
    /// The status sent; 0 when none was.
    pub status: u16,
    /// The route, if one was found.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// The method.
    pub method: Cow<'a, str>,
    /// The path, without the query.
    pub path: Cow<'a, str>,
    /// The method of its MCP message; of a batch, of the first.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub mcp_method: Option<Cow<'a, str>>,
    /// The tool, prompt or resource that this is about.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub mcp_name: Option<Cow<'a, str>>,
    /// The agent's client identifier.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Cow<'a, str>>,
    /// The subject of the token.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Cow<'a, str>>,
    /// What the token is known by: the first 64 bits of its digest, in hexadecimal.
    #[schemars(with = "Option<String>", skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenDigest>,
    /// How the token was known: from the cache (`hit`, `negative`, `stale`), by asking (`miss`), by waiting for the answer to
    /// another request's question (`coalesced`), or not at all, because too many waited (`refused`).
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub token_lookup: Option<&'static str>,
    /// The scopes that this takes, by the route and by the rules for what its message asks for; separated by spaces.
    #[schemars(with = "Option<String>", skip_serializing_if = "Option::is_none")]
    pub scopes_required: Option<Cow<'a, ScopeSet>>,
    /// The scopes that the token was granted, separated by spaces.
    #[schemars(with = "Option<String>", skip_serializing_if = "Option::is_none")]
    pub scopes_granted: Option<&'a ScopeSet>,
    /// Where the request came from: the other end of the connection.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The protocol it came by: `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: &'static str,
    /// The upstream it was sent to.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// The endpoint of the upstream, the last that was tried: host and port.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<&'a str>,
    /// How many further attempts were made to reach the upstream after the first.
    pub retries: usize,
    /// The bytes of the request's body that were read from the client.
    pub bytes_received: usize,
    /// The bytes of the answer's body that were sent to the client.
    pub bytes_sent: usize,
    /// How long it took, and what of that.
    #[schemars(flatten)]
    pub latency: Latency,
}

/// How long a request took, in microseconds. What it never came to is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
pub struct Latency {
    /// Until the token was known: from the cache, or by asking the authorization server.
    #[schemars(rename = "introspection_us", with = "Option<u64>", skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Duration>,
    /// Until the message of an MCP request was here: mostly the client's time.
    #[schemars(rename = "message_us", with = "Option<u64>", skip_serializing_if = "Option::is_none")]
    pub message: Option<Duration>,
    /// Until there was a credential for the upstream: kept from before, signed, or by asking the authorization server.
    #[schemars(rename = "credential_us", with = "Option<u64>", skip_serializing_if = "Option::is_none")]
    pub credential: Option<Duration>,
    /// All else until it was decided: our own work.
    #[schemars(rename = "decision_us", with = "Option<u64>", skip_serializing_if = "Option::is_none")]
    pub decision: Option<Duration>,
    /// From when it was decided to the head of the upstream's answer: connecting, retries and the upstream's own time.
    #[schemars(rename = "upstream_us", with = "Option<u64>", skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Duration>,
    /// From the arrival of the request to the end of the answer.
    #[schemars(rename = "total_us", with = "u64")]
    pub total: Duration,
}

/// Whether the log shows records.
pub(super) fn is_logged() -> bool {
    tracing::enabled!(target: "audit", tracing::Level::INFO)
}

impl AuditRecord<'_> {
    /// Writes the record to the log.
    pub(super) fn log(&self) {
        tracing::info!(
            target: "audit",
            request_id = %self.request_id,
            trace_id = self.trace.map(|trace| tracing::field::display(trace.trace_id)),
            decision = <&str>::from(self.decision),
            reason = <&str>::from(self.reason),
            cause = self.cause.as_deref(),
            status = self.status,
            route = self.route,
            method = &*self.method,
            path = &*self.path,
            mcp_method = self.mcp_method.as_deref(),
            mcp_name = self.mcp_name.as_deref(),
            client_id = self.client_id.as_deref(),
            subject = self.subject.as_deref(),
            token = self.token.map(tracing::field::display),
            peer = self.peer.map(tracing::field::display),
            endpoint = self.endpoint,
            duration_us = whole_micros(self.latency.total),
        );
    }
}

/// How much of a text is recorded, in bytes: a client decides how long a path is, but not how long our records get.
pub(super) const LONGEST_TEXT: usize = 256;

/// The beginning of a text.
pub(crate) fn bounded(text: &str) -> Cow<'_, str> {
    match text.get(..text.floor_char_boundary(LONGEST_TEXT)) {
        Some(start) if start.len() < text.len() => format!("{start}\u{2026}").into(),
        _ => text.into(),
    }
}

/// As records have it.
pub(super) fn whole_micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// The record of a request that was granted.
    pub(crate) fn record() -> AuditRecord<'static> {
        static GRANTED: LazyLock<ScopeSet> = LazyLock::new(|| ScopeSet::from_granted("users:read users:write"));
        AuditRecord {
            time: Timestamp::from_epoch(Duration::from_micros(1_700_000_000_000_007)),
            request_id: Uuid::from_u128(1),
            trace: None,
            decision: Decision::Allow,
            reason: Reason::Granted,
            cause: None,
            status: 200,
            route: Some("mcp"),
            method: "POST".into(),
            path: "/mcp".into(),
            mcp_method: Some("tools/call".into()),
            mcp_name: Some("fetch-users".into()),
            client_id: Some("agent".into()),
            subject: Some("alice".into()),
            token: None,
            token_lookup: Some("hit"),
            scopes_required: Some(Cow::Owned(ScopeSet::from_granted("users:read"))),
            scopes_granted: Some(&GRANTED),
            peer: Some(([127, 0, 0, 1], 40_000).into()),
            protocol: "HTTP/1.1",
            upstream: Some("users-mcp"),
            endpoint: Some("10.0.0.5:3000"),
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
    fn what_is_cut_off_shows_it() {
        assert_eq!(bounded(&"a".repeat(256)), "a".repeat(256));
        assert_eq!(bounded(&"é".repeat(200)), format!("{}…", "é".repeat(128)));
        assert_eq!(bounded(&"a".repeat(300)), format!("{}…", "a".repeat(256)));
    }
}

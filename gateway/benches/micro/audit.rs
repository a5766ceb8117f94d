//! What the record of a request costs.

use std::borrow::Cow;
use std::time::Duration;

use divan::{Bencher, black_box};
use phantomgate::audit::{AuditRecord, Decision, JsonRecord, Latency, Reason};
use phantomgate_introspection::ScopeSet;
use phantomgate_introspection::clock::Timestamp;
use uuid::Uuid;

#[divan::bench]
fn write(bencher: Bencher<'_, '_>) {
    bencher.bench_local(writing());
}

/// That of a request which was granted.
pub(crate) fn writing() -> impl FnMut() -> JsonRecord {
    let scopes = ScopeSet::from_granted("users:read users:write");
    move || {
        let span = |micros| Some(Duration::from_micros(micros));
        JsonRecord::from(black_box(&AuditRecord {
            time: Timestamp::from_epoch(Duration::from_micros(1_700_000_000_000_007)),
            request_id: Uuid::from_u128(1),
            trace: None,
            decision: Decision::Allow,
            reason: Reason::Granted,
            cause: None,
            status: 200,
            route: Some("users-mcp"),
            method: "POST".into(),
            path: "/users/mcp".into(),
            mcp_method: Some("tools/call".into()),
            mcp_name: Some("fetch-users".into()),
            client_id: Some("agent-7".into()),
            subject: Some("alice@example.com".into()),
            token: None,
            token_lookup: Some("hit"),
            scopes_required: Some(Cow::Borrowed(&scopes)),
            scopes_granted: Some(&scopes),
            peer: Some(([127, 0, 0, 1], 40_000).into()),
            protocol: "HTTP/1.1",
            upstream: Some("users-mcp"),
            endpoint: Some("10.0.0.5:3000"),
            retries: 0,
            bytes_received: 120,
            bytes_sent: 340,
            latency: Latency {
                introspection: span(3),
                message: span(2),
                credential: span(1),
                decision: span(10),
                upstream: span(4_000),
                total: Duration::from_millis(5),
            },
        }))
    }
}

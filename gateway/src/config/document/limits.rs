//! What nobody may have more of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Per;
use super::super::values::{Size, Span};

/// What clients' connections may take, on all listeners together.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// The most connections at once, 1 to 1000000. Those above it are closed as soon as they are made.
    pub(crate) connections: u64,
    /// The most connections at once from one address (IPv6: from one /64 network), 1 to 1000000.
    pub(crate) connections_per_address: u64,
    /// How long the head of a request may take to arrive whole, 100ms to 1m; that of a connection's first request from the
    /// connection's beginning.
    pub(crate) header_timeout: Span,
    /// The longest pause in the body of a request, 100ms to 1h.
    pub(crate) body_timeout: Span,
    /// The longest time that a client may leave unread what we write, 100ms to 1h.
    pub(crate) write_timeout: Span,
    /// How long a connection is kept between two requests, 100ms to 1h.
    pub(crate) idle_timeout: Span,
    /// The most requests at once on one HTTP/2 connection, 1 to 10000.
    pub(crate) streams_per_connection: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            header_timeout: Span::seconds(10),
            body_timeout: Span::seconds(30),
            write_timeout: Span::seconds(30),
            idle_timeout: Span::seconds(60),
            streams_per_connection: 100,
        }
    }
}

/// What the requests of a route may take.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RouteLimits {
    /// How many requests may come in which time, all of these at once. None when left out.
    pub(crate) rate: Vec<Rate>,
    /// The largest request body, 1KiB to 1TiB; 10MiB when left out. Of an MCP endpoint, `mcp.max_body` says it.
    pub(crate) body: Option<Size>,
    /// The largest head of a request, 1KiB to 1MiB: its target and the names and values of its headers.
    pub(crate) header: Size,
    /// The most requests at once, event streams included, 1 to 1000000; any number when left out.
    pub(crate) concurrent: Option<u64>,
    /// The most event streams that one subject may have open at once, 1 to 1000000; any number when left out.
    pub(crate) streams_per_subject: Option<u64>,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self { rate: Vec::new(), body: None, header: Size::kibibytes(32), concurrent: None, streams_per_subject: None }
    }
}

/// How many requests may come in which time. Each message of a batch is one.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// Whose requests are counted together.
    pub(crate) per: Per,
    /// How many, 1 to 1000000.
    pub(crate) requests: u64,
    /// In which time, 100ms to 1h.
    #[serde(default = "second")]
    pub(crate) period: Span,
    /// How many may come at once after a pause, 1 to 1000000; as many as `requests` when left out.
    pub(crate) burst: Option<u64>,
}

fn second() -> Span {
    Span::seconds(1)
}

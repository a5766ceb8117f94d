//! Where requests go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::{Protocol, UpstreamTls};
use crate::config::values::Span;

/// A named group of endpoints that serve the same thing.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    /// `http://host:port` or `https://host:port`; they take turns. At least one.
    pub(crate) endpoints: Vec<String>,
    /// How long to wait for them.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// Which HTTP is spoken: `http1`, `http2` (without TLS, too) or `auto` (HTTP/2 where an https endpoint offers it).
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// How TLS is spoken to https endpoints, where the system's certificate authorities are not enough.
    #[serde(default)]
    pub(crate) tls: UpstreamTls,
}

/// How long to wait for an upstream.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// Until a connection stands, TLS included, 10ms to 60s.
    pub(crate) connect: Span,
    /// The longest silence of an upstream, before its first byte or in a stream, 1s to 1h. Pingora's timers are kept for as
    /// long: under constant traffic each processor takes about 1.4 MB for each minute of it.
    pub(crate) idle_stream: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Span::seconds(1), idle_stream: Span::seconds(15 * 60) }
    }
}

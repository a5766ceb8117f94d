//! What an upstream runs on: values that are valid already.

use std::time::Duration;

use crate::endpoint::EndpointUrl;
use crate::peer::Protocol;
use crate::tls::TlsConfig;

/// A named group of endpoints that serve the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name routes know it by.
    pub name: String,
    /// At least one.
    pub endpoints: Vec<EndpointUrl>,
    /// How long to wait for them.
    pub timeouts: Timeouts,
    /// Which HTTP is spoken to them.
    pub protocol: Protocol,
    /// How TLS is spoken to those that want it.
    pub tls: TlsConfig,
}

/// How long to wait for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// The longest silence of an upstream, before its first byte or between two of a stream.
    pub idle_stream: Duration,
}

//! What an upstream runs on: values that are valid already.

use std::sync::Arc;
use std::time::Duration;

use strum::{EnumString, IntoStaticStr, VariantNames};

use crate::endpoint::EndpointUrl;
use crate::peer::Protocol;
use crate::tls::TlsConfig;

/// A named group of endpoints that serve the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name routes know it by.
    pub name: Arc<str>,
    /// At least one, no two with the same URL.
    pub endpoints: Vec<EndpointConfig>,
    /// Which of them a request goes to.
    pub selection: Selection,
    /// What `selection: consistent_hash` goes by.
    pub hash_by: HashBy,
    /// How they are asked whether they are well; not at all when there is none.
    pub health: Option<HealthCheck>,
    /// When one that fails is left alone.
    pub ejection: Ejection,
    /// How long to wait for them.
    pub timeouts: Timeouts,
    /// Which HTTP is spoken to them.
    pub protocol: Protocol,
    /// How TLS is spoken to those that want it.
    pub tls: TlsConfig,
    /// How many times a request is tried again, where that is safe.
    pub retries: u32,
    /// How many requests at once.
    pub limits: Limits,
}

impl Config {
    /// An upstream with the defaults for all but its name and its endpoints.
    pub fn new(name: impl Into<Arc<str>>, endpoints: impl IntoIterator<Item = EndpointUrl>) -> Self {
        Self {
            name: name.into(),
            endpoints: endpoints.into_iter().map(EndpointConfig::new).collect(),
            selection: Selection::default(),
            hash_by: HashBy::default(),
            health: None,
            ejection: Ejection::default(),
            timeouts: Timeouts::default(),
            protocol: Protocol::default(),
            tls: TlsConfig::default(),
            retries: 2,
            limits: Limits::default(),
        }
    }
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Where it is.
    pub url: EndpointUrl,
    /// Its share of the requests, in proportion to those of the others; at least 1. When its name stands for several
    /// addresses, each of them has this weight.
    pub weight: u32,
    /// Whether it gets no new requests and sessions.
    pub draining: bool,
}

impl EndpointConfig {
    /// An endpoint with the defaults for all but its URL.
    pub fn new(url: EndpointUrl) -> Self {
        Self { url, weight: 1, draining: false }
    }
}

/// Which endpoint a request goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Selection {
    /// They take turns.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnections,
    /// Always the same one for the same subject, client, session or address; if one goes, only what it had moves.
    ConsistentHash,
}

/// What is the same for requests that go to the same endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum HashBy {
    /// The subject of the token.
    #[default]
    Subject,
    /// The agent's client identifier.
    Client,
    /// The MCP session.
    Session,
    /// The client's address.
    Address,
}

/// How an endpoint is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for with GET, and answered with 2xx by one that is well. Without it a connection is enough.
    pub path: Option<String>,
    /// From one question to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many good answers in a row, and it gets requests again.
    pub healthy_after: u32,
    /// So many bad ones in a row, and it gets no more.
    pub unhealthy_after: u32,
}

/// When an endpoint that fails is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// So many requests in a row that found no connection, or lost it before an answer began.
    pub failures: u32,
    /// For how long at first. Each time it fails again right after, it is twice as long, up to ten times this.
    pub period: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, period: Duration::from_secs(30) }
    }
}

/// How long to wait for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// From the end of the request to the beginning of its answer; at most [`Self::idle_stream`].
    pub first_byte: Duration,
    /// The longest silence of an upstream, before its first byte or between two of a stream.
    pub idle_stream: Duration,
    /// From when a request is passed on to the end of its answer; event streams are exempt.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(60),
            idle_stream: Duration::from_secs(15 * 60),
            total: None,
        }
    }
}

/// How many requests at once, open streams included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// To the upstream.
    pub requests: Option<usize>,
    /// To each address of each endpoint.
    pub requests_per_endpoint: Option<usize>,
}

//! What nobody may have more of, as the program runs on it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients' connections may take, on all listeners together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// The most connections at once.
    pub connections: NonZeroUsize,
    /// The most connections at once from one address, or one /64 network.
    pub connections_per_address: NonZeroU32,
    /// How long the head of a request may take to arrive whole.
    pub header_timeout: Duration,
    /// The longest pause in the body of a request.
    pub body_timeout: Duration,
    /// The longest time that a client may leave unread what we write.
    pub write_timeout: Duration,
    /// How long a connection is kept between two requests.
    pub idle_timeout: Duration,
    /// The most requests at once on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// The largest head that any route takes, in bytes.
    pub largest_header: usize,
}

/// What the requests of a route may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLimitsConfig {
    /// How many requests may come in which time.
    pub rate: Vec<RateConfig>,
    /// The largest body that is passed on unread, in bytes; none for an MCP endpoint, whose bodies are read.
    pub body: Option<u64>,
    /// The largest head, in bytes.
    pub header: usize,
    /// The most requests at once.
    pub concurrent: Option<NonZeroUsize>,
    /// The most event streams of one subject at once.
    pub streams_per_subject: Option<NonZeroUsize>,
}

/// How many requests may come in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateConfig {
    /// Whose requests are counted together.
    pub per: Per,
    /// How many.
    pub requests: NonZeroU32,
    /// In which time.
    pub period: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// Whose requests are counted together.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, strum::IntoStaticStr, strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Per {
    /// Those of one client (`client_id` of the token).
    Client,
    /// Those of one subject (`sub` of the token).
    Subject,
    /// All of the route.
    Route,
    /// Those from one address (IPv6: one /64 network), whatever token they have.
    Address,
}

impl Per {
    /// Whether it takes a token to tell.
    pub fn needs_token(self) -> bool {
        match self {
            Self::Client | Self::Subject => true,
            Self::Route | Self::Address => false,
        }
    }
}

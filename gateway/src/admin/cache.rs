//! `GET /v1/cache`: what is kept of tokens, and how much that helps.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use phantomgate_introspection::{CacheState, LookupCounts};
use schemars::JsonSchema;
use serde::Serialize;

use super::Operations;
use crate::gateway::AuthorizationServer;

/// The token caches.
#[derive(Serialize, JsonSchema)]
pub(super) struct Caches {
    /// One for each authorization server.
    authorization_servers: Vec<Cache>,
}

/// What is kept of the tokens of one authorization server.
#[derive(Serialize, JsonSchema)]
struct Cache {
    /// What the configuration calls the authorization server.
    name: String,
    /// Active tokens that are known.
    entries: u64,
    /// How many may be.
    capacity: u64,
    /// Inactive tokens that are known.
    inactive_entries: u64,
    /// How many may be.
    inactive_capacity: u64,
    /// Requests with a token since this configuration of the authorization server is at work, by how it was known.
    lookups: Lookups,
    /// The share of them that waited for nobody, 0 to 1: hits and negative ones. Null before the first.
    hit_ratio: Option<f64>,
}

/// Requests with a token, by how it was known.
#[derive(Serialize, JsonSchema)]
struct Lookups {
    /// Active, from the cache.
    hit: u64,
    /// Asked for.
    miss: u64,
    /// Waited for the answer to another request's question.
    coalesced: u64,
    /// Inactive, from the cache.
    negative: u64,
    /// Past its life in the cache, used because the authorization server failed.
    stale: u64,
    /// Turned away: too many waited already.
    refused: u64,
}

pub(super) async fn caches(State(operations): State<Arc<Operations>>) -> Json<Caches> {
    let gateway = operations.current.get();
    let cache = |server: &AuthorizationServer| Cache::new(&server.name, server.introspector.state());
    Json(Caches { authorization_servers: gateway.authorization_servers.iter().map(cache).collect() })
}

impl Cache {
    fn new(name: &str, state: CacheState) -> Self {
        let CacheState { entries, capacity, inactive_entries, inactive_capacity, lookups } = state;
        let LookupCounts { hit, miss, coalesced, negative, stale, refused } = lookups;
        Self {
            name: name.to_owned(),
            entries,
            capacity,
            inactive_entries,
            inactive_capacity,
            hit_ratio: ratio(lookups.answered_at_once(), lookups.all()),
            lookups: Lookups { hit, miss, coalesced, negative, stale, refused },
        }
    }
}

/// `part` of `whole`; none of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a ratio is rounded anyhow")]
    (whole > 0).then(|| part as f64 / whole as f64)
}

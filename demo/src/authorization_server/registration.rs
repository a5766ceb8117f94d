//! Owns how a client that nobody knows becomes one (RFC 7591), and how many of them there can be.
//!
//! Never: checks a client's metadata; the library does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{header, request};
use axum::response::Response;
use oauth_as::registration::{RegistrationAttempt, RegistrationConfig, RegistrationDecision, RegistrationPolicy};
use oauth_as::scope::ScopeSet;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Shared, people};

/// So many clients can register while the demo runs.
pub(super) const MAX_CLIENTS: u32 = 1_000;

/// What a client may register for.
pub(super) fn config(scopes: ScopeSet) -> RegistrationConfig {
    let mut config = RegistrationConfig::new();
    config.allowed_scopes = scopes;
    config.management_enabled = false;
    config
}

/// `POST /register`. A client that names no scope is registered for all of them (RFC 7591 §2): what it gets is decided
/// by the person who logs in.
pub(super) async fn register(State(server): Shared, mut parts: request::Parts, body: Bytes) -> Response {
    let body = with_default_scope(&body).unwrap_or(body);
    parts.headers.remove(header::CONTENT_LENGTH);
    server.answer(parts, body).await
}

fn with_default_scope(body: &[u8]) -> Option<Bytes> {
    let mut metadata: Value = serde_json::from_slice(body).ok()?;
    metadata.as_object_mut()?.entry("scope").or_insert_with(|| json!(people::SCOPES.join(" ")));
    serde_json::to_vec(&metadata).ok().map(Bytes::from)
}

/// Open registration, until the budget is spent.
pub(super) struct WhileRoom(pub(super) Arc<Budget>);

impl RegistrationPolicy for WhileRoom {
    fn authorize(&self, _attempt: &RegistrationAttempt<'_>) -> RegistrationDecision {
        if self.0.spend() { RegistrationDecision::Allow } else { RegistrationDecision::Deny }
    }
}

/// A number of things that may happen: in total, or in each hour.
pub(super) struct Budget {
    limit: u32,
    window: Option<Duration>,
    spent: Mutex<(Instant, u32)>,
}

impl Budget {
    /// `limit` of them, ever.
    pub(super) fn in_total(limit: u32) -> Budget {
        Budget { limit, window: None, spent: Mutex::new((Instant::now(), 0)) }
    }

    /// `limit` of them in an hour.
    pub(super) fn per_hour(limit: u32) -> Budget {
        Budget { window: Some(Duration::from_secs(60 * 60)), ..Budget::in_total(limit) }
    }

    /// Whether there is one left; it is gone then.
    pub(super) fn spend(&self) -> bool {
        let mut spent = self.spent.lock();
        let (since, count) = &mut *spent;
        if self.window.is_some_and(|window| since.elapsed() >= window) {
            (*since, *count) = (Instant::now(), 0);
        }
        let left = *count < self.limit;
        *count += u32::from(left);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends() {
        let budget = Budget::in_total(2);
        assert!(budget.spend() && budget.spend());
        assert!(!budget.spend());
    }

    #[test]
    fn rfc7591_s2_a_client_that_names_no_scope_may_ask_for_any() {
        let metadata: Value = serde_json::from_slice(&with_default_scope(b"{}").unwrap()).unwrap();
        assert_eq!(metadata["scope"], "users:read profile");
        let metadata: Value = serde_json::from_slice(&with_default_scope(br#"{"scope":"profile"}"#).unwrap()).unwrap();
        assert_eq!(metadata["scope"], "profile");
    }
}

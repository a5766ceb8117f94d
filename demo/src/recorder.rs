//! Owns a small memory of what a server of the demo received, so that the walk-through can show it and check that an
//! agent's token was nowhere in it.
//!
//! Never: changes a request. Bounded: the last [`Recorder::CAPACITY`] requests; a body beyond 64 KiB is refused.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use crate::fetch::MAX_DOCUMENT_BYTES;

/// What a server received lately. Clones share one memory.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    latest: VecDeque<Received>,
    count: u64,
}

/// One request, as it arrived.
#[derive(Clone)]
pub struct Received {
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Received {
    /// The path, and the query if there is one.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The credential of `Authorization: Bearer`, if there was one.
    pub fn bearer(&self) -> Option<&str> {
        bearer(&self.headers)
    }

    /// Whether `needle` is anywhere in the target, the headers or the body.
    pub fn contains(&self, needle: &str) -> bool {
        let holds = |haystack: &[u8]| haystack.windows(needle.len()).any(|window| window == needle.as_bytes());
        !needle.is_empty()
            && (holds(self.target.as_bytes())
                || self.headers.values().any(|value| holds(value.as_bytes()))
                || holds(&self.body))
    }
}

impl Recorder {
    /// How many requests are remembered.
    pub const CAPACITY: usize = 32;

    /// The requests remembered, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.0.lock().latest.iter().cloned().collect()
    }

    /// How many requests there have been, those that are forgotten included.
    pub fn count(&self) -> u64 {
        self.0.lock().count
    }

    /// The latest request that carried a bearer token.
    pub fn latest_with_bearer(&self) -> Option<Received> {
        self.0.lock().latest.iter().rev().find(|received| received.bearer().is_some()).cloned()
    }

    fn remember(&self, received: Received) {
        let mut memory = self.0.lock();
        if memory.latest.len() == Self::CAPACITY {
            memory.latest.pop_front();
        }
        memory.latest.push_back(received);
        memory.count += 1;
    }
}

/// The middleware: remembers the request, then lets it through unchanged.
pub(crate) async fn record(State(recorder): State<Recorder>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, MAX_DOCUMENT_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    recorder.remember(Received { target: parts.uri.to_string(), headers: parts.headers.clone(), body: body.to_vec() });
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// The credential of the one `Authorization: Bearer` header field (RFC 6750 §2.1); two of them are none.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (field, None) = (fields.next()?, fields.next()) else { return None };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(authorization: &[&'static str]) -> Received {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        Received { target: "/mcp".to_owned(), headers, body: b"{\"secret\":1}".to_vec() }
    }

    #[test]
    fn rfc6750_s2_1_the_scheme_is_case_insensitive_and_there_is_one_credential() {
        assert_eq!(received(&["bEaReR abc"]).bearer(), Some("abc"));
        assert_eq!(received(&["Basic abc"]).bearer(), None);
        assert_eq!(received(&["Bearer abc", "Bearer def"]).bearer(), None);
    }

    #[test]
    fn a_needle_is_found_in_the_target_the_headers_and_the_body() {
        let request = received(&["Bearer abc"]);
        assert!(request.contains("/mcp") && request.contains("abc") && request.contains("secret"));
        assert!(!request.contains("nowhere") && !request.contains(""));
    }

    #[test]
    fn the_memory_is_bounded() {
        let recorder = Recorder::default();
        for _ in 0..100 {
            recorder.remember(received(&[]));
        }
        assert_eq!((recorder.received().len(), recorder.count()), (Recorder::CAPACITY, 100));
    }
}

//! An answer of our own, before it meets Pingora.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

/// Status, headers and body. The length is added when it is sent.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// An answer with a JSON body.
    pub fn json(status: StatusCode, content_type: &'static str, body: &serde_json::Value) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { status, headers, body: body.to_string().into() }
    }

    /// Adds a header.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push((name, value));
    }
}

//! Errors of the admin listener, as problem details (RFC 9457).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

/// An error. Never holds anything of the request.
#[derive(Debug)]
pub(super) struct Problem(pub(super) StatusCode, pub(super) &'static str);

/// What an error says of itself.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct ProblemDetails {
    /// What the status means.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong.
    detail: &'static str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let title = status.canonical_reason().unwrap_or_default();
        let mut response = (status, Json(ProblemDetails { title, status: status.as_u16(), detail })).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

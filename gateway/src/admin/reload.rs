//! `POST /v1/reload`: the configuration is read again, as on SIGHUP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::Operations;
use super::problem::Problem;
use crate::config::ConfigError;
use crate::reload::ReloadError;

/// Why the configuration is refused, as problem details (RFC 9457).
#[derive(Serialize, JsonSchema)]
pub(super) struct Refusal {
    /// What the status means.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, in short.
    detail: String,
    /// All that is wrong in the file.
    errors: Vec<ConfigError>,
}

pub(super) async fn reload(State(operations): State<Arc<Operations>>) -> Response {
    let Some(reloads) = &operations.reloads else {
        return Problem(StatusCode::NOT_FOUND, "The configuration comes from no file").into_response();
    };
    match reloads.reload().await {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(ReloadError::Configuration(report)) => {
            refusal("The configuration has errors; the one before stays at work".to_owned(), report.errors())
        }
        Err(ReloadError::Start(error)) => refusal(error.to_string(), Vec::new()),
        Err(ReloadError::Stopping) => {
            Problem(StatusCode::SERVICE_UNAVAILABLE, "The gateway is stopping").into_response()
        }
    }
}

fn refusal(detail: String, errors: Vec<ConfigError>) -> Response {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let title = status.canonical_reason().unwrap_or_default();
    let mut response = (status, Json(Refusal { title, status: status.as_u16(), detail, errors })).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

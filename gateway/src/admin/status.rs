//! `GET /v1/status`: what runs here, and since when.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use phantomgate_introspection::NumericDate;
use schemars::JsonSchema;
use serde::Serialize;

use super::Operations;

/// What runs here.
#[derive(Serialize, JsonSchema)]
pub(super) struct Status {
    /// The version of phantomgate.
    version: &'static str,
    /// When it started, in seconds since 1970-01-01T00:00:00Z.
    started_at: u64,
    /// The present moment by its clock, in the same seconds.
    now: u64,
    /// Which configuration is at work: they are counted from 1.
    generation: u64,
    /// How many requests of agents are under way.
    requests_under_way: usize,
    /// Whether it is about to end: it finishes the requests under way and takes no others.
    stopping: bool,
}

pub(super) async fn status(State(operations): State<Arc<Operations>>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        started_at: operations.started_at.seconds(),
        now: NumericDate::now().seconds(),
        generation: operations.current.get().generation,
        requests_under_way: operations.in_flight.count(),
        stopping: operations.stopping.has_begun(),
    })
}

//! `GET /v1/live`: how it goes at the moment, for whoever watches.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::StatusCode;
use phantomgate_introspection::NumericDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Operations;
use super::cache::ratio;
use super::problem::Problem;
use crate::live::Span;

/// How much of the last minutes is wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The seconds that ended after this one, as `until` of an earlier answer has it.
    since: Option<u64>,
}

/// How it goes at the moment.
#[derive(Serialize, JsonSchema)]
pub(super) struct Moment {
    /// The present moment by the gateway's clock, in seconds since 1970-01-01T00:00:00Z.
    now: u64,
    /// The last five minutes by the second, oldest first.
    seconds: Vec<Span>,
    /// The last minute in one, or as much of it as there is; null in the first second.
    last_minute: Option<Span>,
    /// How many requests of agents are under way.
    requests_under_way: usize,
    /// The share of tokens, 0 to 1, that were known at once, at all authorization servers; null before the first.
    hit_ratio: Option<f64>,
}

pub(super) async fn live(
    State(operations): State<Arc<Operations>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Moment>, Problem> {
    let Query(wanted) = wanted.map_err(|_| Problem(StatusCode::BAD_REQUEST, "since is a number of seconds"))?;
    let gateway = operations.current.get();
    let live = gateway.audit.live.as_ref().ok_or(Problem(StatusCode::NOT_FOUND, "Nothing is counted"))?;
    let lookups = gateway.authorization_servers.iter().map(|server| server.introspector.lookups());
    let (at_once, all) =
        lookups.fold((0, 0), |(at_once, all), lookups| (at_once + lookups.answered_at_once(), all + lookups.all()));
    Ok(Json(Moment {
        now: NumericDate::now().seconds(),
        seconds: live.since(NumericDate::from_seconds(wanted.since.unwrap_or(0))),
        last_minute: live.last(60),
        requests_under_way: operations.in_flight.count(),
        hit_ratio: ratio(at_once, all),
    }))
}

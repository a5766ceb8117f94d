//! `GET /v1/upstreams`: where requests go, and how that is. `POST /v1/upstreams/{name}/drain`: an endpoint gets no new
//! requests, or gets them again.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use phantomgate_introspection::NumericDate;
use phantomgate_upstreams::state::{EndpointState, UpstreamState};
use phantomgate_upstreams::{EndpointUrl, Upstream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Operations;
use super::problem::Problem;
use super::revocation::is_json;
use crate::gateway::Gateway;
use crate::route::Route;

/// The largest body taken, in bytes.
const LARGEST_BODY: usize = 16 * 1024;

const NOT_ONE: &str = "Send {\"endpoint\": \"http://host:port\", \"draining\": true}, or false";

/// All upstreams.
#[derive(Serialize, JsonSchema)]
pub(super) struct Upstreams {
    upstreams: Vec<UpstreamDescription>,
}

/// An upstream at the moment.
#[derive(Serialize, JsonSchema)]
pub(super) struct UpstreamDescription {
    /// What the configuration calls it.
    name: String,
    /// How one of its endpoints is selected: `round_robin`, `least_connections` or `consistent_hash`.
    selection: &'static str,
    /// Requests under way, open streams among them.
    requests: usize,
    /// None of its endpoints is well: all of them get requests, because one may work all the same.
    panic: bool,
    /// In the order of the configuration.
    endpoints: Vec<EndpointDescription>,
}

/// An endpoint at the moment.
#[derive(Serialize, JsonSchema)]
struct EndpointDescription {
    #[serde(flatten)]
    state: EndpointState,
    /// MCP sessions that it has and that go on, as far as this process knows.
    sessions: usize,
}

/// What is to become of an endpoint. A member that stands twice, and one that is not known, are errors.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    /// Its URL, as in the configuration.
    endpoint: String,
    /// Whether it gets no new requests and sessions.
    draining: bool,
}

pub(super) async fn upstreams(State(operations): State<Arc<Operations>>) -> Json<Upstreams> {
    let gateway = operations.current.get();
    Json(Upstreams { upstreams: gateway.upstreams.iter().map(|upstream| describe(&gateway, upstream)).collect() })
}

pub(super) async fn drain(
    State(operations): State<Arc<Operations>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<UpstreamDescription>, Problem> {
    // A page can post forms and texts to anywhere; for JSON its browser asks first, and is told no.
    if !is_json(&request) {
        return Err(Problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send application/json"));
    }
    let body = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await;
    let body = body.map_err(|_| Problem(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"))?;
    let Drain { endpoint, draining } =
        serde_json::from_slice(&body).map_err(|_| Problem(StatusCode::BAD_REQUEST, NOT_ONE))?;
    let url: EndpointUrl = endpoint.parse().map_err(|_| Problem(StatusCode::BAD_REQUEST, NOT_ONE))?;
    let gateway = operations.current.get();
    let upstream = gateway.upstreams.iter().find(|upstream| upstream.name() == name);
    let upstream = upstream.ok_or(Problem(StatusCode::NOT_FOUND, "No upstream has this name"))?;
    let drained = upstream.drain(&url, draining);
    drained.map_err(|_| Problem(StatusCode::NOT_FOUND, "The upstream has no endpoint with this URL"))?;
    Ok(Json(describe(&gateway, upstream)))
}

fn describe(gateway: &Gateway, upstream: &Arc<Upstream>) -> UpstreamDescription {
    let UpstreamState { name, selection, requests, panic, endpoints } = upstream.state();
    // All its routes share them.
    let is_of_this = |route: &&Arc<Route>| Arc::ptr_eq(&route.upstream, upstream);
    let mcp = gateway.routes.iter().filter(is_of_this).find_map(|route| route.mcp.as_ref());
    let sessions = mcp.map(|mcp| mcp.sessions.by_endpoint(NumericDate::now())).unwrap_or_default();
    let sessions: HashMap<_, _> = sessions.into_iter().map(|(url, count)| (url.to_string(), count)).collect();
    let describe = |state: EndpointState| EndpointDescription {
        sessions: sessions.get(&state.url).copied().unwrap_or_default(),
        state,
    };
    UpstreamDescription { name, selection, requests, panic, endpoints: endpoints.into_iter().map(describe).collect() }
}

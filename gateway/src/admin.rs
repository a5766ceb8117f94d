//! The admin listener: health, metrics, what is running, and revocations, for the operator alone.
//!
//! It has a socket of its own, so that nothing of it can be reached where agents are. [`access`] says who may ask, [`mod@api`]
//! what can be asked for and how that is described, [`dashboard`] is the same for a person with a browser.

mod access;
mod api;
mod cache;
mod connection;
mod dashboard;
mod decisions;
mod live;
mod problem;
mod readiness;
mod reload;
mod revocation;
mod routes;
mod status;
mod upstreams;

use std::net::TcpListener;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use phantomgate_introspection::{NumericDate, Secret};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::api::Api;
use self::connection::{Connections, Opened};
use self::problem::Problem;
use crate::context::InFlight;
use crate::gateway::Current;
use crate::metrics::Exposition;
use crate::reload::{Reloaded, Reloads};
use crate::stopping::Stopping;

/// The time for one request.
const PATIENCE: Duration = Duration::from_secs(10);

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What every answer says to browsers: keep nothing, believe the media type, show nothing of it in other pages, run nothing.
const TO_BROWSERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

/// An admin listener whose socket is bound.
pub struct Admin {
    /// The socket.
    pub listener: TcpListener,
    /// What requests must carry.
    pub token: Option<Secret>,
}

/// What the admin listener tells of.
#[derive(Clone)]
pub struct Subject {
    /// What requests run on.
    pub current: Current,
    /// What was counted, if anything is.
    pub exposition: Option<Exposition>,
    /// Counts requests.
    pub in_flight: InFlight,
    /// Has the configuration read again, if it came from a file.
    pub reloads: Option<Reloads>,
    /// Whether the gateway is about to end.
    pub stopping: Stopping,
    /// When it began.
    pub started_at: NumericDate,
}

/// What requests are answered from.
struct Operations {
    subject: Subject,
    token: Option<Secret>,
}

impl Deref for Operations {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl Admin {
    /// Serves until `ended` says so.
    pub async fn serve(self, subject: Subject, mut ended: watch::Receiver<bool>) {
        let operations = Arc::new(Operations { subject, token: self.token });
        let connections = match Connections::new(self.listener) {
            Ok(connections) => connections,
            Err(error) => return tracing::error!(%error, "cannot serve the admin listener"),
        };
        let live = operations.current.get().audit.live.clone();
        let mut background = JoinSet::new();
        background.spawn(async move {
            if let Some(live) = live {
                live.keep_time().await;
            }
        });
        let service = router(operations).into_make_service_with_connect_info::<Opened>();
        let serve = axum::serve(connections, service).with_graceful_shutdown(async move {
            let _ = ended.wait_for(|ended| *ended).await;
        });
        if let Err(error) = serve.await {
            tracing::error!(%error, "the admin listener has ended");
        }
    }
}

/// All that the operator's programs can ask for.
fn api() -> Api {
    Api::new()
        .get(
            "/healthz",
            async || "ok\n",
            |it| it.summary("Whether it runs").text(StatusCode::OK, "It does", "text/plain; charset=utf-8"),
        )
        .get("/readyz", readiness::readiness, |it| {
            it.summary("Whether requests of agents can be served")
                .json::<readiness::Readiness>(StatusCode::OK, "They can")
                .json::<readiness::Readiness>(StatusCode::SERVICE_UNAVAILABLE, "They cannot, and what is missing")
        })
        .get("/metrics", exposition, |it| {
            it.summary("All that was counted, for Prometheus").text(StatusCode::OK, "Samples", METRICS)
        })
        .get("/v1/status", status::status, |it| {
            it.summary("What runs here, and since when")
                .json::<status::Status>(StatusCode::OK, "The state of the process")
        })
        .get("/v1/routes", routes::routes, |it| {
            it.summary("Which requests go where, and what they need")
                .json::<routes::Routes>(StatusCode::OK, "All routes, without secrets")
        })
        .get("/v1/cache", cache::caches, |it| {
            it.summary("What is kept of tokens, and how much that helps")
                .json::<cache::Caches>(StatusCode::OK, "The cache of each authorization server")
        })
        .get("/v1/live", live::live, |it| {
            it.summary("How it goes at the moment: requests, how long they took, tokens known")
                .query::<live::Wanted>()
                .json::<live::Moment>(StatusCode::OK, "The last five minutes by the second")
        })
        .get("/v1/decisions", decisions::decisions, |it| {
            it.summary("What became of the last requests")
                .query::<decisions::Wanted>()
                .json::<decisions::Decisions>(StatusCode::OK, "Their records, as in the audit, each with a number")
        })
        .post("/v1/reload", reload::reload, |it| {
            it.summary("Reads the configuration again, and puts it to work")
                .description("As a changed file and SIGHUP do. One with errors changes nothing.")
                .json::<Reloaded>(StatusCode::OK, "It is at work")
                .problem::<reload::Refusal>(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "It is refused, and all that is wrong with it",
                )
        })
        .get("/v1/upstreams", upstreams::upstreams, |it| {
            it.summary("Where requests go, and how that is")
                .json::<upstreams::Upstreams>(StatusCode::OK, "All upstreams, with their endpoints")
        })
        .post("/v1/upstreams/{name}/drain", upstreams::drain, |it| {
            it.summary("Lets an endpoint get no new requests and sessions, or lets it get them again")
                .description("MCP sessions that it has go on. It can go when its requests and sessions are 0.")
                .body::<upstreams::Drain>()
                .json::<upstreams::UpstreamDescription>(StatusCode::OK, "The upstream as it is now")
        })
        .post("/v1/revocations", revocation::revoke, |it| {
            it.summary("Forgets a token, or all of a subject, a client or a session, at once")
                .description("Event streams of these tokens end. JWTs that are verified here stay refused for a day.")
                .body::<revocation::Document>()
                .json::<revocation::Revoked>(StatusCode::OK, "It counts from now on")
        })
}

fn router(operations: Arc<Operations>) -> Router {
    let pages = dashboard::pages().layer(middleware::from_fn_with_state(operations.clone(), access::anybody));
    api()
        .finish("/v1/openapi.json")
        .fallback(async || Problem(StatusCode::NOT_FOUND, "There is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem(StatusCode::METHOD_NOT_ALLOWED, "This is asked for with another method")
        })
        .layer(middleware::from_fn_with_state(operations.clone(), access::operator))
        .merge(pages)
        .layer(middleware::from_fn(around))
        .with_state(operations)
}

/// What goes for every request and every answer.
async fn around(ConnectInfo(opened): ConnectInfo<Opened>, request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => Problem(StatusCode::SERVICE_UNAVAILABLE, "This took too long").into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in TO_BROWSERS {
        headers.entry(name).or_insert(value);
    }
    if opened.is_old() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn exposition(State(operations): State<Arc<Operations>>) -> Response {
    let Some(exposition) = &operations.exposition else {
        return Problem(StatusCode::NOT_FOUND, "Nothing is counted").into_response();
    };
    let gateway = operations.current.get();
    for server in &gateway.authorization_servers {
        server.introspector.report();
    }
    gateway.audit.report();
    if let Some(tracing) = &gateway.tracing {
        tracing.report();
    }
    ([(header::CONTENT_TYPE, METRICS)], exposition.render(operations.in_flight.count())).into_response()
}

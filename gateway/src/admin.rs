//! The admin listener: health, metrics and revocations, for the operator alone.
//!
//! It has a socket of its own, so that nothing of it can be reached where agents are. Where it can be reached from elsewhere
//! than this machine, each request carries a token. Where it has none, what a browser on this machine could be made to send
//! is refused: a `Host` that is not this machine (DNS rebinding), and posts that a page could send without asking first.

mod connection;
mod readiness;
mod revocation;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, header};
use phantomgate_introspection::Secret;
use serde_json::json;
use tokio::sync::watch;

use self::connection::Connections;
use crate::gateway::Current;
use crate::metrics::Exposition;

/// The time for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// An admin listener whose socket is bound.
pub struct Admin {
    /// The socket.
    pub listener: TcpListener,
    /// What requests must carry.
    pub token: Option<Secret>,
}

/// What requests are answered from.
struct Operations {
    current: Current,
    token: Option<Secret>,
    exposition: Option<Exposition>,
    /// Whether the gateway is about to end.
    stopping: watch::Receiver<bool>,
}

impl Admin {
    /// Serves until `ended` says so.
    pub async fn serve(
        self,
        current: Current,
        exposition: Option<Exposition>,
        stopping: watch::Receiver<bool>,
        mut ended: watch::Receiver<bool>,
    ) {
        let operations = Arc::new(Operations { current, token: self.token, exposition, stopping });
        let connections = match Connections::new(self.listener) {
            Ok(connections) => connections,
            Err(error) => return tracing::error!(%error, "cannot serve the admin listener"),
        };
        let serve = axum::serve(connections, router(operations)).with_graceful_shutdown(async move {
            let _ = ended.wait_for(|ended| *ended).await;
        });
        if let Err(error) = serve.await {
            tracing::error!(%error, "the admin listener has ended");
        }
    }
}

fn router(operations: Arc<Operations>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness::readiness))
        .route("/metrics", get(exposition))
        .route("/v1/revocations", post(revocation::revoke))
        .fallback(|| async { Problem(StatusCode::NOT_FOUND, "There is nothing here") })
        .method_not_allowed_fallback(|| async {
            Problem(StatusCode::METHOD_NOT_ALLOWED, "This is asked for with another method")
        })
        .layer(middleware::from_fn_with_state(operations.clone(), guard))
        .with_state(operations)
}

/// What every request passes.
async fn guard(State(operations): State<Arc<Operations>>, request: Request, next: Next) -> Response {
    let answer = async {
        match operations.admit(&request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let mut response = match tokio::time::timeout(PATIENCE, answer).await {
        Ok(response) => response,
        Err(_elapsed) => Problem(StatusCode::SERVICE_UNAVAILABLE, "This took too long").into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Operations {
    fn admit(&self, request: &Request) -> Result<(), Problem> {
        let Some(token) = &self.token else { return from_this_machine(request) };
        let sent = bearer(request).unwrap_or_default();
        // By their digests: how long the right one is, is nobody's business either.
        let [right, sent] = [token.current().as_bytes(), sent.as_bytes()].map(|text| digest(&SHA256, text));
        verify_slices_are_equal(right.as_ref(), sent.as_ref())
            .map_err(|_| Problem(StatusCode::UNAUTHORIZED, "The token of the admin listener is needed"))
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let mut fields = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim_start_matches(' '))
}

/// A page that made its own name mean this machine still sends that name.
fn from_this_machine(request: &Request) -> Result<(), Problem> {
    let misdirected = Problem(StatusCode::MISDIRECTED_REQUEST, "Ask for a loopback address, such as 127.0.0.1");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    let is_local = |authority: &Authority| is_loopback(authority.host());
    if !host.as_ref().is_some_and(is_local) || !request.uri().authority().is_none_or(is_local) {
        return Err(misdirected);
    }
    // No program of the operator's has an origin; a page that may ask is one of this machine.
    let origins = request.headers().get_all(header::ORIGIN).iter();
    let is_ours = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| url::Url::parse(origin).ok());
        origin.is_some_and(|origin| origin.host_str().is_some_and(is_loopback))
    };
    if origins.into_iter().all(is_ours) {
        Ok(())
    } else {
        Err(Problem(StatusCode::FORBIDDEN, "Pages of other origins may not ask"))
    }
}

/// Whether a host, as it stands in a URL, is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn exposition(State(operations): State<Arc<Operations>>) -> Response {
    let Some(exposition) = &operations.exposition else {
        return Problem(StatusCode::NOT_FOUND, "Nothing is counted").into_response();
    };
    for server in &operations.current.get().authorization_servers {
        server.introspector.report();
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], exposition.render()).into_response()
}

/// An error, as problem details (RFC 9457). Never holds anything of the request.
#[derive(Debug)]
struct Problem(StatusCode, &'static str);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, body.to_string()).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().uri("/healthz");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn without_a_token_only_this_machine_is_answered() {
        for host in ["127.0.0.1:9901", "localhost", "LOCALHOST:1", "[::1]:9901", "127.1.2.3"] {
            assert!(from_this_machine(&request(&[("host", host)])).is_ok(), "{host}");
        }
        for headers in [
            &[("host", "evil.example:9901")][..],
            &[("host", "127.0.0.1.evil.example")],
            &[("host", "10.0.0.5")],
            &[("host", "localhost"), ("host", "localhost")],
            &[],
        ] {
            let Problem(status, _) = from_this_machine(&request(headers)).unwrap_err();
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{headers:?}");
        }
    }

    #[test]
    fn pages_of_other_origins_may_not_ask() {
        let outcome = |origin| from_this_machine(&request(&[("host", "127.0.0.1"), ("origin", origin)]));
        assert!(outcome("http://localhost:3000").is_ok());
        for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
            assert_eq!(outcome(origin).unwrap_err().0, StatusCode::FORBIDDEN, "{origin}");
        }
    }

    #[test]
    fn there_is_exactly_one_token() {
        assert_eq!(bearer(&request(&[("authorization", "bearer  abc")])), Some("abc"));
        assert_eq!(bearer(&request(&[("authorization", "Basic abc")])), None);
        assert_eq!(bearer(&request(&[("authorization", "Bearer a"), ("authorization", "Bearer b")])), None);
    }
}

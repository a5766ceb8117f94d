//! Who may ask.
//!
//! Where there is a token, each request carries it. Where there is none, what a browser on this machine could be made to send
//! is refused: a `Host` that is not this machine (DNS rebinding), and what pages of other origins send.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, header};

use super::Operations;
use super::problem::Problem;

/// Lets pass what the operator sends.
pub(super) async fn operator(State(operations): State<Arc<Operations>>, request: Request, next: Next) -> Response {
    match operations.admit(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Lets pass what asks for something that is no secret: where there is a token, anybody.
pub(super) async fn anybody(State(operations): State<Arc<Operations>>, request: Request, next: Next) -> Response {
    match operations.token {
        None => operator(State(operations), request, next).await,
        Some(_) => next.run(request).await,
    }
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

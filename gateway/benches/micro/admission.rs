//! What a request costs whose token is known: all that is decided about it, and nothing that moves bytes.

use std::path::Path;
use std::sync::Arc;

use divan::{Bencher, black_box};
use http::{Request, request};
use phantomgate::admission::admit;
use phantomgate::authorize::{Grant, authorize};
use phantomgate::config::parse;
use phantomgate::forward::Changes;
use phantomgate::gateway::Gateway;
use phantomgate::request_target::RequestTarget;
use phantomgate::route::Route;
use phantomgate::token_swap::swap;
use phantomgate::upstream_credential;
use phantomgate_introspection::NumericDate;
use phantomgate_mcp::Messages;
use pingora::http::RequestHeader;
use uuid::Uuid;

use crate::authorization_server::{self, RUNTIME, token};
use crate::{done, messages, signatures};

/// From the credential to the grant, on a route that is no MCP endpoint.
#[divan::bench(sample_size = 1_000)]
fn hit(bencher: Bencher<'_, '_>) {
    bencher.bench_local(admitting());
}

/// From the request's target to the header that goes upstream: route, token, message, grant, credential, token swap.
#[divan::bench(sample_size = 100)]
fn hit_from_target_to_token_swap(bencher: Bencher<'_, '_>) {
    bencher.bench_local(deciding());
}

/// A request without a token.
#[divan::bench(sample_size = 1_000)]
fn refused(bencher: Bencher<'_, '_>) {
    bencher.bench_local(refusing());
}

pub(crate) fn admitting() -> impl FnMut() -> Grant {
    let (gateway, request) = (gateway(), request("/api", Some(&token(0))));
    let route = find(&gateway, &request).clone();
    warm(&route, &request);
    move || grant(&route, black_box(&request), None)
}

pub(crate) fn deciding() -> impl FnMut() -> Vec<u8> {
    let (gateway, request) = (gateway(), request("/mcp", Some(&token(0))));
    warm(find(&gateway, &request), &request);
    let received = RequestHeader::from(request.clone());
    let body = messages::call(0);
    move || {
        let now = NumericDate::now();
        let request = black_box(&request);
        let route = find(&gateway, request);
        let message = Messages::parse(black_box(body.as_bytes())).expect("a message");
        let mcp = route.mcp.as_ref().expect("an MCP endpoint");
        mcp.check_messages(&request.headers, &message).expect("consistent headers");
        let grant = grant(route, request, Some(&message));
        let credential = done(upstream_credential::obtain(&grant, request, now, &mut false)).expect("a JWT");
        let mut changes = Changes::default();
        swap(&grant, &credential, "10.0.0.5:3000", Uuid::max(), &received.headers, &mut changes).expect("fields");
        changes.write(&received).expect("a head")
    }
}

pub(crate) fn refusing() -> impl FnMut() -> bool {
    let (gateway, request) = (gateway(), request("/api", None));
    let route = find(&gateway, &request).clone();
    move || done(admit(&route, black_box(&request), None, NumericDate::now(), &mut None)).is_err()
}

fn find<'a>(gateway: &'a Gateway, request: &request::Parts) -> &'a Arc<Route> {
    let target = RequestTarget::of(request).expect("a target");
    gateway.routes.find(&target, request).expect("a route")
}

fn grant(route: &Arc<Route>, request: &request::Parts, messages: Option<&Messages>) -> Grant {
    let caller = done(admit(route, request, None, NumericDate::now(), &mut None)).expect("a known token");
    authorize(caller, messages).expect("a grant")
}

/// Has the token of `request` introspected.
fn warm(route: &Arc<Route>, request: &request::Parts) {
    let admitted = RUNTIME.block_on(admit(route, request, None, NumericDate::now(), &mut None));
    assert!(admitted.is_ok(), "the token is not active");
}

fn request(path: &str, token: Option<&str>) -> request::Parts {
    let mut request = Request::post(format!("{path}?query=1"))
        .header("host", "mcp.example.com")
        .header("user-agent", "inspector/2.12.0")
        .header("accept", "application/json, text/event-stream")
        .header("accept-encoding", "gzip, br")
        .header("content-type", "application/json")
        .header("content-length", messages::call(0).len());
    for (name, value) in messages::HEADERS {
        request = request.header(name, value);
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(()).expect("a request").into_parts().0
}

fn gateway() -> Gateway {
    let issuer = authorization_server::start();
    let keys = signatures::keys("admission");
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:8080 }}]\n\
         authorization_servers:\n  main:\n    issuer: {issuer}\n    client: {{ id: a, secret: {{ env: PATH }} }}\n    \
             endpoints: {{ introspection: {issuer}/introspect }}\n    cache: {{ max_ttl: 1h }}\n\
         signing: {{ issuer: https://mcp.example.com, algorithm: ES256, keys: {keys:?}, lifetime: 1h }}\n\
         upstreams:\n  mcp: {{ endpoints: [http://10.0.0.5:3000] }}\n\
         routes:\n  - name: mcp\n    match: {{ host: mcp.example.com, path: /mcp }}\n    upstream: mcp\n    \
             resource: https://mcp.example.com/mcp\n    authorization_server: main\n    scopes: [mcp:read]\n    \
             credential: {{ kind: signed, audience: https://mcp.internal }}\n    \
             mcp: {{ tools: {{ fetch-users: allow, \"list-*\": allow, \"delete-*\": {{ scopes: [mcp:write] }} }} }}\n  \
           - name: api\n    match: {{ host: mcp.example.com, path: /api }}\n    upstream: mcp\n    \
             resource: https://mcp.example.com/api\n    audiences: [https://mcp.example.com/mcp]\n    \
             authorization_server: main\n    scopes: [mcp:read]\n    credential: {{ kind: signed, audience: https://api.internal }}\n"
    );
    let config = parse(Path::new("bench.yaml"), &yaml).unwrap_or_else(|report| panic!("{report}"));
    Gateway::build(config, NumericDate::now()).expect("a gateway")
}

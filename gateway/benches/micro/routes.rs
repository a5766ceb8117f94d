//! What many routes cost.
//!
//! Finding one should take as long among ten thousand as among ten, and allocate nothing; loading ten thousand should take well
//! under a second.

use std::fmt::Write as _;
use std::path::Path;

use divan::{Bencher, black_box};
use http::{Request, request};
use phantomgate::config::{Config, parse};
use phantomgate::gateway::Gateway;
use phantomgate::request_target::RequestTarget;
use phantomgate_introspection::NumericDate;

const COUNTS: [usize; 3] = [10, 100, 10_000];

/// By an exact host, a wildcard, and any host in turn.
#[divan::bench(args = COUNTS, sample_size = 1_000)]
fn find(bencher: Bencher<'_, '_>, count: usize) {
    bencher.bench_local(finding(count));
}

/// A path that no route is for, and a long one.
#[divan::bench(args = COUNTS, sample_size = 1_000)]
fn find_nothing(bencher: Bencher<'_, '_>, count: usize) {
    bencher.bench_local(finding_nothing(count));
}

/// From the text to the configuration, as `phantomgate check` does.
#[divan::bench(args = COUNTS, sample_size = 1, sample_count = 5)]
fn check(bencher: Bencher<'_, '_>, count: usize) {
    let text = yaml(count);
    bencher.bench_local(|| parse(Path::new("bench.yaml"), black_box(&text)).map(|config| config.routes.len()));
}

/// From the configuration to what requests run on.
#[divan::bench(args = COUNTS, sample_size = 1, sample_count = 5)]
fn build(bencher: Bencher<'_, '_>, count: usize) {
    bencher.with_inputs(|| config(count)).bench_local_values(gateway);
}

pub(crate) fn finding(count: usize) -> impl FnMut() -> bool {
    let gateway = gateway(config(count));
    let requests: Vec<_> = (0..count.min(100)).map(|number| request(number * (count / 100).max(1))).collect();
    let mut next = 0;
    move || {
        next = (next + 1) % requests.len();
        look(&gateway, &requests[next])
    }
}

pub(crate) fn finding_nothing(count: usize) -> impl FnMut() -> bool {
    let gateway = gateway(config(count));
    let request = Request::get(format!("/elsewhere{}", "/x".repeat(50))).header("host", "a.b.c.elsewhere.example");
    let request = request.body(()).expect("a request").into_parts().0;
    move || look(&gateway, &request)
}

fn look(gateway: &Gateway, request: &request::Parts) -> bool {
    let target = RequestTarget::of(black_box(request));
    target.is_ok_and(|target| gateway.routes.find(&target, request).is_ok())
}

/// A request that takes the route of this number.
fn request(number: usize) -> request::Parts {
    let host = match number % 3 {
        0 => format!("host-{number}.example.com:8443"),
        1 => format!("a.b.wild-{number}.example.com"),
        _ => "any.example.com".to_owned(),
    };
    let method = if number.is_multiple_of(2) { "POST" } else { "GET" };
    let request =
        Request::builder().method(method).uri(format!("/services/number-{number}/mcp?query")).header("host", host);
    request.body(()).expect("a request").into_parts().0
}

fn config(count: usize) -> Config {
    parse(Path::new("bench.yaml"), &yaml(count)).expect("a configuration")
}

fn gateway(config: Config) -> Gateway {
    Gateway::build(config, NumericDate::now()).expect("a gateway")
}

/// So many routes, each with its own resource, scopes and rules for tools.
fn yaml(count: usize) -> String {
    let mut yaml = String::from(
        "listeners: [{ address: 127.0.0.1:8080 }]\n\
         authorization_servers:\n  main: { issuer: https://login.example.com, client: { id: a, secret: { env: PATH } } }\n\
         upstreams:\n  mcp: { endpoints: [http://127.0.0.1:3000] }\n\
         routes:\n",
    );
    for number in 0..count {
        let host = match number % 3 {
            0 => format!("host: host-{number}.example.com, "),
            1 => format!("host: \"*.wild-{number}.example.com\", "),
            _ => String::new(),
        };
        let method = if number.is_multiple_of(2) { "POST" } else { "GET" };
        let _ = write!(
            yaml,
            "  - name: route-{number}\n    match: {{ {host}path: /services/number-{number}/mcp, methods: [{method}] }}\n    \
             rewrite: {{ path: /mcp }}\n    upstream: mcp\n    resource: https://mcp.example.com/services/number-{number}/mcp\n    \
             authorization_server: main\n    scopes: [\"service-{number}:use\"]\n    credential: {{ kind: none }}\n    \
             mcp: {{ tools: {{ read: allow, \"list-*\": allow, \"delete-{number}-*\": {{ scopes: [\"service-{number}:delete\"] }} }} }}\n"
        );
    }
    yaml
}

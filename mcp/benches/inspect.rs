//! What reading a request and filtering a response cost: `cargo bench -p phantomgate-mcp`.
//!
//! Times are for a quiet machine and say little on another.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up says so by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box, counter::BytesCount};
use http::HeaderMap;
use phantomgate_mcp::{ListFilter, ListKind, Messages, Revision, Visibility, check};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// About 500 bytes, as clients send them.
const CALL: &str = r#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"fetch-users","arguments":{"query":"select id, name, mail from users where name like ? order by name","parameters":["A%"],"limit":50,"options":{"timeout":2.5,"readonly":true,"region":"eu-west-1","explain":false}},"_meta":{"progressToken":17,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"inspector","version":"2.12.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}"#;

/// Every second tool.
struct EverySecond;

impl Visibility for EverySecond {
    fn is_visible(&self, _: ListKind, name: &str) -> bool {
        name.ends_with(['0', '2', '4', '6', '8'])
    }
}

fn list(tools: usize) -> String {
    let mut items = String::new();
    for tool in 0..tools {
        let comma = if tool == 0 { "" } else { "," };
        write!(
            items,
            r#"{comma}{{"name":"tool-{tool}","title":"Tool {tool}","description":"Looks up what goes by this number, and says who changed it last.","inputSchema":{{"type":"object","properties":{{"query":{{"type":"string","description":"What to look for"}},"limit":{{"type":"integer","minimum":1,"maximum":100}}}},"required":["query"]}},"annotations":{{"readOnlyHint":true}}}}"#
        )
        .expect("text");
    }
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{items}],"ttlMs":60000,"cacheScope":"public"}}}}"#)
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::of_str(CALL)).bench(|| Messages::parse(black_box(CALL.as_bytes())));
}

#[divan::bench]
fn parse_and_check(bencher: Bencher<'_, '_>) {
    let headers =
        headers(&[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "fetch-users")]);
    bencher.counter(BytesCount::of_str(CALL)).bench(|| {
        let messages = Messages::parse(black_box(CALL.as_bytes())).expect("a call");
        check(black_box(&headers), &messages, &[Revision::V2026_07_28]).expect("consistent");
        messages
    });
}

/// An object with very many members, which no body of a client has: in time linear in its length too.
#[divan::bench(args = [1_000, 100_000], sample_count = 10)]
fn parse_members(bencher: Bencher<'_, '_>, members: usize) {
    let members: Vec<_> = (0..members).map(|number| format!("\"member-{number}\":0")).collect();
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{}}}}}"#, members.join(","));
    bencher.counter(BytesCount::of_str(&body)).bench(|| Messages::parse(black_box(body.as_bytes())));
}

#[divan::bench(args = ["application/json", "text/event-stream"])]
fn filter_50_tools(bencher: Bencher<'_, '_>, content_type: &'static str) {
    let headers = headers(&[("content-type", content_type)]);
    let list = list(50);
    let body = if content_type.contains("event") { format!("data: {list}\n\n") } else { list };
    let visibility: Arc<dyn Visibility> = Arc::new(EverySecond);
    bencher.counter(BytesCount::of_str(&body)).bench(|| {
        let filter = ListFilter::new(&headers, visibility.clone(), 1 << 20).expect("plain");
        let mut filter = filter.expect("one to filter");
        (filter.push(black_box(body.as_bytes())), filter.finish())
    });
}

/// Events that are no lists: what it costs to look.
#[divan::bench]
fn pass_events(bencher: Bencher<'_, '_>) {
    let headers = headers(&[("content-type", "text/event-stream")]);
    let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":50}}\n\n";
    let stream = event.repeat(100);
    let visibility: Arc<dyn Visibility> = Arc::new(EverySecond);
    bencher.counter(BytesCount::of_str(&stream)).bench(|| {
        let filter = ListFilter::new(&headers, visibility.clone(), 1 << 20).expect("plain");
        filter.expect("one to filter").push(black_box(stream.as_bytes()))
    });
}

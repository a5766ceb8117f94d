//! What reading a request and filtering an answer of MCP cost.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use http::HeaderMap;
use phantomgate_mcp::{ListFilter, ListKind, Messages, Revision, Visibility, check};

/// About 500 bytes, as clients send them.
const CALL: &str = r#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"fetch-users","arguments":{"query":"select id, name, mail from users where name like ? order by name","parameters":["A%"],"limit":50,"options":{"timeout":2.5,"readonly":true,"region":"eu-west-1","explain":false}},"_meta":{"progressToken":17,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"inspector","version":"2.12.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}"#;

/// What it says in its headers, too.
pub(crate) const HEADERS: [(&str, &str); 3] =
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "fetch-users")];

const EVENT: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":50}}\n\n";

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

/// A call of a tool, with a further argument of so many bytes.
pub(crate) fn call(bytes: usize) -> String {
    let text = r#"All work and no play \u2014 it makes \"Jack\" a dull boy.\n"#;
    let text = text.repeat(bytes / text.len());
    CALL.replace("\"limit\":50", &format!("\"limit\":50,\"text\":\"{text}\""))
}

/// So many calls at once, as revision 2025-03-26 has it.
pub(crate) fn batch(calls: usize) -> String {
    format!("[{}]", vec![CALL; calls].join(","))
}

#[divan::bench(args = ["500 B", "64 KiB", "10 x 500 B"])]
fn parse(bencher: Bencher<'_, '_>, size: &str) {
    let body = match size {
        "500 B" => call(0),
        "64 KiB" => call(64 * 1024),
        _ => batch(10),
    };
    bencher.counter(BytesCount::of_str(&body)).bench_local(parsing(body));
}

#[divan::bench]
fn parse_and_check(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::of_str(CALL)).bench_local(checking());
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
    bencher.counter(BytesCount::of_str(&list(50))).bench_local(filtering(content_type));
}

/// Events that are no lists: what it costs to look.
#[divan::bench]
fn pass_events(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::of_str(&EVENT.repeat(100))).bench_local(passing());
}

pub(crate) fn parsing(body: String) -> impl FnMut() -> Messages {
    move || Messages::parse(black_box(body.as_bytes())).expect("a message")
}

pub(crate) fn checking() -> impl FnMut() -> Messages {
    let headers = headers(&HEADERS);
    move || {
        let messages = Messages::parse(black_box(CALL.as_bytes())).expect("a call");
        check(black_box(&headers), &messages, &[Revision::V2026_07_28]).expect("consistent");
        messages
    }
}

pub(crate) fn filtering(content_type: &'static str) -> impl FnMut() -> (Bytes, Bytes) {
    let list = list(50);
    let body = if content_type.contains("event") { format!("data: {list}\n\n") } else { list };
    filtering_body(content_type, body)
}

pub(crate) fn passing() -> impl FnMut() -> (Bytes, Bytes) {
    filtering_body("text/event-stream", EVENT.repeat(100))
}

fn filtering_body(content_type: &'static str, body: String) -> impl FnMut() -> (Bytes, Bytes) {
    let headers = headers(&[("content-type", content_type)]);
    let visibility: Arc<dyn Visibility> = Arc::new(EverySecond);
    move || {
        let filter = ListFilter::new(&headers, visibility.clone(), 1 << 20).expect("plain");
        let mut filter = filter.expect("one to filter");
        (filter.push(black_box(body.as_bytes())).expect("a list"), filter.finish().expect("its end"))
    }
}

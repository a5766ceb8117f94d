//! What clients send: refused, or read as any other program reads it. The first line is the headers, the rest the body; all
//! of it as a body is tried too.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use phantomgate_mcp::{Message, Messages, Operation, Revision, check, id_of};
use serde_json::Value;

const ALL: [Revision; 5] =
    [Revision::V2024_11_05, Revision::V2025_03_26, Revision::V2025_06_18, Revision::V2025_11_25, Revision::V2026_07_28];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (line, body) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let headers: HeaderMap = ["mcp-protocol-version", "mcp-method", "mcp-name"]
        .into_iter()
        .zip(line.split(|byte| *byte == b','))
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)))
        .collect();
    for body in [body, input] {
        let _ = id_of(body);
        let Ok(messages) = Messages::parse(body) else { continue };
        let read: Value = serde_json::from_slice(body).expect("what is read is JSON");
        let list = if messages.is_batch() { read.as_array().cloned().expect("a batch") } else { vec![read] };
        for (message, read) in messages.iter().zip(&list) {
            agree(message, read);
        }
        if let (Ok(revision), Some(message)) = (check(&headers, &messages, &ALL), messages.single())
            && revision.is_stateless()
            && message.is_request()
        {
            assert_eq!(message.meta_version(), Some(revision.as_str()));
            assert_eq!(headers.get("mcp-method").map(HeaderValue::as_bytes), message.method().map(str::as_bytes));
        }
    }
});

fn agree(message: &Message, read: &Value) {
    assert_eq!(message.method(), read["method"].as_str());
    let params = &read["params"];
    assert_eq!(message.meta_version(), params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str());
    let (about, found) = match message.operation() {
        Operation::Tool(name) | Operation::Prompt(name) => (name, &params["name"]),
        Operation::Resource(uri) => (uri, &params["uri"]),
        Operation::CompletePrompt(name) => (name, &params["ref"]["name"]),
        Operation::CompleteResource(uri) => (uri, &params["ref"]["uri"]),
        _ => return,
    };
    assert_eq!(Some(about), found.as_str());
}

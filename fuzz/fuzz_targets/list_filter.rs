//! Lists in responses: what is not visible is not there afterwards, and where the body is cut makes no difference. The first
//! byte says how the body is written and encoded, the second where it is cut.

#![no_main]

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use phantomgate_mcp::{EventBoundary, FilterError, ListFilter, ListKind, Visibility};
use serde_json::Value;

const LIMIT: usize = 1 << 16;

/// What is visible begins with an a.
struct Initial;

impl Visibility for Initial {
    fn is_visible(&self, _: ListKind, name: &str) -> bool {
        name.starts_with('a')
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [form, cut, body @ ..] = input else { return };
    let content_type = ["application/json", "text/event-stream"][usize::from(form % 2)];
    let encoding = ["", "", "gzip", "deflate", "br"][usize::from(form / 2 % 5)];
    let whole = run(content_type, encoding, [body]);
    let in_pieces = run(content_type, encoding, body.chunks(usize::from(*cut).max(1)));
    match &whole {
        Ok(output) => {
            assert_eq!(in_pieces, whole);
            if form % 2 == 0 {
                let _ = serde_json::from_slice(output).map(|message: Value| assert_visible(&message));
            }
        }
        // What a chunk expands to is bounded, so there it does make a difference.
        Err(FilterError::TooLarge) => {}
        Err(_) => assert!(in_pieces.is_err()),
    }
    let (mut at_once, mut by_bytes) = (EventBoundary::new(), EventBoundary::new());
    at_once.push(body);
    body.iter().for_each(|byte| by_bytes.push(&[*byte]));
    assert_eq!(at_once.is_between_events(), by_bytes.is_between_events());
});

fn run<'a>(
    content_type: &'static str,
    encoding: &'static str,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, FilterError> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    headers.insert("content-encoding", HeaderValue::from_static(encoding));
    let mut filter = ListFilter::new(&headers, Arc::new(Initial), LIMIT)?.expect("one to filter");
    let mut output = Vec::new();
    for chunk in chunks {
        output.extend(filter.push(chunk)?);
    }
    output.extend(filter.finish()?);
    Ok(output)
}

fn assert_visible(message: &Value) {
    for message in message.as_array().map_or(std::slice::from_ref(message), Vec::as_slice) {
        let result = &message["result"];
        for (list, name) in
            [("tools", "name"), ("prompts", "name"), ("resources", "uri"), ("resourceTemplates", "uriTemplate")]
        {
            for item in result[list].as_array().into_iter().flatten() {
                assert!(item[name].as_str().is_some_and(|name| name.starts_with('a')), "{message}");
            }
            if result[list].is_array() && result.get("ttlMs").is_some() {
                assert_eq!(result["cacheScope"], "private");
            }
        }
    }
}

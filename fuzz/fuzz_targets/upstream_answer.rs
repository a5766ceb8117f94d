//! Answers of upstreams over HTTP/1.1: read, or refused, and the same however they are cut up.

#![no_main]

use std::time::Duration;

use futures_util::FutureExt as _;
use http::Method;
use phantomgate_upstreams::http_1::{RoundTrip, Sending};
use pingora_core::protocols::http::HttpTask;
use tokio::io::{AsyncWriteExt as _, duplex};

libfuzzer_sys::fuzz_target!(|answer: &[u8]| {
    for method in [Method::GET, Method::HEAD] {
        let (whole, pieces) = (read(&method, answer, answer.len().max(1)), read(&method, answer, 1));
        assert_eq!(whole, pieces, "{method}");
    }
});

/// What was read of an answer that came in pieces of this length, after which the server said no more: the statuses and the body.
/// None: it is no answer.
fn read(method: &Method, answer: &[u8], length: usize) -> Option<(Vec<u16>, Vec<u8>)> {
    let (ours, mut server) = duplex(answer.len() + 1);
    let patience = Duration::from_secs(1);
    let mut trip = RoundTrip::new(Box::new(ours), method.clone(), "".into(), Sending::Length(0), patience);
    let mut pieces = answer.chunks(length);
    let (mut statuses, mut body) = (Vec::new(), Vec::new());
    loop {
        let Some(task) = trip.read().now_or_never() else {
            match pieces.next() {
                Some(piece) => drop(server.write_all(piece).now_or_never()),
                None => drop(server.shutdown().now_or_never()),
            }
            continue;
        };
        let is_end = match task.ok()? {
            HttpTask::Header(header, is_end) => {
                statuses.push(header.status.as_u16());
                is_end
            }
            HttpTask::Body(part, is_end) => {
                body.extend(part.unwrap_or_default());
                is_end
            }
            _ => true,
        };
        if is_end {
            return Some((statuses, body));
        }
    }
}

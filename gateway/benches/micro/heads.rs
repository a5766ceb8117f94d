//! What heads cost that are not as most are: each of them should cost as much as it is long, and no more.

use std::borrow::Cow;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use divan::{Bencher, black_box};
use http::{HeaderValue, Method, header};
use phantomgate::forward::Changes;
use phantomgate_upstreams::http_1::{RoundTrip, Sending};
use pingora::http::RequestHeader;
use pingora::protocols::http::HttpTask;
use tokio::io::AsyncWriteExt as _;

use crate::done;

const COUNTS: [usize; 3] = [10, 100, 200];

/// A request with so many fields that its client may not send.
#[divan::bench(args = COUNTS)]
fn change(bencher: Bencher<'_, '_>, count: usize) {
    bencher.bench_local(changing(count));
}

/// An answer whose head comes in so many pieces.
#[divan::bench(args = COUNTS)]
fn read(bencher: Bencher<'_, '_>, count: usize) {
    bencher.bench_local(reading(count));
}

pub(crate) fn changing(count: usize) -> impl FnMut() -> usize {
    let mut received = RequestHeader::build("GET", b"/", None).expect("a request");
    for number in 0..count {
        received.append_header(format!("x-auth-{number}"), "admin").expect("a field");
    }
    move || {
        let mut changes = Changes::default();
        for name in black_box(&received).headers.keys() {
            changes.remove(name);
        }
        changes.insert(header::HOST, Cow::Owned(HeaderValue::from_static("upstream")));
        changes.write(&received).expect("a head").len()
    }
}

pub(crate) fn reading(count: usize) -> impl FnMut() -> bool {
    let piece = format!("x-a: {}\r\n", "a".repeat(100));
    move || {
        let (stream, mut server) = tokio::io::duplex(64 * 1024);
        let head = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        let mut trip = RoundTrip::new(Box::new(stream), Method::GET, head, Sending::Length(0), Duration::from_secs(1));
        let mut answer = |piece: &[u8]| {
            done(server.write_all(piece)).expect("room");
            std::pin::pin!(trip.read()).poll(&mut Context::from_waker(Waker::noop()))
        };
        let _ = answer(b"HTTP/1.1 200 OK\r\n");
        for _ in 1..count {
            assert!(answer(piece.as_bytes()).is_pending(), "there is more to come");
        }
        matches!(answer(b"\r\n"), Poll::Ready(Ok(HttpTask::Header(..))))
    }
}

//! Answers to exchanges: read, or refused.

#![no_main]

use http::StatusCode;
use phantomgate_introspection::authorization_server::Answer;
use phantomgate_introspection::exchange::{Exchange, response};
use phantomgate_introspection::{ActiveToken, NumericDate, ScopeSet};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let exchange = Exchange::OnBehalfOf { scopes: ScopeSet::from_granted("a b") };
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST] {
        let answer = Answer { status, content_type: None, retry_after: None, body: body.to_vec() };
        let _ = response::read(&answer, &exchange, &ActiveToken::default(), NumericDate::from_seconds(1_000));
    }
});

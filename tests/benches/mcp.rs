//! What an MCP endpoint costs a client in time, compared in one run: an event of a stream, and a message that is read.
//!
//! `cargo build --release --workspace --all-targets && cargo bench -p e2e --bench mcp`. Rounds are interleaved and medians are shown, because
//! machines are noisy; the differences count, not the figures.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark: it fails by panicking, and prints"
)]

use std::time::{Duration, Instant};

use e2e::{Given, World};
use futures_util::StreamExt;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

const ROUNDS: usize = 20;
const EVENTS: usize = 500;
const MESSAGES: usize = 200;

#[tokio::main]
async fn main() {
    let rules = json!({ "tools": { "echo": "allow", "delete-*": { "scopes": ["mcp:write"] } } });
    let (plain, endpoint) = (world(None).await, world(Some(rules)).await);
    let (plain_token, token) = (plain.valid_token(), endpoint.valid_token());

    let direct_url = format!("{}/mcp", plain.upstream.url());
    let direct = || plain.client().post(&direct_url).json(&call());
    let mut events = [Vec::new(), Vec::new(), Vec::new()];
    let mut messages = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        events[0].extend(delays(&plain, direct()).await);
        events[1].extend(delays(&plain, plain.send(&plain_token, call().to_string())).await);
        events[2].extend(delays(&endpoint, endpoint.send(&token, call().to_string())).await);
        messages[0].extend(answers(direct).await);
        messages[1].extend(answers(|| plain.send(&plain_token, call().to_string())).await);
        messages[2].extend(answers(|| endpoint.send(&token, call().to_string())).await);
    }
    println!("{:<28}{:>12}{:>12}{:>12}", "", "direct", "plain route", "MCP endpoint");
    row("an event, median", &mut events, 50);
    row("an event, 99 of 100", &mut events, 99);
    row("a message, median", &mut messages, 50);
    row("a message, 99 of 100", &mut messages, 99);
}

async fn world(mcp: Option<Value>) -> World {
    let mut given = Given::new().await;
    given.log_level = "warn";
    if let Some(mcp) = mcp {
        given.config["routes"][0]["mcp"] = mcp;
    }
    given.start().await
}

fn call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "echo", "arguments": { "text": "x".repeat(400) } } })
}

/// How long each event takes from the server to the client.
async fn delays(world: &World, request: RequestBuilder) -> Vec<Duration> {
    let events = world.upstream.stream_next_answer();
    let mut body = request.send().await.unwrap().bytes_stream();
    let mut delays = Vec::new();
    for _ in 0..EVENTS {
        let sent = Instant::now();
        events.send("{}").await;
        body.next().await.unwrap().unwrap();
        delays.push(sent.elapsed());
    }
    delays
}

/// How long each message takes to its answer, one after the other.
async fn answers(request: impl Fn() -> RequestBuilder) -> Vec<Duration> {
    let mut answers = Vec::new();
    for _ in 0..MESSAGES {
        let sent = Instant::now();
        request().send().await.unwrap().bytes().await.unwrap();
        answers.push(sent.elapsed());
    }
    answers
}

fn row(name: &str, columns: &mut [Vec<Duration>; 3], percent: usize) {
    print!("{name:<28}");
    for column in columns {
        column.sort_unstable();
        print!("{:>9} µs", column[column.len() * percent / 100].as_micros());
    }
    println!();
}

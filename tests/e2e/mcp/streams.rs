//! An event stream passes event by event, and ends with its token.

use std::time::Duration;

use bytes::Bytes;
use e2e::{Answer, AnswerExt, EventStream, Given, World, now, within};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use super::{endpoint, given};

type Body = std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// Opens a stream with a request to call a tool.
async fn call(world: &World, token: &str) -> (EventStream, Body) {
    let events = world.upstream.stream_next_answer();
    let request = world.call(token, "tools/call", &json!({ "name": "slow" }));
    let response = within("the stream", request.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    (events, Box::pin(response.bytes_stream()))
}

/// Opens a stream for what the server has to say.
async fn listen(world: &World, token: &str) -> (EventStream, Body) {
    let events = world.upstream.stream_next_answer();
    let response = within("the stream", world.get("/mcp").bearer_auth(token).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    (events, Box::pin(response.bytes_stream()))
}

async fn next(body: &mut Body) -> Option<reqwest::Result<Bytes>> {
    within("the next part of a stream", body.next()).await
}

async fn passes(events: &EventStream, body: &mut Body, data: &str) {
    events.send(data).await;
    assert_eq!(next(body).await.unwrap().unwrap(), format!("data: {data}\n\n"));
}

/// Checks that the stream ends whole.
async fn assert_ends(body: &mut Body) {
    while let Some(part) = next(body).await {
        assert_eq!(part.unwrap(), "", "the last of it");
    }
}

/// The error that a request gets whose stream is cut.
#[track_caller]
fn assert_told(event: &Bytes) {
    let text = std::str::from_utf8(event).unwrap();
    let data = text.strip_prefix("event: message\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    let error: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&error["id"], &error["error"]["data"]["reason"]), (&json!(1), &json!("inactive_token")), "{error}");
}

#[tokio::test]
async fn a_stream_is_cut_when_its_token_expires_and_the_waiting_request_is_told() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let expiry = now() + 4;
    let token = world.authorization_server.issue(json!({ "exp": expiry }));
    let (events, mut body) = call(&world, &token).await;
    passes(&events, &mut body, "{}").await;

    assert_told(&next(&mut body).await.unwrap().unwrap());

    assert_ends(&mut body).await;
    assert!((expiry..=expiry + 3).contains(&now()), "{} s late", now().saturating_sub(expiry));
    events.cancelled().await;
    world.gateway.logged(&["reason=\"stream_cut\"", "status=200"]).await;
}

#[tokio::test]
async fn a_stream_without_a_request_just_ends() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.authorization_server.issue(json!({ "exp": now() + 4 }));
    let (events, mut body) = listen(&world, &token).await;
    passes(&events, &mut body, "{}").await;

    assert_ends(&mut body).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn a_stream_is_cut_when_its_token_is_revoked() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let (alice, bob) = (world.valid_token(), world.authorization_server.issue(json!({ "sub": "bob" })));
    let (events, mut body) = call(&world, &alice).await;
    let (other_events, mut other_body) = call(&world, &bob).await;
    passes(&events, &mut body, "{}").await;

    world.revoke(json!({ "subject": "alice" })).await;

    assert_told(&next(&mut body).await.unwrap().unwrap());
    assert_ends(&mut body).await;
    passes(&other_events, &mut other_body, "{}").await;
}

#[tokio::test]
async fn a_stream_is_cut_when_the_authorization_server_does_not_know_its_token_any_more() {
    let mut given = given(json!({ "default": "allow" })).await;
    given.config["routes"][0]["cache"] = json!({ "max_ttl": "1s" });
    let world = given.start().await;
    let token = world.valid_token();
    let (events, mut body) = call(&world, &token).await;
    passes(&events, &mut body, "{}").await;

    world.authorization_server.answer(&token, Answer::Inactive);

    assert_told(&next(&mut body).await.unwrap().unwrap());
    assert_ends(&mut body).await;
}

#[tokio::test]
async fn a_stream_lives_on_while_its_token_does() {
    let mut given = given(json!({ "default": "allow" })).await;
    given.config["routes"][0]["cache"] = json!({ "max_ttl": "1s" });
    let world = given.start().await;
    let token = world.valid_token();
    let (events, mut body) = call(&world, &token).await;

    world.authorization_server.introspected(&token, 3).await;

    passes(&events, &mut body, "{}").await;
}

#[tokio::test]
async fn the_connection_of_a_stream_that_was_cut_serves_the_next_request() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let (expiring, token) = (world.authorization_server.issue(json!({ "exp": now() + 4 })), world.valid_token());
    let events = world.upstream.stream_next_answer();
    let mut connection = world.raw().await;
    let head = |token: &str| format!("GET /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.send(head(&expiring)).await;
    events.send("{}").await;
    assert_eq!(connection.response().await.unwrap().assert_status(200).body, "data: {}\n\n");

    connection.send(head(&expiring)).await;
    connection.response().await.unwrap().assert_status(401);
    connection.send(head(&token)).await;

    connection.response().await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_stream_of_a_route_that_is_no_mcp_endpoint_is_cut_too() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "exp": now() + 4 }));
    let (events, mut body) = listen(&world, &token).await;
    passes(&events, &mut body, "{}").await;

    assert_ends(&mut body).await;
}

#[tokio::test]
async fn in_the_middle_of_an_event_a_stream_breaks_off() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let (events, mut body) = call(&world, &token).await;
    events.send_raw("data: ha").await;
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "data: ha");

    world.revoke(json!({ "token": token })).await;

    assert!(next(&mut body).await.unwrap().is_err(), "half an event must not look like a whole one");
}

#[tokio::test]
async fn a_compressed_stream_breaks_off() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    world.upstream.add_header("content-encoding", "gzip");
    let (events, mut body) = call(&world, &token).await;
    // What is sent here only has to look like the end of an event.
    passes(&events, &mut body, "{}").await;

    world.revoke(json!({ "token": token })).await;

    assert!(next(&mut body).await.unwrap().is_err(), "plain text in it would be read as something else");
}

#[tokio::test]
async fn http_2_streams_are_cut_too() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.authorization_server.issue(json!({ "exp": now() + 4 }));
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let events = world.upstream.stream_next_answer();
    let response = client.get(world.url("/mcp")).bearer_auth(&token).send().await.unwrap();
    let mut body: Body = Box::pin(response.bytes_stream());
    passes(&events, &mut body, "{}").await;

    assert_ends(&mut body).await;

    client.get(world.url("/mcp")).bearer_auth(&token).answer().await.assert_status(401);
}

#[tokio::test]
async fn keep_alives_and_last_event_id_pass() {
    let world = endpoint(json!({ "tools": { "slow": "allow" } })).await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let request = world.get("/mcp").bearer_auth(&token).header("last-event-id", "17").send();
    let mut body: Body = Box::pin(within("the stream", request).await.unwrap().bytes_stream());

    for part in [": keep-alive\n\n", "id: 18\nretry: 50\ndata:\n\n", "event: message\ndata: {}\n\n"] {
        events.send_raw(part).await;
        assert_eq!(next(&mut body).await.unwrap().unwrap(), part);
    }
    assert_eq!(world.upstream.only_request().header("last-event-id"), "17");
}

#[tokio::test]
async fn closing_the_stream_closes_that_of_the_upstream() {
    let world = endpoint(json!({ "tools": { "slow": "allow" } })).await;
    let token = world.valid_token();
    let (events, body) = call(&world, &token).await;

    drop(body);

    events.cancelled().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back_and_not_our_memory() {
    let world = quiet(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let (events, mut body) = call(&world, &token).await;
    passes(&events, &mut body, "{}").await;
    let before = world.gateway.resident_memory();
    let event = format!("data: {}\n\n", "x".repeat(64 * 1024));

    // Until nothing moves any more: the buffers of both connections are full.
    let mut sent = 0_usize;
    while tokio::time::timeout(Duration::from_secs(1), events.send_raw(&event)).await.is_ok() {
        sent += event.len();
        assert!(sent < 512 * 1024 * 1024, "nothing holds the upstream back");
    }

    let grown = world.gateway.resident_memory().saturating_sub(before);
    assert!(grown < 8 * 1024 * 1024, "{grown} bytes more after {sent} sent");
    let first = next(&mut body).await.unwrap().unwrap();
    assert!(first.starts_with(b"data: xxx"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_too() {
    let world = quiet(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let (events, mut body) = call(&world, &token).await;
    passes(&events, &mut body, "{}").await;
    let event = format!("data: {}\n\n", "x".repeat(64 * 1024));
    while tokio::time::timeout(Duration::from_secs(1), events.send_raw(&event)).await.is_ok() {}

    world.revoke(json!({ "token": token })).await;

    events.cancelled().await;
}

/// A gateway that does not write down every frame.
async fn quiet(mcp: Value) -> World {
    let mut given: Given = given(mcp).await;
    given.log_level = "info";
    given.start().await
}

/// With an event each millisecond, for 20 seconds or for as many as `PHANTOMGATE_STREAM_SECONDS` says.
#[tokio::test]
async fn a_long_stream_holds_memory_flat() {
    let mut given = given(json!({ "tools": { "slow": "allow" } })).await;
    given.log_level = "info";
    // Memory grows until Pingora's first timers are over, which it keeps for this long.
    given.config["upstreams"]["upstream"]["timeouts"] = json!({ "idle_stream": "5s" });
    let world = given.start().await;
    let seconds = std::env::var("PHANTOMGATE_STREAM_SECONDS").map_or(20, |seconds| seconds.parse().unwrap());
    let token = world.authorization_server.issue(json!({ "exp": now() + seconds + 600 }));
    let (events, mut body) = call(&world, &token).await;
    let data = "x".repeat(1_000);
    let mut rate = tokio::time::interval(Duration::from_millis(1));
    let mut before = None;
    for count in 0..seconds * 1_000 {
        rate.tick().await;
        passes(&events, &mut body, &data).await;
        if count == 8_000 {
            before = Some(world.gateway.resident_memory());
        }
    }
    let grown = world.gateway.resident_memory().saturating_sub(before.expect("more than 8 seconds"));
    eprintln!("{grown} bytes more after {seconds} s");
    // The kernel makes a huge page of 2 MiB out of small ones and the room between them now and then.
    assert!(grown < 5 * 1024 * 1024, "{grown} bytes more");
}

//! How many requests and event streams there may be at once.

use e2e::{AnswerExt, Given, World, within};
use serde_json::json;

use super::{given, measured, wait_as_told};

#[tokio::test]
async fn so_many_requests_are_under_way_at_once_and_an_end_makes_room() {
    let world = given(json!({ "concurrent": 2 })).await.start().await;
    let token = world.valid_token();
    let release = world.upstream.hold();
    let first = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
    let second = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
    world.upstream.receives(2).await;

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    assert_eq!(answer.assert_status(503).json()["reason"], "concurrency_limited");
    release.send_replace(true);
    first.await.unwrap().assert_status(200);
    second.await.unwrap().assert_status(200);
    wait_as_told(&answer).await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    measured(&world, "phantomgate_limited_total{route=\"mcp\",limit=\"concurrent\"} 1").await;
}

#[tokio::test]
async fn a_client_that_vanishes_makes_room() {
    let world = given(json!({ "concurrent": 1 })).await.start().await;
    let token = world.valid_token();
    for count in 1..=3 {
        let events = world.upstream.stream_next_answer();
        let response = within("a stream", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(world.upstream.received().len(), count);
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);

        drop(response);

        events.cancelled().await;
        world.gateway.logged(&["client_disconnected"]).await;
        let freed = async {
            while world.get("/elsewhere").bearer_auth(&token).answer().await.status != 404 {}
            // The record of a request is written when its context goes, and its place with it.
            while world.gateway.log().matches("client_disconnected").count() < count {}
        };
        within("the place to be free", freed).await;
    }
}

/// An MCP endpoint where each subject may have one event stream open.
async fn one_stream() -> World {
    let mut given: Given = given(json!({ "streams_per_subject": 1 })).await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    given.start().await
}

#[tokio::test]
async fn a_subject_has_so_many_streams_open_and_another_has_its_own() {
    let world = one_stream().await;
    let [alice, bob] = ["alice", "bob"].map(|subject| world.authorization_server.issue(json!({ "sub": subject })));
    let events = world.upstream.stream_next_answer();
    let listens = |token: &str| world.get("/mcp").bearer_auth(token).header("accept", "text/event-stream");
    let stream = within("a stream", listens(&alice).send()).await.unwrap();
    assert_eq!(stream.status(), 200);

    let answer = listens(&alice).answer().await;
    assert_eq!(answer.assert_status(429).json()["reason"], "too_many_streams");
    answer.header("retry-after");
    // What may be answered with a stream is not sent upstream first.
    let answer = world.call(&alice, "tools/call", &json!({ "name": "slow" })).answer().await;
    assert_eq!(answer.assert_status(429).json()["error"]["data"]["reason"], "too_many_streams");
    assert_eq!(world.upstream.received().len(), 1);
    let other_events = world.upstream.stream_next_answer();
    let other = within("a stream", listens(&bob).send()).await.unwrap();
    assert_eq!(other.status(), 200);

    drop((stream, other));
    events.cancelled().await;
    other_events.cancelled().await;
    let again = async { while listens(&alice).answer().await.status != 200 {} };
    within("the end of a stream to make room", again).await;
}

#[tokio::test]
async fn an_answer_that_is_no_stream_takes_no_place() {
    let world = one_stream().await;
    let token = world.valid_token();
    let release = world.upstream.hold();
    let call = || world.call(&token, "tools/call", &json!({ "name": "fast" })).answer();
    let (first, second) = (tokio::spawn(call()), tokio::spawn(call()));
    world.upstream.receives(2).await;

    release.send_replace(true);

    first.await.unwrap().assert_status(200);
    second.await.unwrap().assert_status(200);
}

//! Event streams: answers to requests, what a server says of itself, and what becomes of them when somebody hangs up.

use bytes::Bytes;
use e2e::{AnswerExt, EventStream, World, now, within};
use futures_util::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::mcp::{EVERY_REVISION, STATELESS, WITH_SESSIONS, call, echo, open, with_version};

type Body = std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// Sends a request that the upstream answers with an event stream.
async fn open_stream(world: &World, request: RequestBuilder) -> (EventStream, Body) {
    let events = world.upstream.stream_next_answer();
    let response = within("the stream", request.send()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    (events, Box::pin(response.bytes_stream()))
}

async fn next(body: &mut Body) -> Option<String> {
    let part = within("the next part of a stream", body.next()).await?;
    Some(String::from_utf8(part.unwrap().to_vec()).unwrap())
}

fn get(world: &World, token: &str, revision: &str) -> RequestBuilder {
    with_version(world.get("/mcp"), revision).bearer_auth(token).header("accept", "text/event-stream")
}

#[tokio::test]
async fn every_revision_transport_receiving_messages_each_event_passes_at_once_and_as_it_is() {
    let world = open().await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        let (events, mut body) = open_stream(&world, echo(&world, &token, revision)).await;

        for part in [
            "id: 1\nretry: 50\ndata:\n\n",
            ": keep-alive\r\n",
            "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n",
            "id: 2\ndata: {\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"roots/list\"}\n\n",
            "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{}}\n\n",
        ] {
            events.send_raw(part).await;
            assert_eq!(next(&mut body).await.as_deref(), Some(part), "{revision}");
        }
        drop(events);
        assert_eq!(next(&mut body).await, None, "{revision}: it ends when the server ends it");
    }
}

#[tokio::test]
async fn rev2026_07_28_transport_receiving_messages_x_accel_buffering_is_passed_on() {
    let world = open().await;
    let token = world.valid_token();
    world.upstream.add_header("x-accel-buffering", "no");
    world.upstream.answer_with("text/event-stream", "data: {}\n\n");

    let answer = call(&world, &token, STATELESS, "subscriptions/listen", json!({ "notifications": {} })).answer().await;

    assert_eq!(answer.assert_status(200).header("x-accel-buffering"), "no");
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_listening_get_is_an_event_stream_or_405() {
    let world = open().await;
    let token = world.valid_token();
    for revision in WITH_SESSIONS {
        let (events, mut body) = open_stream(&world, get(&world, &token, revision)).await;
        let part = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
        events.send_raw(part).await;
        assert_eq!(next(&mut body).await.as_deref(), Some(part), "{revision}");
        drop(events);
        assert_eq!(next(&mut body).await, None, "{revision}");
    }
    assert!(world.upstream.received().iter().all(|request| request.header("accept") == "text/event-stream"));

    world.upstream.answer_with_status(405);
    for revision in WITH_SESSIONS {
        get(&world, &token, revision).answer().await.assert_status(405);
    }
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_multiple_connections_a_message_is_on_its_own_stream_alone() {
    let world = open().await;
    let token = world.valid_token();
    for revision in WITH_SESSIONS {
        let (first_events, mut first) = open_stream(&world, get(&world, &token, revision)).await;
        let (second_events, mut second) = open_stream(&world, echo(&world, &token, revision)).await;

        first_events.send("1").await;
        second_events.send("2").await;
        drop((first_events, second_events));

        assert_eq!(
            (next(&mut first).await.as_deref(), next(&mut first).await),
            (Some("data: 1\n\n"), None),
            "{revision}"
        );
        assert_eq!(
            (next(&mut second).await.as_deref(), next(&mut second).await),
            (Some("data: 2\n\n"), None),
            "{revision}"
        );
    }
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_resumability_last_event_id_reaches_the_server() {
    let world = open().await;
    let token = world.valid_token();
    for (count, revision) in (1..).zip(WITH_SESSIONS) {
        let request = get(&world, &token, revision).header("last-event-id", "stream-1:7");
        let (events, mut body) = open_stream(&world, request).await;

        events.send_raw("id: stream-1:8\ndata: {}\n\n").await;

        assert_eq!(next(&mut body).await.as_deref(), Some("id: stream-1:8\ndata: {}\n\n"), "{revision}");
        assert_eq!(world.upstream.receives(count).await.header("last-event-id"), "stream-1:7", "{revision}");
    }
}

#[tokio::test]
async fn rev2026_07_28_transport_cancellation_closing_a_stream_reaches_the_server() {
    let world = open().await;
    let token = world.valid_token();
    let (events, mut body) = open_stream(&world, echo(&world, &token, STATELESS)).await;
    events.send("{}").await;
    next(&mut body).await;

    drop(body);

    events.cancelled().await;
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_sending_messages_a_disconnection_is_no_cancellation() {
    let world = open().await;
    let token = world.valid_token();
    for (count, revision) in (1..).zip(WITH_SESSIONS) {
        let (events, body) = open_stream(&world, echo(&world, &token, revision)).await;

        drop(body);

        events.cancelled().await;
        // The server sees what it would see without us: a connection that ended, and no message that says more.
        assert_eq!(world.upstream.received().len(), count, "{revision}");
    }
}

#[tokio::test]
async fn every_revision_transport_sending_messages_no_stream_is_closed_before_its_request_has_a_response() {
    for revision in EVERY_REVISION {
        let world = open().await;
        let token = world.authorization_server.issue(json!({ "exp": now() + 3 }));
        let (events, mut body) = open_stream(&world, echo(&world, &token, revision)).await;
        events.send("{}").await;
        assert_eq!(next(&mut body).await.as_deref(), Some("data: {}\n\n"), "{revision}");

        // The token ends; what is still owed is an answer.
        let last = next(&mut body).await.unwrap();

        let data = last.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{last}"));
        let response: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&response["jsonrpc"], &response["id"]), (&json!("2.0"), &json!(1)), "{revision}: {response}");
        assert!(response["error"]["code"].is_i64(), "{revision}: {response}");
        assert_eq!(next(&mut body).await, None, "{revision}: and the stream ends");
    }
}

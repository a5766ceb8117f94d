//! Bytes pass as they come, both ways.

use bytes::Bytes;
use e2e::{AnswerExt, World, within};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// The next piece of an answer, as text.
async fn next(response: &mut (impl futures_util::Stream<Item = reqwest::Result<Bytes>> + Unpin)) -> Option<String> {
    let chunk = within("the next event", response.next()).await?;
    Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn events_pass_one_by_one_while_the_upstream_holds_the_stream_open() {
    let world = World::new().await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();

    let response = within("the head of the answer", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.bytes_stream();

    for data in ["one", "two", "three"] {
        events.send(data).await;
        assert_eq!(next(&mut body).await.unwrap(), format!("data: {data}\n\n"));
    }
    events.send_raw(": keep-alive\n\n").await;
    assert_eq!(next(&mut body).await.unwrap(), ": keep-alive\n\n");
    drop(events);
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn half_an_event_passes_without_its_other_half() {
    let world = World::new().await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let mut body = world.get("/mcp").bearer_auth(&token).send().await.unwrap().bytes_stream();

    events.send_raw("data: ha").await;
    assert_eq!(next(&mut body).await.unwrap(), "data: ha");
    events.send_raw("lf\n\n").await;
    assert_eq!(next(&mut body).await.unwrap(), "lf\n\n");
}

#[tokio::test]
async fn an_upstream_learns_that_the_client_left_an_event_stream() {
    let world = World::new().await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let response = world.get("/mcp").bearer_auth(&token).send().await.unwrap();

    drop(response);

    events.cancelled().await;
}

#[tokio::test]
async fn a_request_reaches_the_upstream_while_the_client_still_writes_it() {
    let world = World::new().await;
    let token = world.valid_token();
    let (parts, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(body));
    let answer = tokio::spawn(world.post("/mcp").bearer_auth(&token).body(body).answer());

    parts.send(Ok("first ".into())).await.unwrap();
    let received = world.upstream.receives(1).await;
    received.body_contains("first ").await;
    parts.send(Ok("second".into())).await.unwrap();
    drop(parts);

    assert_eq!(answer.await.unwrap().assert_status(200).json()["body"], "first second");
}

#[tokio::test]
async fn rfc9110_s10_1_1_a_client_that_waits_for_100_continue_gets_it() {
    let world = World::new().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;

    let head = format!("POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
    connection.send(format!("{head}Content-Length: 7\r\nExpect: 100-continue\r\n\r\n")).await;
    connection.response().await.unwrap().assert_status(100);
    connection.send("content").await;

    assert_eq!(connection.response().await.unwrap().assert_status(200).json()["body"], "content");
}

#[tokio::test]
async fn rfc9110_s10_1_1_a_refused_client_that_waits_for_100_continue_never_gets_it() {
    let world = World::new().await;
    let mut connection = world.raw().await;

    connection.send("POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n").await;

    connection.response().await.unwrap().assert_status(401);
}

#[tokio::test]
async fn a_large_body_arrives_whole_both_ways() {
    let world = World::new().await;
    let token = world.valid_token();
    let body = "0123456789abcdef".repeat(256 * 1024);

    let answer = world.post("/mcp").bearer_auth(&token).body(body.clone()).answer().await;

    assert!(answer.assert_status(200).json()["body"] == body, "4 MiB were changed on the way");
}

#[tokio::test]
async fn rfc9113_s3_3_a_client_may_speak_http_2_at_once() {
    let world = World::new().await;
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();

    for body in ["", "content"] {
        let answer = client.post(world.url("/mcp")).bearer_auth(&token).body(body).answer().await;

        assert_eq!(answer.assert_status(200).json()["body"], body);
    }
    client.get(world.url("/mcp")).answer().await.assert_status(401);
}

#[tokio::test]
async fn http_2_events_pass_one_by_one() {
    let world = World::new().await;
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let events = world.upstream.stream_next_answer();

    let mut body = client.get(world.url("/mcp")).bearer_auth(&token).send().await.unwrap().bytes_stream();

    for data in ["one", "two"] {
        events.send(data).await;
        assert_eq!(next(&mut body).await.unwrap(), format!("data: {data}\n\n"));
    }
}

#[tokio::test]
async fn an_http_2_request_that_ends_with_an_empty_frame_leaves_the_upstream_connection_clean() {
    let world = World::new().await;
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();

    for _ in 0..3 {
        // A body of unknown length ends with an empty DATA frame.
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("part")]));
        let answer = client.post(world.url("/mcp")).bearer_auth(&token).body(body).answer().await;

        assert_eq!(answer.assert_status(200).json()["body"], "part");
    }
    assert_eq!(world.upstream.received().len(), 3);
}

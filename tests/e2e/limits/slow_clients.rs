//! Clients that take their time: over a head, over a body, over reading, over nothing at all.

use std::time::Duration;

use bytes::Bytes;
use e2e::{AnswerExt, Given, World, within};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{closed, head, measured};

async fn given(limits: Value) -> Given {
    let mut given = Given::new().await;
    given.config["limits"] = limits;
    given
}

async fn world(limits: Value) -> World {
    given(limits).await.start().await
}

fn cut(limit: &str) -> String {
    format!("phantomgate_connections_cut_total{{limit=\"{limit}\"}} 1")
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut() {
    let world = world(json!({ "header_timeout": "500ms" })).await;
    let mut connection = world.raw().await;
    connection.send("GET /mcp HTTP/1.1\r\nHost: x\r\n").await;

    // Something always comes, so no pause is long.
    let trickle = async {
        loop {
            tokio::select! {
                response = connection.response() => return response,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            connection.send("X-Slow: y\r\n").await;
        }
    };
    assert!(within("the connection to be cut", trickle).await.is_none());

    measured(&world, &cut("header_timeout")).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_said_is_cut() {
    let world = world(json!({ "header_timeout": "300ms" })).await;
    let mut silent = world.raw().await;

    closed(&mut silent).await;

    measured(&world, &cut("header_timeout")).await;
}

#[tokio::test]
async fn a_connection_that_has_served_is_kept_for_a_while() {
    let world = world(json!({ "header_timeout": "1s", "idle_timeout": "3s" })).await;
    let mut connection = world.raw().await;
    for _ in 0..3 {
        connection.send("GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n").await;
        connection.response().await.unwrap().assert_status(401);
        // Longer than a head may take, shorter than a connection is kept.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }

    closed(&mut connection).await;

    measured(&world, &cut("idle_timeout")).await;
}

#[tokio::test]
async fn an_http_2_connection_without_requests_is_closed() {
    let world = world(json!({ "idle_timeout": "300ms" })).await;
    let connection = TcpStream::connect(world.gateway.address()).await.unwrap();
    let (client, connection) = h2::client::handshake::<_>(connection).await.unwrap();

    let _ = within("the end of the connection", connection).await;

    drop::<h2::client::SendRequest<Bytes>>(client);
}

#[tokio::test]
async fn a_body_that_pauses_for_too_long_is_not_waited_for() {
    let world = world(json!({ "body_timeout": "300ms" })).await;
    let token = world.valid_token();
    let mut connection = world.raw().await;

    connection.send(format!("{}Content-Length: 10\r\n\r\nhalf", head("POST", &token))).await;

    let answer = connection.response().await.unwrap();
    assert_eq!(answer.assert_status(408).json()["reason"], "request_timeout");
}

#[tokio::test]
async fn a_body_that_was_asked_for_and_pauses_for_too_long_is_not_waited_for() {
    for mcp in [Value::Null, json!({ "default": "allow" })] {
        let mut given = given(json!({ "body_timeout": "300ms" })).await;
        if !mcp.is_null() {
            given.config["routes"][0]["mcp"] = mcp;
        }
        let world = given.start().await;
        let token = world.valid_token();
        let mut connection = world.raw().await;

        let head = format!("{}Content-Type: application/json\r\n", head("POST", &token));
        connection.send(format!("{head}Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")).await;
        connection.response().await.unwrap().assert_status(100);
        connection.send("half").await;

        connection.response().await.unwrap().assert_status(408);
        world.gateway.logged(&["audit", "reason=\"request_timeout\"", "status=408"]).await;
    }
}

#[tokio::test]
async fn a_message_that_pauses_for_too_long_is_not_waited_for() {
    let mut given = given(json!({ "body_timeout": "300ms" })).await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    let world = given.start().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;

    let head = head("POST", &token);
    connection.send(format!("{head}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{")).await;

    let answer = connection.response().await.unwrap();
    assert_eq!(answer.assert_status(408).json()["error"]["data"]["reason"], "request_timeout");
    assert_eq!(world.upstream.received().len(), 0);
}

/// A body over HTTP/2 that pauses, to `/mcp`.
async fn pauses_over_http_2(world: &World) -> StatusCode {
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let (parts, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(body));
    let request = client.post(world.url("/mcp")).bearer_auth(&token).header("content-type", "application/json");
    let answer = tokio::spawn(request.body(body).answer());
    parts.send(Ok("{".into())).await.unwrap();
    let status = answer.await.unwrap().status;
    drop(parts);
    status
}

#[tokio::test]
async fn over_http_2_too() {
    let world = world(json!({ "body_timeout": "300ms" })).await;
    assert_eq!(pauses_over_http_2(&world).await, 408);

    let mut given = given(json!({ "body_timeout": "300ms" })).await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    assert_eq!(pauses_over_http_2(&given.start().await).await, 408);
}

#[tokio::test]
async fn a_stream_that_is_silent_both_ways_goes_on() {
    let limits = json!({
        "header_timeout": "500ms", "body_timeout": "500ms", "write_timeout": "500ms", "idle_timeout": "500ms",
    });
    let world = world(limits).await;
    let token = world.valid_token();
    for client in [reqwest::Client::builder(), reqwest::Client::builder().http2_prior_knowledge()] {
        let client = client.no_proxy().build().unwrap();
        let events = world.upstream.stream_next_answer();
        let mut response = client.get(world.url("/mcp")).bearer_auth(&token).send().await.unwrap();
        // Four times any of the limits.
        tokio::time::sleep(Duration::from_secs(2)).await;

        events.send("still here").await;

        let event = within("an event", response.chunk()).await.unwrap().unwrap();
        assert_eq!(event, "data: still here\n\n");
    }
}

/// Sends events to a client that reads none of them until nobody takes any more; gives by how much the gateway grew.
async fn flood(world: &World, events: e2e::EventStream) -> usize {
    let before = world.gateway.resident_memory();
    let event = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut most = before;
    while within("the client to be cut", events.offer(event.clone())).await {
        most = most.max(world.gateway.resident_memory());
    }
    most - before
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_takes_no_memory() {
    let world = world(json!({ "write_timeout": "1s" })).await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let mut client = TcpStream::connect(world.gateway.address()).await.unwrap();
    client.write_all(format!("{}\r\n", head("GET", &token)).as_bytes()).await.unwrap();
    world.upstream.receives(1).await;

    let grown = flood(&world, events).await;

    assert!(grown < 16 * 1024 * 1024, "it took {grown} bytes");
    measured(&world, &cut("write_timeout")).await;
    measured(&world, "phantomgate_connections 0").await;
    drop(client);
}

#[tokio::test]
async fn a_stream_of_http_2_that_is_not_read_is_cut_and_others_go_on() {
    let world = world(json!({ "write_timeout": "1s" })).await;
    let token = world.valid_token();
    let connection = TcpStream::connect(world.gateway.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake::<_>(connection).await.unwrap();
    tokio::spawn(connection);
    let request = || {
        let request = http::Request::get(world.url("/mcp")).header("authorization", format!("Bearer {token}"));
        request.body(()).unwrap()
    };
    let events = world.upstream.stream_next_answer();
    let unread = client.send_request(request(), true).unwrap().0;
    // Its window is never opened again.
    let unread = within("the head of the answer", unread).await.unwrap();

    let grown = flood(&world, events).await;

    assert!(grown < 16 * 1024 * 1024, "it took {grown} bytes");
    let other = client.send_request(request(), true).unwrap().0;
    assert_eq!(within("another answer", other).await.unwrap().status(), 200);
    drop((unread, client.clone()));
}

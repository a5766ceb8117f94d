//! Connections are not upgraded: what passes through a tunnel cannot be authorized, and no limit would hold for it. A client
//! that asks for a WebSocket gets the answer to its request without that wish.

use bytes::Bytes;
use e2e::{AnswerExt, Given, World, within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What a client of WebSockets sends (RFC 6455 §4.1), without the end of the head.
fn handshake(method: &str, token: &str) -> String {
    let wish = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    format!("{method} /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{wish}")
}

/// The gateway, with little room and little patience for bodies.
async fn world() -> World {
    let mut given = Given::new().await;
    given.config["limits"] = json!({ "body_timeout": "300ms" });
    given.config["routes"][0]["limits"] = json!({ "body": "1KiB" });
    given.start().await
}

#[tokio::test]
async fn a_websocket_is_not_opened_and_its_client_sees_what_the_upstream_says_to_that() {
    let world = world().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;
    // What a server of WebSockets says to anything else.
    world.upstream.answer_with_status(426);

    for _ in 0..2 {
        connection.send(format!("{}\r\n", handshake("GET", &token))).await;
        connection.response().await.unwrap().assert_status(426);
    }

    for request in world.upstream.received() {
        assert!(!request.headers.contains_key("upgrade"), "{request:#?}");
        assert_eq!(request.body(), "");
    }
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn the_limits_of_bodies_hold_for_who_asks_for_an_upgrade() {
    let world = world().await;
    let token = world.valid_token();

    let mut announced = world.raw().await;
    announced.send(format!("{}Content-Length: 2000\r\n\r\n", handshake("POST", &token))).await;
    assert_eq!(announced.response().await.unwrap().assert_status(413).json()["reason"], "body_too_large");

    let mut unannounced = world.raw().await;
    let chunk = format!("800\r\n{}\r\n", "x".repeat(0x800));
    unannounced.send(format!("{}Transfer-Encoding: chunked\r\n\r\n{chunk}", handshake("POST", &token))).await;
    assert_eq!(unannounced.response().await.unwrap().assert_status(413).json()["reason"], "body_too_large");

    let mut pausing = world.raw().await;
    pausing.send(format!("{}Content-Length: 10\r\n\r\nhalf", handshake("POST", &token))).await;
    assert_eq!(pausing.response().await.unwrap().assert_status(408).json()["reason"], "request_timeout");
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_unasked_is_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut given = Given::new().await;
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    given.config["upstreams"]["upstream"]["endpoints"] = json!([endpoint]);
    let world = given.start().await;
    let token = world.valid_token();
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0, "a whole head");
        }
        let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(switched.as_bytes()).await.unwrap();
        // All that comes until the gateway hangs up.
        let mut tunnelled = Vec::new();
        let _ = stream.read_to_end(&mut tunnelled).await;
        Bytes::from(tunnelled)
    });
    let mut connection = world.raw().await;

    connection.send(format!("{}\r\n", handshake("GET", &token))).await;

    let answer = connection.response().await.unwrap();
    assert_eq!(answer.assert_status(502).json()["reason"], "upstream_unavailable");
    connection.send("what nobody has looked at").await;
    assert_eq!(within("the gateway to hang up", upstream).await.unwrap(), "");
    world.gateway.logged(&["upstream_unavailable"]).await;
    // It is an answer of the upstream, and nothing was lost of the gateway.
    world.get("/.well-known/jwks.json").answer().await.assert_status(200);
}

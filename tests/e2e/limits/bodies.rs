//! How large heads and bodies may be.

use bytes::Bytes;
use e2e::{AnswerExt, World};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{closed, given, head};

async fn world() -> World {
    given(json!({ "body": "1MiB", "header": "4KiB" })).await.start().await
}

#[tokio::test]
async fn an_announced_body_that_is_too_large_is_refused_before_the_upstream_hears_of_it() {
    let world = world().await;
    let token = world.valid_token();

    let body = |size: usize| world.post("/mcp").bearer_auth(&token).body("x".repeat(size)).answer();

    assert_eq!(body(1024 * 1024 + 1).await.assert_status(413).json()["reason"], "body_too_large");
    assert_eq!(world.upstream.received().len(), 0);
    body(1024 * 1024).await.assert_status(200);
}

#[tokio::test]
async fn who_asks_before_sending_too_much_is_told_without_sending_it() {
    let world = world().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;

    let head = head("POST", &token);
    connection.send(format!("{head}Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")).await;

    connection.response().await.unwrap().assert_status(413);
}

#[tokio::test]
async fn who_asks_and_then_sends_too_much_is_told() {
    let world = world().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;

    let head = head("POST", &token);
    connection.send(format!("{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")).await;
    connection.response().await.unwrap().assert_status(100);
    connection.send(format!("{:x}\r\n{}\r\n", 1024 * 1024 + 1, "x".repeat(1024 * 1024 + 1))).await;

    assert_eq!(connection.response().await.unwrap().assert_status(413).json()["reason"], "body_too_large");
}

async fn an_unannounced_body_is_cut(client: reqwest::Client) {
    let world = world().await;
    let token = world.valid_token();
    let (parts, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(body));
    let answer = tokio::spawn(client.post(world.url("/mcp")).bearer_auth(&token).body(body).answer());

    for _ in 0..17 {
        let _ = parts.send(Ok(vec![b'x'; 64 * 1024].into())).await;
    }

    let answer = answer.await.unwrap();
    assert_eq!(answer.assert_status(413).json()["reason"], "body_too_large");
    drop(parts);
    world.gateway.logged(&["body_too_large"]).await;
}

#[tokio::test]
async fn a_body_that_goes_on_beyond_the_limit_is_cut() {
    an_unannounced_body_is_cut(reqwest::Client::builder().no_proxy().build().unwrap()).await;
}

#[tokio::test]
async fn a_body_that_goes_on_beyond_the_limit_is_cut_over_http_2() {
    an_unannounced_body_is_cut(reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap()).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let world = world().await;
    let token = world.valid_token();
    let request = |size: usize| world.get("/mcp").bearer_auth(&token).header("x-large", "x".repeat(size)).answer();

    assert_eq!(request(4 * 1024).await.assert_status(431).json()["reason"], "header_too_large");
    request(3 * 1024).await.assert_status(200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_over_http_2() {
    let world = world().await;
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let request =
        |size: usize| client.get(world.url("/mcp")).bearer_auth(&token).header("x-large", "x".repeat(size)).answer();

    request(8 * 1024).await.assert_status(431);
    request(3 * 1024).await.assert_status(200);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let world = world().await;
    let mut connection = world.raw().await;

    connection.send(format!("GET /mcp HTTP/1.1\r\nHost: x\r\nX-Large: {}", "x".repeat(512 * 1024))).await;

    closed(&mut connection).await;
}

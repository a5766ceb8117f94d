//! Fields behind the content of an answer (RFC 9110 §6.5): a client over HTTP/2 gets those of an upstream over HTTP/2.
//! HTTP/1.1 has them in its chunked coding alone, hardly a client reads them there, and none may rely on them: they are left
//! out, as an intermediary may do.

use bytes::Bytes;
use e2e::{Given, World, within};
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo"},{"name":"drop"}]}}"#;

/// The gateway before an upstream that speaks HTTP/2, and answers everything with this and two fields behind it.
async fn world(mcp: bool, content_type: &'static str, content: &'static str) -> World {
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"]["protocol"] = json!("http2");
    if mcp {
        given.config["routes"][0]["mcp"] = json!({ "tools": { "echo": "allow" } });
    }
    given.upstream.answer_with(content_type, content);
    given.upstream.add_trailer("x-checksum", "abc");
    given.upstream.add_trailer("grpc-status", "0");
    given.start().await
}

fn list() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} }).to_string()
}

async fn connect(world: &World) -> SendRequest<Bytes> {
    let connection = tokio::net::TcpStream::connect(world.gateway.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(connection).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A POST over HTTP/2; what came of it.
async fn post(world: &World, client: &SendRequest<Bytes>, body: String) -> (StatusCode, Vec<u8>, Option<HeaderMap>) {
    let request = Request::post(world.url("/mcp"))
        .header("authorization", format!("Bearer {}", world.valid_token()))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut stream) = client.clone().ready().await.unwrap().send_request(request, false).unwrap();
    stream.send_data(body.into(), true).unwrap();
    let (head, mut body) = within("an answer", response).await.unwrap().into_parts();
    let mut content = Vec::new();
    while let Some(part) = within("a part of the answer", body.data()).await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        content.extend(part);
    }
    (head.status, content, within("the end of the answer", body.trailers()).await.unwrap())
}

fn assert_fields(trailers: Option<HeaderMap>) {
    let trailers = trailers.expect("fields behind the content");
    assert_eq!(trailers.len(), 2, "{trailers:?}");
    assert_eq!((trailers["x-checksum"].as_bytes(), trailers["grpc-status"].as_bytes()), (&b"abc"[..], &b"0"[..]));
}

#[tokio::test]
async fn trailers_pass_from_http_2_to_http_2() {
    let world = world(false, "text/plain", "content").await;
    let client = connect(&world).await;

    for _ in 0..2 {
        let (status, content, trailers) = post(&world, &client, "question".to_owned()).await;

        assert_eq!((status, &content[..]), (StatusCode::OK, &b"content"[..]));
        assert_fields(trailers);
    }
}

#[tokio::test]
async fn rfc9113_s8_2_2_an_upstream_learns_that_its_client_asks_for_trailers() {
    for mcp in [false, true] {
        let world = world(mcp, "application/json", LIST).await;
        let client = connect(&world).await;

        post(&world, &client, list()).await;

        assert_eq!(world.upstream.only_request().header("te"), "trailers", "{mcp}");
    }
}

#[tokio::test]
async fn trailers_pass_behind_a_list_that_is_filtered() {
    let event: &str = &format!("data: {LIST}\n\n");
    for (content_type, content) in [("application/json", LIST), ("text/event-stream", event.to_owned().leak())] {
        let world = world(true, content_type, content).await;
        let client = connect(&world).await;

        for _ in 0..2 {
            let (status, content, trailers) = post(&world, &client, list()).await;

            assert_eq!(status, StatusCode::OK);
            let text = String::from_utf8(content).unwrap();
            let list: Value = serde_json::from_str(text.trim().trim_start_matches("data: ")).unwrap();
            assert_eq!(list["result"]["tools"], json!([{ "name": "echo" }]), "{content_type}");
            assert_fields(trailers);
        }
    }
}

#[tokio::test]
async fn rfc9110_s6_5_1_trailers_are_left_out_over_http_1_and_the_connection_goes_on() {
    for mcp in [false, true] {
        let world = world(mcp, "application/json", LIST).await;
        let token = world.valid_token();
        let mut connection = world.raw().await;
        let body = list();
        let head = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nTE: trailers\r\n";

        for _ in 0..2 {
            let start = format!("POST /mcp HTTP/1.1\r\nHost: x\r\nConnection: TE\r\nAuthorization: Bearer {token}\r\n");
            connection.send(format!("{start}{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;

            let answer = connection.response().await.unwrap();
            let names = answer.assert_status(200).json()["result"]["tools"].as_array().unwrap().len();
            assert_eq!(names, if mcp { 1 } else { 2 }, "{answer:#?}");
            assert!(!answer.headers.contains_key("x-checksum"), "{answer:#?}");
        }
    }
}

//! Requests that two servers could read differently: the upstream sees at most the one that was authorized.

use bytes::Bytes;
use e2e::{AnswerExt, Given, World};

/// Sends `bytes` and gives what the upstream saw, once the gateway has closed or answered all it will.
async fn targets_seen(world: &World, bytes: &str) -> Vec<String> {
    let mut connection = world.raw().await;
    connection.send(bytes).await;
    let first = connection.response().await;
    // What a second request in these bytes would cause has happened when the connection is at its end.
    if first.is_some_and(|answer| answer.headers.get("connection").is_none_or(|option| option != "close")) {
        connection.responses_until_close().await;
    }
    world.upstream.received().into_iter().map(|received| received.target).collect()
}

/// A world with a public route, so that a smuggled request would need no credential, and a protected one.
async fn world() -> (World, String) {
    let mut given = Given::new().await;
    given.add_public_route("open", "/open");
    let world = given.start().await;
    let token = world.valid_token();
    (world, token)
}

const SMUGGLED: &str = "GET /mcp/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// Whether the bytes came as one request or were refused, the request inside them is not one.
#[track_caller]
fn assert_nothing_smuggled(case: &str, targets: &[String]) {
    assert!(targets.len() <= 1, "{case}: {targets:?}");
    assert!(!targets.iter().any(|target| target.contains("smuggled")), "{case}: {targets:?}");
}

#[tokio::test]
async fn rfc9112_s6_3_content_length_and_transfer_encoding_together() {
    let (world, token) = world().await;
    let length = 5 + SMUGGLED.len();
    let head = format!("POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");

    let cl_te = format!("{head}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");

    assert_nothing_smuggled("CL.TE", &targets_seen(&world, &cl_te).await);
}

#[tokio::test]
async fn rfc9112_s6_1_a_transfer_encoding_that_is_not_exactly_chunked() {
    for coding in [
        "xchunked",
        "chunked, identity",
        "identity",
        "chunked\r\nTransfer-Encoding: x",
        "\x0bchunked",
        "chunked;x",
        "\"chunked\"",
        "gzip, chunked",
    ] {
        let (world, token) = world().await;
        let head = format!("POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");

        let te = format!("{head}Transfer-Encoding: {coding}\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{SMUGGLED}");

        assert_nothing_smuggled(coding, &targets_seen(&world, &te).await);
    }
}

#[tokio::test]
async fn rfc9112_s6_1_transfer_encoding_in_http_1_0() {
    let (world, token) = world().await;
    let head = format!("POST /mcp HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nAuthorization: Bearer {token}\r\n");

    let te = format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");

    assert_nothing_smuggled("HTTP/1.0", &targets_seen(&world, &te).await);
}

#[tokio::test]
async fn rfc9112_s6_3_two_different_content_lengths() {
    for lengths in [
        "Content-Length: 0\r\nContent-Length: 41\r\n",
        "Content-Length: 0, 41\r\n",
        "Content-Length: +0\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x0\r\n",
        "Content-Length : 0\r\n",
    ] {
        let (world, token) = world().await;

        let request =
            format!("POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{lengths}\r\n{SMUGGLED}");

        assert_nothing_smuggled(lengths, &targets_seen(&world, &request).await);
    }
}

#[tokio::test]
async fn rfc9112_s6_3_the_same_content_length_twice_is_not_passed_on() {
    for lengths in ["Content-Length: 3\r\nContent-Length: 3\r\n", "Content-Length: 3, 3\r\n"] {
        let (world, token) = world().await;
        let mut connection = world.raw().await;

        connection
            .send(format!("POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{lengths}\r\nabc"))
            .await;

        connection.response().await.unwrap().assert_status_in(&[200, 400]);
        for received in world.upstream.received() {
            assert_eq!(received.header("content-length"), "3");
        }
    }
}

#[tokio::test]
async fn rfc9112_s7_1_a_chunk_size_that_is_not_one() {
    for chunk in [
        "0x0\r\n\r\n",
        "-0\r\n\r\n",
        "0;a=\"\n\r\n\r\n",
        "00000000000000000\r\n\r\n",
        "0\n\n",
        "10000000000000000\r\n\r\n",
    ] {
        let (world, token) = world().await;
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );

        assert_nothing_smuggled(chunk, &targets_seen(&world, &format!("{head}{chunk}{SMUGGLED}")).await);
    }
}

#[tokio::test]
async fn rfc9112_s3_2_two_host_fields_are_400() {
    let (world, token) = world().await;
    let mut connection = world.raw().await;

    connection.send(format!("GET /mcp HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer {token}\r\n\r\n")).await;

    connection.response().await.unwrap().assert_status(400);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9112_s3_2_a_missing_host_is_400() {
    let (world, token) = world().await;
    let mut connection = world.raw().await;

    connection.send(format!("GET /mcp HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n")).await;

    connection.response().await.unwrap().assert_status(400);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9112_s3_2_2_an_absolute_target_decides_over_the_host_field() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["host"] = serde_json::json!("mcp.example.com");
    given.config["routes"].as_array_mut().unwrap().push(serde_json::json!({
        "name": "open", "match": { "host": "open.example.com", "path": "/" }, "upstream": "upstream", "public": true,
    }));
    let world = given.start().await;
    let mut connection = world.raw().await;

    connection.send("GET http://mcp.example.com/mcp HTTP/1.1\r\nHost: open.example.com\r\n\r\n").await;

    connection.response().await.unwrap().assert_status_in(&[400, 401]);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9112_s3_2_1_an_absolute_target_becomes_a_path_for_the_upstream() {
    let (world, token) = world().await;
    let mut connection = world.raw().await;

    let target = format!("http://{}/mcp/below?x=1", world.gateway.address());
    let host = world.gateway.address();
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")).await;

    connection.response().await.unwrap().assert_status(200);
    assert_eq!(world.upstream.only_request().target, "/mcp/below?x=1");
}

#[tokio::test]
async fn a_second_request_behind_an_upgrade_is_not_passed_on() {
    for upgrade in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ] {
        let (world, token) = world().await;

        let request =
            format!("GET /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{upgrade}\r\n{SMUGGLED}");

        assert_nothing_smuggled(upgrade, &targets_seen(&world, &request).await);
    }
}

#[tokio::test]
async fn a_pipelined_request_is_authorized_on_its_own() {
    let (world, token) = world().await;
    let mut connection = world.raw().await;

    let first = format!("GET /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.send(format!("{first}{SMUGGLED}")).await;

    connection.response().await.unwrap().assert_status(200);
    if let Some(second) = connection.response().await {
        second.assert_status(401);
    }
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn rfc9112_s2_2_a_malformed_request_is_refused() {
    let (world, token) = world().await;
    for head in [
        "GET /open HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
        "GET /open HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n",
        "GET /open HTTP/1.1\r\nHost: x\r\na: b\rc: d\r\n\r\n",
        "GET /open HTTP/1.1\r\nHost: x\r\na: b\r\n c: folded\r\n\r\n",
        "GET /open HTTP/1.1\r\nHost: x\r\na: b\0c\r\n\r\n",
        "GET  /open HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /open HTTP/9.9\r\nHost: x\r\n\r\n",
        "G\x01T /open HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT open:80 HTTP/1.1\r\nHost: open:80\r\n\r\n",
        "TRACE /mcp HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut connection = world.raw().await;

        connection.send(head).await;

        if let Some(answer) = connection.response().await {
            assert!(
                answer.status.is_client_error() || answer.status == 501 || answer.status == 505,
                "{head:?}: {answer:#?}"
            );
        }
    }
    assert!(world.upstream.received().is_empty(), "{:#?}", world.upstream.received());
    drop(token);
}

/// Sends one HTTP/2 request by hand; what becomes of it is for the upstream to tell.
async fn send_http_2(world: &World, token: &str, content_length: &str, body: Option<&str>) {
    let connection = tokio::net::TcpStream::connect(world.gateway.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(connection).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::post(world.url("/mcp"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-length", content_length)
        .body(())
        .unwrap();
    let (response, mut stream) = client.ready().await.unwrap().send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        // The gateway may have seen enough and reset the stream.
        let _ = stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true);
    }
    let _ = response.await;
    driver.abort();
}

#[tokio::test]
async fn rfc9113_s8_1_1_a_content_length_that_is_not_the_length_of_the_frames() {
    let more = format!("hello{SMUGGLED}");
    for (content_length, body) in [("0", Some(&*more)), ("5", Some(&*more)), ("4096", Some(&*more)), ("4096", None)] {
        let (world, token) = world().await;

        send_http_2(&world, &token, content_length, body).await;
        // Comes on the same connection to the upstream, so whatever lay there before it has been read by then.
        world.get("/open").answer().await;

        let received = world.upstream.received();
        let targets: Vec<_> = received.iter().map(|request| request.target.as_str()).collect();
        assert!(!targets.iter().any(|target| target.contains("smuggled")), "{content_length}: {targets:?}");
        assert_eq!(targets.iter().filter(|target| **target == "/open").count(), 1, "{content_length}: {targets:?}");
    }
}

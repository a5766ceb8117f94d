//! Upstreams that are played by hand: those that answer before they have the whole request, answers that end otherwise than by
//! their length, and connections that wait for another request.

use std::time::{Duration, Instant};

use e2e::{AnswerExt, Given, World, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY: &str = "0123456789";

/// A gateway in front of an upstream that is played by hand, and a token.
async fn world() -> (World, TcpListener, String) {
    let mut given = Given::new().await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", upstream.local_addr().unwrap());
    given.config["upstreams"]["upstream"]["endpoints"] = json!([endpoint]);
    let world = given.start().await;
    let token = world.valid_token();
    (world, upstream, token)
}

async fn connection(upstream: &TcpListener) -> TcpStream {
    within("a connection to the upstream", upstream.accept()).await.unwrap().0
}

/// Reads until `end` has come.
async fn read_to(connection: &mut TcpStream, end: &str) -> String {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        let count = within("more of the request", connection.read_buf(&mut received)).await.unwrap();
        assert_ne!(count, 0, "{:?}", String::from_utf8_lossy(&received));
    }
    String::from_utf8(received).unwrap()
}

fn head(method: &str, token: &str, length: usize) -> String {
    format!("{method} /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_body_reaches_the_client_at_once() {
    for stays in [true, false] {
        let (world, upstream, token) = world().await;
        let mut client = world.raw().await;

        client.send(head("POST", &token, 2 * BODY.len()) + BODY).await;
        let mut server = connection(&upstream).await;
        read_to(&mut server, BODY).await;
        server.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!").await.unwrap();
        let server = stays.then_some(server);

        let answer = client.response().await.unwrap();
        assert_eq!(answer.assert_status(413).body, "no!");
        assert_eq!(answer.header("connection"), "close", "what is left of the request is of no use");
        drop(server);
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_does_not_end_the_clients() {
    let (world, upstream, token) = world().await;
    let mut client = world.raw().await;

    for _ in 0..2 {
        client.send(head("GET", &token, 0)).await;
        let mut server = connection(&upstream).await;
        read_to(&mut server, "\r\n\r\n").await;
        server.write_all(b"HTTP/1.0 200 OK\r\n\r\nall there is").await.unwrap();
        drop(server);

        let answer = client.response().await.unwrap();
        assert_eq!(answer.assert_status(200).body, "all there is");
        assert_eq!(answer.header("transfer-encoding"), "chunked");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    let (world, upstream, token) = world().await;
    let request = tokio::spawn(world.get("/mcp").bearer_auth(&token).send());

    let mut server = connection(&upstream).await;
    read_to(&mut server, "\r\n\r\n").await;
    server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n").await.unwrap();
    drop(server);

    let answer = request.await.unwrap().unwrap();
    assert!(within("the end", answer.bytes()).await.is_err(), "it was told to be whole");
}

#[tokio::test]
async fn nobody_gets_a_connection_on_which_more_came_than_was_asked_for() {
    let (world, upstream, token) = world().await;
    let mut client = world.raw().await;

    client.send(head("GET", &token, 0)).await;
    let mut server = connection(&upstream).await;
    read_to(&mut server, "\r\n\r\n").await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    server.write_all(format!("{answer}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged").as_bytes()).await.unwrap();
    assert_eq!(client.response().await.unwrap().body, "ok");

    client.send(head("GET", &token, 0)).await;
    let mut another = connection(&upstream).await;
    read_to(&mut another, "\r\n\r\n").await;
    another.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(client.response().await.unwrap().body, "ok");
}

#[tokio::test]
async fn an_idle_connection_is_given_up_before_common_servers_close_theirs() {
    let (world, upstream, token) = world().await;
    let mut waited = Vec::new();
    // Node.js and uvicorn wait for five seconds; what is sent to them at that moment is lost. A busy machine sees the end
    // later than it came, and never earlier, so the shortest of three counts.
    while waited.len() < 3 && waited.iter().all(|time| *time >= Duration::from_secs(5)) {
        let request = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
        let mut connection = connection(&upstream).await;
        read_to(&mut connection, "\r\n\r\n").await;
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        request.await.unwrap().assert_status(200);
        let idle_since = Instant::now();

        assert_eq!(within("the end of the connection", connection.read(&mut [0])).await.unwrap(), 0);

        waited.push(idle_since.elapsed());
    }
    assert!(waited.iter().any(|time| *time < Duration::from_secs(5)), "{waited:?}");
}

#[tokio::test]
async fn what_is_not_changed_reaches_the_upstream_to_the_letter() {
    let (world, upstream, token) = world().await;
    let mut client = world.raw().await;

    let fields = "x-ODD-Name:  a value\r\nAccept: a\r\naccept: b\r\nConnection: X-Ours\r\nX-Ours: gone\r\n";
    client
        .send(format!("PUT /mcp/caf%c3%a9?a=%2F HTTP/1.1\r\n{fields}Host: x\r\nAuthorization: Bearer {token}\r\n\r\n"))
        .await;

    let mut server = connection(&upstream).await;
    let head = read_to(&mut server, "\r\n\r\n").await;
    let lines: Vec<_> = head.lines().collect();
    assert_eq!(lines[0], "PUT /mcp/caf%c3%a9?a=%2F HTTP/1.1");
    assert_eq!(lines[1], format!("host: {}", upstream.local_addr().unwrap()));
    assert_eq!(lines[2..5], ["x-ODD-Name: a value", "Accept: a", "accept: b"]);
    let ours: Vec<_> = lines[5..].iter().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert_eq!(ours, ["authorization", "x-request-id"], "{head}");
}

#[tokio::test]
async fn a_body_that_is_at_hand_goes_out_with_its_head() {
    let (world, upstream, token) = world().await;
    let mut client = world.raw().await;

    client.send(head("POST", &token, BODY.len()) + BODY).await;

    let mut server = connection(&upstream).await;
    let mut received = [0; 4096];
    let count = within("the request", server.read(&mut received)).await.unwrap();
    assert!(received[..count].ends_with(BODY.as_bytes()), "{:?}", String::from_utf8_lossy(&received[..count]));
}

#[tokio::test]
async fn chunks_and_what_follows_them_are_read_to_their_end_and_the_connection_serves_the_next_request() {
    let (world, upstream, token) = world().await;
    let mut client = world.raw().await;
    client.send(head("GET", &token, 0)).await;
    let mut server = connection(&upstream).await;

    for _ in 0..2 {
        read_to(&mut server, "\r\n\r\n").await;
        // In as many pieces as it has bytes.
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Checksum: f\r\n\r\n";
        server.set_nodelay(true).unwrap();
        for byte in answer.as_bytes() {
            server.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.response().await.unwrap().assert_status(200).body, "abcde");
        client.send(head("GET", &token, 0)).await;
    }
}

#[tokio::test]
async fn rfc9112_s6_3_an_answer_whose_length_has_no_one_meaning_is_502() {
    for framing in [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: +3",
        "Content-Length: three",
        "Content-Length: 3\r\nX-A: \0",
    ] {
        let (world, upstream, token) = world().await;
        let request = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
        let mut server = connection(&upstream).await;
        read_to(&mut server, "\r\n\r\n").await;
        server.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nabcd").as_bytes()).await.unwrap();
        request.await.unwrap().assert_status(502);
        assert_eq!(server.read(&mut [0]).await.unwrap_or_default(), 0, "it serves no other: {framing:?}");
    }
}

#[tokio::test]
async fn rfc9112_s6_3_of_a_length_and_chunks_the_chunks_count_and_the_connection_serves_no_other_request() {
    let (world, upstream, token) = world().await;
    let request = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
    let mut server = connection(&upstream).await;
    read_to(&mut server, "\r\n\r\n").await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    server.write_all(answer.as_bytes()).await.unwrap();

    let answer = request.await.unwrap();
    assert_eq!(answer.assert_status(200).body, "abc");
    assert_eq!(within("the end of the connection", server.read(&mut [0])).await.unwrap(), 0);
}

//! How many connections there may be.

use e2e::{AnswerExt, Given, RawConnection, World, within};
use serde_json::{Value, json};

use super::{closed, measured};

async fn world(limits: Value) -> World {
    let mut given = Given::new().await;
    given.config["limits"] = limits;
    given.start().await
}

/// A connection that has been served, and is open.
async fn served(world: &World) -> Option<RawConnection> {
    let mut connection = world.raw().await;
    connection.send("GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n").await;
    connection.response().await?.assert_status(401);
    Some(connection)
}

/// Two connections are there, a third is closed; when one of them ends, there is room again.
async fn at_most_two(limits: Value, limit: &str) {
    let world = world(limits).await;
    let first = served(&world).await.unwrap();
    let _second = served(&world).await.unwrap();
    measured(&world, "phantomgate_connections 2").await;

    closed(&mut world.raw().await).await;

    let line = format!("phantomgate_connections_refused_total{{limit=\"{limit}\"}} 1");
    measured(&world, &line).await;
    drop(first);
    measured(&world, "phantomgate_connections 1").await;
    assert!(served(&world).await.is_some());
}

#[tokio::test]
async fn there_are_so_many_in_all() {
    at_most_two(json!({ "connections": 2 }), "connections").await;
}

#[tokio::test]
async fn there_are_so_many_from_one_address() {
    at_most_two(json!({ "connections_per_address": 2 }), "connections_per_address").await;
}

#[tokio::test]
async fn connections_are_counted_down_however_they_end() {
    let world = world(json!({})).await;
    let token = world.valid_token();
    {
        let events = world.upstream.stream_next_answer();
        let _stream = within("a stream", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();
        let _idle = served(&world).await;
        let mut half = world.raw().await;
        half.send("GET /mcp HTT").await;
        let http_2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
        http_2.get(world.url("/mcp")).answer().await.assert_status(401);
        measured(&world, "phantomgate_connections 4").await;
        drop(events);
    }

    let mut malformed = world.raw().await;
    malformed.send("nonsense\r\n\r\n and more than twenty-four bytes of it").await;
    let _ = malformed.response().await;
    drop(malformed);

    // One is the client's that asks.
    let left = async {
        loop {
            let metrics = world.client().get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
            let count = metrics.lines().find_map(|line| line.strip_prefix("phantomgate_connections "));
            if count.is_some_and(|count| count == "0" || count == "1") {
                return;
            }
        }
    };
    within("the connections to be counted down", left).await;
}

#[tokio::test]
async fn an_http_2_connection_says_how_many_requests_it_takes_at_once() {
    let world = world(json!({ "streams_per_connection": 3 })).await;
    let token = world.valid_token();
    let release = world.upstream.hold();
    let connection = tokio::net::TcpStream::connect(world.gateway.address()).await.unwrap();
    let (mut client, connection) =
        h2::client::Builder::new().initial_max_send_streams(10).handshake::<_, bytes::Bytes>(connection).await.unwrap();
    tokio::spawn(connection);
    let mut send = || {
        let request = http::Request::get(world.url("/mcp")).header("authorization", format!("Bearer {token}"));
        client.send_request(request.body(()).unwrap(), true).unwrap().0
    };
    // Sent before the client has heard of the limit.
    let answers: Vec<_> = (0..5).map(|_| send()).collect();
    world.upstream.receives(3).await;
    release.send_replace(true);

    let mut refused = 0;
    for answer in answers {
        match within("an answer", answer).await {
            Ok(answer) => assert_eq!(answer.status(), 200),
            Err(error) => {
                assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
                refused += 1;
            }
        }
    }

    assert_eq!((refused, world.upstream.received().len()), (2, 3));
}

#[tokio::test]
async fn a_client_that_resets_its_requests_as_fast_as_it_can_is_cut_or_served_and_the_gateway_goes_on() {
    let world = world(json!({})).await;
    let token = world.valid_token();
    let connection = tokio::net::TcpStream::connect(world.gateway.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(connection).await.unwrap();
    let running = tokio::spawn(connection);
    let mut next = Some(client);
    for _ in 0..2000 {
        let Some(client) = next.take() else { break };
        let request = http::Request::get(world.url("/mcp")).header("authorization", format!("Bearer {token}"));
        let Ok(mut client) = within("room for a request", client.ready()).await else { break };
        let Ok((_, mut stream)) = client.send_request(request.body(()).unwrap(), false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        next = Some(client);
    }
    drop(next);
    let _ = within("the end of the connection", running).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
}

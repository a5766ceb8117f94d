//! How long an answer may take.

use std::time::Duration;

use e2e::{AnswerExt, Behaviour, Endpoint, Given, RawConnection, now, until, within};
use serde_json::json;

use super::{states, upstream, world};

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_504_and_not_asked_for_again() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    one.be(Behaviour::Hang);
    two.be(Behaviour::Hang);
    let settings = json!({ "timeouts": { "first_byte": "100ms" }, "ejection": { "failures": 1, "for": "1h" } });
    let world = world(&[&one, &two], settings).await;
    let token = world.valid_token();

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    assert_eq!(answer.assert_status(504).json()["reason"], "upstream_unavailable");
    assert_eq!(one.requests() + two.requests(), 1);
    assert!(states(&world).await.contains(&"ejected".to_owned()), "{}", upstream(&world).await);
    world.gateway.logged(&["audit", "reason=\"upstream_unavailable\"", "cause=\"Timeout\""]).await;
}

#[tokio::test]
async fn a_stream_may_be_silent_for_longer_than_its_first_byte_may_take() {
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"]["timeouts"] = json!({ "first_byte": "3s", "total": "3s" });
    let world = given.start().await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let mut answer = within("a stream", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();

    until(now() + 5).await;
    events.send("late").await;

    let event = within("an event", answer.chunk()).await.unwrap().unwrap();
    assert_eq!(event, "data: late\n\n");
}

#[tokio::test]
async fn a_request_that_is_long_in_coming_is_waited_for() {
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"]["timeouts"] = json!({ "first_byte": "3s" });
    let world = given.start().await;
    let token = world.valid_token();
    let mut connection = RawConnection::open(&world.gateway).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: 5\r\n\r\n",
        world.gateway.address()
    );
    connection.send(head).await;
    let request = world.upstream.receives(1).await;
    for (part, so_far) in [("1", "1"), ("2", "12"), ("3", "123"), ("4", "1234")] {
        connection.send(part).await;
        request.body_contains(so_far).await;
        until(now() + 1).await;
    }

    connection.send("5").await;

    connection.response().await.unwrap().assert_status(200);
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_broken_off() {
    let endpoint = Endpoint::start().await;
    endpoint.be(Behaviour::Begin);
    let world = world(&[&endpoint], json!({ "timeouts": { "total": "3s" } })).await;
    let token = world.valid_token();
    let mut answer = within("an answer", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();
    assert_eq!(within("its beginning", answer.chunk()).await.unwrap().unwrap(), "the beginning");

    assert!(within("its end", answer.chunk()).await.is_err());

    world.gateway.logged(&["audit", "reason=\"upstream_unavailable\"", "cause=\"Timeout\""]).await;
    assert_eq!(states(&world).await, ["healthy"]);
}

#[tokio::test]
async fn an_endpoint_that_takes_no_connection_is_given_up_in_time() {
    // Nothing answers at an address that is for documentation (RFC 5737); where there is no way to it, that is told at once.
    let endpoint = Endpoint::start().await;
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"] = json!({
        "endpoints": ["http://192.0.2.1:80", endpoint.url()],
        "timeouts": { "connect": "250ms" },
    });
    let world = given.start().await;
    let token = world.valid_token();

    for _ in 0..4 {
        let answer =
            tokio::time::timeout(Duration::from_secs(30), world.get("/mcp").bearer_auth(&token).answer()).await;
        assert_eq!(answer.unwrap().assert_status(200).body, endpoint.name());
    }
}

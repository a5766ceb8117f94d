//! A new configuration, a new process, the end: no request is lost on the way.

use std::time::Duration;

use bytes::Bytes;
use e2e::{AnswerExt, Given, ReservedPort, World, Wrk, decode_jwt, now, within};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

type Body = std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// A route that needs no token.
fn public(name: &str) -> Value {
    json!({ "name": name, "match": { "path": format!("/{name}") }, "upstream": "upstream", "public": true })
}

fn add_public_route(config: &mut Value, name: &str) {
    config["routes"].as_array_mut().unwrap().push(public(name));
}

async fn reload(world: &World) -> Value {
    world.reload().await.assert_status(200).json()
}

async fn status(world: &World, token: &str) -> u16 {
    world.get("/mcp").bearer_auth(token).answer().await.status.as_u16()
}

async fn next(body: &mut Body) -> Option<Bytes> {
    within("the next part of a stream", body.next()).await.map(Result::unwrap)
}

// --- a new configuration ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_changed_file_is_put_to_work_by_itself() {
    let mut world = World::new().await;
    world.get("/new").answer().await.assert_status(404);

    world.configure(|config| add_public_route(config, "new"));
    world.metric_becomes("phantomgate_config_generation", &[], 2.0).await;

    world.get("/new").answer().await.assert_status(200);
    world.gateway.logged(&["a new configuration is at work", "generation=2"]).await;
}

#[tokio::test]
async fn sighup_and_the_operator_have_it_read_again() {
    let mut world = World::new().await;
    assert_eq!(reload(&world).await, json!({ "changed": false, "generation": 1 }));

    world.gateway.hang_up();
    world.gateway.logged(&["the configuration has not changed"]).await;
    world.configure(|config| add_public_route(config, "new"));
    world.reload().await.assert_status(200);

    world.get("/new").answer().await.assert_status(200);
    assert_eq!(world.metric("phantomgate_config_generation", &[]).await, 2.0);
}

#[tokio::test]
async fn a_configuration_with_errors_is_refused_with_all_of_them_and_the_old_one_goes_on() {
    let mut world = World::new().await;
    let token = world.valid_token();
    assert_eq!(status(&world, &token).await, 200);

    world.configure(|config| {
        config["routes"][0]["upstream"] = json!("nowhere");
        config["upstreams"]["upstream"]["timeouts"] = json!({ "connect": "2h" });
        add_public_route(config, "new");
    });
    let answer = world.reload().await;

    assert_eq!(answer.assert_status(422).header("content-type"), "application/problem+json");
    let problem = answer.json();
    let keys: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| error["key"].clone()).collect();
    assert_eq!(keys.len(), 2, "{problem}");
    assert!(keys.contains(&json!("routes[0].upstream")), "{problem}");
    assert!(problem["errors"][0]["line"].is_u64() && problem["errors"][0]["reason"].is_string(), "{problem}");
    world.gateway.logged(&["refused, and the old one stays"]).await;
    assert_eq!(status(&world, &token).await, 200);
    world.get("/new").answer().await.assert_status(404);
    assert_eq!(world.metric("phantomgate_config_generation", &[]).await, 1.0);
    world.write_config("routes: [");
    world.reload().await.assert_status(422);
    assert_eq!(status(&world, &token).await, 200);
}

#[tokio::test]
async fn one_that_cannot_be_put_to_work_changes_nothing() {
    let mut world = World::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();

    world.configure(|config| {
        config["listeners"].as_array_mut().unwrap().push(json!({ "address": taken.local_addr().unwrap() }));
        add_public_route(config, "new");
    });

    let problem = world.reload().await.assert_status(422).json();
    assert!(problem["detail"].as_str().unwrap().contains("cannot listen on"), "{problem}");
    world.get("/new").answer().await.assert_status(404);
    drop(taken);
    world.reload().await.assert_status(200);
    world.get("/new").answer().await.assert_status(200);
}

#[tokio::test]
async fn what_is_known_of_tokens_survives_unless_their_authorization_server_changes() {
    let mut world = World::new().await;
    let token = world.valid_token();
    assert_eq!(status(&world, &token).await, 200);

    world.configure(|config| {
        add_public_route(config, "new");
        config["routes"][0]["audiences"] = json!(["https://other.example"]);
    });
    reload(&world).await;
    assert_eq!(status(&world, &token).await, 200);
    assert_eq!(world.authorization_server.introspections(&token), 1);

    world.configure(|config| config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "1m" }));
    reload(&world).await;
    assert_eq!(status(&world, &token).await, 200);
    assert_eq!(world.authorization_server.introspections(&token), 2);
}

#[tokio::test]
async fn a_cached_token_gets_the_credential_of_the_new_configuration() {
    let mut world = World::new().await;
    let token = world.valid_token();
    let audience = |world: &World| -> Value {
        let (_, claims) = decode_jwt(world.upstream.received().last().unwrap().jwt());
        claims["aud"].clone()
    };
    assert_eq!(status(&world, &token).await, 200);
    let before = audience(&world);

    world.configure(|config| config["routes"][0]["credential"]["audience"] = json!("https://other.internal"));
    reload(&world).await;

    assert_eq!(status(&world, &token).await, 200);
    assert_eq!(audience(&world), "https://other.internal");
    assert_ne!(audience(&world), before);
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn a_revocation_outlives_the_configuration_it_was_made_under() {
    let mut given = Given::new().await;
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    let mut world = given.start().await;
    let jwt = world.authorization_server.issue_jwt(&json!({ "sub": "alice", "iat": now() - 60 }));
    assert_eq!(status(&world, &jwt).await, 200);
    world.revoke(json!({ "subject": "alice" })).await;
    assert_eq!(status(&world, &jwt).await, 401);

    world.configure(|config| config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "1m" }));
    reload(&world).await;

    assert_eq!(status(&world, &jwt).await, 401);
}

#[tokio::test]
async fn an_open_stream_outlives_the_configuration_it_began_under_and_is_still_cut() {
    let mut given = Given::new().await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    let mut world = given.start().await;
    let token = world.authorization_server.issue(json!({ "sub": "alice" }));
    let events = world.upstream.stream_next_answer();
    let stream = within("the stream", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();
    let mut stream: Body = Box::pin(stream.bytes_stream());

    world.configure(|config| {
        config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "1m" });
        config["upstreams"]["upstream"]["timeouts"] = json!({ "connect": "2s" });
    });
    reload(&world).await;

    events.send("still here").await;
    assert_eq!(next(&mut stream).await.unwrap(), "data: still here\n\n");
    world.revoke(json!({ "subject": "alice" })).await;
    assert_eq!(next(&mut stream).await, None);
    events.cancelled().await;
}

#[tokio::test]
async fn a_session_stays_whose_it_is() {
    let mut given = Given::new().await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    let mut world = given.start().await;
    let token = |subject: &str| world.authorization_server.issue(json!({ "sub": subject }));
    let (alice, bob) = (token("alice"), token("bob"));
    let ping = |token: &str| world.call(token, "ping", &json!({})).header("mcp-session-id", "s1");
    ping(&alice).answer().await.assert_status(200);

    world.configure(|config| {
        config["upstreams"]["upstream"]["timeouts"] = json!({ "connect": "2s" });
        config["routes"][0]["mcp"]["max_body"] = json!("1MiB");
    });
    reload(&world).await;

    let ping = |token: &str| world.call(token, "ping", &json!({})).header("mcp-session-id", "s1");
    ping(&bob).answer().await.assert_status(404);
    ping(&alice).answer().await.assert_status(200);
}

#[tokio::test]
async fn listeners_come_and_go_and_requests_under_way_are_finished() {
    let mut world = World::new().await;
    let token = world.valid_token();
    let other = ReservedPort::new();
    let url = format!("http://{}/mcp", other.address());
    let first = world.url("/mcp");

    world.configure(|config| {
        config["listeners"].as_array_mut().unwrap().push(json!({ "address": other.address() }));
    });
    reload(&world).await;
    world.client().get(&url).bearer_auth(&token).answer().await.assert_status(200);

    let release = world.upstream.hold();
    let under_way = tokio::spawn(world.client().get(&first).bearer_auth(&token).answer());
    world.upstream.receives(2).await;
    world.configure(|config| {
        config["listeners"].as_array_mut().unwrap().remove(0);
    });
    reload(&world).await;
    world.gateway.refuses_connections().await;
    release.send(true).unwrap();
    under_way.await.unwrap().assert_status(200);
    world.client().get(&url).bearer_auth(&token).answer().await.assert_status(200);
}

#[tokio::test]
async fn the_admin_listener_takes_another_token_and_another_address() {
    let mut world = World::new().await;
    let secret = world.directory().join("admin-token");
    std::fs::write(&secret, "s3cret-of-the-operator").unwrap();

    world.configure(|config| config["admin"]["token"] = json!({ "file": secret }));
    world.reload().await.assert_status(200);
    // The listener without it closes the connection that it was asked over before.
    let asks_for_it = async || world.admin("/v1/status").send().await.is_ok_and(|answer| answer.status() == 401);
    within("the token to be asked for", async { while !asks_for_it().await {} }).await;
    let other = ReservedPort::new();
    world.configure(|config| config["admin"] = json!({ "address": other.address() }));
    world.gateway.hang_up();
    world.gateway.logged(&["admin listening", &other.address().to_string()]).await;

    let status = world.client().get(format!("http://{}/v1/status", other.address())).answer().await;
    assert_eq!(status.assert_status(200).json()["generation"], 3);
}

#[tokio::test]
async fn under_load_no_request_fails_when_the_configuration_changes() {
    let mut world = World::new().await;
    let token = world.valid_token();
    let load = Wrk::start(&world.url("/mcp"), &token, Duration::from_secs(5));
    world.upstream.receives(100).await;

    for number in 2..12 {
        world.configure(|config| {
            config["routes"][0]["credential"]["audience"] = json!(format!("https://upstream-{number}.internal"));
            config["upstreams"]["upstream"]["timeouts"] = json!({ "connect": format!("{number}s") });
        });
        assert_eq!(reload(&world).await["generation"], number);
    }

    let report = load.report().await;
    assert!(report.requests > 100 && report.failures.is_empty(), "{report:?}");
}

// --- a new process ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn under_load_no_request_fails_when_another_process_takes_over() {
    let mut world = World::new().await;
    let token = world.valid_token();
    let load = Wrk::start(&world.url("/mcp"), &token, Duration::from_secs(8));
    world.upstream.receives(100).await;

    world.gateway.ask_to_hand_over();
    let (_successor, status) = world.gateway.hands_over().await;
    assert!(status.success());
    let so_far = world.upstream.received().len();
    world.upstream.receives(so_far + 100).await;

    let report = load.report().await;
    assert!(report.requests > 200 && report.failures.is_empty(), "{report:?}");
    world.admin("/readyz").answer().await.assert_status(200);
}

#[tokio::test]
async fn the_new_process_is_no_child_of_the_old_one() {
    let mut world = World::new().await;
    let token = world.valid_token();
    let release = world.upstream.hold();
    let held = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
    world.upstream.receives(1).await;

    world.gateway.ask_to_hand_over();
    let successor = world.gateway.successor().await;

    assert_ne!(successor.parent(), "phantomgate");
    release.send_replace(true);
    held.await.unwrap().assert_status(200);
    assert!(world.gateway.hands_over().await.1.success());
}

#[tokio::test]
async fn a_process_that_does_not_come_to_serve_takes_nothing_over() {
    let mut world = World::new().await;
    let token = world.valid_token();

    world.write_config("routes: [");
    world.gateway.ask_to_hand_over();
    world.gateway.logged(&["not handed over; this process goes on"]).await;

    assert_eq!(status(&world, &token).await, 200);
    world.configure(|_| {});
    world.gateway.ask_to_hand_over();
    let (_successor, ended) = world.gateway.hands_over().await;
    assert!(ended.success());
    assert_eq!(status(&world, &token).await, 200);
}

#[tokio::test]
async fn who_is_asked_again_while_handing_over_starts_no_second_process() {
    let mut world = World::new().await;

    world.gateway.ask_to_hand_over();
    world.gateway.logged(&["starting another process"]).await;
    world.gateway.ask_to_hand_over();
    let (_successor, ended) = world.gateway.hands_over().await;

    assert!(ended.success());
    assert_eq!(world.gateway.log().matches("starting another process").count(), 1);
    world.admin("/readyz").answer().await.assert_status(200);
}

// --- the end ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn rfc9112_s9_6_a_connection_that_waits_is_closed_with_its_last_answer() {
    let mut world = World::new().await;
    let token = world.valid_token();
    let request = format!("GET /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut connection = world.raw().await;
        connection.send(&request).await;
        connection.response().await.unwrap().assert_status(200);
        waiting.push(connection);
    }

    world.gateway.terminate();
    world.gateway.refuses_connections().await;

    for mut connection in waiting {
        connection.send(&request).await;
        let answer = connection.response().await.unwrap();
        assert_eq!(answer.assert_status(200).header("connection"), "close");
    }
    assert!(world.gateway.exit().await.success());
}

#[tokio::test]
async fn a_stream_nobody_waits_for_ends_at_once_and_whole() {
    let mut given = Given::new().await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    given.config["drain_timeout"] = json!("1h");
    let mut world = given.start().await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let stream = within("the stream", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();
    let mut stream: Body = Box::pin(stream.bytes_stream());
    events.send("one").await;
    assert_eq!(next(&mut stream).await.unwrap(), "data: one\n\n");

    world.gateway.terminate();

    assert_eq!(next(&mut stream).await, None);
    assert!(world.gateway.exit().await.success());
}

#[tokio::test]
async fn a_stream_that_answers_a_request_is_told_at_the_last_moment() {
    let mut given = Given::new().await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    given.config["drain_timeout"] = json!("3s");
    let mut world = given.start().await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let call = world.call(&token, "tools/call", &json!({ "name": "slow" }));
    let stream = within("the stream", call.send()).await.unwrap();
    let mut stream: Body = Box::pin(stream.bytes_stream());

    world.gateway.terminate();
    world.gateway.refuses_connections().await;
    events.send("on its way").await;
    assert_eq!(next(&mut stream).await.unwrap(), "data: on its way\n\n");

    let last = next(&mut stream).await.unwrap();
    let data = std::str::from_utf8(&last).unwrap().strip_prefix("event: message\ndata: ").unwrap();
    let error: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(1), &json!(-32000)), "{error}");
    assert_eq!(next(&mut stream).await, None);
    assert!(world.gateway.exit().await.success());
}

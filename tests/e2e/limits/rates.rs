//! How many requests may come in which time.

use e2e::{AnswerExt, World};
use serde_json::{Value, json};

use super::{given, measured, wait_as_told};

/// One request each second, counted together by `per`.
async fn one_each_second(per: &str) -> World {
    given(json!({ "rate": [{ "per": per, "requests": 1, "period": "1s" }] })).await.start().await
}

/// Sends one request after the other until one is refused; on a slow machine that may take a few.
async fn refused(world: &World, token: &str) -> e2e::Response {
    for _ in 0..1000 {
        let answer = world.get("/mcp").bearer_auth(token).answer().await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("no request was refused");
}

#[tokio::test]
async fn who_waits_as_long_as_he_is_told_may_pass() {
    let world = one_each_second("client").await;
    let token = world.valid_token();

    let answer = refused(&world, &token).await;

    answer.assert_status(429);
    assert_eq!(answer.json()["reason"], "rate_limited");
    assert_eq!(answer.header("retry-after"), "1");
    world.gateway.logged(&["rate_limited", "per client"]).await;
    wait_as_told(&answer).await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
}

#[tokio::test]
async fn a_burst_passes_at_once() {
    let rate = json!({ "per": "client", "requests": 1, "period": "1h", "burst": 3 });
    let world = given(json!({ "rate": [rate] })).await.start().await;
    let token = world.valid_token();

    for _ in 0..3 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }
    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    let seconds: u64 = answer.assert_status(429).header("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&seconds), "{seconds}");
}

/// One request in an hour, counted together by `per`, and three tokens: two that are counted together, and one that is not.
async fn counts_together(per: &str, same: [Value; 2], other: Value) {
    let world = given(json!({ "rate": [{ "per": per, "requests": 1, "period": "1h" }] })).await.start().await;
    let [first, second, other] =
        [&same[0], &same[1], &other].map(|token| world.authorization_server.issue(token.clone()));

    world.get("/mcp").bearer_auth(first).answer().await.assert_status(200);
    world.get("/mcp").bearer_auth(second).answer().await.assert_status(429);
    world.get("/mcp").bearer_auth(other).answer().await.assert_status(200);
    let line = format!("phantomgate_limited_total{{route=\"mcp\",limit=\"rate_{per}\"}} 1");
    measured(&world, &line).await;
}

#[tokio::test]
async fn the_tokens_of_a_client_are_counted_together() {
    let token = |client: &str, subject: &str| json!({ "client_id": client, "sub": subject });
    counts_together("client", [token("one", "alice"), token("one", "bob")], token("two", "alice")).await;
}

#[tokio::test]
async fn the_tokens_of_a_subject_are_counted_together() {
    let token = |client: &str, subject: &str| json!({ "client_id": client, "sub": subject });
    counts_together("subject", [token("one", "alice"), token("two", "alice")], token("one", "bob")).await;
}

#[tokio::test]
async fn what_an_address_sends_is_counted_before_the_authorization_server_is_asked() {
    let rate = json!({ "per": "address", "requests": 3, "period": "1h" });
    let world = given(json!({ "rate": [rate] })).await.start().await;

    let mut statuses = Vec::new();
    for _ in 0..10 {
        let token = world.authorization_server.unknown_token();
        statuses.push(world.get("/mcp").bearer_auth(token).answer().await.status.as_u16());
    }

    assert_eq!(statuses, [&[401; 3][..], &[429; 7]].concat());
    assert_eq!(world.authorization_server.requests().len(), 3);
}

#[tokio::test]
async fn what_a_route_gets_is_counted_together_and_apart_from_other_routes() {
    let mut given = given(json!({ "rate": [{ "per": "route", "requests": 1, "period": "1h" }] })).await;
    given.add_route("other", "/other");
    let world = given.start().await;

    world.get("/mcp").answer().await.assert_status(401);
    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(429);
    world.get("/other").answer().await.assert_status(401);
}

/// An MCP endpoint with three messages in an hour for each client.
async fn mcp_endpoint() -> World {
    let mut given = given(json!({ "rate": [{ "per": "client", "requests": 3, "period": "1h" }] })).await;
    given.config["routes"][0]["mcp"] = json!({ "default": "allow" });
    given.start().await
}

#[tokio::test]
async fn a_json_rpc_request_is_told_by_its_id() {
    let world = mcp_endpoint().await;
    let token = world.valid_token();

    for _ in 0..3 {
        world.call(&token, "ping", &json!({})).answer().await.assert_status(200);
    }
    let answer = world.call(&token, "ping", &json!({})).answer().await;

    let error = answer.assert_status(429).json();
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(1), &json!(-32018)), "{error}");
    assert_eq!(error["error"]["data"]["reason"], "rate_limited");
}

#[tokio::test]
async fn each_member_of_a_batch_counts() {
    let world = mcp_endpoint().await;
    let token = world.valid_token();
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    let batch = |count: usize| world.send(&token, format!("[{}]", vec![message; count].join(",")));

    batch(2).answer().await.assert_status(200);
    batch(2).answer().await.assert_status(429);
    assert_eq!(world.upstream.received().len(), 1);
}

// --- a new configuration ----------------------------------------------------------------------------------------------

/// How many requests pass until one is refused.
async fn passing(world: &World, token: &str) -> usize {
    for count in 0..100 {
        let answer = world.get("/mcp").bearer_auth(token).answer().await;
        if answer.status != 200 {
            answer.assert_status(429);
            return count;
        }
    }
    panic!("no request was refused");
}

#[tokio::test]
async fn who_has_used_up_a_rate_stays_refused_when_something_else_of_the_route_changes() {
    let an_hour = |per: &str, requests: u32| json!({ "per": per, "requests": requests, "period": "1h" });
    for per in ["client", "subject", "address", "route"] {
        let mut world = given(json!({ "rate": [an_hour(per, 2)] })).await.start().await;
        let token = world.valid_token();
        assert_eq!(passing(&world, &token).await, 2, "{per}");

        // The route, what it stands on, and another limit before this one.
        world.configure(|config| {
            config["routes"][0]["credential"]["audience"] = json!("https://other.internal");
            config["routes"][0]["limits"]["header"] = json!("16KiB");
            config["routes"][0]["limits"]["rate"] = json!([an_hour("route", 1000), an_hour(per, 2)]);
            config["upstreams"]["upstream"]["timeouts"] = json!({ "connect": "2s" });
            config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "1m" });
        });
        world.reload().await.assert_status(200);

        let answer = world.get("/mcp").bearer_auth(&token).answer().await;
        let seconds: u64 = answer.assert_status(429).header("retry-after").parse().unwrap();
        assert!((1700..=1800).contains(&seconds), "{per}: {seconds}");
    }
}

#[tokio::test]
async fn a_rate_that_changes_begins_anew_and_others_go_on() {
    let an_hour = |per: &str, requests: u32| json!({ "per": per, "requests": requests, "period": "1h" });
    let mut world = given(json!({ "rate": [an_hour("client", 2), an_hour("route", 6)] })).await.start().await;
    let token = world.valid_token();
    assert_eq!(passing(&world, &token).await, 2);

    world.configure(|config| config["routes"][0]["limits"]["rate"][0] = an_hour("client", 20));
    world.reload().await.assert_status(200);

    // Of the six of the route three have been used: two that passed, and one that only the client had too many of.
    assert_eq!(passing(&world, &token).await, 3);
    world.gateway.logged(&["rate_limited", "per route"]).await;
    world.configure(|config| config["routes"][0]["limits"]["rate"] = json!([an_hour("client", 1)]));
    world.reload().await.assert_status(200);
    assert_eq!(passing(&world, &token).await, 1);
}

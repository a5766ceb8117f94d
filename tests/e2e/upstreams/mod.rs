//! Upstreams of several endpoints: who gets a request, and what happens when one of them fails.

mod drain;
mod failure;
mod limits;
mod names;
mod selection;
mod timeouts;

use e2e::{AnswerExt, Endpoint, Given, World, within};
use serde_json::{Value, json};

/// The gateway in front of these endpoints; `settings` are those of their upstream.
async fn world(endpoints: &[&Endpoint], settings: Value) -> World {
    given(endpoints, settings).await.start().await
}

async fn given(endpoints: &[&Endpoint], settings: Value) -> Given {
    let mut given = Given::new().await;
    given.log_level = "debug";
    let upstream = &mut given.config["upstreams"]["upstream"];
    *upstream = settings;
    upstream["endpoints"] = endpoints.iter().map(|endpoint| endpoint.url()).collect();
    given
}

/// The state of the upstream, as its operator sees it.
async fn upstream(world: &World) -> Value {
    let answer = world.admin("/v1/upstreams").answer().await;
    answer.assert_status(200).json()["upstreams"][0].clone()
}

/// The states of its endpoints.
async fn states(world: &World) -> Vec<String> {
    let upstream = upstream(world).await;
    let endpoints = upstream["endpoints"].as_array().unwrap();
    endpoints.iter().map(|endpoint| endpoint["state"].as_str().unwrap().to_owned()).collect()
}

/// Waits until they are these.
async fn states_become(world: &World, expected: &[&str]) {
    within(&format!("{expected:?}"), async { while states(world).await != expected {} }).await;
}

/// Which endpoint answers a request.
async fn answered_by(world: &World, token: &str) -> String {
    world.get("/mcp").bearer_auth(token).answer().await.assert_status(200).body.clone()
}

/// Which endpoints answer so many requests, one after the other.
async fn answered_in_turn(world: &World, token: &str, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(answered_by(world, token).await);
    }
    names
}

#[tokio::test]
async fn the_operator_sees_where_requests_go_and_how_that_is() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    let world = world(&[&one, &two], json!({ "selection": "least_connections" })).await;
    answered_by(&world, &world.valid_token()).await;
    // A request may have its place for a moment after its answer.
    within("the request to end", async { while upstream(&world).await["requests"] != 0 {} }).await;

    let upstream = upstream(&world).await;

    assert_eq!(upstream["name"], "upstream");
    assert_eq!(upstream["selection"], "least_connections");
    assert_eq!((&upstream["requests"], &upstream["panic"]), (&json!(0), &json!(false)), "{upstream}");
    let first = &upstream["endpoints"][0];
    assert_eq!((&first["url"], &first["weight"], &first["state"]), (&json!(one.url()), &json!(1), &json!("healthy")));
    assert_eq!(first["addresses"][0]["address"], one.name());
    let requests = |number: usize| upstream["endpoints"][number]["counts"]["requests"].as_u64().unwrap();
    assert_eq!(requests(0) + requests(1), 1, "{upstream}");
    assert_eq!(world.metric("phantomgate_upstream_requests_total", &[("upstream", "upstream")]).await, 1.0);
    let healthy = [("upstream", "upstream"), ("state", "healthy")];
    assert_eq!(world.metric("phantomgate_upstream_endpoint_state", &healthy).await, 2.0);
}

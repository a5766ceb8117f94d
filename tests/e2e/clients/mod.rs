//! Real clients and real servers: each client does the whole OAuth flow headless, through the gateway, against a
//! certified authorization server, and then uses the server's tools.

mod matrix;
mod rmcp_client;
mod rmcp_server;

use e2e::{
    AnswerExt, Fixture, Given, World, now, oidc_provider, python_client, python_server, server_everything_of_2024,
    typescript_client, until,
};
use rmcp::ClientLifecycleMode;
use serde_json::{Value, json};

use rmcp_client::rmcp_client;

/// The gateway between oidc-provider, whose tokens live so many seconds, and the server at a URL. `change` is told the
/// route.
async fn in_front_of(
    server: &str,
    seconds: u64,
    authentication: &str,
    change: impl FnOnce(&mut Value),
) -> (World, Fixture) {
    let mut given = Given::new().await;
    change(&mut given.config["routes"][0]);
    let resource = given.config["routes"][0]["resource"].as_str().unwrap();
    let provider = oidc_provider(json!({ resource: { "scopes": ["mcp:read", "mcp:write"], "ttl": seconds } })).await;
    given.use_provider(&provider, authentication);
    let (endpoint, _) = server.rsplit_once('/').unwrap();
    given.config["upstreams"]["upstream"]["endpoints"] = json!([endpoint]);
    (given.start().await, provider)
}

/// The one step of most tests here.
fn call(tool: &str, arguments: Value) -> [Value; 1] {
    [json!({ "do": "call", "tool": tool, "arguments": arguments })]
}

fn echo() -> [Value; 1] {
    call("echo", json!({ "message": "hello" }))
}

/// Called the tool, and nothing it held is in the gateway's log.
fn assert_echoed(world: &World, facts: &Value) {
    for credential in facts["credentials"].as_array().unwrap() {
        world.credentials.agent(credential.as_str().unwrap());
    }
    assert_eq!(facts["steps"][0]["text"], "Echo: hello", "{facts}");
}

#[tokio::test]
async fn a_token_of_a_real_authorization_server_is_refused_once_it_has_expired() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(server.text("/url"), 8, "client_secret_basic", |_| {}).await;
    let facts = typescript_client("sdk", json!({}), &world.url("/mcp"), &echo()).await;
    assert_echoed(&world, &facts);

    until(now() + 9).await;
    let token = facts["credentials"][0].as_str().unwrap();
    let answer = world.get("/mcp").bearer_auth(token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn a_real_server_sees_the_claims_of_the_agent_and_never_its_token() {
    let server = python_server().await;
    let (world, provider) = in_front_of(server.text("/url"), 600, "client_secret_basic", |_| {}).await;

    let facts = python_client("mcp", &world.url("/mcp"), &call("whoami", json!({}))).await;

    let claims: Value = serde_json::from_str(facts["steps"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(claims["sub"], provider.ready["account"]);
    assert_eq!(claims["iss"], world.url(""));
    assert_eq!(claims["aud"], "https://upstream.internal/mcp");
    assert_eq!(claims["scope"], "mcp:read");
}

#[tokio::test]
async fn a_refresh_token_of_a_real_server_is_no_access_token() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(server.text("/url"), 600, "client_secret_post", |_| {}).await;
    let facts = rmcp_client(&world.url("/mcp"), ClientLifecycleMode::Initialize, &echo()).await;
    assert_echoed(&world, &facts);

    let refresh_token = facts["credentials"][1].as_str().unwrap();
    let answer = world.get("/mcp").bearer_auth(refresh_token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
}

/// Its stream names the URL that messages are posted to, which is another one: the route covers both.
async fn the_transport_of_2024_passes(mcp: Option<Value>) {
    let server = server_everything_of_2024().await;
    let (world, _provider) = in_front_of(server.text("/url"), 600, "client_secret_basic", |route| {
        route["match"]["path"] = json!("/");
        route["resource"] = json!(route["resource"].as_str().unwrap().trim_end_matches("mcp"));
        if let Some(mcp) = mcp {
            route["mcp"] = mcp;
        }
    })
    .await;

    let list = json!({ "do": "list" });
    let steps = [list, echo()[0].clone(), call("get-sum", json!({ "a": 2, "b": 3 }))[0].clone()];
    let facts = typescript_client("sse", json!({}), &world.url("/sse"), &steps).await;

    assert!(facts["steps"][0]["tools"].as_array().unwrap().contains(&json!("echo")), "{facts}");
    assert_eq!(facts["steps"][1]["text"], "Echo: hello", "{facts}");
    assert_eq!(facts["steps"][2]["text"], "The sum of 2 and 3 is 5.", "{facts}");
}

#[tokio::test]
async fn the_transport_of_2024_passes_where_one_route_covers_both_of_its_endpoints() {
    the_transport_of_2024_passes(None).await;
}

#[tokio::test]
async fn the_transport_of_2024_passes_where_every_message_of_it_is_read() {
    let revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
    the_transport_of_2024_passes(Some(json!({ "default": "allow", "revisions": revisions }))).await;
}

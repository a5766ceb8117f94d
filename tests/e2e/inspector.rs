//! MCP Inspector's web interface in a real browser: a person connects, signs in at a certified authorization server, sees
//! the tools and calls one, all through the gateway.

use e2e::{Fixture, Given, ReservedPort, World, inspector, server_everything, start_oidc_provider};
use serde_json::{Value, json};

/// The gateway between oidc-provider, which shows a page to sign in, and server-everything; and the port on which the
/// interface will be. Pages of that origin are known.
async fn world() -> (World, ReservedPort, [Fixture; 2]) {
    let port = ReservedPort::new();
    let (world, servers) = with_origins(json!([format!("http://{}", port.address())])).await;
    (world, port, servers)
}

/// The same, with these origins known.
async fn with_origins(origins: Value) -> (World, [Fixture; 2]) {
    let mut given = Given::new().await;
    let resources = json!({ given.url("/mcp"): { "scopes": ["mcp:read"], "ttl": 600 } });
    let provider = start_oidc_provider(&json!({ "resources": resources, "asksForSignIn": true })).await;
    let server = server_everything().await;
    given.use_provider(&provider, "client_secret_basic");
    given.use_server(&server);
    given.config["routes"][0]["mcp"] = json!({ "origins": origins, "default": "allow" });
    (given.start().await, [provider, server])
}

/// What a driver printed: it saw the tool, called it, and nothing it held is in the gateway's log.
fn assert_echoed(world: &World, printed: &Value) {
    let credentials = printed["credentials"].as_array().unwrap();
    assert!(!credentials.is_empty(), "{printed}");
    for credential in credentials {
        world.credentials.agent(credential.as_str().unwrap());
    }
    assert!(printed["tools"].as_array().unwrap().contains(&json!("Echo Tool")), "{printed}");
    assert_eq!(printed["result"], "Echo: hello", "{printed}");
}

#[tokio::test]
async fn version_2_signs_a_person_in_and_calls_a_tool() {
    let (world, port, _servers) = world().await;

    let printed = inspector("proxy", port.address(), &world.url("/mcp"), "hello").await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn a_page_of_another_origin_signs_a_person_in_and_calls_a_tool() {
    let (world, port, _servers) = world().await;

    let printed = inspector("direct", port.address(), &world.url("/mcp"), "hello").await;

    assert_echoed(&world, &printed);
    world.gateway.logged(&["audit", "own_endpoint", "OPTIONS", "path=\"/mcp\"", "status=204"]).await;
}

#[tokio::test]
async fn a_page_of_an_unknown_origin_is_kept_out_by_its_browser() {
    let port = ReservedPort::new();
    let (world, _servers) = with_origins(json!(["https://inspector.example.com"])).await;

    let printed = inspector("refused", port.address(), &world.url("/mcp"), "hello").await;

    let refused = printed["refused"].as_str().unwrap();
    assert!(refused.contains("preflight") && refused.contains("Access-Control-Allow-Origin"), "{printed}");
    assert_eq!(printed["credentials"], json!([]), "{printed}");
    world.gateway.logged(&["audit", "foreign_origin", "OPTIONS", "status=403"]).await;
}

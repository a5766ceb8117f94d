//! Which route a request takes, and that no spelling of a path gets around a protected one.

use e2e::{AnswerExt, Given, ReservedPort, World};
use serde_json::json;

#[tokio::test]
async fn a_path_of_no_route_is_404() {
    let world = World::new().await;

    for path in ["/", "/elsewhere", "/mcpx", "/MCP"] {
        world.get(path).answer().await.assert_status(404);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn the_paths_below_a_route_take_it_too() {
    let world = World::new().await;
    let token = world.valid_token();

    world.get("/mcp/below?query=1&x=%2F").bearer_auth(&token).answer().await.assert_status(200);

    assert_eq!(world.upstream.only_request().target, "/mcp/below?query=1&x=%2F");
}

#[tokio::test]
async fn the_longest_path_wins() {
    let mut given = Given::new().await;
    given.add_public_route("everything", "/");
    given.add_route("deep", "/mcp/deep")["scopes"] = json!(["deep"]);
    let world = given.start().await;

    world.get("/elsewhere").answer().await.assert_status(200);
    let deep = world.get("/mcp/deep/er").answer().await;

    assert_eq!(deep.assert_status(401).challenge().get("scope"), Some("deep"));
}

#[tokio::test]
async fn a_route_with_a_host_answers_for_that_host_alone() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["host"] = json!("mcp.example.com");
    let world = given.start().await;
    let token = world.valid_token();
    let request = |host: &'static str| world.get("/mcp").bearer_auth(&token).header("host", host).answer();

    request("mcp.example.com").await.assert_status(200);
    request("MCP.example.com:8443").await.assert_status(200);
    request("other.example.com").await.assert_status(404);
    request("mcp.example.com.evil.example").await.assert_status(404);
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn the_upstream_gets_its_own_host() {
    let world = World::new().await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).header("host", "public.example").answer().await.assert_status(200);

    assert_eq!(world.upstream.only_request().header("host"), world.upstream.address().to_string());
}

#[tokio::test]
async fn no_spelling_of_a_protected_path_gets_through_a_public_route() {
    let mut given = Given::new().await;
    given.add_public_route("everything", "/");
    let world = given.start().await;
    let mut got_through = Vec::new();
    for path in [
        "//mcp",
        "///mcp",
        "/%6dcp",
        "/%6Dcp",
        "/m%63p",
        "/./mcp",
        "/x/../mcp",
        "/../mcp",
        "/x/%2e%2e/mcp",
        "/x/.%2e/mcp",
        "/%2e/mcp",
        "/x/..%2fmcp",
        "/x%2f..%2fmcp",
        "/%2fmcp",
        "/x/..;/mcp",
        "/;/mcp",
        "/;x=1/mcp",
        "/mcp;x",
        "/mcp;x=1",
        "/mcp%3bx",
        "/mcp%23",
        "/x%23/../mcp",
        "/mcp%3f",
        "/\\mcp",
        "/x\\..\\mcp",
        "/%5cmcp",
        "/mcp%00",
        "/mcp%09",
        "/mcp%0d%0a",
        "/x/%252e%252e/mcp",
        "/%256dcp",
        "/mcp/",
        "/mcp/.",
        "/mcp//",
        "/mcp?",
        "/mcp#",
        "/mcp/../mcp",
        "/mcp%2f",
        "/mcp/%2e%2e",
        "/m%u0063p",
        "/mcp%",
        "/mcp%zz",
        "http:/mcp",
        "mcp",
        "?mcp",
        "x:mcp",
        "x://x/mcp",
        "*",
    ] {
        let mut connection = world.raw().await;

        connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;

        if let Some(answer) = connection.response().await
            && ![400, 401, 404].contains(&answer.status.as_u16())
        {
            let reached = world.upstream.received().last().map(|received| received.target.clone());
            got_through.push((path, answer.status, reached));
        }
    }
    assert!(got_through.is_empty(), "{got_through:#?}");
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn fields_that_name_another_target_have_no_effect() {
    let mut given = Given::new().await;
    given.add_public_route("open", "/open");
    let world = given.start().await;
    for name in ["x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-prefix", "x-http-method-override"] {
        let protected = world.get("/mcp").header(name, "/open").header("user-agent", "kube-probe/1.30").answer().await;
        let open = world.get("/open").header(name, "/mcp").answer().await;

        protected.assert_status(401);
        assert_eq!(open.assert_status(200).json()["target"], "/open");
    }
}

#[tokio::test]
async fn an_upstream_cannot_set_what_the_gateway_publishes() {
    let mut given = Given::new().await;
    given.add_public_route("everything", "/");
    let world = given.start().await;

    let keys = world.get("/.well-known/jwks.json").answer().await;

    assert!(keys.assert_status(200).json()["keys"].is_array());
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn every_listener_serves_all_routes() {
    let mut given = Given::new().await;
    let second = ReservedPort::new();
    given.config["listeners"].as_array_mut().unwrap().push(json!({ "address": second.address() }));
    let world = given.start().await;
    let token = world.valid_token();

    for address in [world.gateway.address(), second.address()] {
        let request = world.client().get(format!("http://{address}/mcp")).bearer_auth(&token);
        request.answer().await.assert_status(200);
    }
}

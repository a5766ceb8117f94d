//! Who may pass with an active token: audience and scopes, on a hit of the cache as on a miss.

use e2e::{AnswerExt, Given, World, now};
use serde_json::json;

#[tokio::test]
async fn rfc8707_s2_a_token_for_another_resource_is_401_invalid_token() {
    let world = World::new().await;
    for audience in
        [json!("https://elsewhere.example/mcp"), json!(["https://elsewhere.example/mcp"]), json!([]), json!("")]
    {
        let token = world.authorization_server.issue(json!({ "aud": audience }));

        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        answer.assert_status(401).assert_challenge_error("invalid_token");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_token_for_no_resource_is_401_invalid_token() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "aud": null }));

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn an_audience_is_compared_as_a_whole() {
    let world = World::new().await;
    for audience in [world.url("/mc"), world.url("/mcp/"), world.url("/mcp2"), world.url("")] {
        let token = world.authorization_server.issue(json!({ "aud": audience }));

        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        answer.assert_status(401);
    }
}

#[tokio::test]
async fn rfc7519_s4_1_3_one_audience_of_several_is_enough() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "aud": ["https://elsewhere.example", world.url("/mcp")] }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
}

#[tokio::test]
async fn a_token_passes_with_the_scopes_of_the_route_among_its_own() {
    let mut given = Given::new().await;
    given.config["routes"][0]["scopes"] = json!(["mcp:read", "mcp:write"]);
    let world = given.start().await;
    for (scope, status) in [
        ("mcp:read mcp:write", 200),
        ("mcp:write other mcp:read", 200),
        ("mcp:read", 403),
        ("mcp:readmcp:write", 403),
        ("mcp:read,mcp:write", 403),
        ("MCP:READ MCP:WRITE", 403),
        ("", 403),
    ] {
        let token = world.authorization_server.issue(json!({ "scope": scope }));

        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        answer.assert_status(status);
    }
}

#[tokio::test]
async fn a_token_known_from_one_route_still_needs_the_scopes_of_another() {
    let mut given = Given::new().await;
    given.add_route("admin", "/admin")["scopes"] = json!(["admin"]);
    let resources = json!([given.url("/mcp"), given.url("/admin")]);
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "aud": resources, "scope": "mcp:read" }));
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let answer = world.get("/admin").bearer_auth(&token).answer().await;

    answer.assert_status(403).assert_challenge_error("insufficient_scope");
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn a_token_known_from_one_route_still_needs_the_audience_of_another() {
    let mut given = Given::new().await;
    given.add_route("admin", "/admin");
    let world = given.start().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let answer = world.get("/admin").bearer_auth(&token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn a_public_route_passes_without_a_credential_and_passes_none_on() {
    let mut given = Given::new().await;
    given.add_public_route("open", "/open");
    let world = given.start().await;
    let token = world.valid_token();

    world.get("/open").answer().await.assert_status(200);
    world.get("/open").bearer_auth(&token).answer().await.assert_status(200);

    assert!(world.upstream.received().iter().all(|received| received.headers.get("authorization").is_none()));
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn the_same_fact_is_understood_however_a_real_server_writes_it() {
    let world = World::new().await;
    for (server, claims) in [
        ("a list of scopes", json!({ "scope": ["mcp:read", "other"] })),
        ("scp", json!({ "scope": null, "scp": ["mcp:read"] })),
        ("a fraction of a second", json!({ "exp": now() as f64 + 600.5 })),
        ("a numeric string", json!({ "exp": (now() + 600).to_string() })),
        ("no token type", json!({ "token_type": null })),
        ("a token type in lower case", json!({ "token_type": "bearer" })),
        ("azp", json!({ "client_id": null, "azp": "agent" })),
        ("username", json!({ "sub": null, "username": "alice" })),
        ("no exp", json!({ "exp": null })),
        ("members of its own", json!({ "ext": { "scope": "admin" }, "realm_access": { "roles": [] }, "iat": "soon" })),
    ] {
        let token = world.authorization_server.issue(claims);

        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        assert_eq!(answer.status, 200, "{server}: {answer:#?}");
    }
}

//! What a client is told when it may not pass: RFC 6750 challenges, RFC 9728 metadata, and a body for whoever reads it.

use e2e::{AnswerExt, Given, World};
use serde_json::json;

#[tokio::test]
async fn rfc6750_s3_1_no_credential_is_401_without_an_error() {
    let world = World::new().await;

    let answer = world.get("/mcp").answer().await;

    let challenge = answer.assert_status(401).challenge();
    assert_eq!(challenge.get("error"), None);
    assert_eq!(challenge.get("scope"), Some("mcp:read"));
    let metadata = world.url("/.well-known/oauth-protected-resource/mcp");
    assert_eq!(challenge.get("resource_metadata"), Some(metadata.as_str()));
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc6750_s3_1_an_inactive_token_is_401_invalid_token() {
    let world = World::new().await;
    let token = world.authorization_server.unknown_token();

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    let challenge = answer.assert_status(401).challenge();
    assert_eq!(challenge.get("error"), Some("invalid_token"));
    assert!(challenge.get("error_description").is_some());
    assert!(challenge.get("resource_metadata").is_some());
}

#[tokio::test]
async fn rfc6750_s3_1_a_missing_scope_is_403_insufficient_scope_and_names_all_that_are_needed() {
    let mut given = Given::new().await;
    given.config["routes"][0]["scopes"] = json!(["mcp:read", "mcp:write"]);
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "scope": "mcp:read" }));

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    let challenge = answer.assert_status(403).challenge();
    assert_eq!(challenge.get("error"), Some("insufficient_scope"));
    assert_eq!(challenge.get("scope"), Some("mcp:read mcp:write"));
    assert!(challenge.get("resource_metadata").is_some());
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9728_s3_1_the_metadata_of_a_route_is_at_the_path_of_its_resource() {
    let world = World::new().await;

    let answer = world.get("/.well-known/oauth-protected-resource/mcp").answer().await;

    answer.assert_status(200);
    assert!(answer.header("content-type").starts_with("application/json"));
    let metadata = answer.json();
    assert_eq!(metadata["resource"], world.url("/mcp"));
    assert_eq!(metadata["authorization_servers"], json!([world.authorization_server.issuer()]));
    assert_eq!(metadata["scopes_supported"], json!(["mcp:read"]));
    assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9728_s3_2_metadata_omits_what_is_empty() {
    let mut given = Given::new().await;
    given.config["routes"][0]["scopes"] = json!([]);
    let world = given.start().await;

    let metadata = world.get("/.well-known/oauth-protected-resource/mcp").answer().await.json();

    assert_eq!(metadata.get("scopes_supported"), None, "{metadata}");
}

#[tokio::test]
async fn rfc9728_s3_3_metadata_never_comes_from_the_host_field() {
    let world = World::new().await;
    let mut connection = world.raw().await;

    connection.send("GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;

    let answer = connection.response().await.unwrap();
    assert!(!answer.body.contains("evil.example"), "{answer:?}");
}

#[tokio::test]
async fn rfc9728_s3_metadata_of_no_resource_is_404() {
    let world = World::new().await;

    let answer = world.get("/.well-known/oauth-protected-resource/unknown").answer().await;

    answer.assert_status(404);
}

#[tokio::test]
async fn the_metadata_at_the_root_answers_for_the_only_route() {
    let world = World::new().await;

    let answer = world.get("/.well-known/oauth-protected-resource").answer().await;

    assert_eq!(answer.assert_status(200).json()["resource"], world.url("/mcp"));
}

#[tokio::test]
async fn rfc9457_s3_a_refusal_explains_itself_as_problem_json() {
    let world = World::new().await;

    let answer = world.get("/mcp").answer().await;

    assert_eq!(answer.assert_status(401).header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["status"], 401);
}

#[tokio::test]
async fn an_mcp_client_is_refused_with_the_json_rpc_error_of_its_request() {
    let world = World::new().await;
    let request = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });

    for id in [json!(7), json!("seven")] {
        let answer = world.post("/mcp").json(&request(id.clone())).answer().await;

        let error = answer.assert_status(401).json();
        assert_eq!((&error["jsonrpc"], &error["id"]), (&json!("2.0"), &id));
        let code = error["error"]["code"].as_i64().unwrap();
        assert!((-32019..=-32000).contains(&code), "{error}");
        assert_eq!(answer.challenge().get("scope"), Some("mcp:read"));
    }
}

#[tokio::test]
async fn a_refusal_over_http_2_leaves_the_connection_to_other_requests() {
    let world = World::new().await;
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();

    for _ in 0..3 {
        client.post(world.url("/mcp")).body("x".repeat(100_000)).answer().await.assert_status(401);
        client.post(world.url("/mcp")).bearer_auth(&token).body("content").answer().await.assert_status(200);
    }
}

#[tokio::test]
async fn a_refusal_of_head_has_no_content() {
    let world = World::new().await;

    let answer = world.request(http::Method::HEAD, "/mcp").answer().await;

    assert_eq!(answer.assert_status(401).body, "");
    assert_eq!(answer.challenge().get("scope"), Some("mcp:read"));
}

#[tokio::test]
async fn a_refusal_is_never_stored_by_a_cache() {
    let world = World::new().await;

    let answer = world.get("/mcp").answer().await;

    assert_eq!(answer.assert_status(401).header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_refused_connection_stays_open_for_the_next_try() {
    let world = World::new().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;

    connection.send("GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n").await;
    connection.response().await.unwrap().assert_status(401);
    connection.send(format!("GET /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")).await;

    connection.response().await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_a_record_too() {
    let world = World::new().await;
    let token = world.valid_token();
    let _held = world.upstream.hold();
    let request = tokio::spawn(world.get("/mcp").bearer_auth(&token).send());
    world.upstream.receives(1).await;

    request.abort();

    world.gateway.logged(&["audit", "client_disconnected", "route="]).await;
}

#[tokio::test]
async fn every_request_leaves_one_audit_record() {
    let world = World::new().await;
    let token = world.valid_token();

    world.get("/mcp").answer().await.assert_status(401);
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    world.get("/elsewhere").answer().await.assert_status(404);

    world.gateway.logged(&["audit", "deny", "missing_credential", "status=401", "route="]).await;
    world.gateway.logged(&["audit", "deny", "no_route", "status=404"]).await;
    world.gateway.logged(&["audit", "allow", "status=200", "route="]).await;
    let records =
        world.gateway.log().lines().filter(|line| line.contains("audit") && line.contains("decision=")).count();
    assert_eq!(records, 3, "{}", world.gateway.log());
}

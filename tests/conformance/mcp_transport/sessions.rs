//! Session management (up to 2025-11-25), and what is left of it in 2026-07-28.

use e2e::{AnswerExt, World};
use http::Method;
use reqwest::RequestBuilder;
use serde_json::json;

use crate::mcp::{STATELESS, WITH_SESSIONS, call, echo, endpoint, message, open, post, with_version};

/// Begins the session `name`, as the upstream calls it.
async fn begin(world: &World, token: &str, revision: &str, name: &str) {
    world.upstream.add_header("mcp-session-id", name);
    let initialize = message(revision, "initialize", json!({ "protocolVersion": revision }));
    // The first request of a client cannot know the version yet.
    let answer = post(world, "2025-03-26", &initialize).bearer_auth(token).answer().await;
    assert_eq!(answer.assert_status(200).header("mcp-session-id"), name);
}

fn delete(world: &World, token: &str, revision: &str, session: &str) -> RequestBuilder {
    let request = with_version(world.request(Method::DELETE, "/mcp"), revision).bearer_auth(token);
    request.header("mcp-session-id", session)
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_session_management_an_id_passes_both_ways_as_it_is() {
    for revision in WITH_SESSIONS {
        let world = open().await;
        let token = world.valid_token();
        let every_character: String = ('!'..='~').collect();
        begin(&world, &token, revision, &every_character).await;

        let request = echo(&world, &token, revision).header("MCP-Session-Id", &every_character);
        request.answer().await.assert_status(200);

        assert_eq!(world.upstream.received()[1].header("mcp-session-id"), every_character, "{revision}");
    }
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_session_management_a_session_that_has_ended_is_404() {
    for revision in WITH_SESSIONS {
        let world = open().await;
        let token = world.valid_token();
        begin(&world, &token, revision, "s-1").await;
        delete(&world, &token, revision, "s-1").answer().await.assert_status(200);
        let arrived = world.upstream.received().len();

        let again = echo(&world, &token, revision).header("mcp-session-id", "s-1");
        again.answer().await.assert_status(404);
        let get = with_version(world.get("/mcp"), revision).bearer_auth(&token).header("mcp-session-id", "s-1");
        get.answer().await.assert_status(404);

        assert_eq!(world.upstream.received().len(), arrived, "{revision}");
    }
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_session_management_a_new_session_may_follow_one_that_has_ended() {
    for revision in WITH_SESSIONS {
        let world = open().await;
        let token = world.valid_token();
        begin(&world, &token, revision, "s-1").await;
        delete(&world, &token, revision, "s-1").answer().await.assert_status(200);

        let initialize = message(revision, "initialize", json!({ "protocolVersion": revision }));
        let answer = post(&world, "2025-03-26", &initialize).bearer_auth(&token).answer().await;

        answer.assert_status(200);
    }
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_session_management_what_a_server_says_of_sessions_is_passed_on() {
    let world = open().await;
    let token = world.valid_token();
    let body =
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Mcp-Session-Id is required"},"id":null}"#;
    world.upstream.answer_with("application/json", body);
    for revision in WITH_SESSIONS {
        world.upstream.answer_with_status(400);
        let without = echo(&world, &token, revision).answer().await;
        assert_eq!(without.assert_status(400).body, body, "{revision}");

        world.upstream.answer_with_status(405);
        let request = delete(&world, &token, revision, "s-1");
        assert_eq!(request.answer().await.assert_status(405).body, body, "{revision}");
    }
}

#[tokio::test]
async fn rev2026_07_28_transport_earlier_revisions_405_for_get_and_delete_is_passed_on() {
    let world = endpoint(json!({ "default": "allow", "revisions": [STATELESS] })).await;
    let token = world.valid_token();
    world.upstream.answer_with_status(405);
    for method in [Method::GET, Method::DELETE] {
        let request = with_version(world.request(method, "/mcp"), STATELESS).bearer_auth(&token);

        request.answer().await.assert_status(405);
    }
}

#[tokio::test]
async fn rev2026_07_28_transport_earlier_revisions_a_request_is_served_without_a_session() {
    let world = endpoint(json!({ "default": "allow", "revisions": [STATELESS] })).await;
    let token = world.valid_token();
    let other = world.authorization_server.issue(json!({ "sub": "bob" }));

    for token in [&token, &other] {
        let answer = call(&world, token, STATELESS, "server/discover", json!({})).answer().await;

        assert_eq!(answer.assert_status(200).headers.get("mcp-session-id"), None);
    }
}

//! A session is whose it was first, and ends when it is told to or its time is over.

use e2e::{AnswerExt, Response, Upstream, World, now, until};
use http::Method;
use serde_json::{Value, json};

use super::{assert_refused, endpoint, given};

/// Begins a session of this name with `token`.
async fn begin(world: &World, token: &str, session: &'static str) {
    world.upstream.add_header("mcp-session-id", session);
    let answer = world.call(token, "initialize", &json!({ "protocolVersion": "2025-11-25" })).answer().await;
    assert_eq!(answer.assert_status(200).header("mcp-session-id"), session);
}

async fn ping(world: &World, token: &str, session: &str) -> Response {
    world.call(token, "ping", &json!({})).header("mcp-session-id", session).answer().await
}

fn of(world: &World, claims: Value) -> String {
    world.authorization_server.issue(claims)
}

#[tokio::test]
async fn a_session_of_one_user_cannot_be_used_by_another() {
    let world = endpoint(json!({})).await;
    let alice = of(&world, json!({ "sub": "alice" }));
    begin(&world, &alice, "s-1").await;
    for (claims, why) in [
        (json!({ "sub": "bob" }), "another subject"),
        (json!({ "sub": "alice", "client_id": "other" }), "another client"),
        (json!({ "sub": null }), "nobody"),
    ] {
        let bob = of(&world, claims);

        assert_eq!(assert_refused(&ping(&world, &bob, "s-1").await, 404, "session_not_found"), -32017, "{why}");
        for method in [Method::GET, Method::DELETE] {
            let request = world.request(method, "/mcp").bearer_auth(&bob).header("mcp-session-id", "s-1");
            request.answer().await.assert_status(404);
        }
    }
    ping(&world, &alice, "s-1").await.assert_status(200);
    assert_eq!(world.upstream.received().len(), 2, "what others sent never arrived");
    world.gateway.logged(&["reason=\"session_not_found\"", "cause=\"Foreign\"", "subject=\"bob\""]).await;
}

#[tokio::test]
async fn a_session_survives_that_its_token_is_refreshed() {
    let world = endpoint(json!({})).await;
    begin(&world, &of(&world, json!({ "sub": "alice" })), "s-1").await;

    let refreshed = of(&world, json!({ "sub": "alice", "scope": "mcp:read mcp:write" }));

    ping(&world, &refreshed, "s-1").await.assert_status(200);
}

#[tokio::test]
async fn a_session_that_was_never_seen_belongs_to_who_brings_it_first() {
    let world = endpoint(json!({})).await;
    let (alice, bob) = (of(&world, json!({ "sub": "alice" })), of(&world, json!({ "sub": "bob" })));

    ping(&world, &alice, "from-before-a-restart").await.assert_status(200);

    ping(&world, &bob, "from-before-a-restart").await.assert_status(404);
}

#[tokio::test]
async fn routes_to_one_upstream_share_its_sessions() {
    let mut given = given(json!({})).await;
    given.add_route("other", "/other")["mcp"] = json!({});
    let other = given.url("/other");
    let world = given.start().await;
    begin(&world, &of(&world, json!({ "sub": "alice" })), "s-1").await;
    let bob = of(&world, json!({ "sub": "bob", "aud": other }));

    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let request = world.post("/other").bearer_auth(bob).header("content-type", "application/json");
    let answer = request.header("mcp-session-id", "s-1").body(message).answer().await;

    assert_refused(&answer, 404, "session_not_found");
}

#[tokio::test]
async fn delete_ends_a_session() {
    let world = endpoint(json!({})).await;
    let token = world.valid_token();
    begin(&world, &token, "s-1").await;

    let request = world.request(Method::DELETE, "/mcp").bearer_auth(&token).header("mcp-session-id", "s-1");
    request.answer().await.assert_status(200);

    ping(&world, &token, "s-1").await.assert_status(404);
}

#[tokio::test]
async fn a_delete_that_the_upstream_refuses_ends_nothing() {
    let world = endpoint(json!({})).await;
    let token = world.valid_token();
    begin(&world, &token, "s-1").await;
    world.upstream.answer_with_status(405);
    let request = world.request(Method::DELETE, "/mcp").bearer_auth(&token).header("mcp-session-id", "s-1");
    request.answer().await.assert_status(405);

    world.upstream.answer_with_status(200);
    ping(&world, &token, "s-1").await.assert_status(200);
}

#[tokio::test]
async fn a_session_that_the_upstream_does_not_know_has_ended() {
    let world = endpoint(json!({})).await;
    let token = world.valid_token();
    begin(&world, &token, "s-1").await;
    world.upstream.answer_with_status(404);
    ping(&world, &token, "s-1").await.assert_status(404);

    world.upstream.answer_with_status(200);
    ping(&world, &token, "s-1").await.assert_status(404);
}

#[tokio::test]
async fn a_session_ends_after_its_longest_life_even_in_use() {
    let world = endpoint(json!({ "sessions": { "max_life": "4s" } })).await;
    let token = world.valid_token();
    begin(&world, &token, "s-1").await;
    let began = now();
    ping(&world, &token, "s-1").await.assert_status(200);

    until(began + 6).await;

    ping(&world, &token, "s-1").await.assert_status(404);
}

#[tokio::test]
async fn a_session_ends_after_idle_time() {
    let world = endpoint(json!({ "sessions": { "idle": "2s" } })).await;
    let token = world.valid_token();
    begin(&world, &token, "s-1").await;
    let began = now();

    until(began + 4).await;

    assert_refused(&ping(&world, &token, "s-1").await, 404, "session_not_found");
    world.gateway.logged(&["reason=\"session_not_found\"", "cause=\"Ended\""]).await;
}

#[tokio::test]
async fn with_several_endpoints_a_session_stays_at_its_own() {
    let mut given = given(json!({})).await;
    let second = Upstream::start().await;
    given.config["upstreams"]["upstream"]["endpoints"] = json!([given.upstream.url(), second.url()]);
    let world = given.start().await;
    let token = world.valid_token();
    world.upstream.add_header("mcp-session-id", "at-the-first");
    second.add_header("mcp-session-id", "at-the-second");
    for _ in 0..2 {
        world.call(&token, "initialize", &json!({})).answer().await.assert_status(200);
    }

    for (session, upstream) in [("at-the-second", &second), ("at-the-first", &world.upstream)] {
        let before = upstream.received().len();
        for _ in 0..5 {
            ping(&world, &token, session).await.assert_status(200);
        }
        assert_eq!(upstream.received().len(), before + 5, "{session}");
    }
}

#[tokio::test]
async fn what_is_no_session_identifier_is_404() {
    let world = endpoint(json!({})).await;
    let token = world.valid_token();

    ping(&world, &token, &"x".repeat(2_000)).await.assert_status(404);
    let twice = world.call(&token, "ping", &json!({})).header("mcp-session-id", "a").header("mcp-session-id", "b");
    twice.answer().await.assert_status(404);
}

#[tokio::test]
async fn the_address_that_http_sse_has_for_messages_belongs_to_who_posts_there_first() {
    let mut given = given(json!({ "revisions": ["2024-11-05", "2025-03-26"] })).await;
    given.config["routes"][0]["match"]["path"] = json!("/");
    let world = given.start().await;
    let (alice, bob) = (of(&world, json!({ "sub": "alice" })), of(&world, json!({ "sub": "bob" })));
    let post = |token: &str, session: &str| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
        let request = world.post(&format!("/messages?sessionId={session}")).bearer_auth(token);
        request.header("content-type", "application/json").body(message).answer()
    };

    post(&alice, "a").await.assert_status(200);

    assert_refused(&post(&bob, "a").await, 404, "session_not_found");
    post(&bob, "b").await.assert_status(200);
    post(&alice, "a").await.assert_status(200);
}

#[tokio::test]
async fn in_2026_07_28_a_session_counts_for_nothing_and_opens_no_other() {
    let world = endpoint(json!({})).await;
    begin(&world, &of(&world, json!({ "sub": "alice" })), "s-1").await;
    let bob = of(&world, json!({ "sub": "bob" }));
    let version = "2026-07-28";
    let meta = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": version } });
    let request = world.call(&bob, "tools/list", &meta).header("mcp-protocol-version", version);

    let answer = request.header("mcp-method", "tools/list").header("mcp-session-id", "s-1").answer().await;

    answer.assert_status(200);
    assert!(world.upstream.received()[1].headers.get("mcp-session-id").is_none());
}

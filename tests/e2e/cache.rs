//! How often the authorization server is asked, and how long its answer counts.

use e2e::{Answer, AnswerExt, Given, World, now, until};
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn a_client_that_leaves_does_not_take_the_introspection_of_the_others_along() {
    let world = World::new().await;
    let token = world.valid_token();
    let release = world.authorization_server.hold(&token);
    let leaving = tokio::spawn(world.get("/mcp").bearer_auth(&token).send());
    world.authorization_server.introspected(&token, 1).await;
    let staying = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());

    leaving.abort();
    let _ = leaving.await;
    release.send(true).unwrap();

    staying.await.unwrap().assert_status(200);
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn a_warm_token_is_not_introspected_again() {
    let world = World::new().await;
    let token = world.valid_token();

    for _ in 0..5 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }

    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn an_inactive_token_is_introspected_again_after_the_negative_ttl() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["cache"] = json!({ "negative_ttl": "1s" });
    let world = given.start().await;
    let token = world.authorization_server.unknown_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);

    world.authorization_server.issue_as(&token, json!({}));
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
}

#[tokio::test]
async fn an_active_token_is_introspected_again_after_the_max_ttl() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "1s" });
    let world = given.start().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    world.authorization_server.answer(&token, Answer::Inactive);
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn a_flood_of_random_tokens_does_not_push_out_a_live_one() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["cache"] = json!({ "max_entries": 100 });
    let world = given.start().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    for _ in 0..20 {
        let flood = (0..50).map(|_| world.get("/mcp").bearer_auth(world.authorization_server.unknown_token()).answer());
        for answer in join_all(flood).await {
            answer.assert_status(401);
        }
    }

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

// --- the TTL of a route -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_shorter_ttl_of_a_route_counts_for_that_route_alone() {
    let mut given = Given::new().await;
    given.add_route("short", "/short")["cache"] = json!({ "max_ttl": "1s" });
    let resources = json!([given.url("/mcp"), given.url("/short")]);
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "aud": resources }));
    for path in ["/mcp", "/short"] {
        world.get(path).bearer_auth(&token).answer().await.assert_status(200);
    }

    world.authorization_server.answer(&token, Answer::Inactive);
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    world.get("/short").bearer_auth(&token).answer().await.assert_status(401);
    // What one route has learnt, all know.
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
}

#[tokio::test]
async fn the_longer_ttl_of_a_route_counts_for_nothing() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "1s" });
    given.config["routes"][0]["cache"] = json!({ "max_ttl": "1h" });
    let world = given.start().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    world.authorization_server.answer(&token, Answer::Inactive);
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
}

// --- before and after the end -----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_in_use_is_asked_about_again_before_its_entry_ends_and_nobody_waits() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "10s" });
    let world = given.start().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    let known_since = now();

    until(known_since + 8).await;
    let release = world.authorization_server.hold(&token);
    for _ in 0..3 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }
    world.authorization_server.introspected(&token, 2).await;
    release.send(true).unwrap();
    world.metric_becomes("phantomgate_introspections_total", &[("outcome", "active")], 2.0).await;

    until(known_since + 11).await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    assert_eq!(world.authorization_server.introspections(&token), 2);
    assert_eq!(world.metric("phantomgate_token_refreshes_total", &[]).await, 1.0);
}

/// A world whose entries live for a second, and may stand in for `stale_if_error` after that.
async fn standing_in(stale_if_error: &str) -> World {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["cache"] =
        json!({ "max_ttl": "1s", "stale_if_error": stale_if_error });
    given.start().await
}

#[tokio::test]
async fn an_old_answer_stands_in_while_the_authorization_server_fails_where_that_is_allowed() {
    for (stale_if_error, status) in [("1h", 200), ("0s", 503)] {
        let world = standing_in(stale_if_error).await;
        let token = world.valid_token();
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

        world.authorization_server.fail_with(Answer::status(500));
        until(now() + 2).await;
        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        assert_eq!(answer.status, status, "{stale_if_error}: {answer:#?}");
        let stale = world.metric("phantomgate_token_lookups_total", &[("outcome", "stale")]).await;
        assert_eq!(stale > 0.0, status == 200, "{stale_if_error}");
    }
}

#[tokio::test]
async fn the_ttl_of_a_route_counts_while_the_authorization_server_fails() {
    let mut given = Given::new().await;
    given.config["routes"][0]["cache"] = json!({ "max_ttl": "1s" });
    let world = given.start().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    world.authorization_server.fail_with(Answer::status(500));
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn an_old_answer_does_not_stand_in_past_the_exp_of_its_token() {
    let world = standing_in("1h").await;
    let exp = now() + 4;
    let token = world.authorization_server.issue(json!({ "exp": exp }));
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    world.authorization_server.fail_with(Answer::status(500));
    until(exp).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status_in(&[401, 503]);
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn an_old_answer_does_not_stand_in_for_a_new_one() {
    let world = standing_in("1h").await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    world.authorization_server.answer(&token, Answer::Inactive);
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
    world.authorization_server.fail_with(Answer::status(500));
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
}

#[tokio::test]
async fn an_old_answer_does_not_stand_in_for_a_token_that_was_revoked() {
    let world = standing_in("1h").await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    world.authorization_server.fail_with(Answer::status(500));
    world.revoke(json!({ "token": token })).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);
}

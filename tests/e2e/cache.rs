//! How often the authorization server is asked, and how long its answer counts.

use e2e::{Answer, AnswerExt, Given, World, now, until};
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn a_hundred_requests_with_one_cold_token_cause_one_introspection() {
    let world = World::new().await;
    let token = world.valid_token();
    let release = world.authorization_server.hold(&token);

    let requests = tokio::spawn(join_all((0..100).map(|_| world.get("/mcp").bearer_auth(&token).answer())));
    world.authorization_server.introspected(&token, 1).await;
    release.send(true).unwrap();
    let answers = requests.await.unwrap();

    for answer in answers {
        answer.assert_status(200);
    }
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

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
async fn an_inactive_token_is_not_introspected_again_for_a_while() {
    let world = World::new().await;
    let token = world.authorization_server.unknown_token();

    for _ in 0..5 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
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
async fn rfc7662_s4_a_token_is_never_served_past_its_exp() {
    let world = World::new().await;
    let exp = now() + 3;
    let token = world.authorization_server.issue(json!({ "exp": exp }));
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    until(exp).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401).assert_challenge_error("invalid_token");
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn rfc7662_s2_2_an_active_answer_about_a_token_past_its_exp_is_not_believed() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "exp": now() - 1 }));

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
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

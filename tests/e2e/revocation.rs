//! Revocations on the admin listener: what is revoked is forgotten at once, with all that was made from it, and an answer
//! that was on its way does not bring it back.

use e2e::{Answer, AnswerExt, AuthorizationServer, Given, World};
use http::Method;
use serde_json::{Value, json};

/// A token that is in the cache.
async fn warm(world: &World, claims: Value) -> String {
    let token = world.authorization_server.issue(claims);
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    token
}

async fn status(world: &World, token: &str) -> u16 {
    world.get("/mcp").bearer_auth(token).answer().await.status.as_u16()
}

#[tokio::test]
async fn a_revoked_token_is_asked_about_again() {
    let world = World::new().await;
    let (token, other) = (warm(&world, json!({})).await, warm(&world, json!({})).await);
    world.authorization_server.answer(&token, Answer::Inactive);
    assert_eq!(status(&world, &token).await, 200, "it is in the cache");

    let forgotten = world.revoke(json!({ "token": token })).await;

    assert_eq!((forgotten, status(&world, &token).await, status(&world, &other).await), (1, 401, 200));
    assert_eq!(world.authorization_server.introspections(&other), 1);
}

#[tokio::test]
async fn a_token_is_revoked_by_the_digest_in_the_audit() {
    let world = World::new().await;
    let token = warm(&world, json!({})).await;
    let record = world.gateway.logged(&["audit", "allow", "token="]).await;
    let digest = record.split_whitespace().find_map(|part| part.strip_prefix("token=")).unwrap().trim_matches('"');
    world.authorization_server.answer(&token, Answer::Inactive);

    let forgotten = world.revoke(json!({ "token_digest": digest })).await;

    assert_eq!((forgotten, status(&world, &token).await), (1, 401));
}

#[tokio::test]
async fn all_tokens_of_a_subject_a_client_or_a_session_are_revoked_together() {
    for (member, claim) in [("subject", "sub"), ("client_id", "client_id"), ("session_id", "sid")] {
        let world = World::new().await;
        let mallorys =
            [warm(&world, json!({ claim: "mallory" })).await, warm(&world, json!({ claim: "mallory" })).await];
        let innocent = warm(&world, json!({ claim: "mallory's neighbour" })).await;
        for token in &mallorys {
            world.authorization_server.answer(token, Answer::Inactive);
        }

        let forgotten = world.revoke(json!({ member: "mallory" })).await;

        assert_eq!(forgotten, 2, "by {member}");
        for token in &mallorys {
            assert_eq!(status(&world, token).await, 401, "by {member}");
        }
        assert_eq!(status(&world, &innocent).await, 200, "by {member}");
        assert_eq!(world.authorization_server.introspections(&innocent), 1, "by {member}");
    }
}

#[tokio::test]
async fn an_introspection_that_was_under_way_does_not_bring_a_revoked_token_back() {
    for revocation in [json!({ "subject": "mallory" }), json!({ "token": "held-token" })] {
        let world = World::new().await;
        let token = "held-token";
        world.authorization_server.issue_as(token, json!({ "sub": "mallory" }));
        let release = world.authorization_server.hold(token);
        let asking = tokio::spawn(world.get("/mcp").bearer_auth(token).answer());
        world.authorization_server.introspected(token, 1).await;

        world.revoke(revocation.clone()).await;
        world.authorization_server.answer(token, Answer::Inactive);
        release.send(true).unwrap();

        assert_eq!(asking.await.unwrap().status, 401, "{revocation}");
        assert_eq!(status(&world, token).await, 401, "{revocation}");
        assert!(world.upstream.received().is_empty(), "{revocation}");
    }
}

#[tokio::test]
async fn a_token_that_is_still_good_passes_again_after_one_more_question() {
    let world = World::new().await;
    let token = warm(&world, json!({ "sub": "alice" })).await;

    world.revoke(json!({ "subject": "alice" })).await;

    assert_eq!((status(&world, &token).await, status(&world, &token).await), (200, 200));
    assert_eq!(world.authorization_server.introspections(&token), 2);
}

#[tokio::test]
async fn what_was_made_from_a_revoked_token_is_made_anew() {
    for credential in [
        json!({ "kind": "signed", "audience": "https://upstream.internal/mcp" }),
        json!({ "kind": "exchange", "audience": "https://upstream.internal/mcp" }),
    ] {
        let mut given = Given::new().await;
        given.config["routes"][0]["credential"] = credential.clone();
        let world = given.start().await;
        let token = warm(&world, json!({ "sub": "alice" })).await;

        world.revoke(json!({ "subject": "alice" })).await;
        assert_eq!(status(&world, &token).await, 200);

        let received = world.upstream.received();
        assert_ne!(received[0].jwt(), received[1].jwt(), "{credential}");
    }
}

#[tokio::test]
async fn an_exchange_that_was_under_way_is_not_kept_for_a_token_that_was_revoked() {
    let mut given = Given::new().await;
    given.config["routes"][0]["credential"] = json!({ "kind": "exchange", "audience": "upstream" });
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "sub": "mallory" }));
    let exchanged = json!({
        "access_token": "of-mallory", "token_type": "Bearer", "expires_in": 300,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    let release = world.authorization_server.hold_exchanges(&exchanged);
    let asking = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
    world.authorization_server.exchanged(1).await;

    world.revoke(json!({ "subject": "mallory" })).await;
    world.authorization_server.answer(&token, Answer::Inactive);
    release.send(true).unwrap();
    asking.await.unwrap();

    assert_eq!(status(&world, &token).await, 401);
    assert_eq!(world.authorization_server.introspections(&token), 2);
}

#[tokio::test]
async fn a_jwt_that_is_verified_here_is_forgotten_too_and_verified_again() {
    let mut given = Given::new().await;
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    let world = given.start().await;
    let token = world.authorization_server.issue_jwt(&json!({ "sub": "alice" }));
    assert_eq!(status(&world, &token).await, 200);

    assert_eq!(world.revoke(json!({ "subject": "alice" })).await, 1);
}

#[tokio::test]
async fn a_revocation_may_be_for_one_authorization_server() {
    let mut given = Given::new().await;
    let other = AuthorizationServer::start(&given.url("/other"), given.credentials.clone()).await;
    given.add_authorization_server("other", &other);
    given.add_route("other", "/other")["authorization_server"] = json!("other");
    let world = given.start().await;
    let here = warm(&world, json!({ "sub": "alice" })).await;
    let there = other.issue(json!({ "sub": "alice" }));
    world.get("/other").bearer_auth(&there).answer().await.assert_status(200);

    let forgotten = world.revoke(json!({ "subject": "alice", "authorization_server": "other" })).await;

    assert_eq!(forgotten, 1);
    assert_eq!(status(&world, &here).await, 200);
    assert_eq!(world.authorization_server.introspections(&here), 1);
    assert_eq!(world.revoke(json!({ "subject": "alice" })).await, 1);
}

#[tokio::test]
async fn what_is_unknown_is_revoked_without_a_trace() {
    let world = World::new().await;

    for revocation in [
        json!({ "token": world.authorization_server.unknown_token() }),
        json!({ "token_digest": "0123456789abcdef" }),
        json!({ "subject": "nobody" }),
    ] {
        assert_eq!(world.revoke(revocation).await, 0);
    }
    assert_eq!(world.metric("phantomgate_revocations_total", &[("by", "subject")]).await, 1.0);
}

#[tokio::test]
async fn a_revocation_that_cannot_be_understood_revokes_nothing() {
    let world = World::new().await;
    let token = warm(&world, json!({ "sub": "alice" })).await;
    for revocation in [
        json!({}),
        json!({ "subject": "alice", "client_id": "agent" }),
        json!({ "subject": 7 }),
        json!({ "subject": "alice", "unknown": "member" }),
        json!({ "subject": "alice", "authorization_server": "unknown" }),
        json!({ "token_digest": "not a digest" }),
        json!(["alice"]),
        json!("alice"),
    ] {
        let answer = world.post_revocation(&revocation).await;

        assert_eq!(answer.status, 400, "{revocation}: {answer:#?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert_eq!(status(&world, &token).await, 200);
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn the_endpoint_is_for_json_by_post_and_on_the_admin_listener_alone() {
    let world = World::new().await;
    let url = world.admin_url("/v1/revocations");
    let body = json!({ "subject": "alice" }).to_string();
    let json = "application/json";

    let by_get = world.client().get(&url).answer().await;
    let form = world.client().post(&url).header("content-type", "text/plain").body(body.clone()).answer().await;
    let elsewhere = world.client().post(world.admin_url("/v1/other")).header("content-type", json).body(body.clone());
    let public = world.request(Method::POST, "/v1/revocations").header("content-type", json).body(body);

    by_get.assert_status(405);
    form.assert_status(415);
    elsewhere.answer().await.assert_status(404);
    public.answer().await.assert_status(404);
}

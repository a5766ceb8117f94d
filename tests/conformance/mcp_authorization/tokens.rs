//! Access token usage: which tokens are taken, from where, and what becomes of them.

use e2e::{Answer, AnswerExt, now};
use http::Method;
use serde_json::json;

use crate::mcp::{
    EVERY_REVISION, FROM_2025_06_18, STATELESS, WITH_SESSIONS, echo, message, open, post, with_token_in_query,
    with_version,
};

#[tokio::test]
async fn every_revision_authorization_overview_a_request_without_a_token_is_401() {
    let world = open().await;
    for revision in EVERY_REVISION {
        for method in ["initialize", "server/discover", "tools/list", "tools/call", "ping", "notifications/initialized"]
        {
            let answer = post(&world, revision, &message(revision, method, json!({ "name": "echo" }))).answer().await;

            assert_eq!(answer.assert_status(401).challenge().get("error"), None, "{revision} {method}");
        }
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_authorization_token_requirements_each_request_of_a_session_needs_its_token() {
    let world = open().await;
    let token = world.valid_token();
    world.upstream.add_header("mcp-session-id", "s-1");
    for revision in WITH_SESSIONS {
        echo(&world, &token, revision).answer().await.assert_status(200);
        let arrived = world.upstream.received().len();

        let ping = message(revision, "ping", json!({}));
        post(&world, revision, &ping).header("mcp-session-id", "s-1").answer().await.assert_status(401);
        for method in [Method::GET, Method::DELETE] {
            let request = with_version(world.request(method, "/mcp"), revision).header("mcp-session-id", "s-1");
            request.answer().await.assert_status(401);
        }

        assert_eq!(world.upstream.received().len(), arrived, "{revision}");
    }
}

#[tokio::test]
async fn rev2026_07_28_authorization_token_requirements_a_token_counts_for_its_own_request_alone() {
    let world = open().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;
    let ping = message(STATELESS, "ping", json!({})).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nMCP-Protocol-Version: {STATELESS}\r\n\
         Mcp-Method: ping\r\nContent-Length: {}\r\n",
        ping.len()
    );

    connection.send(format!("{head}Authorization: Bearer {token}\r\n\r\n{ping}")).await;
    connection.response().await.unwrap().assert_status(200);
    connection.send(format!("{head}\r\n{ping}")).await;

    connection.response().await.unwrap().assert_status(401);
}

#[tokio::test]
async fn every_revision_authorization_token_requirements_a_token_in_the_query_is_not_taken() {
    let world = open().await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        let ping = message(revision, "ping", json!({}));

        let answer = with_token_in_query(post(&world, revision, &ping), &token).answer().await;

        assert_eq!(answer.assert_status(401).challenge().get("error"), None, "{revision}");
    }
    assert!(world.upstream.received().is_empty());
    assert_eq!(world.authorization_server.introspections(&token), 0);
}

#[tokio::test]
async fn every_revision_authorization_token_handling_an_invalid_token_is_401() {
    let world = open().await;
    let server = &world.authorization_server;
    let (revoked, changed) = (world.valid_token(), world.valid_token() + "x");
    echo(&world, &revoked, "2025-11-25").answer().await.assert_status(200);
    server.answer(&revoked, Answer::Inactive);
    world.revoke(json!({ "token": revoked })).await;
    let tokens = [
        ("nobody issued it", server.unknown_token()),
        ("it was changed", changed),
        ("it has expired", server.issue(json!({ "exp": now() - 60 }))),
        ("it was revoked", revoked),
        ("it is not active", server.issue(json!({ "active": false }))),
        ("it is a refresh token", server.issue(json!({ "token_type": "refresh_token" }))),
    ];
    for revision in EVERY_REVISION {
        for (why, token) in &tokens {
            let answer = echo(&world, token, revision).answer().await;

            assert_eq!(answer.status, 401, "{revision}, {why}: {answer:#?}");
            answer.assert_challenge_error("invalid_token");
        }
    }
    assert_eq!(world.upstream.received().len(), 1, "the one before it was revoked");
}

#[tokio::test]
async fn rev2025_06_18_and_later_authorization_token_handling_a_token_for_another_server_is_401() {
    let world = open().await;
    let own = world.url("/mcp");
    for audience in [
        json!(null),
        json!([]),
        json!(""),
        json!("https://elsewhere.example/mcp"),
        json!(["https://elsewhere.example/mcp", "https://another.example"]),
        json!(world.url("")),
        json!(format!("{own}/")),
        json!(format!("{own}/deeper")),
        json!("agent"),
    ] {
        let token = world.authorization_server.issue(json!({ "aud": audience }));
        for revision in FROM_2025_06_18 {
            let answer = echo(&world, &token, revision).answer().await;

            assert_eq!(answer.status, 401, "{revision}, {audience}: {answer:#?}");
            answer.assert_challenge_error("invalid_token");
        }
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2025_06_18_and_later_authorization_token_handling_no_token_of_a_client_is_passed_on() {
    let world = open().await;
    let token = world.valid_token();
    for (count, revision) in (1..).zip(FROM_2025_06_18) {
        let request = echo(&world, &token, revision).header("x-forwarded-access-token", "another-token");

        request.answer().await.assert_status(200);

        let arrived = world.upstream.receives(count).await;
        let text = format!("{:?} {} {}", arrived.headers, arrived.target, arrived.body());
        assert!(!text.contains(&token), "{revision}: {text}");
        let (_, claims) = e2e::decode_jwt(arrived.jwt());
        assert_eq!(claims["aud"], "https://upstream.internal/mcp", "{revision}: a token of its own, for the upstream");
    }
}

#[tokio::test]
async fn rev2025_06_18_and_later_authorization_privilege_restriction_nothing_happens_before_the_token_is_validated() {
    let world = open().await;
    for (count, revision) in (1..).zip(FROM_2025_06_18) {
        let token = world.valid_token();
        let held = world.authorization_server.hold(&token);
        let request = tokio::spawn(echo(&world, &token, revision).answer());
        world.authorization_server.introspected(&token, 1).await;
        assert_eq!(world.upstream.received().len(), count - 1, "{revision}: the message is not there yet");

        drop(held);

        request.await.unwrap().assert_status(200);
        world.upstream.receives(count).await;
    }
}

#[tokio::test]
async fn every_revision_authorization_error_handling_a_malformed_authorization_request_is_400() {
    let world = open().await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        let in_query_too = with_token_in_query(echo(&world, &token, revision), &token);
        let twice = echo(&world, &token, revision).header("authorization", format!("Bearer {token}"));
        for request in [in_query_too, twice] {
            let answer = request.answer().await;

            assert_eq!(answer.status, 400, "{revision}: {answer:#?}");
            answer.assert_challenge_error("invalid_request");
        }
    }
    assert!(world.upstream.received().is_empty());
}

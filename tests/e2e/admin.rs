//! The admin listener: health, readiness, metrics, and who may use it.

mod dashboard;
mod description;
mod running;

use e2e::{AnswerExt, Given, World, now, until};
use serde_json::json;

#[tokio::test]
async fn it_tells_that_it_is_well_and_ready() {
    let world = World::new().await;

    world.admin("/healthz").answer().await.assert_status(200);
    world.admin("/readyz").answer().await.assert_status(200);
}

#[tokio::test]
async fn it_tells_what_it_is_not_ready_for_and_is_ready_once_that_is_there() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"].as_object_mut().unwrap().remove("endpoints");
    given.authorization_server.go_down().await;
    let mut world = given.start().await;

    let before = world.admin("/readyz").answer().await;
    world.admin("/healthz").answer().await.assert_status(200);
    world.authorization_server.come_up().await;
    until(now() + 2).await; // what could not be fetched is not fetched again within a second
    let after = world.admin("/readyz").answer().await;

    assert_eq!(before.assert_status(503).json()["not_ready"][0]["name"], "main", "{before:#?}");
    after.assert_status(200);
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let world = World::new().await;

    for path in ["/dashboard/", "/mcp", "/metrics/", "/.well-known/jwks.json"] {
        world.admin(path).answer().await.assert_status(404);
    }
}

#[tokio::test]
async fn nothing_of_it_is_on_the_public_listener() {
    let world = World::new().await;

    for path in ["/healthz", "/readyz", "/metrics"] {
        world.get(path).answer().await.assert_status(404);
    }
}

#[tokio::test]
async fn every_request_is_counted_by_what_was_decided() {
    let world = World::new().await;
    let (good, bad) = (world.valid_token(), world.authorization_server.unknown_token());
    for _ in 0..3 {
        world.get("/mcp").bearer_auth(&good).answer().await.assert_status(200);
    }
    world.get("/mcp").bearer_auth(&bad).answer().await.assert_status(401);
    world.get("/mcp").answer().await.assert_status(401);

    let requests = |labels: &'static [(&'static str, &'static str)]| world.metric("phantomgate_requests_total", labels);
    world.metric_becomes("phantomgate_requests_total", &[("route", "mcp")], 5.0).await;
    assert_eq!(requests(&[("route", "mcp"), ("decision", "allow")]).await, 3.0);
    assert_eq!(requests(&[("reason", "inactive_token")]).await, 1.0);
    assert_eq!(requests(&[("reason", "missing_credential")]).await, 1.0);
}

#[tokio::test]
async fn lookups_and_introspections_are_counted_by_how_they_ended() {
    let world = World::new().await;
    let (good, bad) = (world.valid_token(), world.authorization_server.unknown_token());
    for token in [&good, &good, &good, &bad, &bad] {
        world.get("/mcp").bearer_auth(token).answer().await;
    }

    for (outcome, count) in [("hit", 2.0), ("miss", 2.0), ("negative", 1.0)] {
        let labels = [("authorization_server", "main"), ("outcome", outcome)];
        assert_eq!(world.metric("phantomgate_token_lookups_total", &labels).await, count, "{outcome}");
    }
    for outcome in ["active", "inactive"] {
        assert_eq!(world.metric("phantomgate_introspections_total", &[("outcome", outcome)]).await, 1.0, "{outcome}");
    }
    assert_eq!(world.metric("phantomgate_introspection_seconds_count", &[]).await, 2.0);
    assert_eq!(world.metric("phantomgate_token_cache_entries", &[("state", "active")]).await, 1.0);
    assert_eq!(world.metric("phantomgate_token_cache_entries", &[("state", "inactive")]).await, 1.0);
}

#[tokio::test]
async fn no_credential_is_in_the_metrics() {
    let world = World::new().await;
    let (good, bad) = (world.valid_token(), world.authorization_server.unknown_token());
    for token in [&good, &bad] {
        world.get("/mcp").bearer_auth(token).answer().await;
    }

    assert_eq!(world.credentials.any_in(&world.metrics().await), None);
}

#[tokio::test]
async fn where_it_has_a_token_nothing_is_told_without_it() {
    let mut given = Given::new().await;
    let token = given.directory().join("admin-token");
    std::fs::write(&token, "token-of-the-operator\n").unwrap();
    given.credentials.gateway("token-of-the-operator");
    given.config["admin"]["token"] = json!({ "file": token });
    let world = given.start().await;

    for path in ["/metrics", "/v1/revocations"] {
        world.admin(path).answer().await.assert_status(401);
        world.admin(path).bearer_auth("token-of-the-operato").answer().await.assert_status(401);
    }
    world.admin("/metrics").bearer_auth("token-of-the-operator").answer().await.assert_status(200);
    let revocation = json!({ "subject": "alice" });
    assert_eq!(world.post_revocation(&revocation).await.status, 401);
}

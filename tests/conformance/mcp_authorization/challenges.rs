//! What a client is told that may not pass, so that it can do something about it.

use e2e::{AnswerExt, Response, World};
use http::Method;
use serde_json::{Value, json};

use crate::mcp::{
    EVERY_REVISION, FROM_2025_06_18, FROM_2025_11_25, STATELESS, call, endpoint, given, message, open, post,
    with_version,
};

/// What each takes of its own.
fn rules() -> Value {
    json!({
        "tools": { "update": { "scopes": ["users:write"] }, "echo": "allow" },
        "prompts": { "summary": { "scopes": ["prompts:use"] } },
        "resources": { "users://*": { "scopes": ["users:read", "users:export"] } },
        "methods": { "logging/setLevel": { "scopes": ["admin"] } },
    })
}

/// One operation for each kind of rule, with all the scopes it needs.
fn operations() -> [(&'static str, Value, &'static str); 4] {
    [
        ("tools/call", json!({ "name": "update" }), "mcp:read users:write"),
        ("prompts/get", json!({ "name": "summary" }), "mcp:read prompts:use"),
        ("resources/read", json!({ "uri": "users://all" }), "mcp:read users:read users:export"),
        ("logging/setLevel", json!({ "level": "debug" }), "mcp:read admin"),
    ]
}

/// The scopes that a challenge names, in no order.
#[track_caller]
fn scopes(answer: &Response) -> Vec<String> {
    sorted(answer.challenge().get("scope").unwrap_or_else(|| panic!("no scope in {answer:#?}")))
}

fn sorted(scope: &str) -> Vec<String> {
    let mut scopes: Vec<_> = scope.split(' ').map(str::to_owned).collect();
    scopes.sort_unstable();
    scopes
}

fn of(world: &World, scope: &str) -> String {
    world.authorization_server.issue(json!({ "scope": scope }))
}

#[tokio::test]
async fn rev2025_06_18_and_later_authorization_server_location_every_401_says_where_the_metadata_is() {
    let world = open().await;
    let unknown = world.authorization_server.unknown_token();
    let elsewhere = world.authorization_server.issue(json!({ "aud": "https://elsewhere.example" }));
    let metadata = world.url("/.well-known/oauth-protected-resource/mcp");
    for revision in FROM_2025_06_18 {
        let get = || with_version(world.get("/mcp"), revision);
        let delete = || with_version(world.request(Method::DELETE, "/mcp"), revision);
        let send = || post(&world, revision, &message(revision, "tools/list", json!({})));
        for request in [get(), delete(), send()] {
            let requests = [
                request.try_clone().unwrap(),
                request.try_clone().unwrap().bearer_auth(&unknown),
                request.bearer_auth(&elsewhere),
            ];
            for request in requests {
                let answer = request.answer().await;

                let challenge = answer.assert_status(401).challenge();
                assert_eq!(challenge.get("resource_metadata"), Some(metadata.as_str()), "{revision}");
            }
        }
    }
}

#[tokio::test]
async fn rev2025_11_25_and_later_authorization_discovery_requirements_the_first_401_names_the_scopes() {
    let world = endpoint(rules()).await;
    for revision in FROM_2025_11_25 {
        let answer = post(&world, revision, &message(revision, "tools/list", json!({}))).answer().await;

        assert_eq!(answer.assert_status(401).challenge().get("scope"), Some("mcp:read"), "{revision}");
    }
}

#[tokio::test]
async fn every_revision_authorization_error_handling_missing_scopes_are_403() {
    let world = endpoint(rules()).await;
    let token = of(&world, "other");
    for revision in EVERY_REVISION {
        for (method, params, _) in operations() {
            let answer = call(&world, &token, revision, method, params).answer().await;

            assert_eq!(answer.status, 403, "{revision} {method}: {answer:#?}");
            answer.assert_challenge_error("insufficient_scope");
        }
        let get = with_version(world.get("/mcp"), revision).bearer_auth(&token).answer().await;
        get.assert_status(403).assert_challenge_error("insufficient_scope");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2025_11_25_and_later_authorization_scope_challenge_403_has_all_that_a_step_up_needs() {
    let world = endpoint(rules()).await;
    let token = of(&world, "mcp:read");
    let metadata = world.url("/.well-known/oauth-protected-resource/mcp");
    for revision in FROM_2025_11_25 {
        let answer = call(&world, &token, revision, "tools/call", json!({ "name": "update" })).answer().await;

        let challenge = answer.assert_status(403).challenge();
        assert_eq!(challenge.get("error"), Some("insufficient_scope"), "{revision}");
        assert_eq!(challenge.get("resource_metadata"), Some(metadata.as_str()), "{revision}");
        assert!(challenge.get("error_description").is_some_and(|text| !text.is_empty()), "{revision}");
    }
}

#[tokio::test]
async fn rev2025_11_25_and_later_authorization_scope_challenge_403_names_all_scopes() {
    let world = endpoint(rules()).await;
    let token = of(&world, "other");
    for revision in FROM_2025_11_25 {
        for (method, params, needed) in operations() {
            let answer = call(&world, &token, revision, method, params.clone()).answer().await;
            assert_eq!(scopes(answer.assert_status(403)), sorted(needed), "{revision} {method}");

            let stepped_up = of(&world, answer.challenge().get("scope").unwrap());
            call(&world, &stepped_up, revision, method, params).answer().await.assert_status(200);
        }
    }
}

#[tokio::test]
async fn rev2025_11_25_and_later_authorization_scope_challenge_403_is_the_same_whatever_was_granted() {
    let world = endpoint(rules()).await;
    for revision in FROM_2025_11_25 {
        for granted in ["other", "mcp:read", "users:export mcp:read", "users:read users:export", "users:read"] {
            let token = of(&world, granted);
            let read = json!({ "uri": "users://all" });

            let answer = call(&world, &token, revision, "resources/read", read).answer().await;

            let needed = sorted("mcp:read users:read users:export");
            assert_eq!(scopes(answer.assert_status(403)), needed, "{revision}, with {granted}");
        }
    }
}

#[tokio::test]
async fn rev2026_07_28_authorization_step_up_a_broader_scope_is_enough_for_what_it_implies() {
    let mut given = given(rules()).await;
    given.config["authorization_servers"]["main"]["scope_implies"] =
        json!({ "users:admin": ["users:write"], "users:write": ["mcp:read"] });
    let world = given.start().await;
    let update =
        |scope: &str| call(&world, &of(&world, scope), STATELESS, "tools/call", json!({ "name": "update" })).answer();

    for enough in ["users:admin", "users:write", "mcp:read users:write"] {
        assert_eq!(update(enough).await.status, 200, "{enough}");
    }
    for too_little in ["mcp:read", "users:admins", "users", "USERS:ADMIN"] {
        update(too_little).await.assert_status(403).assert_challenge_error("insufficient_scope");
    }
    world.upstream.answer_with(
        "application/json",
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo"},{"name":"update"}]}}"#,
    );
    let list = call(&world, &of(&world, "users:admin"), STATELESS, "tools/list", json!({})).answer().await;
    assert_eq!(list.assert_status(200).json()["result"]["tools"], json!([{ "name": "echo" }, { "name": "update" }]));
}

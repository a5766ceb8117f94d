//! RFC 8693: OAuth 2.0 Token Exchange, as a client.

use e2e::{CommandLine, FormRequest, Given, World};
use serde_json::{Value, json};

use crate::ask;

const UPSTREAM: &str = "https://upstream.internal/mcp";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A gateway whose route exchanges tokens, asking for these members too.
async fn exchanging(members: Value) -> World {
    let mut given = Given::new().await;
    let mut credential = json!({ "kind": "exchange", "resource": UPSTREAM });
    credential.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    given.config["routes"][0]["credential"] = credential;
    given.start().await
}

/// The one exchange so far.
fn exchange(world: &World) -> FormRequest {
    let exchanges = world.authorization_server.exchanges();
    assert_eq!(exchanges.len(), 1, "{exchanges:#?}");
    exchanges[0].clone()
}

#[tokio::test]
async fn rfc8693_s2_1_the_grant_the_token_and_its_type_are_named() {
    let world = exchanging(json!({ "audience": "upstream", "scopes": ["a", "b"] })).await;
    world.authorization_server.claim_in_exchanges(&json!({ "scope": "a b" }));
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);

    let form = exchange(&world);
    assert_eq!(form.field("grant_type"), ["urn:ietf:params:oauth:grant-type:token-exchange"]);
    assert_eq!((form.field("subject_token"), form.field("subject_token_type")), (vec![&*token], vec![ACCESS_TOKEN]));
    assert_eq!((form.field("resource"), form.field("audience")), (vec![UPSTREAM], vec!["upstream"]));
    assert_eq!(form.field("scope"), ["a b"]);
    assert_eq!(form.headers["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn rfc8693_s2_1_the_type_of_an_actor_token_goes_with_it_and_never_alone() {
    let world = exchanging(json!({})).await;
    let token = world.valid_token();
    ask(&world, &token).await.assert_status(200);
    let form = exchange(&world);
    assert_eq!((form.field("actor_token"), form.field("actor_token_type")), (vec![], vec![]));

    let directory = tempfile::tempdir().unwrap();
    let actor = directory.path().join("actor");
    std::fs::write(&actor, "token-of-the-actor").unwrap();
    let world = exchanging(json!({ "actor": { "token": { "file": actor }, "type": "access_token" } })).await;
    let token = world.valid_token();
    ask(&world, &token).await.assert_status(200);
    let form = exchange(&world);
    assert_eq!(
        (form.field("actor_token"), form.field("actor_token_type")),
        (vec!["token-of-the-actor"], vec![ACCESS_TOKEN])
    );
}

#[tokio::test]
async fn rfc8693_s2_1_the_requested_type_is_the_one_that_was_configured() {
    for (configured, requested) in [("jwt", JWT), ("access_token", ACCESS_TOKEN)] {
        let world = exchanging(json!({ "requested_token_type": configured })).await;
        let token = world.valid_token();

        ask(&world, &token).await.assert_status(200);

        assert_eq!(exchange(&world).field("requested_token_type"), [requested]);
    }
}

#[test]
fn rfc8693_s2_1_a_resource_is_an_absolute_uri_without_a_fragment() {
    for resource in ["/mcp", "upstream", "https://upstream.internal/mcp#part"] {
        let directory = tempfile::tempdir().unwrap();
        let config = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "authorization_servers": { "main": {
                "issuer": "https://login.example.com",
                "client": { "id": "gateway", "secret": { "env": "PATH" } },
            } },
            "upstreams": { "upstream": { "endpoints": ["http://127.0.0.1:3000"] } },
            "routes": [{ "name": "all", "upstream": "upstream", "resource": "https://mcp.example.com",
                "authorization_server": "main", "credential": { "kind": "exchange", "resource": resource } }],
        });
        std::fs::write(directory.path().join("gateway.yaml"), config.to_string()).unwrap();

        let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);

        assert_eq!(check.code(), 64, "{resource}: {}", check.stdout());
        assert!((check.stdout() + &check.stderr()).contains("credential.resource"), "{resource}: {}", check.stderr());
    }
}

#[tokio::test]
async fn rfc8693_s2_2_1_an_answer_lacks_nothing_that_is_required() {
    for member in ["access_token", "issued_token_type", "token_type"] {
        let world = exchanging(json!({})).await;
        world.authorization_server.claim_in_exchanges(&json!({ member: null }));
        let token = world.valid_token();

        assert_eq!(ask(&world, &token).await.status, 502, "without {member}");
        assert!(world.upstream.received().is_empty());
    }
}

#[tokio::test]
async fn rfc8693_s2_2_1_the_issued_type_is_the_one_that_was_asked_for() {
    for (asked, issued, status) in [
        ("access_token", ACCESS_TOKEN, 200),
        // A JWT may well be an access token; that one was asked for is for the token type to say.
        ("jwt", JWT, 200),
        ("jwt", "urn:ietf:params:oauth:token-type:id_token", 502),
        ("access_token", "urn:ietf:params:oauth:token-type:refresh_token", 502),
        ("access_token", "urn:ietf:params:oauth:token-type:saml2", 502),
        ("access_token", "access_token", 502),
    ] {
        let world = exchanging(json!({ "requested_token_type": asked })).await;
        world.authorization_server.claim_in_exchanges(&json!({ "issued_token_type": issued }));
        let token = world.valid_token();

        assert_eq!(ask(&world, &token).await.status, status, "{asked} asked for, {issued} issued");
    }
}

#[tokio::test]
async fn rfc8693_s2_2_1_only_a_bearer_token_is_sent_as_one() {
    for (token_type, status) in [("Bearer", 200), ("bearer", 200), ("N_A", 502), ("DPoP", 502), ("mac", 502)] {
        let world = exchanging(json!({})).await;
        world.authorization_server.claim_in_exchanges(&json!({ "token_type": token_type }));
        let token = world.valid_token();

        assert_eq!(ask(&world, &token).await.status, status, "{token_type}");
    }
}

#[tokio::test]
async fn rfc8693_s2_2_1_a_scope_that_is_not_in_the_answer_is_the_one_that_was_asked_for() {
    for (scope, status) in [(json!(null), 200), (json!("a"), 200), (json!("b a"), 200), (json!("a b c"), 502)] {
        let world = exchanging(json!({ "scopes": ["a", "b"] })).await;
        world.authorization_server.claim_in_exchanges(&json!({ "scope": scope }));
        let token = world.valid_token();

        assert_eq!(ask(&world, &token).await.status, status, "{scope}");
    }
}

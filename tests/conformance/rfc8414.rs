//! RFC 8414: OAuth 2.0 Authorization Server Metadata, and where OpenID Connect Discovery 1.0 has the same elsewhere.

use e2e::{Answer, CommandLine, Given, World};
use serde_json::json;

use crate::{ask, assert_unavailable};

/// A gateway that has to discover the endpoints.
async fn discovering(change: impl FnOnce(&mut Given)) -> World {
    let mut given = Given::new().await;
    change(&mut given);
    let server = &mut given.config["authorization_servers"]["main"];
    server.as_object_mut().unwrap().remove("endpoints");
    server["issuer"] = json!(given.authorization_server.issuer());
    given.start().await
}

#[tokio::test]
async fn rfc8414_s3_the_introspection_endpoint_is_discovered_from_the_metadata() {
    let world = discovering(|_| {}).await;
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);

    assert_eq!(world.authorization_server.introspections(&token), 1);
    assert_eq!(world.authorization_server.metadata_requests(), ["/.well-known/oauth-authorization-server"]);
}

#[tokio::test]
async fn rfc8414_s3_1_the_path_of_an_issuer_comes_after_the_well_known_one() {
    let world = discovering(|given| given.authorization_server.be_issuer_at("/tenant-1")).await;
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);

    assert_eq!(world.authorization_server.metadata_requests(), ["/.well-known/oauth-authorization-server/tenant-1"]);
}

#[tokio::test]
async fn rfc8414_s3_1_a_slash_at_the_end_of_an_issuer_is_left_out() {
    let world = discovering(|given| given.authorization_server.be_issuer_at("/tenant-1/")).await;
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);

    assert_eq!(world.authorization_server.metadata_requests(), ["/.well-known/oauth-authorization-server/tenant-1"]);
}

#[tokio::test]
async fn rfc8414_s5_openid_metadata_is_found_where_rfc_8414_and_where_openid_discovery_put_it() {
    for (path, asked) in [
        ("", ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]),
        (
            "/tenant-1",
            ["/.well-known/oauth-authorization-server/tenant-1", "/.well-known/openid-configuration/tenant-1"],
        ),
    ] {
        let world = discovering(|given| {
            given.authorization_server.be_issuer_at(path);
            given.authorization_server.know_openid_alone();
        })
        .await;
        let token = world.valid_token();

        ask(&world, &token).await.assert_status(200);

        assert_eq!(world.authorization_server.metadata_requests(), asked);
    }
}

#[tokio::test]
async fn rfc8414_s3_2_members_that_nobody_knows_are_ignored() {
    let world = discovering(|given| {
        given
            .authorization_server
            .claim_in_metadata(&json!({ "x-unknown": { "issuer": "https://evil.example" }, "more": [] }));
    })
    .await;
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);
}

#[tokio::test]
async fn rfc8414_s3_3_the_metadata_of_another_issuer_is_not_believed() {
    let world = discovering(|_| {}).await;
    for issuer in ["https://login.example.com", &format!("{}/", world.authorization_server.issuer()), ""] {
        world.authorization_server.claim_in_metadata(&json!({ "issuer": issuer }));
        let token = world.valid_token();

        assert_unavailable(&ask(&world, &token).await, issuer);
    }
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn rfc8414_s3_3_metadata_without_an_issuer_is_not_believed() {
    let world = discovering(|given| given.authorization_server.claim_in_metadata(&json!({ "issuer": null }))).await;
    let token = world.valid_token();

    assert_unavailable(&ask(&world, &token).await, "no issuer");
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn rfc8414_s3_3_the_keys_of_another_issuer_are_not_used() {
    let world = discovering(|given| {
        given.config["routes"][0]["accepts"] = json!(["jwt"]);
        given.authorization_server.claim_in_metadata(&json!({ "issuer": "https://login.example.com" }));
    })
    .await;
    let token = world.authorization_server.issue_jwt(&json!({}));

    assert_unavailable(&ask(&world, &token).await, "metadata of another issuer");
    assert_eq!(world.authorization_server.key_set_requests(), 0);
}

#[tokio::test]
async fn rfc8414_s2_metadata_without_the_endpoint_that_is_needed_is_no_answer() {
    for (member, accepts) in [("introspection_endpoint", "opaque"), ("jwks_uri", "jwt")] {
        let world = discovering(|given| {
            given.config["routes"][0]["accepts"] = json!([accepts]);
            given.authorization_server.claim_in_metadata(&json!({ member: null }));
        })
        .await;
        let token = world.authorization_server.issue_jwt(&json!({}));
        world.authorization_server.answer(&token, Answer::Inactive);

        assert_unavailable(&ask(&world, &token).await, member);
    }
}

#[test]
fn rfc8414_s2_an_issuer_is_an_https_url_without_query_and_fragment() {
    for issuer in
        ["http://login.example.com", "https://login.example.com?tenant=1", "https://login.example.com#1", "login"]
    {
        let directory = tempfile::tempdir().unwrap();
        let config = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "authorization_servers": { "main": { "issuer": issuer } },
            "upstreams": { "upstream": { "endpoints": ["http://127.0.0.1:3000"] } },
            "routes": [{ "name": "all", "upstream": "upstream", "public": true }],
        });
        std::fs::write(directory.path().join("gateway.yaml"), config.to_string()).unwrap();

        let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);

        assert_eq!(check.code(), 64, "{issuer}: {}", check.stdout());
        assert!((check.stdout() + &check.stderr()).contains("issuer"), "{issuer}: {}", check.stderr());
    }
}

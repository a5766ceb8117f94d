//! Where clients learn which authorization server to go to.

use e2e::{AnswerExt, CommandLine, Given, World};
use serde_json::{Value, json};

use crate::mcp::{FROM_2025_06_18, FROM_2025_11_25, message, open, post, with_version};

/// Where the challenge of a client without a token says that the metadata is.
async fn challenged(world: &World, revision: &str) -> String {
    let answer = post(world, revision, &message(revision, "ping", json!({}))).answer().await;
    answer.assert_status(401).challenge().get("resource_metadata").expect("an address").to_owned()
}

#[tokio::test]
async fn rev2025_06_18_and_later_authorization_server_location_the_metadata_names_an_authorization_server() {
    let world = open().await;
    for revision in FROM_2025_06_18 {
        let address = challenged(&world, revision).await;

        let answer = with_version(world.client().get(&address), revision).answer().await;

        assert!(answer.assert_status(200).header("content-type").starts_with("application/json"), "{revision}");
        let metadata = answer.json();
        assert_eq!(metadata["resource"], world.url("/mcp"), "{revision}");
        assert_eq!(metadata["authorization_servers"], json!([world.authorization_server.issuer()]), "{revision}");
    }
}

#[tokio::test]
async fn rev2025_11_25_and_later_authorization_discovery_requirements_every_way_leads_to_the_same_metadata() {
    let world = open().await;
    for revision in FROM_2025_11_25 {
        let address = challenged(&world, revision).await;
        let told = world.client().get(&address).answer().await.assert_status(200).json();

        for path in ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"] {
            let found = with_version(world.get(path), revision).answer().await;

            assert_eq!(found.assert_status(200).json(), told, "{revision} {path}");
        }
    }
}

#[tokio::test]
async fn rev2025_06_18_and_later_authorization_canonical_uri_a_host_in_capitals_is_the_same_server() {
    let mut given = Given::new().await;
    let route = &mut given.config["routes"][0];
    route["match"]["host"] = json!("mcp.example.com");
    route["resource"] = json!("https://mcp.example.com/mcp");
    route["mcp"] = json!({ "default": "allow" });
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "aud": "https://mcp.example.com/mcp" }));
    for revision in FROM_2025_06_18 {
        let ping = message(revision, "ping", json!({}));
        let in_capitals = || post(&world, revision, &ping).header("host", "MCP.Example.COM");

        let challenge = in_capitals().answer().await.assert_status(401).challenge();
        let metadata = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
        assert_eq!(challenge.get("resource_metadata"), Some(metadata), "{revision}");
        in_capitals().bearer_auth(&token).answer().await.assert_status(200);
    }
}

#[tokio::test]
async fn rev2025_03_26_authorization_base_url_the_authorization_servers_metadata_is_at_the_root_of_the_host() {
    let mut given = Given::new().await;
    let route = &mut given.config["routes"][0];
    route["match"]["path"] = json!("/v1/mcp");
    route["resource"] = json!("https://mcp.example.com/v1/mcp");
    route["mcp"] = json!({ "authorization_server_metadata": true, "default": "allow" });
    let world = given.start().await;

    let request = world.get("/.well-known/oauth-authorization-server").header("mcp-protocol-version", "2025-03-26");
    let metadata = request.answer().await.assert_status(200).json();

    assert_eq!(metadata["issuer"], world.authorization_server.issuer(), "whose it is stays true");
    assert!(metadata["token_endpoint"].is_string());
}

#[tokio::test]
async fn rev2026_07_28_authorization_refresh_tokens_offline_access_cannot_be_asked_for() {
    for (place, scopes) in [("/routes/0/scopes", json!(["offline_access"])), ("/routes/0/mcp", rule("offline_access"))]
    {
        let mut given = Given::new().await;
        given.config["routes"][0]["mcp"] = rule("mcp:use");
        *given.config.pointer_mut(place).unwrap() = scopes;
        std::fs::write(given.directory().join("gateway.yaml"), given.config.to_string()).unwrap();

        let check = CommandLine::run(given.directory(), &["check", "-c", "gateway.yaml"]);

        assert_eq!(check.code(), 64, "{place}");
        assert!((check.stdout() + &check.stderr()).contains("refresh token"), "{place}");
    }
}

fn rule(scope: &str) -> Value {
    json!({ "default": { "scopes": [scope] } })
}

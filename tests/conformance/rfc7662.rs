//! RFC 7662: OAuth 2.0 Token Introspection.

use e2e::{Answer, AnswerExt, Certificates, CommandLine, Given, World, now, oidc_provider_over_tls, until};
use serde_json::json;

use crate::{ask, assert_unavailable};

#[tokio::test]
async fn rfc7662_s2_1_the_token_is_posted_as_a_form_field_and_the_gateway_authenticates() {
    let world = World::new().await;
    let token = "a+b/c.d_e~f-g==";
    world.authorization_server.issue_as(token, json!({}));

    world.get("/mcp").bearer_auth(token).answer().await.assert_status(200);

    let requests = world.authorization_server.requests();
    assert_eq!(requests[0].field("token"), [token]);
    assert_eq!(requests[0].field("client_secret"), [""; 0]);
    assert_eq!(requests[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(requests[0].headers["accept"], "application/json");
}

#[tokio::test]
async fn rfc7662_s2_2_only_the_json_true_is_active() {
    let world = World::new().await;
    for active in [json!("true"), json!(1), json!({}), json!([true]), json!(null)] {
        let token = world.authorization_server.issue(json!({ "sub": "alice" }));
        let claims = json!({ "active": active, "aud": world.url("/mcp"), "scope": "mcp:read", "sub": "alice" });
        world.authorization_server.answer(&token, Answer::Claims(claims));

        ask(&world, &token).await.assert_status_in(&[401, 503]);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc7662_s2_2_an_inactive_token_is_refused_whatever_else_the_answer_says() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "active": false }));

    ask(&world, &token).await.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn rfc7662_s2_2_an_active_answer_about_a_token_past_its_exp_is_not_believed() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "exp": now() - 1 }));

    ask(&world, &token).await.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn rfc7662_s2_2_an_answer_to_one_client_is_not_believed_as_another() {
    let mut given = Given::new().await;
    // The same authorization server once more, where the gateway is a client that it does not know.
    let mut other = given.config["authorization_servers"]["main"].clone();
    other["client"]["id"] = json!("another-client");
    given.config["authorization_servers"]["other"] = other;
    given.add_route("other", "/other")["authorization_server"] = json!("other");
    let resources = json!([given.url("/mcp"), given.url("/other")]);
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "aud": resources }));
    ask(&world, &token).await.assert_status(200);

    let as_another_client = world.get("/other").bearer_auth(&token).answer().await;

    assert_unavailable(&as_another_client, "a client that may not introspect");
    assert_eq!(world.authorization_server.introspections(&token), 2);
}

#[tokio::test]
async fn rfc7662_s2_3_an_error_says_nothing_of_the_token() {
    for (name, error) in [
        ("invalid_client", Answer::json(401, &json!({ "error": "invalid_client" }))),
        ("invalid_token of our own", Answer::json(401, &json!({ "error": "invalid_token" }))),
        ("insufficient_scope of our own", Answer::json(403, &json!({ "error": "insufficient_scope" }))),
        ("an error with an answer in it", Answer::json(500, &json!({ "active": true }))),
        ("an error that says inactive", Answer::json(500, &json!({ "active": false }))),
    ] {
        let world = World::new().await;
        let token = world.valid_token();
        world.authorization_server.fail_with(error);

        assert_unavailable(&ask(&world, &token).await, name);
    }
}

#[tokio::test]
async fn rfc7662_s4_an_answer_is_never_used_past_the_exp_in_it() {
    let world = World::new().await;
    let exp = now() + 4;
    let token = world.authorization_server.issue(json!({ "exp": exp }));
    ask(&world, &token).await.assert_status(200);

    until(exp).await;

    ask(&world, &token).await.assert_status(401).assert_challenge_error("invalid_token");
    assert_eq!(world.upstream.received().len(), 1);
}

#[test]
fn rfc7662_s4_an_endpoint_without_tls_is_no_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({
        "listeners": [{ "address": "127.0.0.1:0" }],
        "authorization_servers": { "main": {
            "issuer": "https://login.example.com",
            "endpoints": { "introspection": "http://login.example.com/introspect" },
            "client": { "id": "gateway", "secret": { "env": "PATH" } },
        } },
        "upstreams": { "upstream": { "endpoints": ["http://127.0.0.1:3000"] } },
        "routes": [{ "name": "all", "upstream": "upstream", "resource": "https://mcp.example.com", "authorization_server": "main",
            "credential": { "kind": "none" } }],
    });
    std::fs::write(directory.path().join("gateway.yaml"), config.to_string()).unwrap();

    let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);

    assert_eq!(check.code(), 64, "{}", check.stdout());
    assert!((check.stdout() + &check.stderr()).contains("endpoints.introspection"), "{}", check.stderr());
}

#[tokio::test]
async fn rfc7662_s4_the_certificate_of_the_authorization_server_is_verified() {
    for trusts_it in [true, false] {
        let mut given = Given::new().await;
        let certificates = Certificates::new(given.directory());
        let resources = json!({ given.url("/mcp"): { "scopes": ["mcp:read"], "ttl": 600 } });
        let provider = oidc_provider_over_tls(resources, &certificates).await;
        let secret = given.directory().join("provider-secret");
        std::fs::write(&secret, provider.text("/clients/client_secret_post/client_secret")).unwrap();
        given.config["authorization_servers"]["main"] = json!({
            "issuer": provider.text("/issuer"),
            "client": { "id": "gateway-post", "secret": { "file": secret }, "authentication": "client_secret_post" },
        });
        if trusts_it {
            given.config["authorization_servers"]["main"]["tls"] = json!({ "ca": certificates.ca() });
        }
        let world = given.start().await;
        let token = provider.sign_in(&world.url("/mcp"), "mcp:read").await.access_token().to_owned();

        let answer = ask(&world, &token).await;

        if trusts_it {
            answer.assert_status(200);
        } else {
            assert_unavailable(&answer, "a certificate of an authority that nobody trusts");
        }
    }
}

//! Which credentials the gateway takes, from where, and how it asks about them.

use e2e::{AnswerExt, AuthorizationServer, Given, World};
use http::{HeaderMap, HeaderValue};
use serde_json::json;

#[tokio::test]
async fn rfc9110_s11_1_the_scheme_is_case_insensitive() {
    let world = World::new().await;
    let token = world.valid_token();

    let answer = world.get("/mcp").header("authorization", format!("bEaReR {token}")).answer().await;

    answer.assert_status(200);
}

#[tokio::test]
async fn a_token_in_the_query_is_no_credential() {
    let world = World::new().await;
    let token = world.valid_token();

    let answer = world.get(&format!("/mcp?access_token={token}")).answer().await;

    assert_eq!(answer.assert_status(401).challenge().get("error"), None);
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn a_token_in_a_form_is_no_credential() {
    let world = World::new().await;
    let token = world.valid_token();

    let answer = world.post("/mcp").form(&[("access_token", &token)]).answer().await;

    answer.assert_status(401);
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn rfc6750_s2_two_ways_of_sending_a_token_are_400() {
    let world = World::new().await;
    let token = world.valid_token();

    let answer = world.get(&format!("/mcp?access_token={token}")).bearer_auth(&token).answer().await;

    answer.assert_status(400);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn two_authorization_fields_are_refused() {
    let world = World::new().await;
    let (one, two) = (world.valid_token(), world.valid_token());
    let bearer = |token: &str| HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let mut headers = HeaderMap::new();
    headers.append("authorization", bearer(&one));
    headers.append("authorization", bearer(&two));

    let answer = world.get("/mcp").headers(headers).answer().await;

    answer.assert_status_in(&[400, 401]);
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn two_credentials_in_one_field_are_refused() {
    let world = World::new().await;
    let token = world.valid_token();
    for authorization in [
        format!("Basic eDp5 Bearer {token}"),
        format!("Basic eDp5, Bearer {token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer{token}"),
        format!("Bearer\t{token}"),
        format!("Bearer \"{token}\""),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("DPoP {token}"),
        format!("Token {token}"),
    ] {
        let answer = world.get("/mcp").header("authorization", &authorization).answer().await;

        answer.assert_status_in(&[400, 401]);
    }
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn a_token_cannot_smuggle_form_fields_into_the_introspection() {
    let world = World::new().await;

    let answer = world.get("/mcp").header("authorization", "Bearer tok&token_type_hint=x").answer().await;

    answer.assert_status_in(&[400, 401]);
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn an_oversized_token_never_reaches_the_authorization_server() {
    let world = World::new().await;
    let token = "x".repeat(64 * 1024);

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status_in(&[400, 401, 431]);
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "token_type": "refresh_token" }));

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn rfc9449_s7_2_a_bound_token_sent_as_bearer_is_refused() {
    let world = World::new().await;
    for confirmation in [json!({ "jkt": "a" }), json!({ "x5t#S256": "b" }), json!({ "unknown": "c" })] {
        let token = world.authorization_server.issue(json!({ "cnf": confirmation }));

        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        answer.assert_status(401).assert_challenge_error("invalid_token");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc6749_s2_3_1_the_gateway_authenticates_with_client_secret_post() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["client"]["authentication"] = json!("client_secret_post");
    let world = given.start().await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    assert_eq!(world.authorization_server.requests()[0].headers.get("authorization"), None);
}

#[tokio::test]
async fn two_authorization_servers_may_issue_the_same_token_string() {
    let mut given = Given::new().await;
    let other = AuthorizationServer::start(&given.url("/other"), given.credentials.clone()).await;
    given.add_authorization_server("other", &other);
    given.add_route("other", "/other")["authorization_server"] = json!("other");
    let world = given.start().await;
    world.authorization_server.issue_as("same-opaque-string", json!({ "sub": "alice" }));

    let here = world.get("/mcp").bearer_auth("same-opaque-string").answer().await;
    let there = world.get("/other").bearer_auth("same-opaque-string").answer().await;

    here.assert_status(200);
    there.assert_status(401);
    assert_eq!(other.introspections("same-opaque-string"), 1);
}

#[tokio::test]
async fn fields_that_pretend_an_identity_are_stripped() {
    let world = World::new().await;
    let token = world.valid_token();
    let mut request = world.get("/mcp").bearer_auth(&token).header("x-harmless", "kept");
    let spoofed = [
        "x-forwarded-user",
        "x_forwarded_user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-auth-request-user",
        "x-auth-request-access-token",
        "x-remote-user",
        "remote-user",
        "remote_user",
        "x-client-cert",
        "client-cert",
        "client-cert-chain",
        "x-forwarded-client-cert",
        "x-ssl-client-cert",
        "txn-token",
        "proxy-authorization",
        "dpop",
        "x-amzn-oidc-data",
        "x-goog-iap-jwt-assertion",
    ];
    for name in spoofed {
        request = request.header(name, "spoofed");
    }

    request.answer().await.assert_status(200);

    let received = world.upstream.only_request();
    let survivors: Vec<_> = received.headers.iter().filter(|(_, value)| *value == "spoofed").collect();
    assert!(survivors.is_empty(), "{survivors:?}");
    assert_eq!(received.header("x-harmless"), "kept");
}

#[tokio::test]
async fn rfc9110_s7_6_1_a_connection_option_cannot_remove_the_swapped_credential() {
    let world = World::new().await;
    let token = world.valid_token();

    let request =
        world.get("/mcp").bearer_auth(&token).header("connection", "authorization, x-hop").header("x-hop", "1");
    request.answer().await.assert_status_in(&[200, 400]);

    for received in world.upstream.received() {
        assert!(received.jwt().contains('.'));
        assert_eq!(received.headers.get("x-hop"), None);
    }
}

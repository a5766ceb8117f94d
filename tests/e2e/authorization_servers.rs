//! Real authorization servers: each with every form of answer that it offers, and two at once.

use e2e::{
    AnswerExt, Certificates, Fixture, Given, World, decode_jwt, django_oauth_toolkit, glewlwyd, now, oidc_provider,
    oidc_provider_over_tls, until,
};
use serde_json::{Value, json};

/// What the upstream calls itself at the authorization server.
const UPSTREAM: &str = "https://upstream.internal/mcp";

/// The resources that oidc-provider knows: the gateway's `/mcp`, and the upstream, which takes JWTs.
fn resources(given: &Given) -> Value {
    json!({
        given.url("/mcp"): { "scopes": ["mcp:read", "mcp:write"], "ttl": 600 },
        UPSTREAM: { "scopes": ["mcp:read"], "format": "jwt" },
    })
}

/// Makes `server` the authorization server `main`, of which the gateway is the client `name`.
fn connect(given: &mut Given, server: &Fixture, vendor: &str, name: &str) {
    let client = &server.ready["clients"][name];
    let mut config = json!({
        "issuer": server.text("/issuer"),
        "vendor": vendor,
        "client": { "id": client["client_id"], "authentication": "client_secret_basic" },
    });
    if let Some(secret) = client["client_secret"].as_str() {
        config["client"]["secret"] = json!({ "file": keep(given, "client-secret", secret) });
    }
    given.config["authorization_servers"]["main"] = config;
}

/// Puts a secret into a file of the test, and among what must not be in the log.
fn keep(given: &Given, file: &str, secret: &str) -> std::path::PathBuf {
    let path = given.directory().join(file);
    std::fs::write(&path, secret).unwrap();
    given.credentials.gateway(secret.trim());
    path
}

fn main_server(given: &mut Given) -> &mut Value {
    &mut given.config["authorization_servers"]["main"]
}

/// An agent's access token, good for `/mcp`.
async fn token(world: &World, server: &Fixture) -> String {
    let response = server.sign_in(&world.url("/mcp"), "mcp:read").await;
    world.credentials.agent(response.access_token());
    response.access_token().to_owned()
}

/// A person's token passes and is understood, one that nobody issued does not.
async fn assert_tokens_are_told_apart(world: &World, server: &Fixture, subject: &str) {
    let token = token(world, server).await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    let (_, claims) = decode_jwt(world.upstream.only_request().jwt());
    assert_eq!(claims["sub"], subject, "{claims}");

    let unknown = world.authorization_server.unknown_token();
    world.get("/mcp").bearer_auth(&unknown).answer().await.assert_status(401).assert_challenge_error("invalid_token");
}

// --- oidc-provider: who we are ----------------------------------------------------------------------------------------

#[tokio::test]
async fn oidc_provider_takes_a_client_secret_in_the_header_and_in_the_form() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let mut given = Given::new().await;
        let provider = oidc_provider(resources(&given)).await;
        connect(&mut given, &provider, "oidc-provider", method);
        main_server(&mut given)["client"]["authentication"] = json!(method);
        let world = given.start().await;

        assert_tokens_are_told_apart(&world, &provider, "alice").await;
    }
}

#[tokio::test]
async fn oidc_provider_takes_an_assertion_for_each_audience_and_type_that_is_usual() {
    let mut given = Given::new().await;
    let provider = oidc_provider(resources(&given)).await;
    connect(&mut given, &provider, "oidc-provider", "private_key_jwt");
    let key = keep(&given, "key.pem", provider.text("/clients/private_key_jwt/private_key"));
    let client = main_server(&mut given)["client"].as_object_mut().unwrap();
    client.insert("authentication".to_owned(), json!("private_key_jwt"));
    client.insert("private_key".to_owned(), json!({ "file": key }));
    client.insert("assertion".to_owned(), json!({ "key_id": "assertion" }));
    let world = given.start().await;

    assert_tokens_are_told_apart(&world, &provider, "alice").await;
}

#[tokio::test]
async fn oidc_provider_takes_an_assertion_for_its_endpoints_too() {
    for (audience, typ) in [("endpoint", "JWT"), ("token_endpoint", "client-authentication+jwt")] {
        let mut given = Given::new().await;
        let provider = oidc_provider(resources(&given)).await;
        connect(&mut given, &provider, "oidc-provider", "private_key_jwt");
        let key = keep(&given, "key.pem", provider.text("/clients/private_key_jwt/private_key"));
        main_server(&mut given)["client"] = json!({
            "id": "gateway-key",
            "authentication": "private_key_jwt",
            "private_key": { "file": key },
            "assertion": { "algorithm": "ES256", "audience": audience, "type": typ },
        });
        let world = given.start().await;
        let token = token(&world, &provider).await;

        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }
}

/// oidc-provider over TLS, of which the gateway is a client by a certificate with this name in it.
async fn by_certificate(name: &str) -> (World, Fixture) {
    let mut given = Given::new().await;
    let certificates = Certificates::new(given.directory());
    let provider = oidc_provider_over_tls(resources(&given), &certificates).await;
    connect(&mut given, &provider, "oidc-provider", "tls_client_auth");
    let own = certificates.client(name);
    main_server(&mut given)["client"]["authentication"] = json!("tls_client_auth");
    main_server(&mut given)["tls"] =
        json!({ "ca": certificates.ca(), "certificate": own.certificate, "private_key": own.private_key });
    (given.start().await, provider)
}

#[tokio::test]
async fn oidc_provider_takes_a_certificate() {
    let (world, provider) = by_certificate("gateway.internal").await;

    assert_tokens_are_told_apart(&world, &provider, "alice").await;
}

#[tokio::test]
async fn a_certificate_that_oidc_provider_does_not_take_is_our_fault_and_not_the_agents() {
    let (world, provider) = by_certificate("somebody-else.internal").await;
    let token = token(&world, &provider).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);

    let labels = [("authorization_server", "main"), ("alarm", "client_refused")];
    assert_eq!(world.metric("phantomgate_authorization_server_alarm", &labels).await, 1.0);
}

// --- oidc-provider: what it answers -----------------------------------------------------------------------------------

#[tokio::test]
async fn rfc9701_oidc_provider_signs_its_answers_with_every_algorithm_it_has() {
    for client in ["signed_ES256", "signed_RS256", "signed_PS256"] {
        let mut given = Given::new().await;
        let provider = oidc_provider(resources(&given)).await;
        connect(&mut given, &provider, "oidc-provider", client);
        main_server(&mut given)["introspection"] = json!({ "response": "signed" });
        let world = given.start().await;

        assert_tokens_are_told_apart(&world, &provider, "alice").await;
    }
}

#[tokio::test]
async fn rfc9701_oidc_provider_encrypts_its_signed_answers() {
    for client in ["encrypted_ECDH", "encrypted_RSA"] {
        let mut given = Given::new().await;
        let provider = oidc_provider(resources(&given)).await;
        connect(&mut given, &provider, "oidc-provider", client);
        let key = keep(&given, "decryption.pem", provider.text(&format!("/clients/{client}/private_key")));
        main_server(&mut given)["introspection"] = json!({ "response": "signed", "decryption_key": { "file": key } });
        let world = given.start().await;

        assert_tokens_are_told_apart(&world, &provider, "alice").await;
    }
}

#[tokio::test]
async fn a_phantom_token_becomes_the_jwt_of_the_authorization_server() {
    let mut given = Given::new().await;
    let provider = oidc_provider(resources(&given)).await;
    connect(&mut given, &provider, "curity", "client_secret_basic");
    main_server(&mut given)["introspection"] = json!({ "response": "jwt" });
    given.config["routes"][0]["credential"] = json!({ "kind": "jwt" });
    let world = given.start().await;

    assert_tokens_are_told_apart(&world, &provider, "alice").await;

    let (header, claims) = decode_jwt(world.upstream.only_request().jwt());
    assert_eq!((&header["typ"], &claims["iss"]), (&json!("at+jwt"), &json!(provider.text("/issuer"))));
}

#[tokio::test]
async fn a_refresh_token_and_what_looks_like_a_jwt_are_no_access_tokens_to_oidc_provider() {
    let mut given = Given::new().await;
    let provider = oidc_provider(resources(&given)).await;
    connect(&mut given, &provider, "oidc-provider", "client_secret_basic");
    let world = given.start().await;
    let response = provider.sign_in(&world.url("/mcp"), "mcp:read offline_access").await;

    for token in [response.refresh_token(), "eyJhbGciOiJub25lIn0.e30."] {
        world.credentials.agent(token);
        let answer = world.get("/mcp").bearer_auth(token).answer().await;

        answer.assert_status(401).assert_challenge_error("invalid_token");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9068_a_jwt_of_oidc_provider_is_verified_here() {
    let mut given = Given::new().await;
    let provider =
        oidc_provider(json!({ given.url("/mcp"): { "scopes": ["mcp:read"], "format": "jwt", "ttl": 600 } })).await;
    given.config["authorization_servers"]["main"] =
        json!({ "issuer": provider.text("/issuer"), "vendor": "oidc-provider" });
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    let world = given.start().await;

    assert_tokens_are_told_apart(&world, &provider, "alice").await;
}

#[tokio::test]
async fn rfc7009_a_token_that_was_revoked_at_oidc_provider_passes_until_the_max_ttl_and_not_longer() {
    let mut given = Given::new().await;
    let provider = oidc_provider(resources(&given)).await;
    connect(&mut given, &provider, "oidc-provider", "client_secret_basic");
    main_server(&mut given)["cache"] = json!({ "max_ttl": "1s" });
    let world = given.start().await;
    let token = token(&world, &provider).await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    provider.revoke(&token).await;
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401).assert_challenge_error("invalid_token");
}

// --- oidc-provider: one token for another -----------------------------------------------------------------------------

#[tokio::test]
async fn rfc8693_oidc_provider_exchanges_an_opaque_token_for_a_jwt_for_the_upstream() {
    for target in ["resource", "audience"] {
        let mut given = Given::new().await;
        let provider = oidc_provider(resources(&given)).await;
        connect(&mut given, &provider, "oidc-provider", "client_secret_basic");
        given.config["routes"][0]["credential"] =
            json!({ "kind": "exchange", target: UPSTREAM, "scopes": ["mcp:read"] });
        let world = given.start().await;

        assert_tokens_are_told_apart(&world, &provider, "alice").await;

        let (header, claims) = decode_jwt(world.upstream.only_request().jwt());
        assert_eq!((&header["typ"], &claims["aud"]), (&json!("at+jwt"), &json!(UPSTREAM)));
        assert_eq!((&claims["iss"], &claims["scope"]), (&json!(provider.text("/issuer")), &json!("mcp:read")));
        assert_eq!(claims["act"]["sub"], "gateway:basic");
    }
}

#[tokio::test]
async fn rfc8693_an_exchange_that_oidc_provider_refuses_is_502() {
    let mut given = Given::new().await;
    let provider = oidc_provider(resources(&given)).await;
    connect(&mut given, &provider, "oidc-provider", "client_secret_basic");
    given.config["routes"][0]["credential"] = json!({ "kind": "exchange", "resource": "https://nobody.internal/" });
    let world = given.start().await;
    let token = token(&world, &provider).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(502);

    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_jwt_is_exchanged_on_behalf_of_its_subject_as_entra_has_it() {
    let mut given = Given::new().await;
    let provider = oidc_provider(json!({
        given.url("/mcp"): { "scopes": ["mcp:read"], "format": "jwt" },
        UPSTREAM: { "scopes": ["mcp:read"], "format": "jwt" },
    }))
    .await;
    connect(&mut given, &provider, "entra", "client_secret_post");
    main_server(&mut given)["client"]["authentication"] = json!("client_secret_post");
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    given.config["routes"][0]["credential"] =
        json!({ "kind": "on_behalf_of", "scopes": [format!("{UPSTREAM}/mcp:read")] });
    let world = given.start().await;

    assert_tokens_are_told_apart(&world, &provider, "alice").await;

    let (_, claims) = decode_jwt(world.upstream.only_request().jwt());
    assert_eq!((&claims["aud"], &claims["client_id"]), (&json!(UPSTREAM), &json!("gateway-post")));
}

// --- django-oauth-toolkit ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn django_oauth_toolkit_answers_in_json_without_sub() {
    let mut given = Given::new().await;
    let server = django_oauth_toolkit().await;
    connect(&mut given, &server, "django-oauth-toolkit", "client_secret_basic");
    let world = given.start().await;

    assert_tokens_are_told_apart(&world, &server, "alice").await;
}

#[tokio::test]
async fn a_refresh_token_and_a_revoked_token_of_django_oauth_toolkit_are_refused() {
    let mut given = Given::new().await;
    let server = django_oauth_toolkit().await;
    connect(&mut given, &server, "django-oauth-toolkit", "client_secret_basic");
    main_server(&mut given)["cache"] = json!({ "max_ttl": "1s" });
    let world = given.start().await;
    let response = server.sign_in(&world.url("/mcp"), "mcp:read").await;
    let (access, refresh) = (response.access_token(), response.refresh_token());
    world.credentials.agent(access);
    world.credentials.agent(refresh);

    world.get("/mcp").bearer_auth(refresh).answer().await.assert_status(401);
    world.get("/mcp").bearer_auth(access).answer().await.assert_status(200);
    server.revoke(access).await;
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(access).answer().await.assert_status(401).assert_challenge_error("invalid_token");
}

// --- Glewlwyd ---------------------------------------------------------------------------------------------------------

async fn behind_glewlwyd(change: impl FnOnce(&mut Given)) -> (World, Fixture) {
    let mut given = Given::new().await;
    let server = glewlwyd(json!({ given.url("/mcp"): { "scopes": ["mcp:read"] } })).await;
    connect(&mut given, &server, "glewlwyd", "client_secret_basic");
    change(&mut given);
    (given.start().await, server)
}

/// Glewlwyd makes subjects of its own, and tells the name of the person beside them.
async fn assert_glewlwyds_tokens_are_told_apart(world: &World, server: &Fixture) {
    let response = server.sign_in(&world.url("/mcp"), "mcp:read").await;
    let (_, own) = decode_jwt(response.access_token());
    world.credentials.agent(response.access_token());
    world.credentials.agent(response.refresh_token());

    world.get("/mcp").bearer_auth(response.access_token()).answer().await.assert_status(200);
    assert_eq!(decode_jwt(world.upstream.only_request().jwt()).1["sub"], own["sub"]);

    for other in [&world.authorization_server.unknown_token(), response.refresh_token()] {
        let answer = world.get("/mcp").bearer_auth(other).answer().await;
        answer.assert_status(401).assert_challenge_error("invalid_token");
    }
}

#[tokio::test]
async fn glewlwyd_answers_in_json() {
    let (world, server) = behind_glewlwyd(|_| {}).await;

    assert_glewlwyds_tokens_are_told_apart(&world, &server).await;
}

#[tokio::test]
async fn glewlwyd_answers_with_a_jwt_in_place_of_the_token() {
    let (world, server) = behind_glewlwyd(|given| {
        main_server(given)["introspection"] = json!({ "response": "jwt" });
        given.config["routes"][0]["credential"] = json!({ "kind": "jwt" });
    })
    .await;

    assert_glewlwyds_tokens_are_told_apart(&world, &server).await;

    let (_, claims) = decode_jwt(world.upstream.only_request().jwt());
    assert_eq!((&claims["iss"], &claims["username"]), (&json!(server.text("/issuer")), &json!("alice")));
}

#[tokio::test]
async fn rfc9701_glewlwyd_signs_its_answers() {
    let (world, server) =
        behind_glewlwyd(|given| main_server(given)["introspection"] = json!({ "response": "signed" })).await;

    assert_glewlwyds_tokens_are_told_apart(&world, &server).await;
}

#[tokio::test]
async fn rfc9068_a_jwt_of_glewlwyd_is_verified_here() {
    let (world, server) = behind_glewlwyd(|given| given.config["routes"][0]["accepts"] = json!(["jwt"])).await;

    assert_glewlwyds_tokens_are_told_apart(&world, &server).await;
}

#[tokio::test]
async fn rfc7009_a_token_that_was_revoked_at_glewlwyd_is_refused_after_the_max_ttl() {
    let (world, server) = behind_glewlwyd(|given| main_server(given)["cache"] = json!({ "max_ttl": "1s" })).await;
    let token = token(&world, &server).await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    server.revoke(&token).await;
    until(now() + 2).await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401).assert_challenge_error("invalid_token");
}

// --- several ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_of_one_real_server_means_nothing_at_another() {
    let mut given = Given::new().await;
    let (provider, django) = (oidc_provider(resources(&given)).await, django_oauth_toolkit().await);
    connect(&mut given, &django, "django-oauth-toolkit", "client_secret_basic");
    given.config["authorization_servers"]["other"] = main_server(&mut given).take();
    connect(&mut given, &provider, "oidc-provider", "client_secret_basic");
    main_server(&mut given)["client"]["secret"] =
        json!({ "file": keep(&given, "other-secret", provider.text("/clients/client_secret_basic/client_secret")) });
    keep(&given, "client-secret", django.text("/clients/client_secret_basic/client_secret"));
    given.add_route("other", "/other")["authorization_server"] = json!("other");
    let world = given.start().await;
    let here = token(&world, &provider).await;
    let there = django.sign_in(&world.url("/other"), "mcp:read").await.access_token().to_owned();
    world.credentials.agent(&there);

    for (path, token, status) in
        [("/mcp", &here, 200), ("/other", &here, 401), ("/other", &there, 200), ("/mcp", &there, 401)]
    {
        let answer = world.get(path).bearer_auth(token).answer().await;

        assert_eq!(answer.status, status, "{path}: {answer:#?}");
    }
}

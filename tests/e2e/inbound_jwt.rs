//! Routes that take JWT access tokens: verified here, with the authorization server's keys and nobody else's. The MUSTs of
//! RFC 9068 are in `conformance`.

use e2e::{Answer, AnswerExt, AuthorizationServer, Given, SigningKey, World, now, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// A gateway whose route takes these forms of token.
async fn accepting(forms: Value) -> World {
    changed(|given| given.config["routes"][0]["accepts"] = forms).await
}

/// The same with JWTs alone, and the configuration of the authorization server changed.
async fn with_server(change: impl FnOnce(&mut Value)) -> World {
    changed(|given| {
        given.config["routes"][0]["accepts"] = json!(["jwt"]);
        change(&mut given.config["authorization_servers"]["main"]);
    })
    .await
}

async fn changed(change: impl FnOnce(&mut Given)) -> World {
    let mut given = Given::new().await;
    change(&mut given);
    given.start().await
}

/// The status for a token that is in an agent's hands.
async fn status(world: &World, token: &str) -> u16 {
    world.credentials.agent(token);
    world.get("/mcp").bearer_auth(token).answer().await.status.as_u16()
}

#[tokio::test]
async fn a_jwt_is_verified_here_and_never_introspected() {
    let world = accepting(json!(["jwt"])).await;
    let token = world.authorization_server.issue_jwt(&json!({ "sub": "alice" }));

    for _ in 0..3 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }

    assert_eq!(world.authorization_server.requests().len(), 0);
    assert_eq!(world.authorization_server.key_set_requests(), 1);
}

#[tokio::test]
async fn a_route_for_jwts_alone_needs_no_client_at_the_authorization_server() {
    let world = with_server(|server| {
        server.as_object_mut().unwrap().remove("client");
        server.as_object_mut().unwrap().remove("endpoints");
    })
    .await;
    let token = world.authorization_server.issue_jwt(&json!({}));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
}

#[tokio::test]
async fn a_jwt_on_a_route_for_opaque_tokens_is_introspected_like_any_other() {
    let world = accepting(json!(["opaque"])).await;
    let (known, unknown) =
        (world.authorization_server.issue_jwt(&json!({})), world.authorization_server.issue_jwt(&json!({})));
    world.authorization_server.issue_as(&known, json!({}));

    world.get("/mcp").bearer_auth(&known).answer().await.assert_status(200);
    world.get("/mcp").bearer_auth(&unknown).answer().await.assert_status(401);

    assert_eq!(world.authorization_server.introspections(&unknown), 1);
    assert_eq!(world.authorization_server.key_set_requests(), 0);
}

#[tokio::test]
async fn a_revoked_jwt_stays_refused_and_one_issued_later_does_not() {
    let world = accepting(json!(["jwt"])).await;
    for revocation in [json!({ "subject": "alice" }), json!({ "client_id": "agent" })] {
        let token = world.authorization_server.issue_jwt(&json!({ "sub": "alice" }));
        assert_eq!(status(&world, &token).await, 200);
        assert!(world.revoke(revocation).await > 0);
        let revoked_at = now();
        assert_eq!(status(&world, &token).await, 401);

        until(revoked_at + 1).await;
        let later = world.authorization_server.issue_jwt(&json!({ "sub": "alice" }));

        assert_eq!(status(&world, &later).await, 200);
    }
    let token = world.authorization_server.issue_jwt(&json!({}));
    assert_eq!(status(&world, &token).await, 200);
    world.revoke(json!({ "token": token })).await;
    assert_eq!(status(&world, &token).await, 401);
}

#[tokio::test]
async fn an_opaque_token_on_a_route_for_jwts_is_refused_without_a_question() {
    let world = accepting(json!(["jwt"])).await;
    let token = world.valid_token();

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
    assert_eq!(world.authorization_server.requests().len(), 0);
}

#[tokio::test]
async fn a_route_for_both_verifies_jwts_and_introspects_the_rest() {
    let world = accepting(json!(["opaque", "jwt"])).await;
    let (opaque, jwt) = (world.valid_token(), world.authorization_server.issue_jwt(&json!({})));

    world.get("/mcp").bearer_auth(&opaque).answer().await.assert_status(200);
    world.get("/mcp").bearer_auth(&jwt).answer().await.assert_status(200);

    assert_eq!(world.authorization_server.requests().len(), 1);
}

#[tokio::test]
async fn a_jwt_known_from_a_route_that_verifies_it_is_not_known_on_one_that_introspects() {
    let mut given = Given::new().await;
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    given.add_route("opaque", "/opaque");
    let resources = json!([given.url("/mcp"), given.url("/opaque")]);
    let world = given.start().await;
    let token = world.authorization_server.issue_jwt(&json!({ "aud": resources }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    world.get("/opaque").bearer_auth(&token).answer().await.assert_status(401);
}

#[tokio::test]
async fn scopes_and_audiences_of_a_jwt_count_like_those_of_an_introspection() {
    let world = accepting(json!(["jwt"])).await;
    for (claims, expected) in [
        (json!({ "scope": "mcp:read other" }), 200),
        (json!({ "scope": null, "scp": ["mcp:read"] }), 200),
        (json!({ "scope": "other" }), 403),
        (json!({ "scope": null }), 403),
        (json!({ "aud": ["https://elsewhere.example", world.url("/mcp")] }), 200),
        (json!({ "aud": world.url("/mc") }), 401),
    ] {
        let token = world.authorization_server.issue_jwt(&claims);

        assert_eq!(status(&world, &token).await, expected, "{claims}");
    }
}

#[tokio::test]
async fn a_route_may_have_further_audiences() {
    let world = changed(|given| {
        given.config["routes"][0]["accepts"] = json!(["opaque", "jwt"]);
        given.config["routes"][0]["audiences"] = json!(["api://phantomgate", "0e6a"]);
    })
    .await;
    for (audience, expected) in [("api://phantomgate", 200), ("0e6a", 200), ("0e6a1", 401)] {
        let jwt = world.authorization_server.issue_jwt(&json!({ "aud": audience }));
        let opaque = world.authorization_server.issue(json!({ "aud": audience }));

        assert_eq!(status(&world, &jwt).await, expected, "{audience}");
        assert_eq!(status(&world, &opaque).await, expected, "{audience}");
    }
}

// --- what does not verify ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn nothing_in_the_header_of_a_jwt_says_how_to_verify_it() {
    let world = accepting(json!(["jwt"])).await;
    let server = &world.authorization_server;
    let (key, foreign) = (server.key(), SigningKey::new());
    let elsewhere = AuthorizationServer::start(&world.url("/mcp"), world.credentials.clone()).await;
    elsewhere.use_key(foreign.clone());
    let jwt = server.jwt(&json!({}));
    let key_set = format!("{}/jwks", elsewhere.issuer());
    for (name, token) in [
        ("no signature", jwt.unsigned()),
        ("no signature, with the kid", jwt.clone().header("kid", key.jwk()["kid"].clone()).unsigned()),
        (
            "a mac with the public key",
            jwt.clone().header("kid", key.jwk()["kid"].clone()).authenticate(key.public_pem()),
        ),
        (
            "a mac with the jwk",
            jwt.clone().header("kid", key.jwk()["kid"].clone()).authenticate(&key.jwk().to_string()),
        ),
        ("a foreign key", jwt.sign(&foreign)),
        ("a foreign key with our kid", jwt.clone().header("kid", key.jwk()["kid"].clone()).sign(&foreign)),
        ("a jku", jwt.clone().header("jku", key_set.clone()).sign(&foreign)),
        ("an x5u", jwt.clone().header("x5u", key_set).sign(&foreign)),
        ("a jwk", jwt.clone().header("jwk", foreign.jwk().clone()).sign(&foreign)),
        ("a critical parameter", jwt.clone().header("crit", json!(["exp"])).header("exp", now() + 60).sign(&key)),
    ] {
        assert_eq!(status(&world, &token).await, 401, "{name}");
    }
    assert_eq!(elsewhere.key_set_requests(), 0);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_jwt_that_was_changed_on_the_way_does_not_verify() {
    let world = accepting(json!(["jwt"])).await;
    let token = world.authorization_server.issue_jwt(&json!({ "scope": "other" }));
    let stronger = world.authorization_server.jwt(&json!({ "scope": "mcp:read" })).unsigned();
    let (stronger, signature) = (stronger.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);

    let forged = format!("{stronger}.{signature}");
    assert_eq!(status(&world, &forged).await, 401);
}

#[tokio::test]
async fn tokens_of_other_kinds_are_no_access_tokens_even_where_the_typ_is_relaxed() {
    let world = with_server(|server| server["jwt"] = json!({ "types": ["at+jwt", "JWT"] })).await;
    let key = world.authorization_server.key();
    for (name, claims) in [
        ("an ID token", json!({ "nonce": "n", "at_hash": "h" })),
        ("a refresh token", json!({ "token_use": "refresh" })),
        ("a bound token", json!({ "cnf": { "jkt": "thumbprint" } })),
    ] {
        let token = world.authorization_server.jwt(&claims).header("typ", "JWT").sign(&key);

        assert_eq!(status(&world, &token).await, 401, "{name}");
    }
}

#[tokio::test]
async fn the_typ_may_be_relaxed_for_an_issuer() {
    let world = with_server(|server| server["jwt"] = json!({ "types": ["JWT", ""] })).await;
    let key = world.authorization_server.key();
    for (typ, expected) in [(json!("JWT"), 200), (json!("jwt"), 200), (json!(null), 200), (json!("at+jwt"), 401)] {
        let token = world.authorization_server.jwt(&json!({})).header("typ", typ.clone()).sign(&key);

        assert_eq!(status(&world, &token).await, expected, "{typ}");
    }
}

#[tokio::test]
async fn the_algorithms_may_be_narrowed_for_an_issuer() {
    let world = with_server(|server| server["jwt"] = json!({ "algorithms": ["PS256"] })).await;
    let token = world.authorization_server.issue_jwt(&json!({}));

    assert_eq!(status(&world, &token).await, 401);
}

#[tokio::test]
async fn clocks_may_differ_by_the_tolerance_and_no_more() {
    let world = with_server(|server| server["jwt"] = json!({ "clock_tolerance": "1m" })).await;
    for (claims, expected) in [
        (json!({ "nbf": now() + 40, "iat": now() + 40 }), 200),
        (json!({ "nbf": now() + 90 }), 401),
        (json!({ "iat": now() + 90 }), 401),
        (json!({ "exp": now() - 90 }), 401),
    ] {
        let token = world.authorization_server.issue_jwt(&claims);

        assert_eq!(status(&world, &token).await, expected, "{claims}");
    }
}

#[tokio::test]
async fn a_jwt_that_was_verified_is_refused_once_it_has_expired() {
    let world = with_server(|server| server["jwt"] = json!({ "clock_tolerance": "0s" })).await;
    let exp = now() + 4;
    let token = world.authorization_server.issue_jwt(&json!({ "exp": exp }));
    assert_eq!(status(&world, &token).await, 200);

    until(exp).await;

    assert_eq!(status(&world, &token).await, 401);
}

// --- keys -------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_new_key_is_fetched_when_a_jwt_names_it() {
    let world = accepting(json!(["jwt"])).await;
    let before = world.authorization_server.issue_jwt(&json!({}));
    assert_eq!(status(&world, &before).await, 200);

    // No key set is fetched twice within ten seconds, whatever JWTs name.
    until(now() + 11).await;
    world.authorization_server.use_key(SigningKey::new());
    let after = world.authorization_server.issue_jwt(&json!({}));

    assert_eq!(status(&world, &after).await, 200);
    assert_eq!(world.authorization_server.key_set_requests(), 2);
}

#[tokio::test]
async fn jwts_that_name_unknown_keys_do_not_make_us_fetch_keys_each_time() {
    let world = accepting(json!(["jwt"])).await;
    let jwt = world.authorization_server.jwt(&json!({}));
    let foreign: Vec<_> = (0..20).map(|_| jwt.sign(&SigningKey::new())).collect();

    for status in join_all(foreign.iter().map(|token| status(&world, token))).await {
        assert_eq!(status, 401);
    }

    assert!(world.authorization_server.key_set_requests() <= 2, "{}", world.authorization_server.key_set_requests());
    let good = world.authorization_server.issue_jwt(&json!({}));
    assert_eq!(status(&world, &good).await, 200);
}

#[tokio::test]
async fn without_keys_there_is_no_answer() {
    for broken in [
        Answer::status(500),
        Answer::content(200, "application/json", "{}"),
        Answer::content(200, "text/html", "<html>sign in</html>"),
        Answer::Redirect("/jwks".to_owned()),
    ] {
        let world = accepting(json!(["jwt"])).await;
        let token = world.authorization_server.issue_jwt(&json!({}));
        world.authorization_server.answer_key_set(Some(broken));
        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        answer.assert_status(503).header("retry-after");
        assert_eq!(answer.headers.get("www-authenticate"), None);
    }
}

#[tokio::test]
async fn keys_that_are_known_serve_while_the_authorization_server_is_away() {
    let mut world = accepting(json!(["jwt"])).await;
    let token = world.authorization_server.issue_jwt(&json!({}));
    assert_eq!(status(&world, &token).await, 200);

    world.authorization_server.go_down().await;
    let another = world.authorization_server.issue_jwt(&json!({}));

    assert_eq!(status(&world, &another).await, 200);
    world.authorization_server.come_up().await;
}

#[tokio::test]
async fn the_keys_may_be_anywhere_the_configuration_says() {
    let mut given = Given::new().await;
    let keys = AuthorizationServer::start(&given.url("/mcp"), given.credentials.clone()).await;
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    given.config["authorization_servers"]["main"]["endpoints"]["jwks"] = json!(format!("{}/jwks", keys.issuer()));
    let world = given.start().await;

    let token = world.authorization_server.jwt(&json!({})).sign(&keys.key());

    assert_eq!(status(&world, &token).await, 200);
}

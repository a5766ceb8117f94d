//! What the upstream gets instead of the agent's token: a JWT of the gateway's own (RFC 9068).

use e2e::{AnswerExt, Given, World, now, until};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

/// Verifies a JWT with nothing but what the gateway publishes, as an upstream would.
async fn verify(world: &World, jwt: &str) -> (Header, Value) {
    let published = world.get("/.well-known/jwks.json").answer().await;
    let keys: JwkSet = serde_json::from_str(&published.assert_status(200).body).unwrap();
    let header = decode_header(jwt).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.leeway = 0;
    validation.set_audience(&["https://upstream.internal/mcp"]);
    validation.set_issuer(&[world.url("")]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let token = decode::<Value>(jwt, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap();
    (header, token.claims)
}

#[tokio::test]
async fn rfc9068_s2_the_upstream_gets_a_jwt_for_it_alone() {
    let world = World::new().await;
    let token =
        world.authorization_server.issue(json!({ "sub": "alice", "scope": "mcp:read more", "client_id": "agent-7" }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let (header, claims) = verify(&world, world.upstream.only_request().jwt()).await;
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::ES256, Some("at+jwt")));
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["client_id"], "agent-7");
    assert_eq!(claims["scope"], "mcp:read more");
    assert!(claims["jti"].as_str().is_some_and(|id| id.len() >= 16), "{claims}");
    assert!(claims["iat"].as_u64().unwrap() <= now());
}

#[tokio::test]
async fn the_jwt_lives_no_longer_than_configured() {
    let mut given = Given::new().await;
    given.config["signing"]["lifetime"] = json!("60s");
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "exp": now() + 3600 }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let (_, claims) = verify(&world, world.upstream.only_request().jwt()).await;
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
}

#[tokio::test]
async fn the_jwt_lives_no_longer_than_the_token() {
    let world = World::new().await;
    let exp = now() + 20;
    let token = world.authorization_server.issue(json!({ "exp": exp }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let (_, claims) = verify(&world, world.upstream.only_request().jwt()).await;
    assert!(claims["exp"].as_u64().unwrap() <= exp, "{claims}");
}

#[tokio::test]
async fn the_jwt_is_signed_anew_before_it_expires() {
    let mut given = Given::new().await;
    given.config["signing"]["lifetime"] = json!("10s");
    let world = given.start().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    let (_, first) = verify(&world, world.upstream.only_request().jwt()).await;

    until(first["exp"].as_u64().unwrap()).await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let (_, second) = verify(&world, world.upstream.receives(2).await.jwt()).await;
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn eddsa_signs_too() {
    let mut given = Given::new().await;
    given.config["signing"]["algorithm"] = json!("EdDSA");
    let world = given.start().await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let (header, _) = verify(&world, world.upstream.only_request().jwt()).await;
    assert_eq!(header.alg, Algorithm::EdDSA);
}

#[tokio::test]
async fn the_published_keys_contain_no_private_part() {
    let world = World::new().await;

    let keys = world.get("/.well-known/jwks.json").answer().await.json();

    for key in keys["keys"].as_array().unwrap() {
        assert_eq!(key.get("d"), None, "{key}");
        assert!(key["kid"].is_string() && key["alg"].is_string() && key["use"] == "sig", "{key}");
    }
}

#[tokio::test]
async fn two_agents_never_share_a_jwt() {
    let world = World::new().await;
    let alice = world.authorization_server.issue(json!({ "sub": "alice" }));
    let bob = world.authorization_server.issue(json!({ "sub": "bob" }));

    world.get("/mcp").bearer_auth(&alice).answer().await.assert_status(200);
    world.get("/mcp").bearer_auth(&bob).answer().await.assert_status(200);

    let received = world.upstream.received();
    assert_eq!(verify(&world, received[0].jwt()).await.1["sub"], "alice");
    assert_eq!(verify(&world, received[1].jwt()).await.1["sub"], "bob");
}

#[tokio::test]
async fn two_routes_never_share_a_jwt() {
    let mut given = Given::new().await;
    given.add_route("other", "/other")["credential"]["audience"] = json!("https://upstream.internal/other");
    let resources = json!([given.url("/mcp"), given.url("/other")]);
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "aud": resources }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    world.get("/other").bearer_auth(&token).answer().await.assert_status(200);

    let received = world.upstream.received();
    assert_ne!(received[0].jwt(), received[1].jwt());
    verify(&world, received[0].jwt()).await;
}

#[tokio::test]
async fn rfc9068_s2_2_a_token_without_a_person_speaks_for_its_client() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "sub": null, "client_id": "agent-7" }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let (_, claims) = verify(&world, world.upstream.only_request().jwt()).await;
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("agent-7"), &json!("agent-7")));
}

#[tokio::test]
async fn names_in_any_script_arrive_as_they_are() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "sub": "Zoë \"山田\" \\ \u{202e}" }));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let (_, claims) = verify(&world, world.upstream.only_request().jwt()).await;
    assert_eq!(claims["sub"], "Zoë \"山田\" \\ \u{202e}");
}

#[tokio::test]
async fn a_route_may_pass_no_credential_at_all() {
    let mut given = Given::new().await;
    given.config["routes"][0]["credential"] = json!({ "kind": "none" });
    let world = given.start().await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    assert_eq!(world.upstream.only_request().headers.get("authorization"), None);
}

#[tokio::test]
async fn claims_of_the_token_never_become_header_fields() {
    let world = World::new().await;
    let token =
        world.authorization_server.issue(json!({ "sub": "a\r\nx-injected: 1", "username": "é\r\nx-injected: 1" }));

    world.get("/mcp").bearer_auth(&token).answer().await;

    assert!(world.upstream.received().iter().all(|received| received.headers.get("x-injected").is_none()));
}

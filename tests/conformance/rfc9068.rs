//! RFC 9068: JWT Profile for OAuth 2.0 Access Tokens, as a resource server verifies them. What we sign ourselves is in
//! `e2e/token_swap.rs`.

use e2e::{Given, SigningKey, World, now};
use serde_json::{Value, json};

use crate::ask;

/// A gateway whose route takes JWTs alone.
async fn verifying() -> World {
    let mut given = Given::new().await;
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    given.start().await
}

/// Refuses each of these tokens as RFC 6750 wants it, and tells the upstream of none.
async fn assert_refused(world: &World, tokens: impl IntoIterator<Item = (impl ToString, String)>) {
    for (name, token) in tokens {
        let (name, answer) = (name.to_string(), ask(world, &token).await);
        assert_eq!(answer.status, 401, "{name}: {answer:#?}");
        assert_eq!(answer.challenge().get("error"), Some("invalid_token"), "{name}");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9068_s2_1_rs256_is_among_the_algorithms() {
    let world = verifying().await;
    world.authorization_server.use_key(SigningKey::rsa());
    let token = world.authorization_server.issue_jwt(&json!({}));

    ask(&world, &token).await.assert_status(200);
}

#[tokio::test]
async fn rfc9068_s2_1_a_jwt_without_a_signature_is_refused() {
    let world = verifying().await;
    let jwt = world.authorization_server.jwt(&json!({}));

    assert_refused(&world, [("none", jwt.unsigned()), ("None", jwt.unsigned() + "c2ln")]).await;
}

#[tokio::test]
async fn rfc9068_s2_2_each_required_claim_is_required() {
    let world = verifying().await;
    let tokens = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"].map(|claim| {
        let jwt = world.authorization_server.jwt(&json!({})).claim(claim, Value::Null);
        (claim, jwt.sign(&world.authorization_server.key()))
    });

    assert_refused(&world, tokens).await;
}

#[tokio::test]
async fn rfc9068_s4_the_typ_says_that_it_is_an_access_token() {
    let world = verifying().await;
    let key = world.authorization_server.key();
    let typed = |typ: Value| world.authorization_server.jwt(&json!({})).header("typ", typ).sign(&key);
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT"] {
        assert_eq!(ask(&world, &typed(json!(typ))).await.status, 200, "{typ}");
    }
    let world = verifying().await;
    let key = world.authorization_server.key();
    let typed = |typ: Value| world.authorization_server.jwt(&json!({})).header("typ", typ).sign(&key);

    let others = ["JWT", "jwt", "", "at", "token-introspection+jwt", "secevent+jwt", "logout+jwt", "dpop+jwt"];
    assert_refused(&world, others.map(|typ| (typ, typed(json!(typ))))).await;
    assert_refused(&world, [("no typ", typed(json!(null))), ("a number", typed(json!(1)))]).await;
}

#[tokio::test]
async fn rfc9068_s4_the_issuer_is_compared_to_the_letter() {
    let world = verifying().await;
    let issuer = world.authorization_server.issuer();
    let others = [format!("{issuer}/"), issuer.to_uppercase(), "https://elsewhere.example".to_owned()];
    let tokens = others.map(|issuer| (issuer.clone(), world.authorization_server.issue_jwt(&json!({ "iss": issuer }))));

    assert_refused(&world, tokens).await;
}

#[tokio::test]
async fn rfc9068_s4_the_audience_names_this_resource() {
    let world = verifying().await;
    let several = json!(["https://elsewhere.example", world.url("/mcp")]);
    let token = world.authorization_server.issue_jwt(&json!({ "aud": several }));
    ask(&world, &token).await.assert_status(200);

    let world = verifying().await;
    let others = [json!("https://elsewhere.example"), json!([]), json!(""), json!(world.url("/mcp/")), json!("agent")];
    let tokens = others
        .map(|audience| (audience.to_string(), world.authorization_server.issue_jwt(&json!({ "aud": audience }))));
    assert_refused(&world, tokens).await;
}

#[tokio::test]
async fn rfc9068_s4_the_signature_is_verified_with_the_keys_of_the_issuer() {
    let world = verifying().await;
    let jwt = world.authorization_server.jwt(&json!({}));
    let (key, foreign) = (world.authorization_server.key(), SigningKey::new());
    let good = jwt.sign(&key);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let other_signature = jwt.clone().claim("sub", "mallory").sign(&key);

    assert_refused(
        &world,
        [
            ("a foreign key", jwt.sign(&foreign)),
            ("a foreign key under our name", jwt.clone().header("kid", key.jwk()["kid"].clone()).sign(&foreign)),
            ("the signature of another", format!("{message}.{}", other_signature.rsplit_once('.').unwrap().1)),
            ("half a signature", format!("{message}.{}", &signature[..signature.len() / 2])),
            ("no signature", format!("{message}.")),
            ("a mac with the public key", jwt.authenticate(key.public_pem())),
        ],
    )
    .await;
}

#[tokio::test]
async fn rfc9068_s4_an_expired_jwt_is_refused() {
    let world = verifying().await;
    let ends = [json!(now() - 31), json!(0), json!("yesterday"), json!(-1)];
    let tokens = ends.map(|exp| (exp.to_string(), world.authorization_server.issue_jwt(&json!({ "exp": exp }))));

    assert_refused(&world, tokens).await;
}

#[tokio::test]
async fn rfc9068_s5_an_id_token_is_no_access_token() {
    let world = verifying().await;
    let claims = json!({ "aud": "agent", "nonce": "n", "at_hash": "h", "scope": null, "client_id": null });
    let id_token = world.authorization_server.jwt(&claims).header("typ", "JWT");

    assert_refused(&world, [("an ID token", id_token.sign(&world.authorization_server.key()))]).await;
}

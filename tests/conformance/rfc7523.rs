//! RFC 7523: JWT Profile for OAuth 2.0 Client Authentication and Authorization Grants, as a client.

use e2e::{AnswerExt, FormRequest, Given, SigningKey, World, decode_jwt, now};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

use crate::ask;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A gateway that authenticates with assertions signed by `key`.
async fn asserting(key: &SigningKey, assertion: Value, change: impl FnOnce(&mut Given)) -> World {
    let mut given = Given::new().await;
    let file = given.directory().join("client-key.pem");
    std::fs::write(&file, key.private_pem()).unwrap();
    given.config["authorization_servers"]["main"]["client"] = json!({
        "id": "gateway:tests",
        "authentication": "private_key_jwt",
        "private_key": { "file": file },
        "assertion": assertion,
    });
    change(&mut given);
    given.start().await
}

/// The header and the claims of the assertion in a form, whose signature `key` made.
fn assertion(form: &FormRequest, key: &SigningKey) -> (Value, Value) {
    let assertion = form.field("client_assertion").concat();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_aud = false;
    let public = DecodingKey::from_ec_pem(key.public_pem().as_bytes()).unwrap();
    decode::<Value>(&assertion, &public, &validation).unwrap();
    decode_jwt(&assertion)
}

#[tokio::test]
async fn rfc7523_s2_2_the_assertion_and_its_type_stand_in_for_a_secret() {
    let key = SigningKey::new();
    let world = asserting(&key, json!({}), |_| {}).await;
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);

    let form = &world.authorization_server.requests()[0];
    assert_eq!(form.field("client_assertion_type"), [ASSERTION_TYPE]);
    assert_eq!(form.field("client_assertion").len(), 1);
    assert_eq!(form.field("client_secret"), [""; 0]);
    assert_eq!(form.headers.get("authorization"), None);
    // Where the client is named beside its assertion, it is the same one.
    assert!(form.field("client_id").iter().all(|id| *id == "gateway:tests"), "{form:#?}");
}

#[tokio::test]
async fn rfc7523_s3_an_assertion_is_ours_about_us_for_the_server_for_a_short_while_and_for_once() {
    let key = SigningKey::new();
    let world = asserting(&key, json!({ "key_id": "the-key" }), |_| {}).await;
    for _ in 0..2 {
        let token = world.valid_token();
        ask(&world, &token).await.assert_status(200);
    }

    let forms = world.authorization_server.requests();
    let (header, claims) = assertion(&forms[0], &key);
    assert_eq!((&header["alg"], &header["kid"], &header["typ"]), (&json!("ES256"), &json!("the-key"), &json!("JWT")));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gateway:tests"), &json!("gateway:tests")));
    assert_eq!(claims["aud"], world.authorization_server.issuer());
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(issued <= now() && now() < expires && expires - issued <= 300, "{claims}");
    assert!(claims["jti"].as_str().is_some_and(|id| id.len() >= 16), "{claims}");
    assert_ne!(claims["jti"], assertion(&forms[1], &key).1["jti"]);
}

#[tokio::test]
async fn rfc7523_s3_the_audience_is_the_one_by_which_the_server_knows_itself() {
    let key = SigningKey::new();
    for (configured, path) in [
        (json!("issuer"), ""),
        (json!("endpoint"), "/introspect"),
        (json!("token_endpoint"), "/token"),
        (json!("https://login.example.com/audience"), "https://login.example.com/audience"),
    ] {
        let world =
            asserting(&key, json!({ "audience": configured, "type": "client-authentication+jwt" }), |_| {}).await;
        let token = world.valid_token();

        ask(&world, &token).await.assert_status(200);

        let (header, claims) = assertion(&world.authorization_server.requests()[0], &key);
        let expected = if path.starts_with("https") {
            path.to_owned()
        } else {
            world.authorization_server.issuer().to_owned() + path
        };
        assert_eq!((&claims["aud"], &header["typ"]), (&json!(expected), &json!("client-authentication+jwt")));
    }
}

#[tokio::test]
async fn rfc7523_s2_2_an_exchange_is_authenticated_in_the_same_way() {
    let key = SigningKey::new();
    let world = asserting(&key, json!({ "audience": "endpoint" }), |given| {
        given.config["routes"][0]["credential"] = json!({ "kind": "exchange", "audience": "upstream" });
    })
    .await;
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);

    let (_, claims) = assertion(&world.authorization_server.exchanges()[0], &key);
    assert_eq!(claims["aud"], format!("{}/token", world.authorization_server.issuer()));
}

#[tokio::test]
async fn rfc7523_s2_1_a_token_is_an_authorization_grant_by_its_type_and_an_assertion() {
    let mut given = Given::new().await;
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    given.config["routes"][0]["credential"] = json!({ "kind": "on_behalf_of", "scopes": ["upstream/.default"] });
    given.config["authorization_servers"]["main"]["vendor"] = json!("entra");
    let world = given.start().await;
    let token = world.authorization_server.issue_jwt(&json!({}));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let form = &world.authorization_server.exchanges()[0];
    assert_eq!(form.field("grant_type"), ["urn:ietf:params:oauth:grant-type:jwt-bearer"]);
    assert_eq!(form.field("assertion"), [&*token]);
    assert_eq!(form.field("scope"), ["upstream/.default"]);
}

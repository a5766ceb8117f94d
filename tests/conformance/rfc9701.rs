//! RFC 9701: JSON Web Token (JWT) Response for OAuth Token Introspection.

use e2e::{Answer, AnswerExt, Given, Jwt, SigningKey, World, now};
use serde_json::{Value, json};

use crate::{ask, assert_unavailable};

const SIGNED: &str = "application/token-introspection+jwt";

/// A gateway that asks for signed answers.
async fn asking_for_signatures() -> World {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["introspection"] = json!({ "response": "signed" });
    given.start().await
}

/// A signed answer about an active token, as it should be.
fn response(world: &World) -> Jwt {
    let server = &world.authorization_server;
    Jwt::new(
        "token-introspection+jwt",
        json!({
            "iss": server.issuer(), "aud": "gateway:tests", "iat": now(),
            "token_introspection": {
                "active": true, "aud": world.url("/mcp"), "scope": "mcp:read", "sub": "alice", "client_id": "agent",
                "exp": now() + 600,
            },
        }),
    )
}

/// What a request gets when its token is introspected with this answer.
async fn answered(world: &World, content_type: &'static str, body: String) -> e2e::Response {
    let token = world.authorization_server.unknown_token();
    world.authorization_server.answer(&token, Answer::content(200, content_type, body));
    ask(world, &token).await
}

#[tokio::test]
async fn rfc9701_s4_a_signed_answer_is_asked_for_by_its_media_type() {
    let world = asking_for_signatures().await;
    let token = world.valid_token();

    ask(&world, &token).await.assert_status(200);

    assert_eq!(world.authorization_server.requests()[0].headers["accept"], SIGNED);
}

#[tokio::test]
async fn rfc9701_s5_the_claims_are_those_in_token_introspection() {
    let world = asking_for_signatures().await;
    let key = world.authorization_server.key();
    // What stands beside it is about the answer, not about the token.
    let response = response(&world).claim("sub", "mallory").claim("scope", "admin").claim("active", false);

    answered(&world, SIGNED, response.sign(&key)).await.assert_status(200);

    let (_, claims) = e2e::decode_jwt(world.upstream.only_request().jwt());
    assert_eq!((&claims["sub"], &claims["scope"]), (&json!("alice"), &json!("mcp:read")));
}

#[tokio::test]
async fn rfc9701_s5_an_inactive_token_is_inactive_in_a_signed_answer() {
    let world = asking_for_signatures().await;
    let token = world.authorization_server.unknown_token();

    ask(&world, &token).await.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn rfc9701_s5_the_typ_issuer_audience_and_time_of_a_signed_answer_are_checked() {
    let world = asking_for_signatures().await;
    let (good, key) = (response(&world), world.authorization_server.key());
    for (name, wrong) in [
        ("typ JWT", good.clone().header("typ", "JWT")),
        ("typ at+jwt", good.clone().header("typ", "at+jwt")),
        ("no typ", good.clone().header("typ", Value::Null)),
        ("another issuer", good.clone().claim("iss", "https://elsewhere.example")),
        ("no issuer", good.clone().claim("iss", Value::Null)),
        ("for another resource server", good.clone().claim("aud", "another-gateway")),
        ("for nobody", good.clone().claim("aud", Value::Null)),
        ("without a time", good.clone().claim("iat", Value::Null)),
        ("from the future", good.clone().claim("iat", now() + 3600)),
        ("over", good.clone().claim("exp", now() - 3600)),
        ("without an introspection", good.clone().claim("token_introspection", Value::Null)),
        ("with a text for an introspection", good.clone().claim("token_introspection", "active")),
        ("without active", good.clone().claim("token_introspection", json!({ "sub": "alice" }))),
    ] {
        assert_unavailable(&answered(&world, SIGNED, wrong.sign(&key)).await, name);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9701_s5_the_signature_of_an_answer_is_verified() {
    let world = asking_for_signatures().await;
    let (good, key) = (response(&world), world.authorization_server.key());
    for (name, body) in [
        ("not signed", good.unsigned()),
        ("a mac with the public key", good.authenticate(key.public_pem())),
        ("a mac with the client secret", good.authenticate("s3cr:t+/ %&=é")),
        ("a foreign key", good.sign(&SigningKey::new())),
    ] {
        assert_unavailable(&answered(&world, SIGNED, body).await, name);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9701_s5_an_answer_that_is_not_signed_is_not_believed() {
    let world = asking_for_signatures().await;
    let claims = json!({ "active": true, "aud": world.url("/mcp"), "scope": "mcp:read", "sub": "a", "client_id": "b" });
    for content_type in ["application/json", SIGNED] {
        assert_unavailable(&answered(&world, content_type, claims.to_string()).await, content_type);
    }
    let plain = response(&world).sign(&world.authorization_server.key());
    assert_unavailable(&answered(&world, "text/plain", plain).await, "text/plain");
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9701_s8_1_a_signed_answer_is_no_access_token() {
    for form in ["signed", "jwt"] {
        let mut given = Given::new().await;
        given.config["authorization_servers"]["main"]["introspection"] = json!({ "response": form });
        given.config["routes"][0]["accepts"] = json!(["jwt"]);
        let world = given.start().await;
        let members = ["exp", "sub", "client_id", "jti", "scope"].map(|name| (name, json!(now() + 600)));
        let response = members.into_iter().fold(response(&world), |jwt, (name, value)| jwt.claim(name, value));
        let stolen = response.claim("aud", world.url("/mcp")).sign(&world.authorization_server.key());

        ask(&world, &stolen).await.assert_status(401).assert_challenge_error("invalid_token");
    }
}

#[tokio::test]
async fn rfc9701_s8_1_an_access_token_is_no_signed_answer() {
    let world = asking_for_signatures().await;
    let token = world.authorization_server.issue_jwt(&json!({ "aud": "gateway:tests", "token_introspection": {
        "active": true, "aud": world.url("/mcp"), "scope": "mcp:read", "sub": "mallory", "client_id": "agent",
    } }));
    world.authorization_server.answer(&token, Answer::content(200, SIGNED, token.clone()));

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    assert_unavailable(&answer, "an access token in place of an answer");
}

#[tokio::test]
async fn rfc9701_s9_a_signed_answer_never_goes_to_the_upstream() {
    let world = asking_for_signatures().await;
    let signed = response(&world).sign(&world.authorization_server.key());
    world.credentials.agent(&signed); // whatever must not reach the upstream

    answered(&world, SIGNED, signed).await.assert_status(200);

    assert_eq!(world.upstream.received().len(), 1);
}

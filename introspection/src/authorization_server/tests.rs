use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::client_authentication::PrivateKeyJwt;
use crate::config::Client;
use crate::testing::{Server, Signer, key_set};
use crate::{ClientAuthentication, Secret};

const NOW: NumericDate = NumericDate::from_seconds(1_000);
const EXPECTED: Expected<'static> = Expected { types: &["at+jwt"], audience: None, must_expire: true };

#[test]
fn rfc7662_s2_1_the_token_is_form_encoded() {
    let form = vec![("client_secret", Zeroizing::new("a&b=c d".to_owned()))];
    assert_eq!(
        encode(&[("token", "tok&x=+/~"), ("token_type_hint", "access_token")], &Credentials { header: None, form }),
        "token=tok%26x%3D%2B%2F%7E&token_type_hint=access_token&client_secret=a%26b%3Dc+d"
    );
}

#[tokio::test]
async fn rfc7523_s3_an_assertion_is_for_whom_the_server_says_it_has_to_be() {
    let (server, signer) = (Server::start().await, Signer::new(Algorithm::ES256));
    let [introspection, token] = ["/introspect", "/token"].map(|path| format!("{}{path}", server.url));
    server.metadata(json!({ "introspection_endpoint": introspection, "token_endpoint": token }));
    for (audience, expected) in [
        (AssertionAudience::Issuer, server.url.clone()),
        (AssertionAudience::Endpoint, introspection.clone()),
        (AssertionAudience::TokenEndpoint, token.clone()),
        (AssertionAudience::Fixed("urn:a".to_owned()), "urn:a".to_owned()),
    ] {
        let authentication = ClientAuthentication::PrivateKeyJwt(PrivateKeyJwt {
            key: Secret::fixed(Zeroizing::new(signer.pem.clone())),
            algorithm: Algorithm::ES256,
            key_id: None,
            audience,
            typ: "JWT".to_owned(),
        });
        let mut config = server.config();
        config.client = Some(Client { id: "gateway".to_owned(), authentication });
        let peer = AuthorizationServer::new(&config).unwrap();
        peer.post(Endpoint::Introspection, "application/json", &[("token", "t")]).await.unwrap();
        let sent = server.requests("/introspect").pop().unwrap();
        let form: HashMap<String, String> = form_urlencoded::parse(sent.body.as_bytes()).into_owned().collect();
        let assertion = &form["client_assertion"];
        let payload = BASE64_URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
        assert_eq!(Claims::parse(&payload).unwrap().get("aud").unwrap(), &expected);
        assert!(!sent.headers.contains_key(AUTHORIZATION) && !form.contains_key("client_id"));
    }
}

/// A server with a key, and a JWT by it.
async fn issuer() -> (Server, Signer, String) {
    let (server, signer) = (Server::start().await, Signer::new(Algorithm::ES256));
    server.metadata(json!({ "jwks_uri": format!("{}/jwks", server.url) }));
    server.answer("/jwks", 200, key_set(&[signer.jwk("1")]));
    let jwt = signer.jwt("1", &json!({ "iss": server.url, "sub": "alice", "exp": 2_000 }));
    (server, signer, jwt)
}

#[tokio::test]
async fn its_metadata_says_where_its_keys_are_and_both_are_fetched_once() {
    let (server, _, jwt) = issuer().await;
    let peer = AuthorizationServer::new(&server.config()).unwrap();
    for _ in 0..3 {
        let claims = peer.verify(&jwt, &EXPECTED, NOW).await.unwrap();
        assert_eq!(claims.text("sub").unwrap().unwrap(), "alice");
    }
    assert_eq!(server.requests("/.well-known/oauth-authorization-server").len(), 1);
    assert_eq!(server.requests("/jwks").len(), 1);
}

#[tokio::test]
async fn unknown_keys_cannot_make_us_hammer_it() {
    let (server, signer, jwt) = issuer().await;
    let peer = AuthorizationServer::new(&server.config()).unwrap();
    peer.verify(&jwt, &EXPECTED, NOW).await.unwrap();
    for id in 0..20 {
        let forged = signer.jwt(&format!("forged-{id}"), &json!({ "iss": server.url, "exp": 2_000 }));
        let error = peer.verify(&forged, &EXPECTED, NOW).await.unwrap_err();
        assert_eq!(error.to_string(), "it is not signed with a known key");
    }
    assert_eq!(server.requests("/jwks").len(), 1);
}

#[tokio::test]
async fn what_is_no_token_of_this_server_needs_no_keys() {
    let (server, signer, _) = issuer().await;
    let peer = AuthorizationServer::new(&server.config()).unwrap();
    let header = json!({ "alg": "none", "typ": "at+jwt" });
    for jwt in ["opaque", &signer.sign(&header, &json!({}))] {
        assert!(matches!(peer.verify(jwt, &EXPECTED, NOW).await, Err(VerificationError::Invalid(_))));
    }
    assert!(server.requests("/jwks").is_empty());
}

#[tokio::test]
async fn without_keys_nothing_is_said_of_a_token() {
    let (server, _, jwt) = issuer().await;
    server.answer("/jwks", 500, "");
    let peer = AuthorizationServer::new(&server.config()).unwrap();
    let error = peer.verify(&jwt, &EXPECTED, NOW).await.unwrap_err();
    assert!(matches!(error, VerificationError::Unavailable(Unavailable::Status { status: 500, .. })), "{error}");
    server.answer("/jwks", 200, "x".repeat(MAX_KEY_SET + 1));
    let peer = AuthorizationServer::new(&server.config()).unwrap();
    let error = peer.verify(&jwt, &EXPECTED, NOW).await.unwrap_err();
    assert!(matches!(error, VerificationError::Unavailable(Unavailable::TooLarge(MAX_KEY_SET))), "{error}");
}

#[tokio::test]
async fn its_metadata_cannot_send_us_to_an_address_of_our_own_network() {
    let server = Server::start_at("127.0.0.2").await;
    let port = server.url.rsplit_once(':').unwrap().1;
    for (url, refusal) in [
        (format!("http://localhost:{port}/x"), "localhost is 127.0.0.1, which is no public address"),
        (format!("http://127.0.0.3:{port}/x"), "127.0.0.3 is 127.0.0.3, which is no public address"),
        (format!("https://10.0.0.5:{port}/x"), "10.0.0.5 is 10.0.0.5, which is no public address"),
    ] {
        server.metadata(json!({ "introspection_endpoint": url, "jwks_uri": url }));
        let peer = AuthorizationServer::new(&server.config()).unwrap();
        let error = peer.post(Endpoint::Introspection, "application/json", &[("token", "t")]).await.unwrap_err();
        assert!(error.to_string().starts_with(refusal), "{error}");
        assert!(matches!(error, Unavailable::AddressNotAllowed(_)));
        let mut config = server.config();
        config.verifies_jwts = true;
        let error = AuthorizationServer::new(&config).unwrap().prepare().await.unwrap_err();
        assert!(matches!(error, Unavailable::AddressNotAllowed(_)), "{error}");
    }
    assert!(server.requests("/x").is_empty());
}

#[tokio::test]
async fn an_allowed_address_is_gone_to() {
    let (server, elsewhere) = (Server::start_at("127.0.0.2").await, Server::start_at("127.0.0.3").await);
    server.metadata(json!({ "introspection_endpoint": format!("{}/i", elsewhere.url) }));
    elsewhere.answer("/i", 200, "{}");
    let mut config = server.config();
    config.allowed_addresses = vec!["127.0.0.3/32".parse().unwrap()];
    let peer = AuthorizationServer::new(&config).unwrap();
    let answer = peer.post(Endpoint::Introspection, "application/json", &[("token", "t")]).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let asked = elsewhere.requests("/i");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, "token=t");
    assert!(asked[0].headers.contains_key(AUTHORIZATION));
}

#[tokio::test]
async fn it_is_ready_when_what_is_needed_for_certain_is_at_hand() {
    let (server, ..) = issuer().await;
    let mut config = server.config();
    let error = AuthorizationServer::new(&config).unwrap().prepare().await.unwrap_err();
    assert!(error.to_string().contains("it has no introspection_endpoint"), "{error}");

    config.endpoints.introspection = Some(format!("{}/i", server.url).parse().unwrap());
    AuthorizationServer::new(&config).unwrap().prepare().await.unwrap();
    assert!(server.requests("/jwks").is_empty());

    config.introspection.response = ResponseForm::Signed;
    let peer = AuthorizationServer::new(&config).unwrap();
    for _ in 0..3 {
        peer.prepare().await.unwrap();
    }
    assert_eq!(server.requests("/jwks").len(), 1);

    config.verifies_jwts = true;
    config.client = None;
    server.answer("/jwks", 503, "");
    let error = AuthorizationServer::new(&config).unwrap().prepare().await.unwrap_err();
    assert!(matches!(error, Unavailable::Status { status: 503, .. }), "{error}");
}

//! What holds for any bytes that others send: no reader of them panics, and none takes for genuine what is not.

use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::authorization_server::Answer;
use crate::config::JwtRules;
use crate::exchange::{self, Exchange};
use crate::jwe::DecryptionKey;
use crate::jwt::SignedJwt;
use crate::key_set::KeySet;
use crate::response::Reader;
use crate::testing::{Signer, key_set};
use crate::{ActiveToken, AuthorizationServerMetadata, Claims, Config, Issuer, NumericDate, ScopeSet, Vendor};

const TYPES: &[&str] = &["at+jwt", "jwt", ""];

fn issuer() -> Issuer {
    Issuer::parse("https://login.example.com").unwrap()
}

/// JSON of any shape whose members have the names that readers look for.
fn json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "keys",
        "kty",
        "crv",
        "n",
        "e",
        "x",
        "y",
        "use",
        "key_ops",
        "alg",
        "kid",
        "issuer",
        "jwks_uri",
        "active",
        "aud",
        "introspection_endpoint",
        "mtls_endpoint_aliases",
        "exp",
        "sub",
        "scope",
        "cnf",
        "token_type",
        "typ",
        "enc",
        "epk",
    ]);
    let text = prop::sample::select(vec![
        "RSA",
        "EC",
        "OKP",
        "P-256",
        "Ed25519",
        "sig",
        "ES256",
        "none",
        "AQAB",
        "",
        "https://login.example.com",
        "ECDH-ES",
        "A128GCM",
        "at+jwt",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(name.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Bytes as they come: anything, or JSON.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..512), json().prop_map(|value| value.to_string().into_bytes())]
}

/// Compact serializations (RFC 7515 §7.1, RFC 7516 §7.1), more or less.
fn compact() -> impl Strategy<Value = String> {
    use base64::Engine as _;
    let part = prop_oneof![
        bytes().prop_map(|bytes| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)),
        "[A-Za-z0-9_=.-]{0,40}"
    ];
    prop::collection::vec(part, 0..7).prop_map(|parts| parts.join("."))
}

/// `text` with the character at `at` (of all, modulo) made `to`; `None` when that changes nothing.
fn changed(text: &str, at: prop::sample::Index, to: char) -> Option<String> {
    let at = at.index(text.len());
    let mut characters: Vec<char> = text.chars().collect();
    (characters[at] != to).then(|| {
        characters[at] = to;
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn claims_are_read_or_refused(bytes in bytes()) {
        if let Ok(claims) = Claims::parse(&bytes) {
            for name in claims.names().map(str::to_owned).collect::<Vec<_>>() {
                let _ = (claims.text(&name), claims.texts(&name), claims.date(&name), claims.at(&name));
            }
        }
    }

    #[test]
    fn an_introspection_response_is_read_or_refused(bytes in bytes()) {
        for vendor in [Vendor::Standard, Vendor::Keycloak, Vendor::Hydra, Vendor::Okta] {
            let config = Config { vendor, ..Config::new(issuer()) };
            let read = Reader::new(&config).introspection_response(&bytes, NumericDate::from_seconds(1_000));
            if read.is_ok() {
                let active: Value = serde_json::from_slice(&bytes).unwrap();
                prop_assert!(active["active"].is_boolean());
            }
        }
    }

    #[test]
    fn a_token_from_an_exchange_is_never_wider_nor_longer_than_asked(
        scope in "[ab ]{0,6}",
        claims in json(),
        lifetime in any::<i64>(),
    ) {
        use base64::Engine as _;
        let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        let body = json!({
            "access_token": format!("eyJh.{payload}.c2ln"), "token_type": "bearer", "scope": scope, "expires_in": lifetime,
        });
        let answer = Answer {
            status: http::StatusCode::OK,
            content_type: None,
            retry_after: None,
            body: body.to_string().into_bytes(),
        };
        let asked = Exchange::OnBehalfOf { scopes: ScopeSet::from_granted("a") };
        let end = NumericDate::from_seconds(2_000);
        let subject = ActiveToken { expires_at: Some(end), ..ActiveToken::default() };
        if let Ok(issued) = exchange::response::read(&answer, &asked, &subject, NumericDate::from_seconds(1_000)) {
            prop_assert!(issued.expires_at.is_some_and(|expiry| expiry <= end));
            prop_assert!(scope.split(' ').all(|scope| matches!(scope, "" | "a")), "{}", scope);
        }
    }

    #[test]
    fn metadata_of_another_issuer_is_never_taken(bytes in bytes()) {
        let issuer = issuer();
        if AuthorizationServerMetadata::parse(&bytes, &issuer).is_ok() {
            let metadata: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(metadata["issuer"].as_str(), Some(issuer.as_str()));
        }
    }

    #[test]
    fn keys_are_read_or_skipped(keys in prop::collection::vec(json(), 0..8), bytes in bytes()) {
        let _ = KeySet::parse(key_set(&keys).as_bytes());
        let _ = KeySet::parse(&bytes);
    }

    #[test]
    fn what_nobody_signed_is_never_verified(jwt in compact()) {
        let keys = KeySet::parse(key_set(&[Signer::new(Algorithm::EdDSA).jwk("k")]).as_bytes()).unwrap();
        let verified = SignedJwt::parse(&jwt, TYPES, &JwtRules::ALGORITHMS).and_then(|jwt| jwt.verify(&keys));
        prop_assert!(!matches!(verified, Ok(Some(_))));
    }

    #[test]
    fn what_nobody_encrypted_is_never_decrypted(jwe in compact()) {
        let key = DecryptionKey::from_pem(&Signer::new(Algorithm::ES256).pem).unwrap();
        prop_assert!(key.decrypt(&jwe).is_none());
    }

    #[test]
    fn no_character_of_a_signed_jwt_can_be_changed(at: prop::sample::Index, to in "[A-Za-z0-9_.=-]") {
        let signer = Signer::new(Algorithm::ES256);
        let keys = KeySet::parse(key_set(&[signer.jwk("k")]).as_bytes()).unwrap();
        let jwt = signer.jwt("k", &json!({ "sub": "alice", "exp": 2_000 }));
        if let Some(forged) = changed(&jwt, at, to.chars().next().unwrap()) {
            let verified = SignedJwt::parse(&forged, TYPES, &JwtRules::ALGORITHMS).and_then(|jwt| jwt.verify(&keys));
            prop_assert!(!matches!(verified, Ok(Some(_))), "{}", forged);
        }
    }
}

//! JWTs of others, verified (RFC 7515 §5.2, RFC 7519 §7.2, RFC 8725).
//!
//! What a JWT says of how to verify it is not believed: its algorithm has to be one that the configuration allows, its key
//! is one of the authorization server's, found by `kid` alone, and URLs, keys and certificates in its header are not looked
//! at. Pure: keys and time are arguments.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde_json::Value;

use crate::claims::Claims;
use crate::clock::NumericDate;
use crate::error::Unavailable;
use crate::key_set::KeySet;

/// The largest JWT looked at, in bytes.
pub(crate) const MAX_LENGTH: usize = 64 * 1024;

/// What a JWT must be, to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The media types allowed in `typ`, without `application/`, compared without case; an empty text allows that there is
    /// no `typ`.
    pub types: &'a [&'a str],
    /// `aud` must name this, where it is given.
    pub audience: Option<&'a str>,
    /// Whether there must be an `exp`. One that is there counts in any case.
    pub must_expire: bool,
}

/// Why a JWT is not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerificationError {
    /// The JWT is at fault. The text names the check, nothing of the content.
    #[error("{0}")]
    Invalid(&'static str),
    /// The keys cannot be had.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

use VerificationError::Invalid;

/// The asymmetric algorithm of that name. The name that RFC 9864 §2.2 gives to EdDSA with this curve means the same.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    let algorithm = if name == "Ed25519" { Algorithm::EdDSA } else { name.parse().ok()? };
    (algorithm.family() != AlgorithmFamily::Hmac).then_some(algorithm)
}

/// A signed JWT in its compact form (RFC 7515 §7.1), not verified yet.
pub struct SignedJwt<'a> {
    /// Header and payload as they stand: what the signature is over.
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl<'a> SignedJwt<'a> {
    /// Takes `text` for a JWT of one of `types` (as in [`Expected::types`]), signed with one of `algorithms`.
    ///
    /// # Errors
    /// [`VerificationError::Invalid`] when it is none.
    pub fn parse(text: &'a str, types: &[&str], algorithms: &[Algorithm]) -> Result<Self, VerificationError> {
        const FORM: VerificationError = Invalid("it is not a signed JWT");
        if text.len() > MAX_LENGTH {
            return Err(Invalid("it is too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(FORM)?;
        let (header, payload) = signed.split_once('.').ok_or(FORM)?;
        if payload.contains('.') {
            return Err(FORM);
        }
        let header = Claims::parse(&decode(header).ok_or(FORM)?).map_err(|_| FORM)?;
        if header.has("crit") || header.has("b64") {
            return Err(Invalid("its header has critical parameters"));
        }
        if !is_type_allowed(header.get("typ"), types) {
            return Err(Invalid("its typ is not the expected one"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(algorithm);
        let algorithm = algorithm.filter(|algorithm| algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(Invalid("its algorithm is not allowed"))?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(FORM),
        };
        Ok(Self { signed, payload, signature, algorithm, key_id })
    }

    /// The claims, if one of `keys` signed them. `None` when that is for keys to say which are not among them.
    ///
    /// # Errors
    /// [`VerificationError::Invalid`] when the signature is wrong, or what it is of is not a set of claims.
    pub fn verify(&self, keys: &KeySet) -> Result<Option<Claims>, VerificationError> {
        let mut candidates = keys.candidates(self.algorithm, self.key_id.as_deref()).peekable();
        let is_known = self.key_id.is_some() && candidates.peek().is_some();
        if candidates.any(|key| key.verifies(self.algorithm, self.signed, self.signature)) {
            let payload = decode(self.payload).ok_or(Invalid("its payload is not base64url"))?;
            return Claims::parse(&payload).map(Some).map_err(|_| Invalid("its payload is not a JSON object"));
        }
        if is_known { Err(Invalid("its signature is wrong")) } else { Ok(None) }
    }
}

/// Checks what every JWT says of itself, at the time `now`. The issuer's clock may be `tolerance` ahead of ours; what has
/// expired by our clock has expired.
pub(crate) fn check(
    claims: &Claims,
    issuer: &str,
    expected: &Expected<'_>,
    tolerance: Duration,
    now: NumericDate,
) -> Result<(), VerificationError> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(Invalid("it is from another issuer"));
    }
    if let Some(audience) = expected.audience {
        let audiences = claims.texts("aud").map_err(|_| Invalid("its aud is not an audience"))?;
        if !audiences.iter().any(|named| named == audience) {
            return Err(Invalid("it is for another audience"));
        }
    }
    let date = |name| claims.date(name).map_err(|_| Invalid("its dates are not dates"));
    match date("exp")? {
        Some(expiry) if expiry <= now => return Err(Invalid("it has expired")),
        None if expected.must_expire => return Err(Invalid("it does not expire")),
        Some(_) | None => {}
    }
    if date("nbf")?.is_some_and(|start| start > now.after(tolerance)) {
        return Err(Invalid("it is not valid yet"));
    }
    if date("iat")?.is_some_and(|issued| issued > now.after(tolerance)) {
        return Err(Invalid("it is from the future"));
    }
    Ok(())
}

/// RFC 7515 §4.1.9: `application/` may be left out where no other slash is left.
fn is_type_allowed(typ: Option<&Value>, allowed: &[&str]) -> bool {
    let typ = match typ {
        None => return allowed.contains(&""),
        Some(Value::String(typ)) if !typ.is_empty() => typ.to_ascii_lowercase(),
        Some(_) => return false,
    };
    let short = typ.strip_prefix("application/").filter(|rest| !rest.contains('/')).unwrap_or(&typ);
    allowed.iter().any(|allowed| short.eq_ignore_ascii_case(allowed))
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::JwtRules;
    use crate::testing::{Signer, key_set};

    const NOW: NumericDate = NumericDate::from_seconds(1_000);
    const TOLERANCE: Duration = Duration::from_secs(30);
    const EXPECTED: Expected<'static> = Expected { types: &["at+jwt"], audience: Some("us"), must_expire: true };

    fn keys(keys: &[Value]) -> KeySet {
        KeySet::parse(key_set(keys).as_bytes()).unwrap()
    }

    fn verify(jwt: &str, keys: &KeySet) -> Result<Claims, String> {
        let signed = SignedJwt::parse(jwt, EXPECTED.types, &JwtRules::ALGORITHMS).map_err(|error| error.to_string())?;
        signed.verify(keys).map_err(|error| error.to_string())?.ok_or_else(|| "another key".to_owned())
    }

    #[test]
    fn every_allowed_algorithm_verifies_and_not_with_the_key_of_another() {
        for algorithm in JwtRules::ALGORITHMS {
            let (signer, other) = (Signer::new(algorithm), Signer::new(algorithm));
            let jwt = signer.jwt("k", &json!({"sub":"alice"}));
            let claims = verify(&jwt, &keys(&[signer.jwk("k")])).unwrap();
            assert_eq!(claims.text("sub").unwrap().unwrap(), "alice", "{algorithm:?}");
            assert_eq!(verify(&jwt, &keys(&[other.jwk("k")])).unwrap_err(), "its signature is wrong", "{algorithm:?}");
        }
    }

    #[test]
    fn a_key_is_found_by_its_kid_and_without_one_by_trying() {
        let (one, two) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
        let set = keys(&[one.jwk("1"), two.jwk("2")]);
        assert!(verify(&two.jwt("2", &json!({})), &set).is_ok());
        assert_eq!(verify(&two.jwt("1", &json!({})), &set).unwrap_err(), "its signature is wrong");
        assert_eq!(verify(&two.jwt("3", &json!({})), &set).unwrap_err(), "another key");
        let anonymous = json!({ "alg": "ES256", "typ": "at+jwt" });
        assert!(verify(&two.sign(&anonymous, &json!({})), &set).is_ok());
        let stranger = Signer::new(Algorithm::ES256);
        assert_eq!(verify(&stranger.sign(&anonymous, &json!({})), &set).unwrap_err(), "another key");
    }

    #[test]
    fn rfc8725_s3_1_a_key_serves_its_own_algorithm_alone() {
        let signer = Signer::new(Algorithm::RS256);
        let mut jwk = signer.jwk("k");
        let jwt = Signer::of_pem(Algorithm::PS256, &signer.pem).jwt("k", &json!({}));
        let pss = |jwk| verify(&jwt, &keys(&[jwk]));
        assert_eq!(pss(jwk.clone()).unwrap_err(), "another key");
        jwk.as_object_mut().unwrap().remove("alg");
        assert!(pss(jwk).is_ok(), "a key that names none serves all of its kind");
    }

    #[test]
    fn rfc8725_s2_1_neither_no_signature_nor_a_mac_with_the_public_key_will_do() {
        let signer = Signer::new(Algorithm::RS256);
        let set = keys(&[signer.jwk("k")]);
        for algorithm in ["none", "None", "HS256", "HS384", "HS512", "", "RS257"] {
            let jwt = signer.sign(&json!({ "alg": algorithm, "typ": "at+jwt", "kid": "k" }), &json!({}));
            assert_eq!(verify(&jwt, &set).unwrap_err(), "its algorithm is not allowed", "{algorithm}");
        }
        let mac = SignedJwt::parse(
            &signer.sign(&json!({ "alg": "HS256", "typ": "at+jwt" }), &json!({})),
            &["at+jwt"],
            &[Algorithm::HS256],
        )
        .is_err();
        assert!(mac, "whatever the configuration says");
    }

    #[test]
    fn rfc7515_s4_1_the_header_is_looked_at_before_it_is_believed() {
        let signer = Signer::new(Algorithm::ES256);
        let set = keys(&[signer.jwk("k")]);
        let with = |name: &str, value: Value| {
            let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" });
            header[name] = value;
            verify(&signer.sign(&header, &json!({})), &set)
        };
        for (name, value) in
            [("crit", json!(["exp"])), ("crit", json!([])), ("crit", Value::Null), ("b64", json!(true))]
        {
            assert_eq!(with(name, value).unwrap_err(), "its header has critical parameters", "{name}");
        }
        assert!(with("kid", json!(7)).is_err() && with("alg", json!(["ES256"])).is_err());
        // Not fetched, not used: RFC 8725 §3.10.
        let stranger = Signer::new(Algorithm::ES256);
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k", "jwk": stranger.jwk("k"), "jku": "https://evil.example" });
        assert_eq!(verify(&stranger.sign(&header, &json!({})), &set).unwrap_err(), "its signature is wrong");
    }

    #[test]
    fn rfc8725_s3_11_the_type_is_one_of_those_expected() {
        let allowed = |typ: Value, types: &[&str]| is_type_allowed(Some(&typ).filter(|typ| !typ.is_null()), types);
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(allowed(json!(typ), &["at+jwt"]), "{typ}");
        }
        for typ in [json!("JWT"), json!(""), json!(7), json!("application/x/at+jwt"), json!("text/at+jwt"), Value::Null]
        {
            assert!(!allowed(typ.clone(), &["at+jwt"]), "{typ}");
        }
        assert!(allowed(Value::Null, &["at+jwt", ""]) && allowed(json!("JWT"), &["jwt"]));
    }

    #[test]
    fn what_is_not_three_parts_is_not_a_jwt() {
        let signer = Signer::new(Algorithm::ES256);
        let set = keys(&[signer.jwk("k")]);
        let jwt = signer.jwt("k", &json!({}));
        for broken in ["", ".", "..", "...", "a.b.c", &format!("{jwt}.x"), &format!(".{jwt}"), &format!("{jwt} ")] {
            assert!(verify(broken, &set).is_err(), "{broken}");
        }
        assert_eq!(verify(&format!("{jwt}="), &set).unwrap_err(), "its signature is wrong");
        assert_eq!(verify(&"a".repeat(MAX_LENGTH + 1), &set).unwrap_err(), "it is too long");
        let twice = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"ES256","typ":"at+jwt"}"#);
        assert_eq!(verify(&format!("{twice}.e30.e30"), &set).unwrap_err(), "it is not a signed JWT");
        let list = signer.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" }), &json!([]));
        assert_eq!(verify(&list, &set).unwrap_err(), "its payload is not a JSON object");
    }

    fn checked(change: Value) -> Result<(), String> {
        checked_as(change, &EXPECTED)
    }

    fn checked_as(change: Value, expected: &Expected<'_>) -> Result<(), String> {
        let mut claims = json!({ "iss": "https://a.example", "aud": ["them", "us"], "exp": 2000, "iat": 1000 });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims = Claims::parse(claims.to_string().as_bytes()).unwrap();
        check(&claims, "https://a.example", expected, TOLERANCE, NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn rfc7519_s4_1_a_token_is_ours_from_whom_we_trust_and_in_time() {
        assert_eq!(checked(json!({})), Ok(()));
        assert_eq!(checked(json!({ "aud": "us" })), Ok(()));
        for (change, reason) in [
            (json!({ "iss": "https://a.example/" }), "it is from another issuer"),
            (json!({ "iss": null }), "it is from another issuer"),
            (json!({ "iss": ["https://a.example"] }), "it is from another issuer"),
            (json!({ "aud": "them" }), "it is for another audience"),
            (json!({ "aud": null }), "it is for another audience"),
            (json!({ "aud": ["us", 7] }), "its aud is not an audience"),
            (json!({ "exp": 1000 }), "it has expired"),
            (json!({ "exp": null }), "it does not expire"),
            (json!({ "exp": "soon" }), "its dates are not dates"),
            (json!({ "nbf": 1031 }), "it is not valid yet"),
            (json!({ "iat": 1031 }), "it is from the future"),
        ] {
            assert_eq!(checked(change.clone()), Err(reason.to_owned()), "{change}");
        }
    }

    #[test]
    fn the_clock_of_the_issuer_may_be_a_little_ahead() {
        for change in [json!({ "nbf": 1030 }), json!({ "iat": 1030 })] {
            assert_eq!(checked(change.clone()), Ok(()), "{change}");
        }
    }

    #[test]
    fn what_is_not_expected_need_not_be_there() {
        let expected = Expected { audience: None, must_expire: false, ..EXPECTED };
        assert_eq!(checked_as(json!({ "aud": null, "exp": null, "iat": null }), &expected), Ok(()));
        assert_eq!(checked_as(json!({ "exp": 900 }), &expected), Err("it has expired".to_owned()));
    }
}

//! The keys that an authorization server signs with: a JWK Set (RFC 7517 §5), as far as it is of use here.
//!
//! A key is of use when it is public, asymmetric, strong enough, and not meant for anything but signatures. What is of no
//! use is skipped, as RFC 7517 §5 has it: servers publish keys of kinds that are yet to be invented.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use crate::claims::Claims;
use crate::error::Unavailable;

/// The largest key set read, in bytes. With certificate chains a key can have some kilobytes.
pub(crate) const MAX_KEY_SET: usize = 256 * 1024;

/// How many keys of a set are taken.
const MAX_KEYS: usize = 64;

/// How many keys are tried on a signature that does not say whose it is.
const MAX_TRIED: usize = 8;

/// RFC 7518 §3.3: no smaller ones; larger ones cost more time than anybody's tokens are worth.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one authorization server.
#[derive(Debug, Clone)]
pub struct KeySet(Vec<Key>);

/// A public key that signatures are verified with.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    id: Option<String>,
    kind: Kind,
    /// The algorithm it is for, where it says so; it then serves no other (RFC 7517 §4.4).
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeySet {
    /// Reads a JWK Set.
    ///
    /// # Errors
    /// [`Unavailable`] when it is none, or when none of its keys is of use.
    pub fn parse(body: &[u8]) -> Result<Self, Unavailable> {
        let mut set = Claims::parse(body).map_err(|error| Unavailable::Malformed(format!("key set: {error}")))?;
        let Some(Value::Array(keys)) = set.remove("keys") else {
            return Err(Unavailable::KeySet("it has no list of keys"));
        };
        let keys: Vec<Key> = keys
            .into_iter()
            .filter_map(|key| match key {
                Value::Object(members) => Key::read(&Claims::from(members)),
                _ => None,
            })
            .take(MAX_KEYS)
            .collect();
        if keys.is_empty() {
            return Err(Unavailable::KeySet("none of its keys verifies signatures"));
        }
        Ok(Self(keys))
    }

    /// The keys that a signature by `algorithm` can be of, given the `kid` that came with it.
    pub(crate) fn candidates(&self, algorithm: Algorithm, key_id: Option<&str>) -> impl Iterator<Item = &Key> {
        let named = move |key: &&Key| key_id.is_none_or(|id| key.id.as_deref() == Some(id));
        self.0.iter().filter(named).filter(move |key| key.fits(algorithm)).take(MAX_TRIED)
    }
}

impl Key {
    /// Whether `signature` (base64url) is a signature of `signed` by this key.
    pub(crate) fn verifies(&self, algorithm: Algorithm, signed: &str, signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, algorithm).unwrap_or(false)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let kind = match algorithm {
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => Kind::Rsa,
            ES256 => Kind::P256,
            ES384 => Kind::P384,
            EdDSA => Kind::Ed25519,
            _ => return false,
        };
        self.kind == kind && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// The key in a JWK, if it is of use.
    fn read(jwk: &Claims) -> Option<Self> {
        let is_for_signatures = match jwk.get("use") {
            None => true,
            Some(usage) => usage == "sig",
        };
        let verifies = match jwk.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
            Some(_) => false,
        };
        if !is_for_signatures || !verifies {
            return None;
        }
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => Some(crate::jwt::algorithm(name.as_str()?)?),
        };
        let id = match jwk.get("kid") {
            None => None,
            Some(id) => Some(id.as_str()?.to_owned()),
        };
        let (kind, key) = public_key(jwk)?;
        let key = Self { id, kind, algorithm, key };
        // A key that says it is for an algorithm which keys of its kind do not know serves none.
        key.algorithm.is_none_or(|own| key.fits(own)).then_some(key)
    }
}

fn public_key(jwk: &Claims) -> Option<(Kind, DecodingKey)> {
    let text = |name: &str| jwk.get(name)?.as_str();
    let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
    match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let modulus = unpadded(&modulus);
            let bits = (modulus.len() * 8).checked_sub(modulus.first()?.leading_zeros() as usize)?;
            let key = || DecodingKey::from_rsa_raw_components(modulus, unpadded(&exponent));
            RSA_BITS.contains(&bits).then(|| (Kind::Rsa, key()))
        }
        ("EC", Some("P-256")) => Some((Kind::P256, point(&bytes("x")?, &bytes("y")?, 32)?)),
        ("EC", Some("P-384")) => Some((Kind::P384, point(&bytes("x")?, &bytes("y")?, 48)?)),
        ("OKP", Some("Ed25519")) => {
            let key = bytes("x").filter(|key| key.len() == 32)?;
            Some((Kind::Ed25519, DecodingKey::from_ed_der(&key)))
        }
        _ => None,
    }
}

/// Without the zeros that some write before a number.
fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// An uncompressed point (SEC 1 §2.3.3); whether it lies on its curve is seen when it is used.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<DecodingKey> {
    let (x, y) = (padded(x, length)?, padded(y, length)?);
    Some(DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat()))
}

/// A coordinate in its full length (RFC 7518 §6.2.1.2). Glewlwyd leaves out the zeros in front, which one key in 128 has.
fn padded(coordinate: &[u8], length: usize) -> Option<Vec<u8>> {
    let missing = length.checked_sub(coordinate.len()).filter(|missing| *missing <= 2)?;
    Some([&vec![0; missing], coordinate].concat())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::KeySize;
    use serde_json::json;

    use super::*;
    use crate::testing::{Signer, key_set};

    fn usable(jwk: Value) -> bool {
        KeySet::parse(key_set(&[jwk]).as_bytes()).is_ok()
    }

    fn with(mut jwk: Value, name: &str, value: Value) -> Value {
        jwk[name] = value;
        jwk
    }

    #[test]
    fn rfc7517_s5_what_is_of_no_use_is_skipped() {
        let signer = Signer::new(Algorithm::ES256);
        let set = key_set(&[
            json!({ "kty": "yet to be invented", "kid": "1" }),
            json!("no key"),
            signer.jwk("2"),
            json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "3" }),
        ]);
        let keys = KeySet::parse(set.as_bytes()).unwrap();
        let found = |id| keys.candidates(Algorithm::ES256, Some(id)).count();
        assert_eq!([found("1"), found("2"), found("3")], [0, 1, 0]);
        assert_eq!(keys.candidates(Algorithm::HS256, None).count(), 0);
    }

    #[test]
    fn rfc7517_s4_a_key_for_anything_else_is_of_no_use() {
        let jwk = Signer::new(Algorithm::ES256).jwk("k");
        assert!(usable(with(jwk.clone(), "use", json!("sig"))));
        assert!(usable(with(jwk.clone(), "key_ops", json!(["sign", "verify"]))));
        for (name, value) in [
            ("use", json!("enc")),
            ("use", json!(7)),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!([])),
            ("key_ops", json!("verify")),
            ("alg", json!("ECDH-ES")),
            ("alg", json!("RS256")),
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("kid", json!(7)),
            ("crv", json!("P-521")),
            ("crv", json!("P-384")),
            ("x", json!("AAAA")),
            ("y", json!("not base64url!")),
            ("y", Value::Null),
        ] {
            assert!(!usable(with(jwk.clone(), name, value.clone())), "{name} {value}");
        }
    }

    #[test]
    fn a_point_that_is_on_no_curve_verifies_nothing() {
        let signer = Signer::new(Algorithm::ES256);
        let jwk = with(signer.jwk("k"), "y", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        let keys = KeySet::parse(key_set(&[jwk]).as_bytes()).unwrap();
        let jwt = signer.jwt("k", &json!({}));
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        assert!(keys.candidates(Algorithm::ES256, None).all(|key| !key.verifies(Algorithm::ES256, signed, signature)));
    }

    #[test]
    fn zeros_that_were_left_out_in_front_of_a_coordinate_are_put_back() {
        let full = [&[0][..], &[7; 31]].concat();
        assert_eq!(padded(&full[1..], 32).unwrap(), full);
        assert_eq!(padded(&full, 32).unwrap(), full);
        assert!(padded(&[7; 29], 32).is_none() && padded(&[7; 33], 32).is_none());
    }

    #[test]
    fn rfc7518_s3_3_rsa_keys_have_2048_bits_at_least() {
        let jwk = Signer::rsa(Algorithm::RS256, KeySize::Rsa2048).jwk("k");
        assert!(usable(jwk.clone()));
        let modulus = BASE64_URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        let of = |bytes: &[u8]| with(jwk.clone(), "n", json!(BASE64_URL_SAFE_NO_PAD.encode(bytes)));
        assert!(usable(of(&[&[0], &modulus[..]].concat())), "zeros in front count for nothing");
        assert!(!usable(of(&modulus[1..])) && !usable(of(&[0; 256])) && !usable(of(&[])));
        assert!(!usable(of(&[&[0; 128], &modulus[..128]].concat())));
        assert!(!usable(of(&[0xff; 1025])), "nor more than anybody needs");
    }

    #[test]
    fn a_set_is_bounded_and_a_set_without_keys_is_none() {
        let jwk = Signer::new(Algorithm::EdDSA).jwk("k");
        let keys = KeySet::parse(key_set(&vec![jwk; 100]).as_bytes()).unwrap();
        assert_eq!(keys.0.len(), MAX_KEYS);
        assert_eq!(keys.candidates(Algorithm::EdDSA, None).count(), MAX_TRIED);
        for body in [r#"{"keys":[]}"#, r#"{"keys":{}}"#, "{}"] {
            assert!(matches!(KeySet::parse(body.as_bytes()), Err(Unavailable::KeySet(_))), "{body}");
        }
        for body in ["", "[]", r#"{"keys":[],"keys":[]}"#] {
            assert!(matches!(KeySet::parse(body.as_bytes()), Err(Unavailable::Malformed(_))), "{body}");
        }
    }
}

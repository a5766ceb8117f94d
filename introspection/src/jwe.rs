//! What is encrypted to us: JWE in its compact form (RFC 7516 §7.1), by the algorithms of RFC 7518 that authorization
//! servers use for introspection responses (RFC 9701 §5).
//!
//! Who sends us something that cannot be decrypted learns nothing from how it failed: there is one answer to all of it. A
//! content key that cannot be unwrapped is replaced by a random one, and the content then fails to authenticate
//! (RFC 7516 §11.5). Nothing is decrypted before it is authenticated. Never encrypts.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap as _};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::{aead, constant_time, hmac, rand};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::claims::Claims;

/// The largest JWE looked at, in bytes.
const MAX_LENGTH: usize = 64 * 1024;

/// A private key that content keys are encrypted to.
pub struct DecryptionKey(Kind);

enum Kind {
    Rsa(OaepPrivateDecryptingKey),
    P256(PrivateKey),
    P384(PrivateKey),
}

impl DecryptionKey {
    /// The key in `pem` (PKCS #8): RSA with 2048 to 8192 bits, or on P-256 or P-384.
    pub fn from_pem(pem: &str) -> Option<Self> {
        let der = pem::parse(pem).ok().filter(|pem| pem.tag() == "PRIVATE KEY")?;
        let der = Zeroizing::new(der.into_contents());
        let rsa = || OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(&der).ok()?).ok();
        let curve = |curve| PrivateKey::from_private_key_der(curve, &der).ok();
        let kind = rsa().map(Kind::Rsa);
        let kind = kind.or_else(|| curve(&ECDH_P256).map(Kind::P256));
        kind.or_else(|| curve(&ECDH_P384).map(Kind::P384)).map(Self)
    }

    /// What `jwe` holds, if it is encrypted to this key and unchanged.
    pub fn decrypt(&self, jwe: &str) -> Option<Zeroizing<Vec<u8>>> {
        if jwe.len() > MAX_LENGTH {
            return None;
        }
        let mut parts = jwe.split('.');
        let protected = parts.next()?;
        let header = Claims::parse(&decode(protected)?).ok()?;
        let mut next = || decode(parts.next()?);
        let (encrypted_key, iv, ciphertext, tag) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() || header.has("crit") || header.has("zip") {
            return None;
        }
        let encryption = ContentEncryption::named(header.get("enc")?.as_str()?)?;
        let key = self.content_key(&header, encryption, &encrypted_key)?;
        encryption.open(&key, &iv, protected.as_bytes(), ciphertext, &tag)
    }

    /// RFC 7518 §4. `None` when that can be told from the header alone; a key that does not come out of its wrapping gives a
    /// random one.
    fn content_key(
        &self,
        header: &Claims,
        encryption: &ContentEncryption,
        encrypted_key: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let algorithm = header.get("alg")?.as_str()?;
        let unwrapped = match (&self.0, algorithm) {
            (Kind::Rsa(key), "RSA-OAEP") => rsa(key, &OAEP_SHA1_MGF1SHA1, encrypted_key),
            (Kind::Rsa(key), "RSA-OAEP-256") => rsa(key, &OAEP_SHA256_MGF1SHA256, encrypted_key),
            (Kind::P256(_) | Kind::P384(_), "ECDH-ES") => {
                let agreed = self.agreed_key(header, encryption.name, encryption.key_length)?;
                return encrypted_key.is_empty().then_some(agreed);
            }
            (Kind::P256(_) | Kind::P384(_), "ECDH-ES+A128KW") => {
                aes(&key_wrap::AES_128, &self.agreed_key(header, algorithm, 16)?, encrypted_key)
            }
            (Kind::P256(_) | Kind::P384(_), "ECDH-ES+A256KW") => {
                aes(&key_wrap::AES_256, &self.agreed_key(header, algorithm, 32)?, encrypted_key)
            }
            _ => return None,
        };
        let mut random = Zeroizing::new(vec![0; encryption.key_length]);
        rand::fill(&mut random).ok()?;
        Some(unwrapped.filter(|key| key.len() == encryption.key_length).unwrap_or(random))
    }

    /// RFC 7518 §4.6: the key that we and the sender's ephemeral key agree on.
    fn agreed_key(&self, header: &Claims, algorithm: &str, length: usize) -> Option<Zeroizing<Vec<u8>>> {
        let (key, curve, name, coordinate) = match &self.0 {
            Kind::P256(key) => (key, &ECDH_P256, "P-256", 32),
            Kind::P384(key) => (key, &ECDH_P384, "P-384", 48),
            Kind::Rsa(_) => return None,
        };
        let ephemeral = header.get("epk")?;
        let member = |name: &str| ephemeral.get(name).and_then(Value::as_str);
        let coordinate = |name: &str| decode(member(name)?).filter(|bytes| bytes.len() == coordinate);
        if member("kty") != Some("EC") || member("crv") != Some(name) {
            return None;
        }
        // Whether the point is on the curve is checked by the agreement.
        let point = [&[4][..], &coordinate("x")?, &coordinate("y")?].concat();
        let party = |name: &str| match header.get(name) {
            None => Some(Vec::new()),
            Some(party) => decode(party.as_str()?),
        };
        let (sender, receiver) = (party("apu")?, party("apv")?);
        agreement::agree(key, UnparsedPublicKey::new(curve, point), (), |secret| {
            Ok(concat_kdf(secret, algorithm, &sender, &receiver, length))
        })
        .ok()
    }
}

fn rsa(
    key: &OaepPrivateDecryptingKey,
    algorithm: &'static OaepAlgorithm,
    encrypted: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
    key.decrypt(algorithm, encrypted, &mut buffer, None).ok().map(|key| Zeroizing::new(key.to_vec()))
}

fn aes(cipher: &'static key_wrap::AesBlockCipher, key: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; wrapped.len()]);
    let key = AesKek::new(cipher, key).ok()?;
    key.unwrap(wrapped, &mut buffer).ok().map(|key| Zeroizing::new(key.to_vec()))
}

/// RFC 7518 §4.6.2, after NIST SP 800-56A §5.8.1.
fn concat_kdf(secret: &[u8], algorithm: &str, sender: &[u8], receiver: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let mut derived = Zeroizing::new(Vec::with_capacity(length.next_multiple_of(32)));
    for round in 1..=length.div_ceil(32) {
        let mut hash = Sha256::new();
        hash.update(number(round));
        hash.update(secret);
        for field in [algorithm.as_bytes(), sender, receiver] {
            hash.update(number(field.len()));
            hash.update(field);
        }
        hash.update(number(length * 8));
        derived.extend_from_slice(&hash.finalize());
    }
    derived.truncate(length);
    derived
}

/// RFC 7518 §5.
struct ContentEncryption {
    name: &'static str,
    key_length: usize,
    method: Method,
}

enum Method {
    Gcm(&'static aead::Algorithm),
    CbcHmac(&'static cipher::Algorithm, hmac::Algorithm),
}

static CONTENT_ENCRYPTIONS: [ContentEncryption; 4] = [
    ContentEncryption { name: "A128GCM", key_length: 16, method: Method::Gcm(&aead::AES_128_GCM) },
    ContentEncryption { name: "A256GCM", key_length: 32, method: Method::Gcm(&aead::AES_256_GCM) },
    ContentEncryption {
        name: "A128CBC-HS256",
        key_length: 32,
        method: Method::CbcHmac(&cipher::AES_128, hmac::HMAC_SHA256),
    },
    ContentEncryption {
        name: "A256CBC-HS512",
        key_length: 64,
        method: Method::CbcHmac(&cipher::AES_256, hmac::HMAC_SHA512),
    },
];

impl ContentEncryption {
    fn named(name: &str) -> Option<&'static Self> {
        CONTENT_ENCRYPTIONS.iter().find(|encryption| encryption.name == name)
    }

    fn open(
        &self,
        key: &[u8],
        iv: &[u8],
        header: &[u8],
        ciphertext: Vec<u8>,
        tag: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut text = Zeroizing::new(ciphertext);
        let length = match self.method {
            Method::Gcm(algorithm) => {
                let nonce = aead::Nonce::try_assume_unique_for_key(iv).ok()?;
                let key = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key).ok()?);
                let aad = aead::Aad::from(header);
                (tag.len() == algorithm.tag_len()).then_some(())?;
                key.open_in_place_separate_tag(nonce, aad, tag, &mut text).ok()?.len()
            }
            Method::CbcHmac(algorithm, mac) => {
                let (mac_key, key) = key.split_at_checked(self.key_length / 2)?;
                let context = DecryptionContext::Iv128(FixedLength::try_from(iv).ok()?);
                authenticate(&hmac::Key::new(mac, mac_key), header, iv, &text, tag)?;
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
                key.decrypt(&mut text, context).ok()?.len()
            }
        };
        text.truncate(length);
        Some(text)
    }
}

/// RFC 7518 §5.2.2.2: the tag is the first half of the MAC.
fn authenticate(key: &hmac::Key, header: &[u8], iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> Option<()> {
    let header_bits = u64::try_from(header.len()).ok()?.checked_mul(8)?;
    let mut mac = hmac::Context::with_key(key);
    for part in [header, iv, ciphertext, &header_bits.to_be_bytes()] {
        mac.update(part);
    }
    let mac = mac.sign();
    let expected = mac.as_ref().get(..mac.as_ref().len() / 2)?;
    constant_time::verify_slices_are_equal(expected, tag).ok()
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests;

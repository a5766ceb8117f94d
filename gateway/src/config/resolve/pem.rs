//! Whether keys and certificates can be used, before anybody waits for them. What is said of them names no content.

use std::path::Path;

use aws_lc_rs::rsa::PrivateDecryptingKey;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header};
use serde_json::json;
use zeroize::Zeroizing;

pub(super) use crate::certificate::certificates;
use crate::certificate::{IdentityFiles, certified_key};

const NO_KEY: &str = "it does not hold a private key in PEM, PKCS #8 (BEGIN PRIVATE KEY)";

/// Whether the private key in `text` makes signatures of `algorithm`.
pub(super) fn signs_with(text: &str, algorithm: Algorithm) -> Result<(), String> {
    private_key(text)?;
    let key = match algorithm.family() {
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(text.as_bytes()),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(text.as_bytes()),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(text.as_bytes()),
        AlgorithmFamily::Hmac => return Err(NO_KEY.to_owned()),
    };
    let signed = key.and_then(|key| jsonwebtoken::encode(&Header::new(algorithm), &json!({}), &key));
    match signed {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("its private key cannot sign with {algorithm:?}; change the key, or `algorithm`")),
    }
}

/// Whether answers can be decrypted with the private key in `text`.
pub(super) fn decrypts(text: &str) -> Result<(), String> {
    let key = private_key(text)?;
    let is_rsa = PrivateDecryptingKey::from_pkcs8(&key).is_ok();
    let curves = [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING];
    let is_ec = curves.iter().any(|curve| EcdsaKeyPair::from_pkcs8(curve, &key).is_ok());
    if is_rsa || is_ec {
        Ok(())
    } else {
        Err("its private key is neither RSA (2048 bits or more) nor EC on P-256 or P-384".to_owned())
    }
}

fn private_key(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    match pem::parse(text) {
        Ok(block) if block.tag() == "PRIVATE KEY" => Ok(Zeroizing::new(block.into_contents())),
        _ => Err(NO_KEY.to_owned()),
    }
}

/// Whether we can show a certificate with a private key.
pub(super) fn identity(certificate: &Path, private_key: &Path) -> Result<(), String> {
    let files = IdentityFiles { certificate: certificate.to_owned(), private_key: private_key.to_owned() };
    certified_key(&files).map(|_| ())
}

//! Whether keys and certificates can be used, before anybody waits for them. What is said of them names no content.

use std::path::Path;

use aws_lc_rs::rsa::PrivateDecryptingKey;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::json;
use zeroize::Zeroizing;

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

/// The certificates in a file, at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    let is_usable =
        |certificate: &CertificateDer<'static>| rustls::RootCertStore::empty().add(certificate.clone()).is_ok();
    if certificates.is_empty() || !certificates.iter().all(is_usable) {
        return Err(format!("{shown}: it does not hold certificates in PEM (BEGIN CERTIFICATE)"));
    }
    Ok(certificates)
}

/// Whether we can show a certificate with a private key.
pub(super) fn identity(certificate: &Path, private_key: &Path) -> Result<(), String> {
    let chain = certificates(certificate)?;
    let shown = private_key.display();
    let text = std::fs::read(private_key).map(Zeroizing::new);
    let text = text.map_err(|error| format!("cannot read {shown}: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("{shown}: it does not hold a private key in PEM (BEGIN PRIVATE KEY)"))?;
    match CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(format!("{shown}: its private key is not the one of the certificate in {}", certificate.display()))
        }
    }
}

//! Owns the key with which the authorization server signs the JWTs of a token exchange: made at start, kept in memory,
//! published as a JWK Set (RFC 7517 §5).
//!
//! Never: signs an agent's token. Those are opaque.

use anyhow::{Context, anyhow};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::access_token::Claims;

/// An ES256 key pair.
pub(crate) struct SigningKey {
    private: EncodingKey,
    public: Jwk,
    kid: String,
}

impl SigningKey {
    /// A fresh key, named by its thumbprint (RFC 7638).
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub(crate) fn generate() -> anyhow::Result<SigningKey> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| anyhow!("cannot make a signing key"))?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| anyhow!("cannot encode the signing key"))?;
        let private = EncodingKey::from_ec_der(pkcs8.as_ref());
        let mut public = Jwk::from_encoding_key(&private, Algorithm::ES256).context("cannot derive the public key")?;
        let kid = public.thumbprint(ThumbprintHash::SHA256).context("cannot name the signing key")?;
        public.common.key_id = Some(kid.clone());
        public.common.key_algorithm = Some(KeyAlgorithm::ES256);
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(SigningKey { private, public, kid })
    }

    /// `claims` as a signed JWT access token (RFC 9068 §2).
    ///
    /// # Errors
    /// When signing fails, which a sound key does not.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.private)
    }

    /// What is published.
    pub(crate) fn jwk_set(&self) -> JwkSet {
        JwkSet { keys: vec![self.public.clone()] }
    }
}

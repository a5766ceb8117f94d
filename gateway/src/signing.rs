//! Our JWTs (RFC 9068) and the keys that sign them.
//!
//! A JWT is made for one upstream, from what the authorization server said of the agent's token, and never outlives it.

mod key_folder;

pub use key_folder::{KeyError, KeyFolder, KeyState, SigningKey};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use jsonwebtoken::jwk::JwkSet;
use phantomgate_introspection::{ActiveToken, NumericDate};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::config::{SignedConfig, SigningConfig};
use crate::upstream_credential::Made;

/// Signs JWTs with the keys of one folder.
pub struct Signer {
    issuer: String,
    lifetime: Duration,
    folder: KeyFolder,
    keys: ArcSwap<KeyRing>,
}

struct KeyRing {
    keys: Vec<SigningKey>,
    /// The public halves, as they are published.
    key_set: Bytes,
}

/// How the credential of one upstream is signed.
pub struct SignedCredential {
    /// Signs it.
    pub signer: Arc<Signer>,
    /// What it says, beyond what the authorization server said of the token.
    pub terms: SignedConfig,
}

impl SignedCredential {
    /// A JWT that says of `token` what the authorization server said, at the time `now`.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn sign(&self, token: &ActiveToken, now: NumericDate) -> Result<Made, SigningError> {
        self.signer.sign(token, &self.terms, now)
    }
}

/// Why a JWT cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// RFC 9068 §2.2 requires a `client_id`, and the authorization server named none.
    #[error("the authorization server names no client_id, which a JWT access token must have")]
    NoClientId,
    /// There is no key.
    #[error("there is no signing key")]
    NoKey,
    /// The library failed.
    #[error("cannot sign: {0}")]
    Library(#[from] jsonwebtoken::errors::Error),
    /// The result does not fit into a header.
    #[error("the JWT does not fit into a header")]
    Header,
}

impl Signer {
    /// How often the folder is looked at for keys made or removed by others.
    const RELOAD_EVERY: Duration = Duration::from_secs(30);

    /// Opens the key folder, and makes the first key when there is none.
    ///
    /// # Errors
    /// [`KeyError`] when the folder cannot be used.
    pub fn open(config: &SigningConfig, now: NumericDate) -> Result<Self, KeyError> {
        let folder = KeyFolder::new(&config.keys, config.lifetime);
        let keys = folder.load_or_begin(config.algorithm, now)?;
        let keys = ArcSwap::from_pointee(KeyRing::new(keys));
        Ok(Self { issuer: config.issuer.clone(), lifetime: config.lifetime, folder, keys })
    }

    /// The JWK Set (RFC 7517 §5) of all keys, those included that do not sign yet or any more.
    pub fn key_set(&self) -> Bytes {
        self.keys.load().key_set.clone()
    }

    /// Whether there is a key that signs at the time `now`.
    pub fn can_sign(&self, now: NumericDate) -> bool {
        key_folder::signing_key(&self.keys.load().keys, now).is_some()
    }

    /// Reads the folder again and again; ends when dropped.
    pub async fn keep_fresh(&self) {
        let mut interval = tokio::time::interval(Self::RELOAD_EVERY);
        interval.tick().await;
        loop {
            interval.tick().await;
            self.refresh();
        }
    }

    fn refresh(&self) {
        match self.folder.load() {
            Ok(keys) if keys.is_empty() => tracing::warn!("the key folder is empty; the keys in use stay in use"),
            Ok(keys) => self.keys.store(Arc::new(KeyRing::new(keys))),
            Err(error) => tracing::warn!(%error, "cannot read the key folder; the keys in use stay in use"),
        }
    }

    /// Signs a JWT on these `terms` that says of `token` what the authorization server said, at the time `now`.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn sign(&self, token: &ActiveToken, terms: &SignedConfig, now: NumericDate) -> Result<Made, SigningError> {
        let client_id = token.client_id.as_deref().ok_or(SigningError::NoClientId)?;
        // Keys are published for as long as the longest life, so no terms may go beyond it.
        let longest = now.after(terms.lifetime.min(self.lifetime));
        let expires_at = token.expires_at.map_or(longest, |expiry| expiry.min(longest));
        let claims = Claims {
            iss: &self.issuer,
            // RFC 9068 §2.2: without a person, the subject is the client.
            sub: token.subject.as_deref().unwrap_or(client_id),
            aud: &terms.audience,
            client_id,
            scope: (!token.scope.is_empty()).then(|| token.scope.to_string()),
            iat: now.seconds(),
            exp: expires_at.seconds(),
            jti: Uuid::new_v4(),
            auth_time: token.auth_time.map(NumericDate::seconds),
            acr: token.acr.as_deref(),
            amr: &token.amr,
            mapped: mapped(token, terms),
        };
        let keys = self.keys.load();
        let key = key_folder::signing_key(&keys.keys, now).ok_or(SigningError::NoKey)?;
        let mut header =
            HeaderValue::try_from(format!("Bearer {}", key.sign(&claims)?)).map_err(|_| SigningError::Header)?;
        header.set_sensitive(true);
        // Three quarters of its life: an upstream whose clock is a little ahead, or that works for a while, still takes it.
        let reusable = Duration::from_secs((expires_at.since(now).as_secs() * 3 / 4).max(1));
        Ok(Made { header, reusable_until: now.after(reusable), expires_at })
    }
}

/// The claims that `terms` take over from what the authorization server said, as it said them. One that it did not say is
/// left out.
fn mapped<'a>(token: &'a ActiveToken, terms: &'a SignedConfig) -> BTreeMap<&'a str, &'a Value> {
    let said = |claim: &String| token.claims.iter().find(|(name, _)| name == claim).map(|(_, value)| value);
    terms.claims.iter().filter_map(|(name, claim)| Some((name.as_str(), said(claim)?))).collect()
}

impl KeyRing {
    fn new(keys: Vec<SigningKey>) -> Self {
        let set = JwkSet { keys: keys.iter().map(|key| key.public().clone()).collect() };
        let key_set = serde_json::to_vec(&set).unwrap_or_default().into();
        Self { keys, key_set }
    }
}

/// The claims of RFC 9068 §2.2.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    iat: u64,
    exp: u64,
    jti: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
    /// None of them has a name from above: the configuration is checked for that.
    #[serde(flatten)]
    mapped: BTreeMap<&'a str, &'a Value>,
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use phantomgate_introspection::ScopeSet;
    use serde_json::json;

    use super::*;
    use crate::config::SigningAlgorithm;

    const NOW: NumericDate = NumericDate::from_seconds(1_000_000);

    fn signer(algorithm: SigningAlgorithm, folder: &std::path::Path) -> Signer {
        let config = SigningConfig {
            issuer: "https://mcp.example.com".into(),
            algorithm,
            keys: folder.join("keys"),
            lifetime: Duration::from_secs(300),
        };
        Signer::open(&config, NOW).unwrap()
    }

    fn terms(audience: &str) -> SignedConfig {
        SignedConfig { audience: audience.to_owned(), lifetime: Duration::from_secs(300), claims: Vec::new() }
    }

    fn token() -> ActiveToken {
        ActiveToken {
            subject: Some("john".into()),
            client_id: Some("agent".into()),
            scope: ScopeSet::from_granted("users:read"),
            audience: ["https://mcp.example.com/mcp".into()].into(),
            expires_at: Some(NumericDate::from_seconds(1_000_100)),
            ..ActiveToken::default()
        }
    }

    fn decode(signer: &Signer, jwt: &Made) -> (jsonwebtoken::Header, Value) {
        let text = jwt.header.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let header = jsonwebtoken::decode_header(text).unwrap();
        let keys: JwkSet = serde_json::from_slice(&signer.key_set()).unwrap();
        let key = DecodingKey::from_jwk(keys.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Value>(text, &key, &validation).unwrap().claims;
        (header, claims)
    }

    #[test]
    fn rfc9068_s2_header_and_claims_and_the_published_key_verifies() {
        for (algorithm, registered) in [
            (SigningAlgorithm::ES256, Algorithm::ES256),
            (SigningAlgorithm::EdDSA, Algorithm::EdDSA),
            (SigningAlgorithm::RS256, Algorithm::RS256),
            (SigningAlgorithm::PS256, Algorithm::PS256),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let signer = signer(algorithm, folder.path());
            let jwt = signer.sign(&token(), &terms("https://mcp.internal"), NOW).unwrap();
            let (header, mut claims) = decode(&signer, &jwt);
            assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), registered));
            assert!(claims.as_object_mut().unwrap().remove("jti").unwrap().as_str().unwrap().len() >= 32);
            assert_eq!(
                claims,
                json!({
                    "iss": "https://mcp.example.com", "sub": "john", "aud": "https://mcp.internal", "client_id": "agent",
                    "scope": "users:read", "iat": 1_000_000, "exp": 1_000_100,
                })
            );
        }
    }

    #[test]
    fn a_jwt_never_outlives_the_token_nor_the_configured_lifetime() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(SigningAlgorithm::ES256, folder.path());
        let expiry = |expires_at: Option<u64>| {
            let token = ActiveToken { expires_at: expires_at.map(NumericDate::from_seconds), ..token() };
            let jwt = signer.sign(&token, &terms("a"), NOW).unwrap();
            let exp = decode(&signer, &jwt).1["exp"].as_u64().unwrap();
            assert!(jwt.reusable_until <= NumericDate::from_seconds(exp));
            exp
        };
        assert_eq!(expiry(Some(1_000_001)), 1_000_001);
        assert_eq!(expiry(Some(9_999_999)), 1_000_300);
        assert_eq!(expiry(None), 1_000_300);
    }

    #[test]
    fn rfc9068_s2_2_without_a_person_the_subject_is_the_client_and_without_a_client_there_is_no_jwt() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(SigningAlgorithm::ES256, folder.path());
        let machine = ActiveToken { subject: None, ..token() };
        let jwt = signer.sign(&machine, &terms("a"), NOW).unwrap();
        assert_eq!(decode(&signer, &jwt).1["sub"], "agent");
        let nobody = ActiveToken { client_id: None, ..token() };
        assert!(matches!(signer.sign(&nobody, &terms("a"), NOW), Err(SigningError::NoClientId)));
    }

    #[test]
    fn gateways_that_share_a_folder_change_keys_without_a_jwt_that_nobody_can_verify() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) =
            (signer(SigningAlgorithm::ES256, folder.path()), signer(SigningAlgorithm::ES256, folder.path()));
        let at = |seconds| NumericDate::from_seconds(NOW.seconds() + seconds);
        let token = ActiveToken { expires_at: None, ..token() };
        let kid = |signer: &Signer, now| decode(signer, &signer.sign(&token, &terms("a"), now).unwrap()).0.kid.unwrap();
        let first = kid(&one, NOW);
        assert_eq!(kid(&other, NOW), first);

        // Somebody rotates; both gateways look at the folder within half a minute.
        let keys = KeyFolder::new(&folder.path().join("keys"), Duration::from_secs(300));
        let second = keys.create(SigningAlgorithm::RS256, at(100)).unwrap().kid().to_owned();
        for signer in [&one, &other] {
            signer.refresh();
            assert!(String::from_utf8(signer.key_set().to_vec()).unwrap().contains(&second), "published at once");
            assert_eq!(kid(signer, at(699)), first, "but nobody may have seen it yet");
            assert_eq!(kid(signer, at(700)), second);
        }

        // The last JWT of the first key lives until 999; by then everybody still finds the key that made it.
        let last = one.sign(&token, &terms("a"), at(699)).unwrap();
        assert!(keys.remove_dead(keys.load().unwrap(), at(999)).unwrap().is_empty());
        other.refresh();
        assert_eq!(decode(&other, &last).0.kid.unwrap(), first);
        assert_eq!(keys.remove_dead(keys.load().unwrap(), at(1_060)).unwrap().len(), 1);
        other.refresh();
        assert_eq!(kid(&other, at(1_060)), second);
    }

    #[test]
    fn the_terms_of_a_credential_shorten_the_life_and_never_lengthen_it() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(SigningAlgorithm::ES256, folder.path());
        let token = ActiveToken { expires_at: None, ..token() };
        let expiry = |seconds| {
            let terms = SignedConfig { lifetime: Duration::from_secs(seconds), ..terms("a") };
            decode(&signer, &signer.sign(&token, &terms, NOW).unwrap()).1["exp"].as_u64().unwrap()
        };
        assert_eq!(expiry(30), 1_000_030);
        assert_eq!(expiry(3_600), 1_000_300, "its key would not be published for so long");
    }

    #[test]
    fn mapped_claims_are_taken_over_as_they_are_and_what_was_not_said_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(SigningAlgorithm::ES256, folder.path());
        let groups = json!([{ "id": 1 }, "a"]);
        let token = ActiveToken { claims: vec![("ext.groups".into(), groups.clone())], ..token() };
        let claims = [("groups", "ext.groups"), ("mine", "ext.groups"), ("tenant", "ext.tenant")];
        let claims = claims.map(|(name, claim)| (name.to_owned(), claim.to_owned())).to_vec();
        let jwt = signer.sign(&token, &SignedConfig { claims, ..terms("a") }, NOW).unwrap();
        let (_, said) = decode(&signer, &jwt);
        assert_eq!((&said["groups"], &said["mine"]), (&groups, &groups));
        assert!(said.get("tenant").is_none());
    }

    #[test]
    fn a_jwt_does_not_show_itself() {
        let folder = tempfile::tempdir().unwrap();
        let jwt = signer(SigningAlgorithm::ES256, folder.path()).sign(&token(), &terms("a"), NOW).unwrap();
        assert!(!format!("{jwt:?}").contains("eyJ"), "{jwt:?}");
    }
}

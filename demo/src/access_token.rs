//! Owns the JWT access tokens that travel *behind* phantomgate (RFC 9068): their claims, and the one way the demo's
//! servers verify them.
//!
//! A server accepts a token only when all of this holds: `typ` is `at+jwt`, the algorithm is on the list below, the
//! signature verifies with a key the expected issuer publishes, and `iss`, `aud` and `exp` are right. Keys are never
//! taken from the token (`jku`, `jwk`, `x5u` are not looked at).
//!
//! Never: an opaque token. Those mean something to the authorization server alone.

use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::fetch::{self, FetchError};

/// The claims of a JWT access token (RFC 9068 §2.2), and the actor of a token exchange (RFC 8693 §4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// The person it speaks for.
    pub sub: String,
    /// The one server it is for.
    pub aud: Audience,
    /// The OAuth client it was issued to.
    pub client_id: String,
    /// What it allows, separated by spaces.
    #[serde(default)]
    pub scope: String,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// Its own name.
    pub jti: String,
    /// Who acts for the person, after a token exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

impl Claims {
    /// Whether `scope` is among those the token allows.
    pub fn allows(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|allowed| allowed == scope)
    }
}

/// `aud`: a string or a list of strings (RFC 7519 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// The usual form.
    One(String),
    /// The general form.
    Many(Vec<String>),
}

impl Audience {
    /// Whether the token is for `server` and nobody else.
    pub fn is_only(&self, server: &str) -> bool {
        match self {
            Audience::One(one) => one == server,
            Audience::Many(many) => many.as_slice() == [server],
        }
    }
}

/// `act` (RFC 8693 §4.1): the server that acts on behalf of the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The client identifier of that server.
    pub sub: String,
}

/// Why a JWT was refused. None of these carries a byte of the token.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not three base64url parts with a JOSE header in front.
    #[error("the token is not a JWT")]
    NotAJwt,
    /// A JWT, but not an access token: an ID token, say.
    #[error("the token's typ is not at+jwt")]
    WrongType,
    /// `none`, a symmetric algorithm, or another one that is not expected here.
    #[error("the token's algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// The issuer publishes no key of that name.
    #[error("the token is signed with a key that its issuer does not publish")]
    UnknownKey,
    /// The issuer's keys could not be fetched.
    #[error("the issuer's keys cannot be fetched: {0}")]
    KeysUnavailable(#[from] FetchError),
    /// Signature, issuer, audience, expiry, or a missing claim.
    #[error("the token is not valid here: {0}")]
    Invalid(String),
}

const ALLOWED_ALGORITHMS: [Algorithm; 2] = [Algorithm::ES256, Algorithm::EdDSA];

/// Verifies JWT access tokens of one issuer for one audience.
pub struct Verifier {
    issuer: String,
    audience: String,
    keys: RemoteJwkSet,
}

impl Verifier {
    /// Accepts what `issuer` signed, with the keys it publishes at `jwks_uri`, for `audience`.
    pub fn new(issuer: &str, audience: &str, jwks_uri: &str, http: reqwest::Client) -> Verifier {
        let keys = RemoteJwkSet { uri: jwks_uri.to_owned(), http, known: Mutex::default() };
        Verifier { issuer: issuer.to_owned(), audience: audience.to_owned(), keys }
    }

    /// The claims of `token`, once everything about it has been checked.
    ///
    /// # Errors
    /// [`Refused`] says which check failed first.
    pub async fn verify(&self, token: &str) -> Result<Claims, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::NotAJwt)?;
        check_header(&header)?;
        let jwk = self.keys.find(header.kid.as_deref()).await?.ok_or(Refused::UnknownKey)?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| Refused::UnknownKey)?;

        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        let verified = jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(|error| Refused::Invalid(error.to_string()))?;
        Ok(verified.claims)
    }
}

fn check_header(header: &Header) -> Result<(), Refused> {
    let is_access_token = header
        .typ
        .as_deref()
        .is_some_and(|typ| typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt"));
    if !is_access_token {
        return Err(Refused::WrongType);
    }
    if !ALLOWED_ALGORITHMS.contains(&header.alg) {
        return Err(Refused::AlgorithmNotAllowed);
    }
    if header.crit.is_some() {
        return Err(Refused::Invalid("it has critical header parameters that nobody here understands".to_owned()));
    }
    Ok(())
}

/// The keys an issuer publishes (RFC 7517 §5), fetched when a key is first needed and when an unknown one turns up.
struct RemoteJwkSet {
    uri: String,
    http: reqwest::Client,
    known: Mutex<KnownKeys>,
}

#[derive(Default)]
struct KnownKeys {
    keys: Vec<Jwk>,
    fetched_at: Option<Instant>,
}

/// Made-up key names must not make this server hammer the issuer.
const COOLDOWN: Duration = Duration::from_secs(1);

impl RemoteJwkSet {
    async fn find(&self, kid: Option<&str>) -> Result<Option<Jwk>, FetchError> {
        let mut known = self.known.lock().await;
        let named = |keys: &[Jwk]| keys.iter().find(|jwk| jwk.common.key_id.as_deref() == kid).cloned();
        if let Some(jwk) = named(&known.keys) {
            return Ok(Some(jwk));
        }
        if known.fetched_at.is_some_and(|at| at.elapsed() < COOLDOWN) {
            return Ok(None);
        }
        let set: JwkSet = fetch::fetch_json(&self.http, &self.uri, fetch::MAX_DOCUMENT_BYTES).await?;
        *known = KnownKeys { keys: set.keys, fetched_at: Some(Instant::now()) };
        Ok(named(&known.keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(typ: Option<&str>, algorithm: Algorithm) -> Header {
        let mut header = Header::new(algorithm);
        header.typ = typ.map(str::to_owned);
        header
    }

    #[test]
    fn rfc9068_s4_only_the_access_token_type_is_accepted() {
        assert!(check_header(&header(Some("at+jwt"), Algorithm::ES256)).is_ok());
        assert!(check_header(&header(Some("application/AT+JWT"), Algorithm::EdDSA)).is_ok());
        assert!(matches!(check_header(&header(Some("JWT"), Algorithm::ES256)), Err(Refused::WrongType)));
        assert!(matches!(check_header(&header(None, Algorithm::ES256)), Err(Refused::WrongType)));
    }

    #[test]
    fn a_symmetric_algorithm_is_refused_before_any_key_is_looked_up() {
        let refused = check_header(&header(Some("at+jwt"), Algorithm::HS256));
        assert!(matches!(refused, Err(Refused::AlgorithmNotAllowed)));
    }

    #[test]
    fn a_scope_is_allowed_as_a_whole_word_only() {
        let claims: Claims = serde_json::from_value(serde_json::json!({
            "iss": "i", "sub": "s", "aud": "a", "client_id": "c", "scope": "users:read:all profile",
            "iat": 1, "exp": 2, "jti": "j",
        }))
        .unwrap();
        assert!(claims.allows("profile"));
        assert!(!claims.allows("users:read"));
    }
}

//! An authorization server as people write it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use phantomgate_introspection::Vendor;
use phantomgate_introspection::config::{self, CacheConfig, JwtRules, ResponseForm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::values::{Choice, Span, VerificationAlgorithm};
use super::Secret;

/// An authorization server, and who we are to it.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizationServer {
    /// Its issuer identifier, to the letter: an https URL (http on loopback). Its metadata (RFC 8414, OpenID) is found
    /// from here.
    pub(crate) issuer: String,
    /// Whose product it is, for what that does differently.
    #[serde(default)]
    pub(crate) vendor: Choice<Vendor>,
    /// The client we are registered as. May be left out where no route accepts opaque tokens or exchanges any.
    pub(crate) client: Option<Client>,
    /// Endpoints set by hand, where there is no metadata or it is wrong.
    #[serde(default)]
    pub(crate) endpoints: Endpoints,
    /// How it is connected to, where the system's certificate authorities are not enough.
    #[serde(default)]
    pub(crate) tls: Tls,
    /// Addresses or networks that requests to it may be sent to, beyond public ones and those written literally in
    /// `issuer` or `endpoints`: `10.0.0.0/8`.
    #[serde(default)]
    pub(crate) allowed_addresses: Vec<String>,
    /// How tokens are introspected.
    #[serde(default)]
    pub(crate) introspection: Introspection,
    /// How JWTs that it issued are verified.
    #[serde(default)]
    pub(crate) jwt: Jwt,
    /// How long answers are kept, and how many.
    #[serde(default)]
    pub(crate) cache: Cache,
    /// Scopes that include others: who was granted the one is taken to have been granted these too, and what these imply.
    #[serde(default)]
    pub(crate) scope_implies: BTreeMap<String, Vec<String>>,
}

/// The client we are registered as, with the right to introspect tokens.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// Its identifier.
    pub(crate) id: String,
    /// How it authenticates.
    #[serde(default)]
    pub(crate) authentication: Authentication,
    /// Its secret, for `client_secret_basic` and `client_secret_post`.
    pub(crate) secret: Option<Secret>,
    /// Its private key (PEM, PKCS #8), for `private_key_jwt`.
    pub(crate) private_key: Option<Secret>,
    /// How its assertions are made, for `private_key_jwt`.
    pub(crate) assertion: Option<Assertion>,
}

/// Client authentication, by its registered names (RFC 7591, RFC 8705).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Authentication {
    /// In the Authorization header (RFC 6749 §2.3.1).
    #[default]
    ClientSecretBasic,
    /// In the form.
    ClientSecretPost,
    /// By an assertion that we sign (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// By the certificate of the connection (RFC 8705 §2.1), which `tls` names.
    TlsClientAuth,
}

/// How client assertions are made.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Assertion {
    /// The algorithm, which must fit the key.
    pub(crate) algorithm: AssertionAlgorithm,
    /// `kid`, where the server wants one.
    pub(crate) key_id: Option<String>,
    /// `aud`: issuer, endpoint (the URL the request goes to), token_endpoint, or a URL.
    pub(crate) audience: String,
    /// `typ`.
    #[serde(rename = "type")]
    pub(crate) typ: String,
}

/// An algorithm of client assertions.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema, strum::Display)]
pub(crate) enum AssertionAlgorithm {
    /// ECDSA on P-256.
    #[default]
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// RSA PKCS #1 v1.5.
    RS256,
    /// RSA PSS.
    PS256,
}

/// Endpoints set by hand: https URLs (http on loopback).
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Endpoints {
    /// The introspection endpoint (RFC 7662).
    pub(crate) introspection: Option<String>,
    /// The token endpoint (RFC 6749 §3.2), where tokens are exchanged.
    pub(crate) token: Option<String>,
    /// The JWK Set (RFC 7517 §5).
    pub(crate) jwks: Option<String>,
}

/// How an authorization server is connected to. The files are read again when they change.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// PEM certificates of the authorities to trust in place of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate chain (PEM, leaf first), for `tls_client_auth`.
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub(crate) private_key: Option<PathBuf>,
}

/// How tokens are introspected.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Introspection {
    /// The form of answer to ask for: `json` (RFC 7662), `jwt` (a JWT in place of the token: Curity, Keycloak) or `signed`
    /// (RFC 9701).
    pub(crate) response: Choice<ResponseForm>,
    /// The time for one answer, 10ms to 60s. After it the agent gets 503.
    pub(crate) timeout: Span,
    /// Our private key (PEM, PKCS #8), where answers of the form `signed` are encrypted to us.
    pub(crate) decryption_key: Option<Secret>,
}

/// How JWTs of an authorization server are verified.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Jwt {
    /// The media types allowed in `typ`, without `application/`. An empty text allows JWTs without one.
    pub(crate) types: Vec<String>,
    /// The algorithms allowed in `alg`.
    pub(crate) algorithms: Vec<VerificationAlgorithm>,
    /// How far ahead of ours the clock of the issuer may be (`iat`, `nbf`), at most 5m. Nothing is believed past its `exp`.
    pub(crate) clock_tolerance: Span,
}

/// How long answers are kept, and how many.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cache {
    /// The longest life of an answer about an active token, 1s to 24h. Never longer than the token itself.
    pub(crate) max_ttl: Span,
    /// The life of an answer about an inactive token, at most 10m.
    pub(crate) negative_ttl: Span,
    /// About how many active tokens are kept; a tenth as many inactive ones.
    #[schemars(range(min = 1))]
    pub(crate) max_entries: u64,
    /// How long after its life an answer may stand in while the authorization server fails, at most 1h. Never past the end
    /// of the token; 0s never.
    pub(crate) stale_if_error: Span,
}

impl Assertion {
    /// `audience`, where it stands for something else than itself.
    pub(crate) const ISSUER: &str = "issuer";
    pub(crate) const ENDPOINT: &str = "endpoint";
    pub(crate) const TOKEN_ENDPOINT: &str = "token_endpoint";
}

impl Default for Assertion {
    fn default() -> Self {
        Self {
            algorithm: AssertionAlgorithm::default(),
            key_id: None,
            audience: Self::ISSUER.to_owned(),
            typ: "JWT".to_owned(),
        }
    }
}

impl Default for Introspection {
    fn default() -> Self {
        let config::Introspection { response, timeout, decryption_key: _ } = config::Introspection::default();
        Self { response: Choice(response), timeout: Span(timeout), decryption_key: None }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        let JwtRules { types, algorithms, clock_tolerance } = JwtRules::default();
        let algorithms = algorithms.into_iter().map(VerificationAlgorithm).collect();
        Self { types, algorithms, clock_tolerance: Span(clock_tolerance) }
    }
}

impl Default for Cache {
    fn default() -> Self {
        let CacheConfig { max_ttl, negative_ttl, max_entries, stale_if_error } = CacheConfig::default();
        Self {
            max_ttl: Span(max_ttl),
            negative_ttl: Span(negative_ttl),
            max_entries,
            stale_if_error: Span(stale_if_error),
        }
    }
}

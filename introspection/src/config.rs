//! What the crate runs on: values that are valid already. Parsing YAML is the gateway's business.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jsonwebtoken::Algorithm;
use url::Url;

use crate::client_authentication::ClientAuthentication;
use crate::metadata::Issuer;
use crate::secret::Secret;
use crate::vendor::Vendor;

/// One authorization server, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the operator calls it: a label of metrics.
    pub name: String,
    /// Its issuer identifier (RFC 8414 §2).
    pub issuer: Issuer,
    /// Whose product it is, for what that does differently.
    pub vendor: Vendor,
    /// Who we are to it; none where it is only the issuer of JWTs that are verified here.
    pub client: Option<Client>,
    /// Endpoints that are not taken from the metadata.
    pub endpoints: Endpoints,
    /// How it is connected to.
    pub tls: Tls,
    /// Addresses, beyond the public ones, that requests to it may be sent to.
    pub allowed_addresses: Vec<IpNet>,
    /// How tokens are introspected.
    pub introspection: Introspection,
    /// How JWTs that it issued are verified.
    pub jwt: JwtRules,
    /// Whether tokens are introspected: its endpoint is then needed before requests can be served.
    pub introspects: bool,
    /// Whether JWTs that it issued are verified here: its keys are then needed before requests can be served.
    pub verifies_jwts: bool,
    /// How long and how many answers are kept.
    pub cache: CacheConfig,
    /// Claims to keep of an answer, beyond those that every token has: names, or paths of names joined by dots.
    pub claims: Vec<String>,
}

impl Config {
    /// The authorization server `issuer`, with the default for everything else.
    pub fn new(issuer: Issuer) -> Self {
        Self {
            name: "main".to_owned(),
            issuer,
            vendor: Vendor::default(),
            client: None,
            endpoints: Endpoints::default(),
            tls: Tls::default(),
            allowed_addresses: Vec::new(),
            introspection: Introspection::default(),
            jwt: JwtRules::default(),
            introspects: true,
            verifies_jwts: false,
            cache: CacheConfig::default(),
            claims: Vec::new(),
        }
    }
}

/// The client we are registered as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its identifier.
    pub id: String,
    /// How it authenticates.
    pub authentication: ClientAuthentication,
}

/// Endpoints that are not taken from the metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The introspection endpoint (RFC 7662).
    pub introspection: Option<Url>,
    /// The token endpoint (RFC 6749 §3.2), for exchanges.
    pub token: Option<Url>,
    /// The JWK Set (RFC 7517 §5).
    pub jwks: Option<Url>,
}

/// How an authorization server is connected to. The files are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM certificates of the authorities trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain and private key, both PEM (RFC 8705).
    pub identity: Option<ClientIdentity>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub private_key: PathBuf,
}

/// How tokens are introspected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// The form of answer that is asked for.
    pub response: ResponseForm,
    /// The time for one exchange with the authorization server, from the first byte sent to the last received.
    pub timeout: Duration,
    /// Our private key (PEM, PKCS #8) for answers that are encrypted to us (RFC 9701 §5).
    pub decryption_key: Option<Secret>,
}

impl Default for Introspection {
    fn default() -> Self {
        Self { response: ResponseForm::default(), timeout: Duration::from_secs(2), decryption_key: None }
    }
}

/// A form of introspection response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ResponseForm {
    /// JSON (RFC 7662).
    #[default]
    Json,
    /// A JWT access token in place of the opaque one (Curity's phantom token; Keycloak's `jwt` member).
    Jwt,
    /// A signed, perhaps encrypted, response (RFC 9701).
    Signed,
}

/// How JWTs of an authorization server are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtRules {
    /// The media types allowed in `typ`, without `application/`. RFC 9068 §4 has `at+jwt` alone.
    pub types: Vec<String>,
    /// The algorithms allowed in `alg`: asymmetric ones.
    pub algorithms: Vec<Algorithm>,
    /// How far ahead of ours the issuer's clock may be (`iat`, `nbf`). Nothing is believed past its `exp`.
    pub clock_tolerance: Duration,
}

impl JwtRules {
    /// The algorithms allowed where nothing else is said.
    pub const ALGORITHMS: [Algorithm; 9] = [
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
    ];
}

impl Default for JwtRules {
    fn default() -> Self {
        Self {
            types: vec!["at+jwt".to_owned()],
            algorithms: Self::ALGORITHMS.to_vec(),
            clock_tolerance: Duration::from_secs(30),
        }
    }
}

/// The bounds of a token cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// The longest life of an active answer; a token's `exp` shortens it, nothing lengthens it.
    pub max_ttl: Duration,
    /// The life of an inactive answer.
    pub negative_ttl: Duration,
    /// About how many active answers are kept. Inactive ones have a cache of their own, a tenth of this size.
    pub max_entries: u64,
    /// How long after its life an active answer may stand in while the authorization server fails. Never past `exp`.
    pub stale_if_error: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_ttl: Duration::from_secs(5 * 60),
            negative_ttl: Duration::from_secs(10),
            max_entries: 1_000_000,
            stale_if_error: Duration::ZERO,
        }
    }
}

/// Whether credentials may be sent to `url`: over TLS (RFC 7662 §4), or to this very machine.
pub fn is_confidential(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(url::Host::Domain(name))) => name == "localhost",
        ("http", Some(url::Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(url::Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7662_s4_only_tls_or_loopback() {
        let confidential = |text: &str| is_confidential(&text.parse().unwrap());
        assert!(confidential("https://login.example.com/introspect"));
        assert!(confidential("http://127.0.0.1:9000/introspect"));
        assert!(confidential("http://[::1]:9000/"));
        assert!(confidential("http://localhost/"));
        assert!(!confidential("http://login.example.com/introspect"));
        assert!(!confidential("http://127.0.0.1.example.com/"));
        assert!(!confidential("ftp://127.0.0.1/"));
    }
}

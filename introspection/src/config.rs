//! What an introspector runs on: values that are valid already. Parsing YAML is the gateway's business.

use std::time::Duration;

use url::Url;

use crate::client_authentication::ClientAuthentication;
use crate::metadata::Issuer;

/// One authorization server, and who we are to it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its issuer identifier (RFC 8414 §2).
    pub issuer: Issuer,
    /// The client identifier we are registered with as a resource server.
    pub client_id: String,
    /// How we authenticate.
    pub authentication: ClientAuthentication,
    /// Where to introspect.
    pub endpoint: IntrospectionEndpoint,
    /// The time for one introspection, from the first byte sent to the last received.
    pub timeout: Duration,
    /// How long and how many answers are kept.
    pub cache: CacheConfig,
}

/// Where the introspection endpoint is.
#[derive(Debug, Clone)]
pub enum IntrospectionEndpoint {
    /// In the metadata of the authorization server.
    Discovered,
    /// Here.
    At(Url),
}

/// The bounds of a token cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// The longest life of an active answer; a token's `exp` shortens it, nothing lengthens it.
    pub max_ttl: Duration,
    /// The life of an inactive answer.
    pub negative_ttl: Duration,
    /// How many active answers are kept. Inactive ones have a cache of their own, a tenth of this size.
    pub max_entries: u64,
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

//! One endpoint of an upstream: its URL as configured, and what its name stands for.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use url::{Host, Url};

use crate::metrics::EndpointMetrics;

/// The URL of an endpoint: scheme, host and port, nothing else. A route's path is passed on as it came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    tls: bool,
    /// The host as it goes into SNI: no brackets around an IPv6 address.
    host: String,
    address: Option<IpAddr>,
    port: u16,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not an absolute URL, or of another scheme than `http` and `https`.
    #[error("must be an http or https URL, such as http://10.0.0.5:3000")]
    NotAUrl,
    /// More than scheme, host and port.
    #[error("must have scheme, host and port only: the request's own path is passed on")]
    Excess,
}

impl FromStr for EndpointUrl {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(text).map_err(|_| InvalidEndpoint::NotAUrl)?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(InvalidEndpoint::NotAUrl),
        };
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(InvalidEndpoint::NotAUrl);
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidEndpoint::Excess);
        }
        let (host, address) = match host {
            Host::Domain(name) => (name.to_owned(), None),
            Host::Ipv4(address) => (address.to_string(), Some(address.into())),
            Host::Ipv6(address) => (address.to_string(), Some(address.into())),
        };
        Ok(Self { tls, host, address, port })
    }
}

impl EndpointUrl {
    /// Whether TLS is spoken to it.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The name TLS certificates are checked against.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The value of the `Host` header its server expects (RFC 9110 §7.2): the port only when it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = match self.address {
            Some(IpAddr::V6(_)) => format!("[{}]", self.host),
            _ => self.host.clone(),
        };
        let own_port = if self.tls { 443 } else { 80 };
        if self.port == own_port { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// One endpoint at run time.
#[derive(Debug)]
pub(crate) struct Endpoint {
    url: Arc<EndpointUrl>,
    authority: Arc<str>,
    is_draining: AtomicBool,
    pub(crate) metrics: EndpointMetrics,
}

impl Endpoint {
    /// An endpoint of the upstream of this name.
    pub(crate) fn new(upstream: &str, url: EndpointUrl, is_draining: bool) -> Self {
        Self {
            authority: url.authority().into(),
            metrics: EndpointMetrics::new(upstream, &url),
            url: Arc::new(url),
            is_draining: AtomicBool::new(is_draining),
        }
    }

    /// The URL as configured.
    pub(crate) fn url(&self) -> &EndpointUrl {
        &self.url
    }

    pub(crate) fn shared_url(&self) -> Arc<EndpointUrl> {
        self.url.clone()
    }

    /// The `Host` header its server expects.
    pub(crate) fn authority(&self) -> &Arc<str> {
        &self.authority
    }

    /// Whether it gets no new requests and sessions.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Relaxed);
    }

    /// Its address where that is no name; nothing else is to be looked up then.
    pub(crate) fn literal(&self) -> Option<SocketAddr> {
        self.url.address.map(|address| SocketAddr::new(address, self.url.port))
    }

    /// Looks its name up: all its addresses, in an order that is always the same.
    ///
    /// # Errors
    /// What the resolver says.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut found: Vec<_> = tokio::net::lookup_host((self.url.host.as_str(), self.url.port)).await?.collect();
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        let authority = |text: &str| text.parse::<EndpointUrl>().map(|url| url.authority());
        assert_eq!(authority("http://10.0.0.5:3000"), Ok("10.0.0.5:3000".into()));
        assert_eq!(authority("https://api.internal/"), Ok("api.internal".into()));
        assert_eq!(authority("http://api.internal:443"), Ok("api.internal:443".into()));
        assert_eq!(authority("http://[::1]:3000"), Ok("[::1]:3000".into()));
        assert_eq!(authority("10.0.0.5:3000"), Err(InvalidEndpoint::NotAUrl));
        assert_eq!(authority("ftp://10.0.0.5"), Err(InvalidEndpoint::NotAUrl));
        assert_eq!(authority("http://10.0.0.5/mcp"), Err(InvalidEndpoint::Excess));
        assert_eq!(authority("http://me@10.0.0.5/"), Err(InvalidEndpoint::Excess));
    }

    #[tokio::test]
    async fn a_name_has_all_its_addresses_once_it_is_resolved() {
        let endpoint = Endpoint::new("u", "http://localhost:3000".parse().unwrap(), false);
        assert_eq!(endpoint.literal(), None);
        let found = endpoint.resolve().await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback() && address.port() == 3000));
        assert!(found.is_sorted());
    }
}

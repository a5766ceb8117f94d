//! A named group of endpoints, and whose turn it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;

use crate::config::{Config, Timeouts};
use crate::endpoint::Endpoint;
use crate::peer::{Protocol, peer};
use crate::tls::Tls;

/// A named group of endpoints that serve the same thing.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    endpoints: Vec<Endpoint>,
    timeouts: Timeouts,
    protocol: Protocol,
    /// Also separates its pooled connections from those of others, and of its own earlier configuration.
    tls: Tls,
    turn: AtomicUsize,
}

/// Where one request goes.
#[derive(Debug)]
pub struct Target<'upstream> {
    /// Its position in the configuration.
    pub position: usize,
    /// The endpoint selected.
    pub endpoint: &'upstream Endpoint,
    /// Pingora's value for it.
    pub peer: HttpPeer,
}

impl Upstream {
    /// How often names are looked up again.
    const RESOLVE_EVERY: Duration = Duration::from_secs(30);

    /// Sets up an upstream; nothing is connected or looked up yet. No other uses its connections, not even an earlier one
    /// of the same name.
    pub fn new(config: Config) -> Self {
        Self {
            name: config.name,
            endpoints: config.endpoints.into_iter().map(Endpoint::new).collect(),
            timeouts: config.timeouts,
            protocol: config.protocol,
            tls: Tls::new(&config.tls),
            turn: AtomicUsize::new(0),
        }
    }

    /// The name routes know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The endpoint whose turn it is (round robin), skipping those whose name has no address.
    pub fn target(&self) -> Option<Target<'_>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(self.endpoints.len())?;
        let positions = (first..self.endpoints.len()).chain(0..first);
        positions.into_iter().find_map(|position| self.target_at(position, turn / self.endpoints.len()))
    }

    /// The endpoint at a `position` in the configuration, for what only that one can serve; none when its name has no
    /// address. Of several addresses the `turn` decides.
    pub fn target_at(&self, position: usize, turn: usize) -> Option<Target<'_>> {
        let endpoint = self.endpoints.get(position)?;
        let address = endpoint.address(turn)?;
        let peer = peer(endpoint.url(), address, &self.timeouts, self.protocol, &self.tls);
        Some(Target { position, endpoint, peer })
    }

    /// Whether any endpoint has an address.
    pub fn is_resolved(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.address(0).is_some())
    }

    /// Looks all names up once. A name that cannot be resolved is logged and tried again later.
    pub async fn resolve(&self) {
        for endpoint in &self.endpoints {
            if let Err(error) = endpoint.resolve().await {
                tracing::warn!(upstream = self.name, endpoint = %endpoint.url(), %error, "cannot resolve the endpoint");
            }
        }
    }

    /// Looks all names up again and again; ends when dropped.
    pub async fn keep_resolved(&self) {
        let mut interval = tokio::time::interval(Self::RESOLVE_EVERY);
        interval.tick().await;
        loop {
            interval.tick().await;
            self.resolve().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(endpoints: &[&str]) -> Upstream {
        let timeouts = Timeouts { connect: Duration::from_secs(1), idle_stream: Duration::from_secs(60) };
        let endpoints = endpoints.iter().map(|url| url.parse().unwrap()).collect();
        let (protocol, tls) = (Protocol::default(), crate::TlsConfig::default());
        Upstream::new(Config { name: "u".into(), endpoints, timeouts, protocol, tls })
    }

    fn turns(upstream: &Upstream, count: usize) -> Vec<String> {
        (0..count).map(|_| upstream.target().unwrap().endpoint.authority().to_owned()).collect()
    }

    #[test]
    fn endpoints_take_turns() {
        let two = upstream(&["http://10.0.0.1:1", "http://10.0.0.2:2"]);
        assert_eq!(turns(&two, 4), ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.1:1", "10.0.0.2:2"]);
        assert_eq!(two.target_at(1, 0).unwrap().endpoint.authority(), "10.0.0.2:2");
        assert!(two.target_at(2, 0).is_none());
    }

    #[test]
    fn an_endpoint_without_an_address_is_skipped() {
        let two = upstream(&["http://unresolved.internal", "http://10.0.0.2:2"]);
        assert_eq!(turns(&two, 2), ["10.0.0.2:2", "10.0.0.2:2"]);
        assert!(two.is_resolved());
        let none = upstream(&["http://unresolved.internal"]);
        assert!(none.target().is_none() && !none.is_resolved());
    }
}

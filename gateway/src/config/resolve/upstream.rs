//! Upstreams.

use std::ops::RangeInclusive;
use std::str::FromStr as _;

use phantomgate_upstreams::{
    Config, Ejection, EndpointConfig, EndpointUrl, HashBy, HealthCheck, Limits, Selection, Timeouts,
};

use super::{Resolver, below};
use crate::config::document;
use crate::config::tree::Step;
use crate::config::values::Span;

impl Resolver<'_> {
    pub(super) fn upstream(&mut self, name: &str, upstream: &document::Upstream) -> Option<Config> {
        let place = path!["upstreams", name];
        let endpoints = self.upstream_endpoints(&below(&place, "endpoints"), &upstream.endpoints);
        let hash_by = self.hash_by(&place, upstream);
        let health = match &upstream.health {
            Some(health) => self.health(&below(&place, "health"), health).map(Some),
            None => Some(None),
        };
        let ejection = self.ejection(&below(&place, "ejection"), &upstream.ejection);
        let timeouts = self.timeouts(&below(&place, "timeouts"), &upstream.timeouts);
        let retries = self.bounded(&below(&place, "retries"), upstream.retries, 0..=10);
        let limits = self.upstream_limits(&below(&place, "limits"), &upstream.limits);
        let urls: Vec<_> = endpoints.iter().flatten().map(|endpoint| endpoint.url.clone()).collect();
        let protocol = self.protocol(name, upstream, &urls);
        let tls = self.upstream_tls(name, &upstream.tls, &urls);
        Some(Config {
            name: name.into(),
            endpoints: endpoints?,
            selection: upstream.selection.0,
            hash_by: hash_by?,
            health: health?,
            ejection: ejection?,
            timeouts: timeouts?,
            protocol: protocol?,
            tls: tls?,
            retries: retries?,
            limits: limits?,
        })
    }

    fn upstream_endpoints(&mut self, place: &[Step], endpoints: &[document::Endpoint]) -> Option<Vec<EndpointConfig>> {
        if endpoints.is_empty() && !self.tree.was_removed(place) {
            return self.fault(place, "is empty; add at least one URL");
        }
        let mut resolved: Vec<EndpointConfig> = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let place = below(place, index);
            let weight = self.bounded(&below(&place, "weight"), endpoint.weight, 1..=100);
            let url = match EndpointUrl::from_str(&endpoint.url) {
                Ok(url) if resolved.iter().any(|other| other.url == url) => {
                    self.fault(&place, format!("{url} stands here twice; give one of them a `weight`"))
                }
                Ok(url) => Some(url),
                Err(error) => self.fault(&place, format!("{:?}: {error}", endpoint.url)),
            };
            if let (Some(url), Some(weight)) = (url, weight) {
                resolved.push(EndpointConfig { url, weight, draining: endpoint.draining });
            }
        }
        Some(resolved)
    }

    fn hash_by(&mut self, place: &[Step], upstream: &document::Upstream) -> Option<HashBy> {
        let is_selected_by =
            upstream.selection.0 == Selection::ConsistentHash || self.tree.was_removed(&below(place, "selection"));
        match upstream.hash_by {
            Some(_) if !is_selected_by => {
                let reason = "goes with `selection: consistent_hash` only; remove it, or select so";
                self.fault(&below(place, "hash_by"), reason)
            }
            Some(hash_by) => Some(hash_by.0),
            None => Some(HashBy::default()),
        }
    }

    fn health(&mut self, place: &[Step], health: &document::Health) -> Option<HealthCheck> {
        let path = match &health.path {
            // What goes into a request line as it is.
            Some(path) if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic()) => self.fault(
                &below(place, "path"),
                format!("{path:?} must begin with a slash and have no spaces, such as /healthz"),
            ),
            path => Some(path.clone()),
        };
        let interval = self.span(&below(place, "interval"), health.interval, "100ms"..="1h");
        let timeout = self.span(&below(place, "timeout"), health.timeout, "10ms"..="1h");
        let healthy_after = self.bounded(&below(place, "healthy_after"), health.healthy_after, 1..=100);
        let unhealthy_after = self.bounded(&below(place, "unhealthy_after"), health.unhealthy_after, 1..=100);
        let (interval, timeout) = (interval?, timeout?);
        if timeout > interval {
            return self.fault(&below(place, "timeout"), format!("{timeout} is longer than the interval, {interval}"));
        }
        Some(HealthCheck {
            path: path?,
            interval: interval.0,
            timeout: timeout.0,
            healthy_after: healthy_after?,
            unhealthy_after: unhealthy_after?,
        })
    }

    fn ejection(&mut self, place: &[Step], ejection: &document::Ejection) -> Option<Ejection> {
        let failures = self.bounded(&below(place, "failures"), ejection.failures, 1..=1000);
        let period = self.span(&below(place, "for"), ejection.period, "100ms"..="1h");
        Some(Ejection { failures: failures?, period: period?.0 })
    }

    fn timeouts(&mut self, place: &[Step], timeouts: &document::Timeouts) -> Option<Timeouts> {
        let connect = self.span(&below(place, "connect"), timeouts.connect, "10ms"..="60s");
        let idle_stream = self.span(&below(place, "idle_stream"), timeouts.idle_stream, "1s"..="1h");
        let total = match timeouts.total {
            Some(total) => self.span(&below(place, "total"), total, "10ms"..="24h").map(Some),
            None => Some(None),
        };
        let idle_stream = idle_stream?;
        let place = below(place, "first_byte");
        let first_byte = match timeouts.first_byte {
            Some(first_byte) if first_byte > idle_stream => {
                let reason =
                    format!("{first_byte} is longer than `idle_stream`, {idle_stream}, which ends all silence");
                self.fault(&place, reason)
            }
            Some(first_byte) => self.span(&place, first_byte, "10ms"..="1h"),
            None => Some(idle_stream.min(Span(Timeouts::default().first_byte))),
        };
        Some(Timeouts {
            connect: connect?.0,
            first_byte: first_byte?.0,
            idle_stream: idle_stream.0,
            total: total?.map(|total| total.0),
        })
    }

    fn upstream_limits(&mut self, place: &[Step], limits: &document::UpstreamLimits) -> Option<Limits> {
        let mut limit = |key: &str, limit: Option<usize>| match limit {
            Some(0) => self.fault(&below(place, key), "must be at least 1"),
            limit => Some(limit),
        };
        let requests = limit("requests", limits.requests);
        let requests_per_endpoint = limit("requests_per_endpoint", limits.requests_per_endpoint);
        Some(Limits { requests: requests?, requests_per_endpoint: requests_per_endpoint? })
    }

    fn bounded(&mut self, place: &[Step], count: u32, range: RangeInclusive<u32>) -> Option<u32> {
        if range.contains(&count) {
            return Some(count);
        }
        self.fault(place, format!("{count} is out of range; choose from {} to {}", range.start(), range.end()))
    }
}

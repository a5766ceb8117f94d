//! Upstreams.

use std::str::FromStr as _;

use phantomgate_upstreams::{EndpointUrl, Timeouts};

use super::Resolver;
use crate::config::document;

impl Resolver<'_> {
    pub(super) fn upstream(
        &mut self,
        name: &str,
        upstream: &document::Upstream,
    ) -> Option<phantomgate_upstreams::Config> {
        if upstream.endpoints.is_empty() && !self.tree.was_removed(&path!["upstreams", name, "endpoints"]) {
            return self.fault(&path!["upstreams", name, "endpoints"], "is empty; add at least one URL");
        }
        let mut endpoints = Vec::new();
        for (index, text) in upstream.endpoints.iter().enumerate() {
            match EndpointUrl::from_str(text) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => {
                    let path = path!["upstreams", name, "endpoints", index];
                    self.fault::<()>(&path, format!("{text:?}: {error}"));
                }
            }
        }
        let connect = path!["upstreams", name, "timeouts", "connect"];
        let connect = self.span(&connect, upstream.timeouts.connect, "10ms"..="60s");
        let idle_stream = path!["upstreams", name, "timeouts", "idle_stream"];
        let idle_stream = self.span(&idle_stream, upstream.timeouts.idle_stream, "1s"..="1h");
        let timeouts = Timeouts { connect: connect?.0, idle_stream: idle_stream?.0 };
        let protocol = self.protocol(name, upstream, &endpoints);
        let tls = self.upstream_tls(name, &upstream.tls, &endpoints);
        Some(phantomgate_upstreams::Config {
            name: name.to_owned(),
            endpoints,
            timeouts,
            protocol: protocol?,
            tls: tls?,
        })
    }
}

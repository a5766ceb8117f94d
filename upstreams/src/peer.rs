//! Pingora's value for "connect there, like this". The only file that sets its options.

use std::net::SocketAddr;
use std::time::Duration;

use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer};

use crate::config::Timeouts;
use crate::endpoint::EndpointUrl;
use crate::idle::REUSE;
use crate::tls::Tls;

/// Which HTTP is spoken to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, and nothing else: over cleartext with prior knowledge (RFC 9113 §3.3).
    Http2,
    /// HTTP/2 where an endpoint offers it (ALPN), else HTTP/1.1. Over cleartext there is no offer: HTTP/1.1.
    Auto,
}

impl Protocol {
    /// Whether nothing but HTTP/1.1 is ever spoken to an endpoint, with TLS or without.
    pub(crate) fn is_http_1(self, is_tls: bool) -> bool {
        match self {
            Self::Http1 => true,
            Self::Http2 => false,
            Self::Auto => !is_tls,
        }
    }
}

/// How many requests are under way on an HTTP/2 connection at once, unless its server wants fewer: as many as RFC 9113 §6.5.2
/// says that servers should allow.
const MAX_STREAMS: usize = 100;

/// How often an HTTP/2 connection is asked whether it is still there: one whose server has vanished is not waited for.
const PING_EVERY: Duration = Duration::from_secs(30);

/// A peer for `address`, which `url` stands for. Connections are shared among those made with the same certificates only:
/// Pingora's pool does not look at authorities and the like.
pub(crate) fn peer(
    url: &EndpointUrl,
    address: SocketAddr,
    timeouts: &Timeouts,
    protocol: Protocol,
    tls: &Tls,
) -> HttpPeer {
    let material = tls.material();
    let server_name = tls.server_name().unwrap_or(url.host());
    // Without a name Pingora would check nothing; a host is never empty.
    let mut peer = HttpPeer::new(address, url.is_tls(), server_name.to_owned());
    peer.group_key = material.group;
    if url.is_tls() {
        peer.client_cert_key = material.identity.clone();
        peer.options.ca = material.ca.clone();
    }
    let options = &mut peer.options;
    options.alpn = match (protocol, url.is_tls()) {
        (Protocol::Http1, _) | (Protocol::Auto, false) => ALPN::H1,
        (Protocol::Http2, _) => ALPN::H2,
        (Protocol::Auto, true) => ALPN::H2H1,
    };
    options.max_h2_streams = MAX_STREAMS;
    options.h2_ping_interval = Some(PING_EVERY);
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = None; // the client's side knows what is waited for, and how long that may take
    options.write_timeout = Some(timeouts.idle_stream);
    options.idle_timeout = Some(REUSE);
    // An upgraded connection is a tunnel: nothing that passes through it could be authorized any more.
    options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Deny;
    peer
}

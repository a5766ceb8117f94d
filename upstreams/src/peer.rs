//! Pingora's value for "connect there, like this". The only file that sets its options.

use std::net::SocketAddr;
use std::time::Duration;

use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer};

use crate::config::Timeouts;
use crate::endpoint::EndpointUrl;

/// How long an idle connection is used again. Node.js and uvicorn close theirs after five seconds: a request that is on its
/// way at that moment is lost, and if it is not idempotent it cannot be sent again.
const REUSE: Duration = Duration::from_secs(4);

/// A peer for `address`, which `url` stands for. Connections are shared within `group` only: Pingora's pool does not look
/// at certificate authorities and the like.
pub(crate) fn peer(url: &EndpointUrl, address: SocketAddr, timeouts: &Timeouts, group: u64) -> HttpPeer {
    let mut peer = HttpPeer::new(address, url.is_tls(), url.host().to_owned());
    peer.group_key = group;
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.idle_stream);
    options.write_timeout = Some(timeouts.idle_stream);
    options.idle_timeout = Some(REUSE);
    // An upgraded connection is a tunnel: nothing that passes through it could be authorized any more.
    options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Deny;
    peer
}

//! Listeners, as the program runs on them.

use std::net::SocketAddr;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// IP address and port. With port 0 the system chooses one.
    pub address: SocketAddr,
}

//! Listeners, as the program runs on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate::IdentityFiles;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// IP address and port. With port 0 the system chooses one.
    pub address: SocketAddr,
    /// How TLS is spoken; none: not at all.
    pub tls: Option<TlsConfig>,
}

/// TLS on a listener. What the files hold is read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// At least one. They are chosen by the name that a client asks for; the first answers where no name fits.
    pub identities: Vec<IdentityFiles>,
    /// Who vouches for clients; none: they are asked for no certificate.
    pub clients: Option<ClientAuthorities>,
    /// The lowest version that is spoken.
    pub min_version: TlsVersion,
}

/// Who vouches for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthorities {
    /// Their certificates, in PEM.
    pub file: PathBuf,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
}

/// A version of TLS. Older ones are not spoken at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

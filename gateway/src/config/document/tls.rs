//! TLS, and which HTTP is spoken over it, to upstreams.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS to an upstream. Its certificates are always checked. The files are read again when they change, for connections made
/// from then on.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UpstreamTls {
    /// PEM certificates of the authorities to trust in place of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The name that is asked for (SNI) and that its certificate must be for, in place of the endpoint's host.
    pub(crate) server_name: Option<String>,
    /// Our own certificate chain (PEM, leaf first), where the upstream wants to know who we are.
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub(crate) private_key: Option<PathBuf>,
}

/// Which HTTP is spoken to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 and nothing else; without TLS it is known beforehand that it is spoken.
    Http2,
    /// What an https endpoint offers: HTTP/2, else HTTP/1.1.
    Auto,
}

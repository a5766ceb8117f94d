//! Where agents' requests arrive.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::TlsVersion;

/// One address to listen on.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// IP address and port: `0.0.0.0:8443`, `127.0.0.1:8080`, `[::]:8443`. Port 0 lets the system choose one.
    pub(crate) address: String,
    /// How TLS is spoken. When left out, it is cleartext.
    pub(crate) tls: Option<ListenerTls>,
}

/// TLS on a listener, with HTTP/1.1 and HTTP/2 (by ALPN). The files are read again when they change: for connections made from
/// then on, if they can be used.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTls {
    /// The certificate chain (PEM, leaf first), relative to the folder of this file. It answers when no name fits.
    pub(crate) certificate: PathBuf,
    /// Its private key (PEM).
    pub(crate) private_key: PathBuf,
    /// More certificates, chosen by the name a client asks for (SNI): a name of the certificate, or one that `*.` covers.
    #[serde(default)]
    pub(crate) certificates: Vec<CertificatePair>,
    /// PEM certificates of the authorities that vouch for clients. When left out, clients are asked for no certificate.
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether a client must show a certificate: `required`, the default where there is a `client_ca`, or `optional`.
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// The lowest version of TLS: "1.2" or "1.3".
    #[serde(default)]
    pub(crate) min_version: TlsVersion,
}

/// A certificate with its key.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificatePair {
    /// The certificate chain (PEM, leaf first).
    pub(crate) certificate: PathBuf,
    /// Its private key (PEM).
    pub(crate) private_key: PathBuf,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientCertificate {
    /// Who has none is turned away.
    Required,
    /// They may.
    Optional,
}

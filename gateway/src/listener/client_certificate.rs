//! The certificate that a client has shown, and that an authority which we trust vouches for.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use pingora::listeners::TlsAccept;
use pingora::protocols::http::server::Session;
use pingora::protocols::tls::TlsRef;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What is known of a client by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 over the certificate: what tokens are bound to (`x5t#S256`, RFC 8705 §3).
    pub thumbprint: [u8; 32],
    /// Whom it is for, as RFC 4514 writes names.
    pub subject: Arc<str>,
}

impl ClientCertificate {
    /// That of the client of `session`.
    pub fn of(session: &Session) -> Option<&Self> {
        session.digest()?.ssl_digest.as_ref()?.extension.get()
    }

    fn read(certificate: &[u8]) -> Option<Self> {
        let thumbprint = digest(&SHA256, certificate).as_ref().try_into().ok()?;
        let subject = X509Certificate::from_der(certificate).ok()?.1.subject.to_string();
        Some(Self { thumbprint, subject: subject.into() })
    }
}

/// Looks at each handshake that has succeeded.
pub(super) struct Handshakes;

#[async_trait]
impl TlsAccept for Handshakes {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let certificate = ClientCertificate::read(tls.peer_certificate_der()?)?;
        Some(Arc::new(certificate))
    }
}

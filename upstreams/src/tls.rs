//! TLS to an upstream: whom we trust, as whom we look for it, and what we show of ourselves. Certificates are always checked,
//! against authorities and name; there is no way to say otherwise.

use std::fmt;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use phantomgate_files::FromFiles;
use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How TLS is spoken to the `https` endpoints of an upstream. What the files hold is read again when they change, and counts for
/// connections made from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificates of the authorities to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// The name that is asked for (SNI) and that certificates must be for; none: the host of the endpoint.
    pub server_name: Option<String>,
    /// What is shown to endpoints that want to know who we are.
    pub identity: Option<IdentityFiles>,
}

/// Where our certificate chain and its private key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The chain in PEM, the leaf first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub private_key: PathBuf,
}

/// TLS to one upstream, at work.
pub(crate) struct Tls {
    server_name: Option<String>,
    files: Option<FromFiles<Material, String>>,
    /// What the files held when they were last looked at.
    current: ArcSwap<Material>,
    began: Instant,
    /// When that was, in milliseconds since it began.
    looked: AtomicU64,
}

/// What connections are made with.
pub(crate) struct Material {
    /// Whom to trust; none: whom the system does.
    pub(crate) ca: Option<Arc<CaType>>,
    /// What to show.
    pub(crate) identity: Option<Arc<CertKey>>,
    /// Which connections may be used again: those made with the same.
    pub(crate) group: u64,
}

impl Tls {
    /// How often files are looked at, at most: requests would each do it otherwise.
    const LOOK_EVERY: Duration = Duration::from_secs(1);

    /// Reads what `config` names. As long as it cannot be read, nobody is trusted.
    pub(crate) fn new(config: &TlsConfig) -> Self {
        let TlsConfig { ca, server_name, identity } = config.clone();
        let identity_files = identity.iter().flat_map(|files| [&files.certificate, &files.private_key]);
        let paths: Vec<_> = ca.iter().chain(identity_files).cloned().collect();
        let files = (!paths.is_empty()).then(|| {
            let make = move || Material::read(ca.as_deref(), identity.as_ref());
            FromFiles::beginning_with(Material::distrustful(), paths, make)
        });
        let current = files.as_ref().map_or_else(|| Arc::new(Material::of_the_system()), FromFiles::current);
        Self { server_name, files, current: ArcSwap::new(current), began: Instant::now(), looked: AtomicU64::new(0) }
    }

    /// The name to ask for and to check, in place of the endpoint's host.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// What connections are made with now.
    pub(crate) fn material(&self) -> Arc<Material> {
        if let Some(files) = &self.files
            && self.is_time_to_look()
        {
            self.current.store(files.current());
        }
        self.current.load_full()
    }

    fn is_time_to_look(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let looked = self.looked.load(Ordering::Relaxed);
        now.saturating_sub(looked) >= Self::LOOK_EVERY.as_millis() as u64
            && self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Material {
    fn of_the_system() -> Self {
        Self { ca: None, identity: None, group: next_group() }
    }

    /// Pingora connects to nobody with an empty list.
    fn distrustful() -> Self {
        Self { ca: Some(Arc::from(Vec::new())), identity: None, group: next_group() }
    }

    fn read(ca: Option<&Path>, identity: Option<&IdentityFiles>) -> Result<Self, String> {
        let wrapped = |certificate: CertificateDer<'_>| WrappedX509::new(certificate.to_vec(), parse_x509);
        let ca = ca.map(certificates).transpose()?;
        let ca = ca.map(|certificates| certificates.into_iter().map(wrapped).collect());
        let identity = identity.map(certificate_with_key).transpose()?.map(Arc::new);
        Ok(Self { ca, identity, group: next_group() })
    }
}

/// A group of pooled connections that no other has, in the life of this process.
pub(crate) fn next_group() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The certificates in `file`, all of which can be read: Pingora takes that for granted.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    if certificates.is_empty() || !certificates.iter().all(|certificate| X509Certificate::from_der(certificate).is_ok())
    {
        return Err(format!("{}: it does not hold certificates in PEM", file.display()));
    }
    Ok(certificates)
}

fn certificate_with_key(files: &IdentityFiles) -> Result<CertKey, String> {
    let chain = certificates(&files.certificate)?;
    let text = std::fs::read(&files.private_key).map_err(|error| unreadable(&files.private_key, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("{}: it does not hold a private key in PEM", files.private_key.display()))?;
    // While one file is new and the other is old they are not each other's: both are waited for.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
        .map_err(|_| format!("{}: its key is not the certificate's", files.private_key.display()))?;
    let chain = chain.into_iter().map(|certificate| certificate.to_vec()).collect();
    Ok(CertKey::new(chain, key.secret_der().to_vec()))
}

fn unreadable(file: &Path, error: &dyn Display) -> String {
    format!("cannot read {}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_certificate(file: &Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(file, certificate.pem()).unwrap();
    }

    #[test]
    fn as_long_as_authorities_cannot_be_read_nobody_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let tls = Tls::new(&TlsConfig { ca: Some(ca.clone()), ..TlsConfig::default() });
        assert!(tls.material().ca.as_ref().unwrap().is_empty());
        let before = tls.material().group;

        write_certificate(&ca);
        let read = tls.files.as_ref().unwrap().current();
        assert_eq!(read.ca.as_ref().unwrap().len(), 1);
        assert_ne!(read.group, before, "connections are not used again");

        std::fs::write(&ca, "nonsense").unwrap();
        assert_eq!(tls.files.as_ref().unwrap().current().group, read.group, "what was good stays in use");
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            IdentityFiles { certificate: folder.path().join("c.pem"), private_key: folder.path().join("c.key") };
        write_certificate(&files.certificate);
        std::fs::write(&files.private_key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let reason = certificate_with_key(&files).unwrap_err();
        assert!(reason.ends_with("c.key: its key is not the certificate's"), "{reason}");
    }

    #[test]
    fn without_files_the_system_is_trusted() {
        let tls = Tls::new(&TlsConfig { server_name: Some("a.example".into()), ..TlsConfig::default() });
        assert!(tls.material().ca.is_none());
        assert_eq!(tls.server_name(), Some("a.example"));
    }
}

//! Certificates and their private keys, from files: whether they can be used, and what they say of themselves. What is said
//! of files that cannot be used names no content.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use phantomgate_introspection::NumericDate;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

/// Where a certificate chain and its private key are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityFiles {
    /// The chain in PEM, the leaf first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub private_key: PathBuf,
}

/// A certificate chain with its private key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// To show and to sign with.
    pub key: Arc<CertifiedKey>,
    /// The names of hosts it is for (`subjectAltName`), in lower case; some may begin with `*.`.
    pub names: Vec<String>,
    /// When it expires.
    pub expires_at: NumericDate,
}

impl Identity {
    /// Reads `files` at the time `now`.
    ///
    /// # Errors
    /// What is wrong with them: unreadable, no PEM, not each other's, expired, not valid yet.
    pub fn load(files: &IdentityFiles, now: NumericDate) -> Result<Self, String> {
        let shown = files.certificate.display();
        let key = certified_key(files)?;
        let leaf = key.cert.first().map(|leaf| X509Certificate::from_der(leaf));
        let Some(Ok((_, leaf))) = leaf else { return Err(format!("{shown}: its certificate cannot be read")) };
        let [not_before, not_after] = [leaf.validity.not_before, leaf.validity.not_after]
            .map(|time| u64::try_from(time.timestamp()).unwrap_or(0));
        if not_after <= now.seconds() {
            return Err(format!("{shown}: its certificate has expired on {}; renew it", date(not_after)));
        }
        if not_before > now.seconds() {
            return Err(format!("{shown}: its certificate is not valid before {}", date(not_before)));
        }
        let names = host_names(&leaf);
        Ok(Self { names, expires_at: NumericDate::from_seconds(not_after), key: Arc::new(key) })
    }
}

/// The certificates in `file`, at least one.
///
/// # Errors
/// Why there are none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    let is_usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    if certificates.is_empty() || !certificates.iter().all(is_usable) {
        return Err(format!("{shown}: it does not hold certificates in PEM (BEGIN CERTIFICATE)"));
    }
    Ok(certificates)
}

/// The certificates in `file`, as authorities to trust.
///
/// # Errors
/// Why they cannot be.
pub fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(file)? {
        let unusable = |_| format!("{}: it does not hold certificates in PEM (BEGIN CERTIFICATE)", file.display());
        store.add(certificate).map_err(unusable)?;
    }
    Ok(store)
}

/// The chain and the private key in `files`, if they are each other's.
///
/// # Errors
/// Why they cannot be used.
pub fn certified_key(files: &IdentityFiles) -> Result<CertifiedKey, String> {
    let chain = certificates(&files.certificate)?;
    let shown = files.private_key.display();
    let text = std::fs::read(&files.private_key).map(Zeroizing::new);
    let text = text.map_err(|error| format!("cannot read {shown}: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("{shown}: it does not hold a private key in PEM (BEGIN PRIVATE KEY)"))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|_| {
        format!("{shown}: its private key is not the one of the certificate in {}", files.certificate.display())
    })
}

/// The cryptography that all TLS is done with.
pub fn provider() -> CryptoProvider {
    default_provider()
}

/// The names of hosts that a certificate is for.
fn host_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

fn date(seconds: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        Some(moment) => humantime::format_rfc3339_seconds(moment).to_string(),
        None => "a date far away".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    const NOW: NumericDate = NumericDate::from_seconds(1_800_000_000); // 2027-01-15

    fn write(folder: &TempDir, params: &CertificateParams, key: &KeyPair) -> IdentityFiles {
        let files =
            IdentityFiles { certificate: folder.path().join("edge.pem"), private_key: folder.path().join("edge.key") };
        std::fs::write(&files.certificate, params.self_signed(key).unwrap().pem()).unwrap();
        std::fs::write(&files.private_key, key.serialize_pem()).unwrap();
        files
    }

    fn params() -> CertificateParams {
        let names = ["MCP.example.com", "*.example.org", "10.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2028, 1, 1);
        params
    }

    #[test]
    fn a_certificate_tells_the_hosts_it_is_for_and_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(&folder, &params(), &KeyPair::generate().unwrap());
        let identity = Identity::load(&files, NOW).unwrap();
        assert_eq!(identity.names, ["mcp.example.com", "*.example.org"]);
        assert_eq!(identity.expires_at, NumericDate::from_seconds(1_830_297_600));
    }

    #[test]
    fn a_certificate_counts_from_its_first_second_and_not_in_its_last() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(&folder, &params(), &KeyPair::generate().unwrap());
        let at = |seconds| Identity::load(&files, NumericDate::from_seconds(seconds)).map(|_| ());
        assert_eq!(at(1_767_225_600), Ok(()));
        assert!(at(1_767_225_599).unwrap_err().ends_with("is not valid before 2026-01-01T00:00:00Z"));
        assert!(at(1_830_297_600).unwrap_err().ends_with("has expired on 2028-01-01T00:00:00Z; renew it"));
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let files = write(&folder, &params(), &key);
        let reason = || Identity::load(&files, NOW).unwrap_err().replace(&folder.path().display().to_string(), "F");
        std::fs::write(&files.private_key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(reason(), "F/edge.key: its private key is not the one of the certificate in F/edge.pem");
        std::fs::write(&files.private_key, "secret").unwrap();
        assert_eq!(reason(), "F/edge.key: it does not hold a private key in PEM (BEGIN PRIVATE KEY)");
        std::fs::write(&files.certificate, key.serialize_pem()).unwrap();
        assert_eq!(reason(), "F/edge.pem: it does not hold certificates in PEM (BEGIN CERTIFICATE)");
    }
}

//! Certificates of an authority that exists for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

/// PEM files in a folder of the test.
pub struct Certificates {
    directory: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its private key.
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key, PKCS #8.
    pub private_key: PathBuf,
}

impl Identity {
    /// The certificate, as it goes over the wire.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.certificate).unwrap()
    }

    /// What tokens are bound to it by (`x5t#S256`, RFC 8705 §3.1).
    pub fn thumbprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.der()))
    }

    /// For a client that shows it.
    pub fn for_client(&self) -> reqwest::Identity {
        let pem = [&self.certificate, &self.private_key].map(|file| std::fs::read_to_string(file).unwrap());
        reqwest::Identity::from_pem(pem.concat().as_bytes()).unwrap()
    }

    /// For a server that shows it, and that asks clients for a certificate of the authority in `client_ca`, if there is one.
    pub fn for_server(&self, client_ca: Option<&Path>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.private_key).unwrap();
        builder.with_single_cert(vec![self.der()], key).unwrap()
    }
}

impl Certificates {
    /// An authority, and a certificate of it for servers on this machine.
    pub fn new(directory: &Path) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "Authority of one test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let certificates = Self { directory: directory.to_owned(), authority };
        std::fs::write(certificates.ca(), certificates.authority.pem()).unwrap();
        certificates.issue("server", &["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth);
        certificates
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The server's.
    pub fn server(&self) -> Identity {
        self.identity("server")
    }

    /// A client's, made anew for this name.
    pub fn client(&self, name: &str) -> Identity {
        self.issue(name, &[name], ExtendedKeyUsagePurpose::ClientAuth);
        self.identity(name)
    }

    /// A server's, for these hosts, made anew in files of this name.
    pub fn server_for(&self, file: &str, names: &[&str]) -> Identity {
        self.issue(file, names, ExtendedKeyUsagePurpose::ServerAuth);
        self.identity(file)
    }

    /// One that was good for servers, long ago.
    pub fn expired(&self, file: &str) -> Identity {
        self.issue_until(file, &["localhost"], ExtendedKeyUsagePurpose::ServerAuth, Some(2001));
        self.identity(file)
    }

    fn issue(&self, file: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose) {
        self.issue_until(file, names, purpose, None);
    }

    fn issue_until(&self, file: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose, last_year: Option<i32>) {
        let mut certificate =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        if let Some(year) = last_year {
            certificate.not_after = rcgen::date_time_ymd(year, 12, 31);
        }
        certificate.distinguished_name.push(DnType::CommonName, file);
        certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        certificate.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let identity = self.identity(file);
        std::fs::write(identity.certificate, certificate.signed_by(&key, &self.authority).unwrap().pem()).unwrap();
        std::fs::write(identity.private_key, key.serialize_pem()).unwrap();
    }

    fn identity(&self, file: &str) -> Identity {
        Identity {
            certificate: self.directory.join(format!("{file}.pem")),
            private_key: self.directory.join(format!("{file}.key")),
        }
    }
}

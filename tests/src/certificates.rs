//! Certificates of an authority that exists for one test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

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

    fn issue(&self, file: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose) {
        let mut certificate =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
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

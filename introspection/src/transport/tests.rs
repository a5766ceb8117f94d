use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::*;
use crate::config::ClientIdentity;
use crate::testing::Server;

/// A certificate authority that others know nothing of.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for 127.0.0.1 and its key, in PEM.
    fn certify(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A server that it certifies, which wants certificates by `clients`.
    async fn server(&self, clients: Option<&Self>) -> Server {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (certificate, key) = self.certify(ExtendedKeyUsagePurpose::ServerAuth);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let server = Server::start_tls(builder.with_single_cert(vec![certificate], key).unwrap()).await;
        server.answer("/", 200, "here");
        server
    }

    fn write_to(&self, path: &Path) {
        fs::write(path, self.0.pem()).unwrap();
    }

    fn write_client_to(&self, files: &ClientIdentity) {
        let (certificate, key) = self.certify(ExtendedKeyUsagePurpose::ClientAuth);
        fs::write(&files.private_key, key).unwrap();
        fs::write(&files.certificate, certificate).unwrap();
    }
}

struct Files {
    _folder: TempDir,
    ca: PathBuf,
    identity: ClientIdentity,
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let at = |name| folder.path().join(name);
    let identity = ClientIdentity { certificate: at("client.pem"), private_key: at("client.key") };
    Files { ca: at("ca.pem"), identity, _folder: folder }
}

fn config(server: &Server, files: &Files, with_identity: bool) -> Config {
    let mut config = server.config();
    config.tls = Tls { ca: Some(files.ca.clone()), identity: with_identity.then(|| files.identity.clone()) };
    config
}

async fn get(transport: &Transport, server: &Server) -> Result<(), Unavailable> {
    let (status, body) = transport.get(server.url.parse().unwrap(), "*/*", 100).await?;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"here"[..]));
    Ok(())
}

#[tokio::test]
async fn an_authority_of_the_operator_is_trusted_and_no_other() {
    let (authority, files) = (Authority::new(), files());
    let server = authority.server(None).await;
    authority.write_to(&files.ca);
    get(&Transport::new(&config(&server, &files, false)).unwrap(), &server).await.unwrap();

    let error = get(&Transport::new(&server.config()).unwrap(), &server).await.unwrap_err();
    assert!(matches!(error, Unavailable::Transport(_)), "{error}");
    Authority::new().write_to(&files.ca);
    let error = get(&Transport::new(&config(&server, &files, false)).unwrap(), &server).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let (authority, files) = (Authority::new(), files());
    let server = authority.server(None).await;
    authority.write_to(&files.ca);
    let transport = Transport::new(&config(&server, &files, false)).unwrap();
    for _ in 0..5 {
        get(&transport, &server).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn rfc8705_s2_our_certificate_is_shown_and_a_new_one_counts_from_its_next_use() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), files());
    let server = authority.server(Some(&clients)).await;
    authority.write_to(&files.ca);
    Authority::new().write_client_to(&files.identity);
    let transport = Transport::new(&config(&server, &files, true)).unwrap();
    assert!(get(&transport, &server).await.is_err(), "by an authority that the server does not know");

    clients.write_client_to(&files.identity);
    get(&transport, &server).await.unwrap();
    fs::write(&files.identity.certificate, "broken").unwrap();
    get(&transport, &server).await.unwrap();
    assert!(get(&Transport::new(&config(&server, &files, false)).unwrap(), &server).await.is_err(), "without any");
}

#[tokio::test]
async fn what_is_of_no_use_at_the_start_is_told_by_the_name_of_its_file() {
    let (authority, files) = (Authority::new(), files());
    let server = Server::start().await;
    let refused = || Transport::new(&config(&server, &files, true)).err().unwrap().to_string();
    assert!(refused().contains("ca.pem: "), "not there: {}", refused());
    for broken in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&files.ca, broken).unwrap();
        assert!(refused().contains("ca.pem: "), "{}", refused());
    }
    authority.write_to(&files.ca);
    assert!(refused().contains("client.pem: "), "{}", refused());
    authority.write_client_to(&files.identity);
    assert!(Transport::new(&config(&server, &files, true)).is_ok());
    let (_, other_key) = authority.certify(ExtendedKeyUsagePurpose::ClientAuth);
    for broken in [other_key.as_str(), "no key"] {
        fs::write(&files.identity.private_key, broken).unwrap();
        assert!(refused().contains("client.pem: "), "{}", refused());
    }
}

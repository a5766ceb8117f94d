//! What several tests need: an authorization server that says what it is told to, and keys that sign.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::config::{Client, Config};
use crate::{ClientAuthentication, Issuer, Secret};

/// An HTTP server on loopback. Whatever it is not told to answer is not found.
#[derive(Clone, Default)]
pub(crate) struct Server {
    pub(crate) url: String,
    answers: Arc<Mutex<HashMap<String, (StatusCode, String)>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    /// How many TLS connections it has accepted.
    pub(crate) connections: Arc<AtomicUsize>,
}

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let server = Self { url: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        tokio::spawn(axum::serve(listener, server.router()).into_future());
        server
    }

    /// One that speaks TLS.
    pub(crate) async fn start_tls(tls: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { url: format!("https://{}", listener.local_addr().unwrap()), ..Self::default() };
        let listener = TlsListener(listener, Arc::new(tls).into(), server.connections.clone());
        tokio::spawn(axum::serve(listener, server.router()).into_future());
        server
    }

    fn router(&self) -> axum::Router {
        let state = self.clone();
        axum::Router::new().fallback(async move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8_lossy(&body).into_owned();
            state.requests.lock().push(Request { path: uri.path().to_owned(), headers, body });
            let answers = state.answers.lock();
            answers.get(uri.path()).cloned().unwrap_or((StatusCode::NOT_FOUND, String::new()))
        })
    }

    pub(crate) fn answer(&self, path: &str, status: u16, body: impl ToString) {
        let answer = (StatusCode::from_u16(status).unwrap(), body.to_string());
        self.answers.lock().insert(path.to_owned(), answer);
    }

    /// Answers at `/.well-known/oauth-authorization-server` with `members` and the issuer.
    pub(crate) fn metadata(&self, mut members: Value) {
        members["issuer"] = self.url.as_str().into();
        self.answer("/.well-known/oauth-authorization-server", 200, members);
    }

    /// What is needed to be a client of it.
    pub(crate) fn config(&self) -> Config {
        let secret = ClientAuthentication::ClientSecretBasic(Secret::fixed(Zeroizing::new("s".to_owned())));
        let mut config = Config::new(Issuer::parse(&self.url).unwrap());
        config.client = Some(Client { id: "gateway".to_owned(), authentication: secret });
        config
    }

    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        self.requests.lock().iter().filter(|request| request.path == path).cloned().collect()
    }
}

struct TlsListener(TcpListener, TlsAcceptor, Arc<AtomicUsize>);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.0.accept().await.unwrap();
            if let Ok(stream) = self.1.accept(stream).await {
                self.2.fetch_add(1, Ordering::Relaxed);
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A private key.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) pem: String,
    key: EncodingKey,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        use Algorithm::{ES256, ES384, EdDSA};
        let der = match algorithm {
            ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap().to_pkcs8v1().unwrap(),
            ES384 => EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap().to_pkcs8v1().unwrap(),
            EdDSA => Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap(),
            _ => return Self::rsa(algorithm, KeySize::Rsa2048),
        };
        Self::of(algorithm, der.as_ref())
    }

    pub(crate) fn rsa(algorithm: Algorithm, size: KeySize) -> Self {
        Self::of(algorithm, RsaKeyPair::generate(size).unwrap().as_der().unwrap().as_ref())
    }

    fn of(algorithm: Algorithm, pkcs8: &[u8]) -> Self {
        Self::of_pem(algorithm, &pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8)))
    }

    pub(crate) fn of_pem(algorithm: Algorithm, pem: &str) -> Self {
        use Algorithm::{ES256, ES384, EdDSA};
        let key = match algorithm {
            ES256 | ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        Self { algorithm, pem: pem.to_owned(), key: key.unwrap() }
    }

    /// The public key, as it stands in a key set.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = id.into();
        jwk
    }

    /// A JWT with just that header.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    /// A JWT with a usual header.
    pub(crate) fn jwt(&self, id: &str, claims: &Value) -> String {
        self.sign(&json!({ "alg": format!("{:?}", self.algorithm), "typ": "at+jwt", "kid": id }), claims)
    }
}

/// A key set.
pub(crate) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

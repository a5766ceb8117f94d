//! TLS on a listener: versions, certificates by name, clients' certificates. All of it is made of files, and made again when
//! one of them has changed; a connection keeps what it began with.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use metrics::gauge;
use parking_lot::Mutex;
use phantomgate_files::FromFiles;
use phantomgate_introspection::NumericDate;
use pingora::listeners::tls::{Acceptor, TlsSettings};
use pingora::protocols::IO;
use pingora::protocols::tls::TlsStream;
use pingora::tls::TlsAcceptor;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::certificates::Certificates;
use super::client_certificate::Handshakes;
use crate::certificate::{Identity, authorities, provider};
use crate::config::{TlsConfig, TlsVersion};

/// What is spoken over TLS, most wanted first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS on one listener.
pub(super) struct Tls {
    acceptor: FromFiles<Acceptor, String>,
}

impl Tls {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// Which of them cannot be used, and why.
    pub(super) fn new(config: &TlsConfig) -> Result<Self, String> {
        let certificates = config.identities.iter().flat_map(|files| [&files.certificate, &files.private_key]);
        let authorities = config.clients.iter().map(|clients| &clients.file);
        let files = certificates.chain(authorities).cloned().collect();
        let config = config.clone();
        let gauges = ExpiryGauges::default();
        let acceptor = FromFiles::new(files, move || {
            let (server_config, expiries) = server_config(&config, NumericDate::now())?;
            gauges.show(expiries);
            acceptor(server_config)
        })?;
        Ok(Self { acceptor })
    }

    /// Reads the files again if they have changed.
    pub(super) fn refresh(&self) {
        let _ = self.acceptor.current();
    }

    /// Speaks TLS with a client that has just connected.
    ///
    /// # Errors
    /// When they do not come to terms.
    pub(super) async fn handshake<S: IO + 'static>(&self, stream: S) -> pingora::Result<TlsStream<S>> {
        let acceptor = self.acceptor.current();
        acceptor.tls_handshake(stream).await
    }
}

/// The rules of one listener, with what its files hold now, and when its certificates expire.
fn server_config(config: &TlsConfig, now: NumericDate) -> Result<(ServerConfig, Vec<Expiry>), String> {
    let identities = config.identities.iter().map(|files| Identity::load(files, now));
    let identities: Vec<_> = identities.collect::<Result<_, _>>()?;
    let expiries = identities.iter().zip(&config.identities).map(|(identity, files)| Expiry {
        name: identity.names.first().cloned().unwrap_or_else(|| files.certificate.display().to_string()),
        at: identity.expires_at,
    });
    let expiries = expiries.collect();
    let certificates = Certificates::new(identities).ok_or("there is no certificate")?;
    let versions: &[&SupportedProtocolVersion] = match config.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let provider = Arc::new(provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match &config.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(authorities(&clients.file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
            let unusable = |error| format!("{}: {error}", clients.file.display());
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let mut server_config = builder.with_cert_resolver(Arc::new(certificates));
    server_config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if config.clients.is_some() {
        // A session that is resumed does not show the client's certificate again: it could have expired since.
        server_config.session_storage = Arc::new(NoServerSessionStorage {});
        server_config.send_tls13_tickets = 0;
    }
    Ok((server_config, expiries))
}

/// Pingora's, with rules of ours.
fn acceptor(server_config: ServerConfig) -> Result<Acceptor, String> {
    let server_config = Arc::new(server_config);
    let mut settings = TlsSettings::with_callbacks(Box::new(Handshakes)).map_err(|error| error.to_string())?;
    // Without it Pingora would look for files of its own; what it builds with it gives way to ours at once.
    settings.set_cert_resolver(server_config.cert_resolver.clone());
    let mut acceptor = settings.build();
    acceptor.acceptor = TlsAcceptor::from(server_config);
    Ok(acceptor)
}

struct Expiry {
    name: String,
    at: NumericDate,
}

/// Of how many listeners a certificate of this name is in use. For a while that may be two with the same address, when another
/// configuration takes the place of one that still has connections.
static IN_USE: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// When the certificates of a listener expire.
#[derive(Default)]
struct ExpiryGauges {
    shown: Mutex<Vec<String>>,
}

impl ExpiryGauges {
    fn show(&self, expiries: Vec<Expiry>) {
        let gauge = |name: &str| gauge!("phantomgate_certificate_expiry_timestamp_seconds", "name" => name.to_owned());
        let mut in_use = IN_USE.lock();
        for Expiry { name, at } in &expiries {
            *in_use.entry(name.clone()).or_default() += 1;
            #[expect(clippy::cast_precision_loss, reason = "a date of this age of the world has 31 bits")]
            gauge(name).set(at.seconds() as f64);
        }
        let names = expiries.into_iter().map(|expiry| expiry.name).collect();
        for earlier in mem::replace(&mut *self.shown.lock(), names) {
            let Some(count) = in_use.get_mut(&earlier) else { continue };
            *count -= 1;
            if *count == 0 {
                in_use.remove(&earlier);
                // What is not in use any more expires never: nobody is to be woken for it.
                gauge(&earlier).set(f64::INFINITY);
            }
        }
    }
}

impl Drop for ExpiryGauges {
    fn drop(&mut self) {
        self.show(Vec::new());
    }
}

//! TLS, on listeners and to upstreams: files that hold what they should.

use std::path::Path;

use phantomgate_introspection::NumericDate;
use phantomgate_upstreams::{EndpointUrl, Protocol, TlsConfig as UpstreamTls};
use rustls::pki_types::ServerName;

use super::{Resolver, all_or_nothing, below};
use crate::certificate::{self, Identity, IdentityFiles};
use crate::config::document::{self, ClientCertificate, ListenerTls};
use crate::config::tree::Step;
use crate::config::{ClientAuthorities, TlsConfig};

impl Resolver<'_> {
    pub(super) fn listener_tls(&mut self, path: &[Step], tls: &ListenerTls) -> Option<TlsConfig> {
        let first = self.usable_identity(path, &tls.certificate, &tls.private_key).map(|(files, _)| files);
        let mut identities = vec![first];
        for (index, pair) in tls.certificates.iter().enumerate() {
            let path = below(&below(path, "certificates"), index);
            let identity = self.usable_identity(&path, &pair.certificate, &pair.private_key);
            if identity.as_ref().is_some_and(|(_, identity)| identity.names.is_empty()) {
                let reason = format!(
                    "{}: its certificate names no host, so it would never be chosen",
                    pair.certificate.display()
                );
                self.fault::<()>(&below(&path, "certificate"), reason);
            }
            identities.push(identity.map(|(files, _)| files));
        }
        let clients = self.client_authorities(path, tls);
        Some(TlsConfig {
            identities: identities.into_iter().collect::<Option<_>>()?,
            clients: clients?,
            min_version: tls.min_version,
        })
    }

    fn client_authorities(&mut self, path: &[Step], tls: &ListenerTls) -> Option<Option<ClientAuthorities>> {
        let Some(file) = &tls.client_ca else {
            if tls.client_certificate.is_some() && !self.tree.was_removed(&below(path, "client_ca")) {
                let reason = "needs `client_ca`, the authorities that vouch for clients; add it";
                return self.fault(&below(path, "client_certificate"), reason);
            }
            return Some(None);
        };
        let file = self.folder.join(file);
        if let Err(reason) = certificate::certificates(&file) {
            return self.fault(&below(path, "client_ca"), reason);
        }
        let required = tls.client_certificate != Some(ClientCertificate::Optional);
        Some(Some(ClientAuthorities { file, required }))
    }

    pub(super) fn protocol(
        &mut self,
        name: &str,
        upstream: &document::Upstream,
        endpoints: &[EndpointUrl],
    ) -> Option<Protocol> {
        match upstream.protocol {
            document::Protocol::Http1 => Some(Protocol::Http1),
            document::Protocol::Http2 => Some(Protocol::Http2),
            document::Protocol::Auto => match endpoints.iter().find(|endpoint| !endpoint.is_tls()) {
                None => Some(Protocol::Auto),
                Some(cleartext) => {
                    let reason = format!("{cleartext} offers no choice, which takes https; write http1 or http2");
                    self.fault(&path!["upstreams", name, "protocol"], reason)
                }
            },
        }
    }

    pub(super) fn upstream_tls(
        &mut self,
        name: &str,
        tls: &document::UpstreamTls,
        endpoints: &[EndpointUrl],
    ) -> Option<UpstreamTls> {
        let path = path!["upstreams", name, "tls"];
        let document::UpstreamTls { ca, server_name, certificate, private_key } = tls;
        let is_written = ca.is_some() || server_name.is_some() || certificate.is_some() || private_key.is_some();
        if is_written && !endpoints.is_empty() && !endpoints.iter().any(EndpointUrl::is_tls) {
            return self.fault(&path, "is of no use: no endpoint is https");
        }
        let ca = ca.as_ref().map(|file| {
            let file = self.folder.join(file);
            match certificate::certificates(&file) {
                Ok(_) => Some(file),
                Err(reason) => self.fault(&below(&path, "ca"), reason),
            }
        });
        let server_name = server_name.as_ref().map(|name| match ServerName::try_from(name.as_str()) {
            Ok(_) => Some(name.clone()),
            Err(_) => self.fault(&below(&path, "server_name"), format!("{name:?} is no host name or IP address")),
        });
        let identity = match (certificate, private_key) {
            (Some(certificate), Some(private_key)) => Some(self.shown_identity(&path, certificate, private_key)),
            (Some(_), None) if !self.tree.was_removed(&below(&path, "private_key")) => {
                self.fault(&path, "a `certificate` is of no use without its `private_key`; add it")
            }
            (None, Some(_)) if !self.tree.was_removed(&below(&path, "certificate")) => {
                self.fault(&path, "a `private_key` is of no use without its `certificate`; add it")
            }
            _ => None,
        };
        Some(UpstreamTls {
            ca: all_or_nothing(ca)?,
            server_name: all_or_nothing(server_name)?,
            identity: all_or_nothing(identity)?,
        })
    }

    /// What we show to upstreams.
    fn shown_identity(
        &mut self,
        path: &[Step],
        certificate: &Path,
        private_key: &Path,
    ) -> Option<phantomgate_upstreams::IdentityFiles> {
        let (IdentityFiles { certificate, private_key }, _) = self.usable_identity(path, certificate, private_key)?;
        Some(phantomgate_upstreams::IdentityFiles { certificate, private_key })
    }

    /// What we show to others: it must be usable now.
    fn usable_identity(
        &mut self,
        path: &[Step],
        certificate: &Path,
        private_key: &Path,
    ) -> Option<(IdentityFiles, Identity)> {
        let files =
            IdentityFiles { certificate: self.folder.join(certificate), private_key: self.folder.join(private_key) };
        match Identity::load(&files, NumericDate::now()) {
            Ok(identity) => Some((files, identity)),
            // Where the file is that is wrong: the reason begins with it, or tells that it cannot be read.
            Err(reason) => {
                let is_about_the_key = reason.contains(&format!("{}: ", files.private_key.display()));
                let key = if is_about_the_key { "private_key" } else { "certificate" };
                self.fault(&below(path, key), reason)
            }
        }
    }
}

//! An authorization server, resolved: who we are to it, and what must go together.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jsonwebtoken::Algorithm;
use phantomgate_introspection::client_authentication::{AssertionAudience, PrivateKeyJwt};
use phantomgate_introspection::config::{
    CacheConfig, Client, ClientIdentity, Endpoints, Introspection, JwtRules, ResponseForm, Tls, is_confidential,
};
use phantomgate_introspection::{ClientAuthentication, Config, Issuer, Scope, ScopeHierarchy, Secret};
use url::Url;

use super::super::document::{self, Assertion, AssertionAlgorithm, Authentication};
use super::super::findings::did_you_mean;
use super::super::tree::Step;
use super::{Resolver, all_or_nothing, below, pem};

const SERVERS: &str = "authorization_servers";

impl Resolver<'_> {
    pub(super) fn authorization_server(
        &mut self,
        name: &str,
        server: &document::AuthorizationServer,
    ) -> Option<Config> {
        let path = path![SERVERS, name];
        let issuer = match Issuer::parse(&server.issuer) {
            Ok(issuer) => Some(issuer),
            Err(error) => self.fault(&below(&path, "issuer"), format!("{:?}: {error}", server.issuer)),
        };
        let tls = self.tls(&below(&path, "tls"), &server.tls);
        let has_certificate = server.tls.certificate.is_some();
        let client = server.client.as_ref().map(|client| self.client(&below(&path, "client"), client, has_certificate));
        let endpoints = self.endpoints(&below(&path, "endpoints"), &server.endpoints);
        let allowed_addresses = self.networks(&below(&path, "allowed_addresses"), &server.allowed_addresses);
        let introspection = self.introspection(&below(&path, "introspection"), &server.introspection);
        let jwt = self.jwt_rules(&below(&path, "jwt"), &server.jwt);
        let cache = self.cache(&below(&path, "cache"), &server.cache);
        Some(Config {
            name: name.to_owned(),
            issuer: issuer?,
            vendor: server.vendor.0,
            client: all_or_nothing(client)?,
            endpoints: endpoints?,
            tls: tls?,
            allowed_addresses,
            introspection: introspection?,
            jwt: jwt?,
            introspects: false, // until a route says so
            verifies_jwts: false,
            cache: cache?,
            claims: Vec::new(),
        })
    }

    /// Which scopes of a server include others.
    pub(super) fn scope_hierarchy(&mut self, name: &str, server: &document::AuthorizationServer) -> ScopeHierarchy {
        let mut pairs = Vec::new();
        for (scope, implied) in &server.scope_implies {
            let path = path![SERVERS, name, "scope_implies", scope.as_str()];
            match scope.parse::<Scope>() {
                Ok(scope) => {
                    let implied = self.scopes(&path, implied);
                    pairs.extend(implied.iter().map(|implied| (scope.clone(), implied.clone())));
                }
                Err(error) => {
                    self.fault::<()>(&path, format!("{scope:?}: {error}"));
                }
            }
        }
        ScopeHierarchy::new(pairs)
    }

    fn client(&mut self, path: &[Step], client: &document::Client, has_certificate: bool) -> Option<Client> {
        let id = self.present(&below(path, "id"), &client.id);
        let method_is_known = !self.tree.was_removed(&below(path, "authentication"));
        let method = client.authentication;
        if method_is_known {
            let takes_secret = matches!(method, Authentication::ClientSecretBasic | Authentication::ClientSecretPost);
            let takes_key = method == Authentication::PrivateKeyJwt;
            self.fits(path, "secret", method, client.secret.is_some(), takes_secret, true);
            self.fits(path, "private_key", method, client.private_key.is_some(), takes_key, true);
            self.fits(path, "assertion", method, client.assertion.is_some(), takes_key, false);
        }
        let secret = client.secret.as_ref().map(|secret| self.secret(&below(path, "secret"), secret));
        let key = client.private_key.as_ref().map(|key| self.secret(&below(path, "private_key"), key));
        let authentication = match method {
            Authentication::ClientSecretBasic => ClientAuthentication::ClientSecretBasic(secret??),
            Authentication::ClientSecretPost => ClientAuthentication::ClientSecretPost(secret??),
            Authentication::PrivateKeyJwt => {
                let assertion = match &client.assertion {
                    Some(assertion) => self.assertion(path, assertion, client, key??),
                    None => self.assertion(path, &Assertion::default(), client, key??),
                };
                ClientAuthentication::PrivateKeyJwt(assertion?)
            }
            Authentication::TlsClientAuth if !has_certificate => {
                let reason = "tls_client_auth needs our certificate; add `tls.certificate` and `tls.private_key`";
                return self.fault(&below(path, "authentication"), reason);
            }
            Authentication::TlsClientAuth => ClientAuthentication::TlsClientAuth,
        };
        Some(Client { id: id?, authentication })
    }

    /// Whether `key` of a client is there exactly when its `method` has a use for it.
    fn fits(
        &mut self,
        path: &[Step],
        key: &str,
        method: Authentication,
        is_there: bool,
        has_use: bool,
        is_needed: bool,
    ) {
        if is_there && !has_use {
            let reason = format!("{method} has no use for `{key}`; remove it, or change `authentication`");
            self.fault::<()>(&below(path, key), reason);
        }
        if has_use && is_needed && !is_there && !self.tree.was_removed(&below(path, key)) {
            self.fault::<()>(path, format!("{method} needs `{key}`; add it"));
        }
    }

    fn assertion(
        &mut self,
        client_path: &[Step],
        assertion: &Assertion,
        client: &document::Client,
        key: Secret,
    ) -> Option<PrivateKeyJwt> {
        let path = below(client_path, "assertion");
        let key_id = assertion.key_id.as_ref().map(|key_id| self.present(&below(&path, "key_id"), key_id));
        let audience = self.assertion_audience(&below(&path, "audience"), &assertion.audience);
        let typ = self.present(&below(&path, "type"), &assertion.typ);
        let algorithm = registered(assertion.algorithm);
        let fits = match pem::signs_with(&key.current(), algorithm) {
            Ok(()) => Some(()),
            Err(_) if self.tree.was_removed(&path) => None, // it may fit the algorithm that was meant
            Err(reason) => {
                let source = client.private_key.as_ref().map(|source| self.source(source)).unwrap_or_default();
                self.fault(&below(client_path, "private_key"), format!("{source}: {reason}"))
            }
        };
        fits?;
        Some(PrivateKeyJwt { key, algorithm, key_id: all_or_nothing(key_id)?, audience: audience?, typ: typ? })
    }

    fn assertion_audience(&mut self, path: &[Step], text: &str) -> Option<AssertionAudience> {
        match text {
            Assertion::ISSUER => Some(AssertionAudience::Issuer),
            Assertion::ENDPOINT => Some(AssertionAudience::Endpoint),
            Assertion::TOKEN_ENDPOINT => Some(AssertionAudience::TokenEndpoint),
            url if Url::parse(url).is_ok() => Some(AssertionAudience::Fixed(url.to_owned())),
            other => {
                let names = [Assertion::ISSUER, Assertion::ENDPOINT, Assertion::TOKEN_ENDPOINT];
                let hint = match did_you_mean(other, names) {
                    hint if hint.is_empty() => format!("; write {} or a URL", names.join(", ")),
                    hint => hint,
                };
                self.fault(path, format!("{other:?} is no audience{hint}"))
            }
        }
    }

    fn endpoints(&mut self, path: &[Step], endpoints: &document::Endpoints) -> Option<Endpoints> {
        let document::Endpoints { introspection, token, jwks } = endpoints;
        let introspection = self.endpoint(&below(path, "introspection"), introspection.as_deref());
        let token = self.endpoint(&below(path, "token"), token.as_deref());
        let jwks = self.endpoint(&below(path, "jwks"), jwks.as_deref());
        Some(Endpoints { introspection: introspection?, token: token?, jwks: jwks? })
    }

    fn endpoint(&mut self, path: &[Step], text: Option<&str>) -> Option<Option<Url>> {
        let Some(text) = text else { return Some(None) };
        match Url::parse(text) {
            Ok(url) if is_confidential(&url) => Some(Some(url)),
            _ => self
                .fault(path, format!("{text:?}: must be an https URL (http is allowed for loopback addresses only)")),
        }
    }

    fn tls(&mut self, path: &[Step], tls: &document::Tls) -> Option<Tls> {
        let ca = tls.ca.as_ref().map(|file| {
            let file = self.folder.join(file);
            match pem::certificates(&file) {
                Ok(_) => Some(file),
                Err(reason) => self.fault(&below(path, "ca"), reason),
            }
        });
        let identity = match (&tls.certificate, &tls.private_key) {
            (None, None) => None,
            (Some(certificate), Some(private_key)) => Some(self.identity(path, certificate, private_key)),
            (Some(_), None) if self.tree.was_removed(&below(path, "private_key")) => Some(None),
            (None, Some(_)) if self.tree.was_removed(&below(path, "certificate")) => Some(None),
            (Some(_), None) => Some(self.fault(path, "a `certificate` is of no use without its `private_key`; add it")),
            (None, Some(_)) => Some(self.fault(path, "a `private_key` is of no use without its `certificate`; add it")),
        };
        Some(Tls { ca: all_or_nothing(ca)?, identity: all_or_nothing(identity)? })
    }

    fn identity(&mut self, path: &[Step], certificate: &Path, private_key: &Path) -> Option<ClientIdentity> {
        let identity =
            ClientIdentity { certificate: self.folder.join(certificate), private_key: self.folder.join(private_key) };
        match pem::identity(&identity.certificate, &identity.private_key) {
            Ok(()) => Some(identity),
            Err(reason) => self.fault(path, reason),
        }
    }

    fn networks(&mut self, path: &[Step], texts: &[String]) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for (position, text) in texts.iter().enumerate() {
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => networks.push(network),
                Err(_) => {
                    let reason = format!("{text:?} is no IP address or network; write one such as 10.0.0.0/8");
                    self.fault::<()>(&below(path, position), reason);
                }
            }
        }
        networks
    }

    fn introspection(&mut self, path: &[Step], written: &document::Introspection) -> Option<Introspection> {
        let timeout = self.span(&below(path, "timeout"), written.timeout, "10ms"..="60s");
        let key_path = below(path, "decryption_key");
        let response = written.response.0;
        let is_known = !self.tree.was_removed(&below(path, "response"));
        if written.decryption_key.is_some() && is_known && response != ResponseForm::Signed {
            let reason = format!("answers of the form `{response}` are not encrypted; remove it, or ask for `signed`");
            self.fault::<()>(&key_path, reason);
        }
        let decryption_key = written.decryption_key.as_ref().map(|source| {
            let key = self.secret(&key_path, source)?;
            match pem::decrypts(&key.current()) {
                Ok(()) => Some(key),
                Err(reason) => {
                    let source = self.source(source);
                    self.fault(&key_path, format!("{source}: {reason}"))
                }
            }
        });
        Some(Introspection { response, timeout: timeout?.0, decryption_key: all_or_nothing(decryption_key)? })
    }

    fn jwt_rules(&mut self, path: &[Step], written: &document::Jwt) -> Option<JwtRules> {
        let types_path = below(path, "types");
        if written.types.is_empty() && !self.tree.was_removed(&types_path) {
            self.fault::<()>(&types_path, "is empty; without a type every JWT is refused");
        }
        for (position, typ) in written.types.iter().enumerate() {
            if typ.to_ascii_lowercase().starts_with("application/") {
                self.fault::<()>(&below(&types_path, position), format!("{typ:?}: leave `application/` out"));
            }
        }
        let algorithms_path = below(path, "algorithms");
        if written.algorithms.is_empty() && !self.tree.was_removed(&algorithms_path) {
            self.fault::<()>(&algorithms_path, "is empty; without an algorithm every JWT is refused");
        }
        let clock_tolerance = self.span(&below(path, "clock_tolerance"), written.clock_tolerance, "0s"..="5m");
        Some(JwtRules {
            types: written.types.clone(),
            algorithms: written.algorithms.iter().map(|algorithm| algorithm.0).collect(),
            clock_tolerance: clock_tolerance?.0,
        })
    }

    fn cache(&mut self, path: &[Step], written: &document::Cache) -> Option<CacheConfig> {
        let max_ttl = self.span(&below(path, "max_ttl"), written.max_ttl, "1s"..="24h");
        let negative_ttl = self.span(&below(path, "negative_ttl"), written.negative_ttl, "0s"..="10m");
        let max_entries = match written.max_entries {
            0 => self.fault(&below(path, "max_entries"), "must be at least 1"),
            entries => Some(entries),
        };
        let stale_if_error = self.span(&below(path, "stale_if_error"), written.stale_if_error, "0s"..="1h");
        Some(CacheConfig {
            max_ttl: max_ttl?.0,
            negative_ttl: negative_ttl?.0,
            max_entries: max_entries?,
            stale_if_error: stale_if_error?.0,
        })
    }

    /// Where a secret comes from, for errors about what is in it.
    pub(super) fn source(&self, secret: &document::Secret) -> String {
        let file = |file: &PathBuf| self.folder.join(file).display().to_string();
        let variable = |name: &String| format!("the environment variable {name}");
        secret.file.as_ref().map(file).or_else(|| secret.env.as_ref().map(variable)).unwrap_or_default()
    }
}

fn registered(algorithm: AssertionAlgorithm) -> Algorithm {
    match algorithm {
        AssertionAlgorithm::ES256 => Algorithm::ES256,
        AssertionAlgorithm::ES384 => Algorithm::ES384,
        AssertionAlgorithm::EdDSA => Algorithm::EdDSA,
        AssertionAlgorithm::RS256 => Algorithm::RS256,
        AssertionAlgorithm::PS256 => Algorithm::PS256,
    }
}

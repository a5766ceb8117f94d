//! From the document as written to what the program runs on: every name is looked up, every value checked, every secret
//! read. All that is wrong is noted before anything is given up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use phantomgate_introspection::config::is_confidential;
use phantomgate_introspection::config::{CacheConfig, Client, Endpoints, Introspection, JwtRules, ResponseForm, Tls};
use phantomgate_introspection::{ClientAuthentication, Issuer, Scope, ScopeSet, Secret, Vendor};
use phantomgate_upstreams::{EndpointUrl, Timeouts};
use url::Url;
use zeroize::Zeroizing;

use super::document::{self, CredentialKind};
use super::findings::{Findings, did_you_mean};
use super::read::Read;
use super::tree::{Node, Step};
use super::values::{HostName, PathPrefix, Span};
use super::{Config, CredentialConfig, ProtectionConfig, RouteConfig, SigningConfig};

pub(crate) fn resolve(read: Read, folder: &Path) -> Result<Config, Findings> {
    let Read { document, tree, findings } = read;
    let mut resolver = Resolver { tree, findings, folder };
    let config = resolver.config(document);
    match config {
        Some(config) if resolver.findings.is_empty() => Ok(config),
        _ => Err(resolver.findings),
    }
}

/// Steps from the root of the document: `path!["routes", 2, "upstream"]`.
macro_rules! path {
    ($($step:expr),* $(,)?) => { [$(Step::from($step)),*] };
}

struct Resolver<'a> {
    tree: Node,
    findings: Findings,
    folder: &'a Path,
}

/// The names of one section of the document, in its order.
struct Names<'a> {
    section: &'static str,
    names: Vec<&'a str>,
}

impl Resolver<'_> {
    /// Notes an error. Returns nothing, so that a value and its error are one expression.
    fn fault<T>(&mut self, path: &[Step], reason: impl Into<String>) -> Option<T> {
        self.findings.add(&self.tree, path, reason);
        None
    }

    fn config(&mut self, document: document::Document) -> Option<Config> {
        let listeners = self.listeners(&document.listeners);
        let drain_timeout = self.span(&path!["drain_timeout"], document.drain_timeout, "0s"..="1h");
        let server_names = Names::of("authorization_servers", &document.authorization_servers);
        let upstream_names = Names::of("upstreams", &document.upstreams);

        let servers: Vec<_> = document
            .authorization_servers
            .iter()
            .map(|(name, server)| self.authorization_server(name, server))
            .collect();
        let upstreams: Vec<_> =
            document.upstreams.iter().map(|(name, upstream)| self.upstream(name, upstream)).collect();
        let signing = document.signing.as_ref().map(|signing| self.signing(signing));
        let routes = self.routes(&document.routes, &server_names, &upstream_names, signing.is_some());

        Some(Config {
            listeners: listeners?,
            drain_timeout: drain_timeout?.0,
            authorization_servers: servers.into_iter().collect::<Option<_>>()?,
            signing: match signing {
                Some(signing) => Some(signing?),
                None => None,
            },
            upstreams: upstreams.into_iter().collect::<Option<_>>()?,
            routes: routes?,
        })
    }

    fn listeners(&mut self, listeners: &[document::Listener]) -> Option<Vec<SocketAddr>> {
        if listeners.is_empty() && !self.tree.was_removed(&path!["listeners"]) {
            return self.fault(&path!["listeners"], "is empty; add at least one address to listen on");
        }
        let mut addresses = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let path = path!["listeners", index, "address"];
            match listener.address.parse::<SocketAddr>() {
                Ok(address) if address.port() != 0 && addresses.contains(&address) => {
                    self.fault::<()>(&path, format!("{address} is listened on already; leave one of them out"));
                }
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let text = &listener.address;
                    let reason = format!("{text:?} is no IP address with a port; write one such as 127.0.0.1:8080");
                    self.fault::<()>(&path, reason);
                }
            }
        }
        Some(addresses)
    }

    fn authorization_server(
        &mut self,
        name: &str,
        server: &document::AuthorizationServer,
    ) -> Option<phantomgate_introspection::Config> {
        let at = |rest: &[&str]| -> Vec<Step> {
            path!["authorization_servers", name].into_iter().chain(rest.iter().map(|key| Step::from(*key))).collect()
        };
        let issuer = match Issuer::parse(&server.issuer) {
            Ok(issuer) => Some(issuer),
            Err(error) => self.fault(&at(&["issuer"]), format!("{:?}: {error}", server.issuer)),
        };
        let client_id = self.present(&at(&["client", "id"]), &server.client.id);
        let secret = self.secret(&at(&["client", "secret"]), &server.client.secret);
        let endpoint = match &server.endpoints.introspection {
            None => Some(None),
            Some(text) => match Url::parse(text) {
                Ok(url) if is_confidential(&url) => Some(Some(url)),
                _ => {
                    let reason =
                        format!("{text:?}: must be an https URL (http is allowed for loopback addresses only)");
                    self.fault(&at(&["endpoints", "introspection"]), reason)
                }
            },
        };
        let timeout = self.span(&at(&["introspection", "timeout"]), server.introspection.timeout, "10ms"..="60s");
        let max_ttl = self.span(&at(&["cache", "max_ttl"]), server.cache.max_ttl, "1s"..="24h");
        let negative_ttl = self.span(&at(&["cache", "negative_ttl"]), server.cache.negative_ttl, "0s"..="10m");
        let max_entries = match server.cache.max_entries {
            0 => self.fault(&at(&["cache", "max_entries"]), "must be at least 1"),
            entries => Some(entries),
        };
        Some(phantomgate_introspection::Config {
            name: name.to_owned(),
            issuer: issuer?,
            vendor: Vendor::Standard,
            client: Some(Client {
                id: client_id?,
                authentication: match server.client.authentication {
                    document::Authentication::ClientSecretBasic => ClientAuthentication::ClientSecretBasic(secret?),
                    document::Authentication::ClientSecretPost => ClientAuthentication::ClientSecretPost(secret?),
                },
            }),
            endpoints: Endpoints { introspection: endpoint?, ..Endpoints::default() },
            tls: Tls::default(),
            allowed_addresses: Vec::new(),
            introspection: Introspection { response: ResponseForm::Json, timeout: timeout?.0, decryption_key: None },
            jwt: JwtRules::default(),
            verifies_jwts: false,
            cache: CacheConfig {
                max_ttl: max_ttl?.0,
                negative_ttl: negative_ttl?.0,
                max_entries: max_entries?,
                stale_if_error: Duration::ZERO,
            },
            claims: Vec::new(),
        })
    }

    fn secret(&mut self, path: &[Step], source: &document::Secret) -> Option<Secret> {
        match (&source.file, &source.env) {
            (Some(file), None) => {
                let file = self.folder.join(file);
                match Secret::file(&file) {
                    Ok(secret) => Some(secret),
                    Err(error) => self.fault(path, format!("cannot read {}: {error}", file.display())),
                }
            }
            (None, Some(variable)) => match std::env::var(variable) {
                Ok(text) if text.is_empty() => {
                    self.fault(path, format!("the environment variable {variable} is empty"))
                }
                Ok(text) => Some(Secret::fixed(Zeroizing::new(text))),
                Err(_) => self.fault(path, format!("the environment variable {variable} is not set")),
            },
            _ if self.tree.was_removed(&[path, &path!["file"]].concat()) => None,
            _ if self.tree.was_removed(&[path, &path!["env"]].concat()) => None,
            _ => self.fault(path, "give either `file` or `env`, where the secret is"),
        }
    }

    fn signing(&mut self, signing: &document::Signing) -> Option<SigningConfig> {
        let issuer = match Issuer::parse(&signing.issuer) {
            Ok(issuer) => Some(issuer.as_str().to_owned()),
            Err(error) => self.fault(&path!["signing", "issuer"], format!("{:?}: {error}", signing.issuer)),
        };
        let lifetime = self.span(&path!["signing", "lifetime"], signing.lifetime, "10s"..="1h");
        Some(SigningConfig {
            issuer: issuer?,
            algorithm: signing.algorithm,
            keys: self.folder.join(&signing.keys),
            lifetime: lifetime?.0,
        })
    }

    fn upstream(&mut self, name: &str, upstream: &document::Upstream) -> Option<phantomgate_upstreams::Config> {
        if upstream.endpoints.is_empty() && !self.tree.was_removed(&path!["upstreams", name, "endpoints"]) {
            return self.fault(&path!["upstreams", name, "endpoints"], "is empty; add at least one URL");
        }
        let mut endpoints = Vec::new();
        for (index, text) in upstream.endpoints.iter().enumerate() {
            match EndpointUrl::from_str(text) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => {
                    let path = path!["upstreams", name, "endpoints", index];
                    self.fault::<()>(&path, format!("{text:?}: {error}"));
                }
            }
        }
        let connect = path!["upstreams", name, "timeouts", "connect"];
        let connect = self.span(&connect, upstream.timeouts.connect, "10ms"..="60s");
        let idle_stream = path!["upstreams", name, "timeouts", "idle_stream"];
        let idle_stream = self.span(&idle_stream, upstream.timeouts.idle_stream, "1s"..="24h");
        let timeouts = Timeouts { connect: connect?.0, idle_stream: idle_stream?.0 };
        Some(phantomgate_upstreams::Config { name: name.to_owned(), endpoints, timeouts })
    }

    fn routes(
        &mut self,
        routes: &[document::Route],
        servers: &Names<'_>,
        upstreams: &Names<'_>,
        can_sign: bool,
    ) -> Option<Vec<RouteConfig>> {
        if routes.is_empty() && !self.tree.was_removed(&path!["routes"]) {
            return self.fault(&path!["routes"], "is empty; without a route every request is answered with 404");
        }
        let mut names = HashSet::new();
        let mut places = HashMap::new();
        let mut resolved = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            if !names.insert(route.name.as_str()) {
                let reason = format!("another route is named {:?}; names are unique", route.name);
                self.fault::<()>(&path!["routes", index, "name"], reason);
            }
            let Some(route) = self.route(index, route, servers, upstreams, can_sign) else { continue };
            if let Some(other) = places.insert((route.host.clone(), route.path.clone()), route.name.clone()) {
                let reason = format!("the route {other:?} is for the same host and path; change one of them");
                self.fault::<()>(&path!["routes", index, "match"], reason);
            }
            resolved.push(route);
        }
        Some(resolved)
    }

    fn route(
        &mut self,
        index: usize,
        route: &document::Route,
        servers: &Names<'_>,
        upstreams: &Names<'_>,
        can_sign: bool,
    ) -> Option<RouteConfig> {
        let name = self.present(&path!["routes", index, "name"], &route.name);
        let host = match &route.matches.host {
            None => Some(None),
            Some(host) => self.parse::<HostName>(&path!["routes", index, "match", "host"], host).map(Some),
        };
        let path = self.parse::<PathPrefix>(&path!["routes", index, "match", "path"], &route.matches.path);
        let upstream = self.look_up(&path!["routes", index, "upstream"], "upstream", &route.upstream, upstreams);
        let protection = if route.public {
            self.public(index, route)
        } else {
            self.protection(index, route, servers, can_sign).map(Some)
        };
        Some(RouteConfig { name: name?, host: host?, path: path?, upstream: upstream?, protection: protection? })
    }

    /// A public route has nothing of a protected one: whoever wrote both meant one of them.
    fn public(&mut self, index: usize, route: &document::Route) -> Option<Option<ProtectionConfig>> {
        let contradictions = [
            ("resource", route.resource.is_some()),
            ("authorization_server", route.authorization_server.is_some()),
            ("scopes", !route.scopes.is_empty()),
            ("credential", route.credential.as_ref().is_some_and(|own| own.kind != CredentialKind::None)),
        ];
        let mut allowed = Some(None);
        for (key, stands_here) in contradictions {
            if stands_here {
                let reason = "a public route looks at no token; remove this, or `public: true`";
                allowed = self.fault(&path!["routes", index, key], reason);
            }
        }
        allowed
    }

    fn protection(
        &mut self,
        index: usize,
        route: &document::Route,
        servers: &Names<'_>,
        can_sign: bool,
    ) -> Option<ProtectionConfig> {
        let resource = self.required(index, "resource", route.resource.as_deref());
        let resource = resource.and_then(|text| self.parse(&path!["routes", index, "resource"], text));
        let server = self.required(index, "authorization_server", route.authorization_server.as_deref());
        let server = server.and_then(|name| {
            let path = path!["routes", index, "authorization_server"];
            self.look_up(&path, "authorization server", name, servers)
        });
        let mut scopes = Vec::new();
        for (position, text) in route.scopes.iter().enumerate() {
            match text.parse::<Scope>() {
                Ok(scope) => scopes.push(scope),
                Err(error) => {
                    let path = path!["routes", index, "scopes", position];
                    self.fault::<()>(&path, format!("{text:?}: {error}"));
                }
            }
        }
        let credential = self.required(index, "credential", route.credential.as_ref());
        let credential = credential.and_then(|credential| self.credential(index, credential, can_sign));
        Some(ProtectionConfig {
            resource: resource?,
            authorization_server: server?,
            scopes: ScopeSet::from_iter(scopes),
            credential: credential?,
        })
    }

    fn credential(
        &mut self,
        index: usize,
        credential: &document::Credential,
        can_sign: bool,
    ) -> Option<CredentialConfig> {
        let path = path!["routes", index, "credential"];
        match (credential.kind, &credential.audience) {
            (CredentialKind::Signed, _) if !can_sign && !self.tree.was_removed(&path!["signing"]) => {
                self.fault(&path, "a signed credential needs our keys; add the section `signing`")
            }
            (CredentialKind::Signed, Some(audience)) => {
                let audience = self.present(&[&path[..], &path!["audience"]].concat(), audience)?;
                Some(CredentialConfig::Signed { audience })
            }
            (CredentialKind::Signed, None) => self.fault(&path, "a signed credential needs an `audience`; add it"),
            (CredentialKind::None, Some(_)) => {
                self.fault(&path, "a credential of the kind `none` has no audience; remove one of them")
            }
            (CredentialKind::None, None) => Some(CredentialConfig::None),
        }
    }

    /// What a protected route must have.
    fn required<T>(&mut self, index: usize, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.tree.was_removed(&path!["routes", index, key]) {
            let reason = format!("a protected route needs `{key}`; add it, or `public: true` if anybody may pass");
            return self.fault(&path!["routes", index], reason);
        }
        value
    }

    fn look_up(&mut self, path: &[Step], what: &str, name: &str, names: &Names<'_>) -> Option<usize> {
        if let Some(position) = names.names.iter().position(|known| *known == name) {
            return Some(position);
        }
        if self.tree.was_removed(&path![names.section, name]) {
            return None; // it is there, and what is wrong with it has been told
        }
        let hint = match did_you_mean(name, names.names.iter().copied()) {
            hint if hint.is_empty() => format!("; add it to `{}`", names.section),
            hint => hint,
        };
        self.fault(path, format!("no {what} is named {name:?}{hint}"))
    }

    fn parse<T: FromStr<Err = &'static str>>(&mut self, path: &[Step], text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(reason) => self.fault(path, format!("{text:?} {reason}")),
        }
    }

    fn present(&mut self, path: &[Step], text: &str) -> Option<String> {
        if text.trim().is_empty() { self.fault(path, "is empty") } else { Some(text.to_owned()) }
    }

    fn span(&mut self, path: &[Step], span: Span, range: RangeInclusive<&str>) -> Option<Span> {
        let bound = |text: &str| humantime::parse_duration(text).unwrap_or_default();
        if span.0 < bound(range.start()) || span.0 > bound(range.end()) {
            return self
                .fault(path, format!("{span} is out of range; choose from {} to {}", range.start(), range.end()));
        }
        Some(span)
    }
}

impl<'a> Names<'a> {
    fn of<T>(section: &'static str, entries: &'a BTreeMap<String, T>) -> Self {
        Self { section, names: entries.keys().map(String::as_str).collect() }
    }
}

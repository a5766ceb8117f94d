//! From the document as written to what the program runs on: every name is looked up, every value checked, every secret
//! read. All that is wrong is noted before anything is given up.

/// Steps from the root of the document: `path!["routes", 2, "upstream"]`.
macro_rules! path {
    ($($step:expr),* $(,)?) => { [$($crate::config::tree::Step::from($step)),*] };
}

mod audit;
mod authorization_server;
mod credential;
mod limits;
mod listener;
mod mcp;
mod pem;
mod route;
mod tls;
mod upstream;

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use phantomgate_introspection::{Issuer, Scope, ScopeHierarchy, ScopeSet, Secret};
use zeroize::Zeroizing;

use super::document;
use super::findings::{Findings, did_you_mean};
use super::read::Read;
use super::tree::{Node, Step};
use super::values::Span;
use super::{Config, CredentialConfig, RouteConfig, SigningConfig};

pub(crate) fn resolve(read: Read, folder: &Path) -> Result<Config, Findings> {
    let Read { document, tree, findings } = read;
    let mut resolver = Resolver { tree, findings, folder };
    let config = resolver.config(document);
    match config {
        Some(config) if resolver.findings.is_empty() => Ok(config),
        _ => Err(resolver.findings),
    }
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
    positions: HashMap<&'a str, usize>,
}

/// What routes refer to.
struct Parts<'a> {
    server_names: Names<'a>,
    /// In the same order; none where it has errors of its own.
    servers: &'a [Option<phantomgate_introspection::Config>],
    /// Which of their scopes include others, in the same order.
    scope_hierarchies: &'a [ScopeHierarchy],
    upstream_names: Names<'a>,
    /// How many endpoints each upstream has.
    endpoints: &'a [usize],
    signing: Option<&'a SigningConfig>,
}

impl Resolver<'_> {
    /// Notes an error. Returns nothing, so that a value and its error are one expression.
    fn fault<T>(&mut self, path: &[Step], reason: impl Into<String>) -> Option<T> {
        self.findings.add(&self.tree, path, reason);
        None
    }

    fn config(&mut self, document: document::Document) -> Option<Config> {
        let listeners = self.listeners(&document.listeners);
        let admin = document.admin.as_ref().map(|admin| self.admin(admin, listeners.as_deref().unwrap_or_default()));
        let observability = self.observability(&document);
        let drain_timeout = self.span(&path!["drain_timeout"], document.drain_timeout, "0s"..="1h");
        let servers: Vec<_> = document
            .authorization_servers
            .iter()
            .map(|(name, server)| self.authorization_server(name, server))
            .collect();
        let scope_hierarchies: Vec<_> =
            document.authorization_servers.iter().map(|(name, server)| self.scope_hierarchy(name, server)).collect();
        let upstreams: Vec<_> =
            document.upstreams.iter().map(|(name, upstream)| self.upstream(name, upstream)).collect();
        let endpoints: Vec<_> = document.upstreams.values().map(|upstream| upstream.endpoints.len()).collect();
        let signing = document.signing.as_ref().map(|signing| self.signing(signing));
        let parts = Parts {
            server_names: Names::of("authorization_servers", &document.authorization_servers),
            servers: &servers,
            scope_hierarchies: &scope_hierarchies,
            upstream_names: Names::of("upstreams", &document.upstreams),
            endpoints: &endpoints,
            signing: signing.as_ref().and_then(Option::as_ref),
        };
        let routes = self.routes(&document.routes, &parts);
        let limits = self.limits(&document.limits, routes.as_deref().unwrap_or_default());

        let mut authorization_servers = servers.into_iter().collect::<Option<Vec<_>>>()?;
        let routes = routes?;
        let (audit, traces) = observability?;
        tell_what_routes_need(&mut authorization_servers, &routes);
        Some(Config {
            listeners: listeners?,
            admin: all_or_nothing(admin)?,
            audit,
            traces,
            drain_timeout: drain_timeout?.0,
            limits: Arc::new(limits?),
            authorization_servers,
            signing: all_or_nothing(signing)?,
            upstreams: upstreams.into_iter().collect::<Option<_>>()?,
            routes,
        })
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
            _ if self.tree.was_removed(&below(path, "file")) => None,
            _ if self.tree.was_removed(&below(path, "env")) => None,
            _ => self.fault(path, "give either `file` or `env`, where the secret is"),
        }
    }

    fn scopes(&mut self, path: &[Step], texts: &[String]) -> ScopeSet {
        let mut scopes = Vec::new();
        for (position, text) in texts.iter().enumerate() {
            match text.parse::<Scope>() {
                Ok(scope) => scopes.push(scope),
                Err(error) => {
                    self.fault::<()>(&below(path, position), format!("{text:?}: {error}"));
                }
            }
        }
        ScopeSet::from_iter(scopes)
    }

    /// Scopes that a request is asked for.
    fn demanded_scopes(&mut self, path: &[Step], texts: &[String]) -> ScopeSet {
        if let Some(position) = texts.iter().position(|text| text == "offline_access") {
            let reason = "\"offline_access\" asks for a refresh token, which is between a client and its authorization server; remove it";
            self.fault::<()>(&below(path, position), reason);
        }
        self.scopes(path, texts)
    }

    fn look_up(&mut self, path: &[Step], what: &str, name: &str, names: &Names<'_>) -> Option<usize> {
        if let Some(position) = names.positions.get(name) {
            return Some(*position);
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
        let names: Vec<_> = entries.keys().map(String::as_str).collect();
        let positions = names.iter().enumerate().map(|(position, name)| (*name, position)).collect();
        Self { section, names, positions }
    }
}

/// Each authorization server has at hand what its routes need: its endpoint, its keys, the claims that credentials are made
/// from.
fn tell_what_routes_need(servers: &mut [phantomgate_introspection::Config], routes: &[RouteConfig]) {
    for protection in routes.iter().filter_map(|route| route.protection.as_ref()) {
        let Some(server) = servers.get_mut(protection.authorization_server) else { continue };
        server.introspects |= protection.accepts.opaque;
        server.verifies_jwts |= protection.accepts.jwt;
        if let CredentialConfig::Signed(signed) = &protection.credential {
            for (_, claim) in &signed.claims {
                if !server.claims.contains(claim) {
                    server.claims.push(claim.clone());
                }
            }
        }
    }
}

/// What stands at `path`, one step further.
fn below(path: &[Step], step: impl Into<Step>) -> Vec<Step> {
    path.iter().cloned().chain([step.into()]).collect()
}

/// A section that may be left out, but not be wrong.
fn all_or_nothing<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
        None => Some(None),
    }
}

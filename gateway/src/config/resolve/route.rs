//! Routes, resolved: what they refer to is there, and what they ask for can be had.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use http::Method;
use phantomgate_introspection::Accepts;
use phantomgate_mcp::Revision;

use super::super::document::{self, CredentialKind, TokenForm};
use super::super::matching::{HostPattern, MethodSet, PathPattern, RequestMatch};
use super::super::tree::Step;
use super::super::{CredentialConfig, ProtectionConfig, RouteConfig};
use super::{Parts, Resolver, all_or_nothing, below};

/// The methods of MCP over HTTP.
const MCP_METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];

/// Which methods a route takes, and its name.
type Taken = (Option<MethodSet>, String);

/// The routes read so far, by what no two of them may share.
#[derive(Default)]
struct Known<'a> {
    names: HashSet<&'a str>,
    /// By host, path and whether that is exact: what is taken there.
    places: HashMap<(HostPattern, String, bool), Vec<Taken>>,
    /// Which authorization server issues tokens for a resource, and by which route.
    servers: HashMap<String, (usize, String)>,
    /// Whose metadata is where, by host and path, and by which route.
    resources: HashMap<(HostPattern, String), (String, String)>,
    /// Which authorization server's metadata is published on a host, and by which route.
    published: HashMap<HostPattern, (usize, String)>,
}

impl Resolver<'_> {
    pub(super) fn routes(&mut self, routes: &[document::Route], parts: &Parts<'_>) -> Option<Vec<RouteConfig>> {
        if routes.is_empty() && !self.tree.was_removed(&path!["routes"]) {
            return self.fault(&path!["routes"], "is empty; without a route every request is answered with 404");
        }
        let mut known = Known::default();
        let mut resolved = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            if !known.names.insert(route.name.as_str()) {
                let reason = format!("another route is named {:?}; names are unique", route.name);
                self.fault::<()>(&path!["routes", index, "name"], reason);
            }
            let Some(route) = self.route(index, route, parts) else { continue };
            self.one_route_for_a_request(index, &route, &mut known);
            self.one_resource_for_its_metadata(index, &route, &mut known, parts);
            self.one_metadata_on_a_host(index, &route, &mut known, parts);
            resolved.push(route);
        }
        Some(resolved)
    }

    /// Of two routes for the same requests, none is the more specific one.
    fn one_route_for_a_request(&mut self, index: usize, route: &RouteConfig, known: &mut Known<'_>) {
        let RequestMatch { host, path, methods } = &route.matches;
        let place = (host.clone(), path.reading().to_owned(), path.is_exact());
        let others = known.places.entry(place).or_default();
        let reason = others.iter().find_map(|(other_methods, other)| match (methods, other_methods) {
            (None, None) => {
                Some(format!("{other:?} and {:?} are for the same host and path; change one of them", route.name))
            }
            (Some(methods), Some(other_methods)) => methods.shared_with(other_methods).map(|method| {
                format!(
                    "{other:?} and {:?} both take {method} on the same host and path; change one of them",
                    route.name
                )
            }),
            (None, Some(_)) | (Some(_), None) => None,
        });
        others.push((methods.clone(), route.name.clone()));
        if let Some(reason) = reason {
            self.fault::<()>(&path!["routes", index, "match"], reason);
        }
    }

    /// Protected resource metadata is found by the path of a resource, and says what the resource is and who issues tokens
    /// for it (RFC 9728 §2, §3.1). So all routes there have to be of one mind.
    fn one_resource_for_its_metadata(
        &mut self,
        index: usize,
        route: &RouteConfig,
        known: &mut Known<'_>,
        parts: &Parts<'_>,
    ) {
        let Some(protection) = &route.protection else { return };
        let (resource, server) = (protection.resource.as_str(), protection.authorization_server);
        let place = (route.matches.host.clone(), protection.resource.well_known_path("oauth-protected-resource"));
        let (other, name) = known.resources.entry(place).or_insert_with(|| (resource.to_owned(), route.name.clone()));
        if other != resource {
            let reason = format!(
                "the metadata of this resource would be where that of the route {name:?} is; give the routes hosts of \
                 their own, or the same resource"
            );
            self.fault::<()>(&path!["routes", index, "resource"], reason);
        }
        let (other, name) = known.servers.entry(resource.to_owned()).or_insert_with(|| (server, route.name.clone()));
        if *other != server {
            let other = parts.server_names.names.get(*other).copied().unwrap_or_default();
            let reason = format!(
                "the route {name:?} has the same resource and {other:?}, but clients learn of one authorization server for \
                 a resource; choose the same, or another resource"
            );
            self.fault::<()>(&path!["routes", index, "authorization_server"], reason);
        }
    }

    /// What is published at the root of a host can be said of one authorization server only.
    fn one_metadata_on_a_host(&mut self, index: usize, route: &RouteConfig, known: &mut Known<'_>, parts: &Parts<'_>) {
        let is_asked_for = route.mcp.as_ref().is_some_and(|mcp| mcp.authorization_server_metadata);
        let Some(protection) = route.protection.as_ref().filter(|_| is_asked_for) else { return };
        let server = protection.authorization_server;
        let published = known.published.entry(route.matches.host.clone());
        let (other, name) = published.or_insert_with(|| (server, route.name.clone()));
        if *other != server {
            let other = parts.server_names.names.get(*other).copied().unwrap_or_default();
            let reason = format!(
                "on this host the route {name:?} publishes the metadata of {other:?}, and there is room for one; remove \
                 this, or give the routes hosts of their own"
            );
            self.fault::<()>(&path!["routes", index, "mcp", "authorization_server_metadata"], reason);
        }
    }

    fn route(&mut self, index: usize, route: &document::Route, parts: &Parts<'_>) -> Option<RouteConfig> {
        let name = self.present(&path!["routes", index, "name"], &route.name);
        let matches = self.matches(&path!["routes", index, "match"], &route.matches, route.mcp.is_some());
        let rewrite = route
            .rewrite
            .as_ref()
            .map(|rewrite| self.path(&path!["routes", index, "rewrite", "path"], &rewrite.path, route.matches.exact));
        let upstream =
            self.look_up(&path!["routes", index, "upstream"], "upstream", &route.upstream, &parts.upstream_names);
        let protection =
            if route.public { self.public(index, route) } else { self.protection(index, route, parts).map(Some) };
        let endpoints = upstream.and_then(|upstream| parts.endpoints.get(upstream)).copied().unwrap_or_default();
        let mcp = route.mcp.as_ref().map(|mcp| self.mcp(index, mcp, route.public, endpoints));
        let limits = self.route_limits(index, &route.limits, route.public, route.mcp.is_some());
        if let (Some(Some(mcp)), Some(_)) = (&mcp, &rewrite)
            && mcp.revisions.contains(&Revision::V2024_11_05)
        {
            let reason = "a server of 2024-11-05 tells clients a path of its own to post to, which is not the one they have \
                          to use then; remove this, or that revision";
            self.fault::<()>(&path!["routes", index, "rewrite"], reason);
        }
        Some(RouteConfig {
            name: name?,
            matches: matches?,
            rewrite: all_or_nothing(rewrite)?,
            upstream: upstream?,
            protection: protection?,
            limits: limits?,
            mcp: all_or_nothing(mcp)?,
        })
    }

    fn matches(&mut self, path: &[Step], matches: &document::Match, is_mcp: bool) -> Option<RequestMatch> {
        let host = match &matches.host {
            None => Some(HostPattern::Any),
            Some(host) => self.parse(&below(path, "host"), host),
        };
        let methods = matches.methods.as_ref().map(|names| self.methods(&below(path, "methods"), names, is_mcp));
        let path = self.path(&below(path, "path"), &matches.path, matches.exact);
        Some(RequestMatch { host: host?, path: path?, methods: all_or_nothing(methods)? })
    }

    fn path(&mut self, path: &[Step], text: &str, exact: bool) -> Option<PathPattern> {
        let parsed = if exact { PathPattern::exactly(text) } else { PathPattern::below(text) };
        match parsed {
            Ok(pattern) => Some(pattern),
            Err(reason) => self.fault(path, format!("{text:?} {reason}")),
        }
    }

    fn methods(&mut self, path: &[Step], names: &[String], is_mcp: bool) -> Option<MethodSet> {
        if names.is_empty() && !self.tree.was_removed(path) {
            return self.fault(path, "is empty; name a method, or leave it out for all of them");
        }
        let mut methods = Vec::new();
        for (position, name) in names.iter().enumerate() {
            let fault = match Method::from_bytes(name.as_bytes()) {
                Err(_) => Some(format!("{name:?} is no method; write one such as GET")),
                Ok(_) if name.bytes().any(|byte| byte.is_ascii_lowercase()) => Some(format!(
                    "{name:?} has small letters, and methods differ by them; write {:?}",
                    name.to_uppercase()
                )),
                Ok(Method::TRACE | Method::CONNECT) => Some(format!("{name} is never passed on; remove it")),
                Ok(method) if is_mcp && !MCP_METHODS.contains(&method) => {
                    Some(format!("{name} is no method of MCP; remove it (preflights are answered all the same)"))
                }
                Ok(method) => {
                    methods.push(method);
                    None
                }
            };
            if let Some(reason) = fault {
                self.fault::<()>(&below(path, position), reason);
            }
        }
        // MCP has no use for HEAD.
        Some(if is_mcp { MethodSet::these(methods) } else { MethodSet::with_head(methods) })
    }

    /// A public route has nothing of a protected one: whoever wrote both meant one of them.
    fn public(&mut self, index: usize, route: &document::Route) -> Option<Option<ProtectionConfig>> {
        let contradictions = [
            ("resource", route.resource.is_some()),
            ("authorization_server", route.authorization_server.is_some()),
            ("accepts", route.accepts != [TokenForm::Opaque]),
            ("audiences", !route.audiences.is_empty()),
            ("cache", route.cache.max_ttl.is_some()),
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

    fn protection(&mut self, index: usize, route: &document::Route, parts: &Parts<'_>) -> Option<ProtectionConfig> {
        let resource = self.required(index, "resource", route.resource.as_deref());
        let resource = resource.and_then(|text| self.parse(&path!["routes", index, "resource"], text));
        let server = self.required(index, "authorization_server", route.authorization_server.as_deref());
        let server = server.and_then(|name| {
            let path = path!["routes", index, "authorization_server"];
            self.look_up(&path, "authorization server", name, &parts.server_names)
        });
        let accepts = self.accepts(index, route);
        let mut audiences = Vec::new();
        for (position, audience) in route.audiences.iter().enumerate() {
            audiences.extend(self.present(&path!["routes", index, "audiences", position], audience));
        }
        let scopes = self.demanded_scopes(&path!["routes", index, "scopes"], &route.scopes);
        let credential = self.required(index, "credential", route.credential.as_ref());
        let credential = credential.and_then(|credential| self.credential(index, credential, parts));
        if let (Some(server), Some(accepts), Some(credential)) = (server, accepts, &credential) {
            self.can_be_had(index, parts, server, accepts, credential);
        }
        Some(ProtectionConfig {
            resource: resource?,
            authorization_server: server?,
            audiences,
            accepts: accepts?,
            scopes,
            scope_hierarchy: parts.scope_hierarchies.get(server?).cloned().unwrap_or_default(),
            credential: credential?,
        })
    }

    fn accepts(&mut self, index: usize, route: &document::Route) -> Option<Accepts> {
        let path = path!["routes", index, "accepts"];
        if route.accepts.is_empty() {
            if self.tree.was_removed(&path) {
                return None;
            }
            return self.fault(&path, "is empty; write opaque, jwt or both, or `public: true` on the route");
        }
        let max_ttl = match route.cache.max_ttl {
            None => Duration::MAX,
            Some(span) => self.span(&path!["routes", index, "cache", "max_ttl"], span, "1s"..="24h")?.0,
        };
        let has = |form| route.accepts.contains(&form);
        Some(Accepts { opaque: has(TokenForm::Opaque), jwt: has(TokenForm::Jwt), max_ttl })
    }

    /// Whether the authorization server at the position `server` can do what a route needs of it.
    fn can_be_had(
        &mut self,
        index: usize,
        parts: &Parts<'_>,
        server: usize,
        accepts: Accepts,
        credential: &CredentialConfig,
    ) {
        let (Some(Some(config)), Some(name)) = (parts.servers.get(server), parts.server_names.names.get(server)) else {
            return; // what is wrong with it has been told
        };
        let exchanges = matches!(credential, CredentialConfig::Exchange(_));
        let has_client =
            config.client.is_some() || self.tree.was_removed(&path!["authorization_servers", *name, "client"]);
        if (accepts.opaque || exchanges) && !has_client {
            let (key, what) = if accepts.opaque {
                ("accepts", "opaque tokens are introspected")
            } else {
                ("credential", "tokens are exchanged")
            };
            let reason =
                format!("{what} as a client of {name:?}, which has none; add `authorization_servers.{name}.client`");
            self.fault::<()>(&path!["routes", index, key], reason);
        }
        if matches!(credential, CredentialConfig::Jwt) {
            use phantomgate_introspection::config::ResponseForm;
            if config.introspection.response != ResponseForm::Jwt {
                let reason = format!(
                    "{name:?} is not asked for JWTs; set `authorization_servers.{name}.introspection.response: jwt`"
                );
                self.fault::<()>(&path!["routes", index, "credential", "kind"], reason);
            }
            if accepts.jwt {
                let reason =
                    "the upstream would get the agent's own JWT; take `jwt` out, or choose another kind of credential";
                self.fault::<()>(&path!["routes", index, "accepts"], reason);
            }
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
}

//! Routes, resolved: what they refer to is there, and what they ask for can be had.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use phantomgate_introspection::Accepts;

use super::super::document::{self, CredentialKind, TokenForm};
use super::super::values::{HostName, PathPrefix};
use super::super::{CredentialConfig, ProtectionConfig, RouteConfig};
use super::{Parts, Resolver, all_or_nothing};

impl Resolver<'_> {
    pub(super) fn routes(&mut self, routes: &[document::Route], parts: &Parts<'_>) -> Option<Vec<RouteConfig>> {
        if routes.is_empty() && !self.tree.was_removed(&path!["routes"]) {
            return self.fault(&path!["routes"], "is empty; without a route every request is answered with 404");
        }
        let mut names = HashSet::new();
        let mut places = HashMap::new();
        let mut metadata = HashMap::new();
        let mut resolved = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            if !names.insert(route.name.as_str()) {
                let reason = format!("another route is named {:?}; names are unique", route.name);
                self.fault::<()>(&path!["routes", index, "name"], reason);
            }
            let Some(route) = self.route(index, route, parts) else { continue };
            if let Some(other) = places.insert((route.host.clone(), route.path.clone()), route.name.clone()) {
                let reason = format!("the route {other:?} is for the same host and path; change one of them");
                self.fault::<()>(&path!["routes", index, "match"], reason);
            }
            self.one_metadata_on_a_host(index, &route, &mut metadata, parts);
            resolved.push(route);
        }
        Some(resolved)
    }

    /// What is published at the root of a host can be said of one authorization server only.
    fn one_metadata_on_a_host(
        &mut self,
        index: usize,
        route: &RouteConfig,
        published: &mut HashMap<Option<HostName>, (usize, String)>,
        parts: &Parts<'_>,
    ) {
        let is_asked_for = route.mcp.as_ref().is_some_and(|mcp| mcp.authorization_server_metadata);
        let Some(protection) = route.protection.as_ref().filter(|_| is_asked_for) else { return };
        let server = protection.authorization_server;
        let (other, name) = published.entry(route.host.clone()).or_insert_with(|| (server, route.name.clone()));
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
        let host = match &route.matches.host {
            None => Some(None),
            Some(host) => self.parse::<HostName>(&path!["routes", index, "match", "host"], host).map(Some),
        };
        let path = self.parse::<PathPrefix>(&path!["routes", index, "match", "path"], &route.matches.path);
        let upstream =
            self.look_up(&path!["routes", index, "upstream"], "upstream", &route.upstream, &parts.upstream_names);
        let protection =
            if route.public { self.public(index, route) } else { self.protection(index, route, parts).map(Some) };
        let endpoints = upstream.and_then(|upstream| parts.endpoints.get(upstream)).copied().unwrap_or_default();
        let mcp = route.mcp.as_ref().map(|mcp| self.mcp(index, mcp, route.public, endpoints));
        let limits = self.route_limits(index, &route.limits, route.public, route.mcp.is_some());
        Some(RouteConfig {
            name: name?,
            host: host?,
            path: path?,
            upstream: upstream?,
            protection: protection?,
            limits: limits?,
            mcp: all_or_nothing(mcp)?,
        })
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

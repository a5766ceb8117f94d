//! ② Routes: which requests go where, and who may send them.
//!
//! How a request finds its route is in [`table`], what becomes of its path in [`rewrite`].

pub mod hosts;
pub mod rewrite;
pub mod table;

use std::sync::Arc;

use phantomgate_introspection::{Accepts, Introspector, ScopeHierarchy, ScopeSet};
use phantomgate_upstreams::Upstream;

use crate::config::{PathPattern, RequestMatch, ResourceIdentifier};
use crate::limits::RouteLimits;
use crate::mcp::McpEndpoint;
use crate::metrics::RequestCounters;
use crate::upstream_credential::{CredentialSource, DerivedCredentials};

pub use table::RouteTable;

/// One route, with all that it needs to serve a request.
///
/// Where there are many, hardly any of it is near the processor when a request comes: what each request looks at lies together,
/// here and in [`Protection`] and [`RouteLimits`], and what few do comes last.
#[repr(C)]
pub struct Route {
    /// Its name in the audit.
    pub name: Arc<str>,
    /// Where its requests go.
    pub upstream: Arc<Upstream>,
    /// What makes it an MCP endpoint, if it is one.
    pub mcp: Option<Box<McpEndpoint>>,
    /// What stands in place of the matched path at the upstream, exact where that is; the path stays when there is nothing.
    pub rewrite: Option<Box<PathPattern>>,
    /// Counts its requests.
    pub counters: RequestCounters,
    /// Who may pass; without it, anybody.
    pub protection: Option<Protection>,
    /// What its requests may take.
    pub limits: RouteLimits,
    /// The requests it is for.
    pub matches: RequestMatch,
}

/// What a protected route asks for, and what its upstream gets.
#[repr(C)]
pub struct Protection {
    /// Knows the tokens.
    pub introspector: Introspector<DerivedCredentials>,
    /// Which tokens are looked at.
    pub accepts: Accepts,
    /// Audiences that will do in the place of `resource`.
    pub audiences: Arc<[String]>,
    /// What a token must have been granted.
    pub scopes: ScopeSet,
    /// Which scopes include others.
    pub scope_hierarchy: ScopeHierarchy,
    /// What the upstream gets in place of the token; without it, nothing.
    pub credential: Option<CredentialSource>,
    /// The audience a token must carry.
    pub resource: ResourceIdentifier,
    /// The issuer of the tokens.
    pub authorization_server: String,
    /// What a token must have been granted, and all that any rule about a message asks for.
    pub scopes_supported: ScopeSet,
    /// What a client without a token is told to ask for.
    pub challenge_scopes: ScopeSet,
    /// Whether the authorization server's metadata is answered for here too.
    pub publishes_authorization_server: bool,
}

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    /// Public routes, by what is in them in YAML: `match: { path: /mcp }`. That is their names, too.
    pub(crate) fn public(routes: &[&str]) -> Vec<Route> {
        let listen =
            "listeners: [{ address: '127.0.0.1:0' }]\nupstreams: { u: { endpoints: ['http://10.0.0.5:3000'] } }\n";
        let route = |(number, route): (usize, &&str)| {
            format!("  - {{ name: '{number}', upstream: u, public: true, {route} }}\n")
        };
        let routes_written: String = routes.iter().enumerate().map(route).collect();
        let config = parse(Path::new("test.yaml"), &format!("{listen}routes:\n{routes_written}"));
        let config = config.unwrap_or_else(|report| panic!("{report}"));
        let upstream = Arc::new(Upstream::new(config.upstreams[0].clone()));
        let named = config.routes.iter().zip(routes);
        named
            .map(|(route, name)| Route {
                name: (*name).into(),
                matches: route.matches.clone(),
                rewrite: route.rewrite.clone().map(Box::new),
                upstream: upstream.clone(),
                protection: None,
                mcp: None,
                limits: RouteLimits::new(name, &route.limits, None),
                counters: RequestCounters::new(name),
            })
            .collect()
    }
}

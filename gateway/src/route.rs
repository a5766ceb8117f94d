//! ② Routes: which requests go where, and who may send them. Of several that match, the most specific wins: one that
//! names the host before one that does not, then the longest path.

use std::collections::HashMap;
use std::sync::Arc;

use phantomgate_introspection::{Accepts, Introspector, ScopeHierarchy, ScopeSet};
use phantomgate_upstreams::Upstream;

use crate::config::{HostName, PathPrefix, ResourceIdentifier};
use crate::limits::RouteLimits;
use crate::mcp::McpEndpoint;
use crate::metrics::RequestCounters;
use crate::rejection::Rejection;
use crate::request_target::RequestTarget;
use crate::upstream_credential::{CredentialSource, DerivedCredentials};

/// One route, with all that it needs to serve a request.
pub struct Route {
    /// Its name in the audit.
    pub name: String,
    /// The host it is for, or any.
    pub host: Option<HostName>,
    /// The path it is for, and everything below it.
    pub path: PathPrefix,
    /// Where its requests go.
    pub upstream: Arc<Upstream>,
    /// Who may pass; without it, anybody.
    pub protection: Option<Protection>,
    /// What makes it an MCP endpoint, if it is one.
    pub mcp: Option<McpEndpoint>,
    /// What its requests may take.
    pub limits: RouteLimits,
    /// Counts its requests.
    pub counters: RequestCounters,
}

/// What a protected route asks for, and what its upstream gets.
pub struct Protection {
    /// The audience a token must carry.
    pub resource: ResourceIdentifier,
    /// Further audiences that will do in its place.
    pub audiences: Vec<String>,
    /// The issuer of the tokens.
    pub authorization_server: String,
    /// Knows the tokens.
    pub introspector: Introspector<DerivedCredentials>,
    /// Which tokens are looked at.
    pub accepts: Accepts,
    /// What a token must have been granted.
    pub scopes: ScopeSet,
    /// That, and all that any rule about a message asks for.
    pub scopes_supported: ScopeSet,
    /// Whether the authorization server's metadata is answered for here too.
    pub publishes_authorization_server: bool,
    /// Which scopes include others.
    pub scope_hierarchy: ScopeHierarchy,
    /// What a client without a token is told to ask for.
    pub challenge_scopes: ScopeSet,
    /// What the upstream gets in place of the token; without it, nothing.
    pub credential: Option<CredentialSource>,
}

/// All routes of a configuration. Finding one costs a look-up per path segment, however many there are.
#[derive(Default)]
pub struct RouteTable {
    by_host: HashMap<String, PathTable>,
    any_host: PathTable,
}

#[derive(Default)]
struct PathTable {
    by_path: HashMap<String, Arc<Route>>,
    /// Longer paths need not be looked up: a bound on the work for a request with very many segments.
    longest: usize,
}

impl RouteTable {
    /// The route for `target`.
    ///
    /// # Errors
    /// [`Rejection::NoRoute`] when there is none.
    pub fn find(&self, target: &RequestTarget<'_>) -> Result<&Arc<Route>, Rejection> {
        let by_host = target.host.as_deref().and_then(|host| self.by_host.get(host));
        by_host
            .and_then(|table| table.find(target.path))
            .or_else(|| self.any_host.find(target.path))
            .ok_or(Rejection::NoRoute)
    }

    /// All routes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_host.values().chain([&self.any_host]).flat_map(|table| table.by_path.values())
    }
}

impl FromIterator<Arc<Route>> for RouteTable {
    fn from_iter<I: IntoIterator<Item = Arc<Route>>>(routes: I) -> Self {
        let mut all = Self::default();
        for route in routes {
            let table = match &route.host {
                Some(host) => all.by_host.entry(host.as_str().to_owned()).or_default(),
                None => &mut all.any_host,
            };
            table.longest = table.longest.max(route.path.as_str().len());
            table.by_path.insert(route.path.as_str().to_owned(), route);
        }
        all
    }
}

impl PathTable {
    /// The entry with the longest path that `path` is or lies below, on segment borders.
    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        borders(path).find_map(
            |length| {
                if length > self.longest { None } else { self.by_path.get(path.get(..length)?) }
            },
        )
    }
}

/// The lengths at which a route's path can end in `path`, longest first: all of it, then before each slash.
fn borders(path: &str) -> impl Iterator<Item = usize> {
    let whole = Some(path.len()).filter(|_| !path.ends_with('/'));
    let slashes = path.bytes().enumerate().rev().filter(|(_, byte)| *byte == b'/').map(|(position, _)| position);
    whole.into_iter().chain(slashes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phantomgate_upstreams::{Config, Timeouts};

    use super::*;

    fn table(routes: &[(Option<&str>, &str)]) -> RouteTable {
        let timeouts = Timeouts { connect: Duration::from_secs(1), idle_stream: Duration::from_secs(1) };
        let upstream = Arc::new(Upstream::new(Config { name: "u".into(), endpoints: vec![], timeouts }));
        let route = |(host, path): &(Option<&str>, &str)| {
            Arc::new(Route {
                name: format!("{}{path}", host.unwrap_or("*")),
                host: host.map(|host| host.parse().unwrap()),
                path: path.parse().unwrap(),
                upstream: upstream.clone(),
                protection: None,
                mcp: None,
                limits: RouteLimits::new("", &crate::limits::tests::config(&[]), None),
                counters: RequestCounters::new(""),
            })
        };
        routes.iter().map(route).collect()
    }

    fn found(table: &RouteTable, host: &str, path: &str) -> String {
        let target = RequestTarget { host: Some(host.into()), path };
        table.find(&target).map_or_else(|_| "none".into(), |route| route.name.clone())
    }

    #[test]
    fn a_path_matches_on_segment_borders() {
        let table = table(&[(None, "/mcp")]);
        for path in ["/mcp", "/mcp/", "/mcp/x", "/mcp/x/y"] {
            assert_eq!(found(&table, "a", path), "*/mcp", "{path}");
        }
        for path in ["/", "/mcpx", "/mc", "/x/mcp", "/MCP"] {
            assert_eq!(found(&table, "a", path), "none", "{path}");
        }
    }

    #[test]
    fn the_longest_path_wins_and_a_named_host_goes_before_any_host() {
        let table = table(&[(None, "/"), (None, "/a/b"), (Some("h.example"), "/a"), (Some("h.example"), "/a/b/c")]);
        assert_eq!(found(&table, "h.example", "/a/b/c/d"), "h.example/a/b/c");
        assert_eq!(found(&table, "h.example", "/a/b"), "h.example/a");
        assert_eq!(found(&table, "h.example", "/x"), "*/");
        assert_eq!(found(&table, "other", "/a/b/c"), "*/a/b");
    }

    #[test]
    fn a_request_without_a_host_finds_routes_for_any_host_only() {
        let table = table(&[(Some("h.example"), "/")]);
        assert!(table.find(&RequestTarget { host: None, path: "/" }).is_err());
    }
}

//! How a request finds its route: by its host, then by its path, then by its method.
//!
//! The most specific place wins, and it alone: a host by name before the longest wildcard before any host, then an exact path
//! before the longest one. A place is where a route stands: a pattern of hosts and one of paths. Only where a host has
//! no place for a path are less specific hosts looked at; and a method that no route of the place takes is refused there. It
//! does not fall through to a less specific place: whoever protects `/admin` for GET alone does not want POST to be let in by
//! the route of the site around it.
//!
//! Finding a place costs a look-up for each segment of the path and each label of the host, however many routes there are,
//! and allocates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Method, request};

use super::Route;
use super::hosts::HostTable;
use crate::config::MethodSet;
use crate::cross_origin;
use crate::rejection::Rejection;
use crate::request_target::RequestTarget;

/// All routes of a configuration.
#[derive(Default)]
pub struct RouteTable(HostTable<Paths>);

/// The routes of one pattern of hosts.
#[derive(Default)]
struct Paths {
    exactly: HashMap<Box<str>, Place>,
    below: HashMap<Box<str>, Place>,
    /// The length of the longest in `below`. Longer ones need not be looked up: a bound on the work for a request with very
    /// many segments.
    longest: usize,
}

/// The routes of one pattern of hosts and one of paths. No two of them take the same method.
///
/// There may be many, so it is small: with its path, half a line of 64 bytes.
#[derive(Default)]
struct Place {
    /// Takes all methods that no other does.
    otherwise: Option<Arc<Route>>,
    /// Those that take some methods, where there are any.
    by_method: Option<Box<ByMethod>>,
}

struct ByMethod {
    routes: Vec<Arc<Route>>,
    /// The methods that are taken, where not all are.
    allow: HeaderValue,
}

impl RouteTable {
    /// The route for `request`, whose target is `target`.
    ///
    /// # Errors
    /// [`Rejection::NoRoute`] when there is none for its host and path, [`Rejection::MethodNotAllowed`] when there is, but for
    /// other methods.
    pub fn find(&self, target: &RequestTarget<'_>, request: &request::Parts) -> Result<&Arc<Route>, Rejection> {
        let place = self.0.of(target.host.as_deref()).find_map(|paths| paths.find(&target.reading));
        let place = place.ok_or(Rejection::NoRoute)?;
        place.preflighted(request).map_or_else(|| place.route(&request.method), Ok)
    }

    /// All routes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.values().flat_map(|paths| paths.exactly.values().chain(paths.below.values())).flat_map(Place::iter)
    }
}

impl FromIterator<Arc<Route>> for RouteTable {
    fn from_iter<I: IntoIterator<Item = Arc<Route>>>(routes: I) -> Self {
        let mut all = HostTable::<Paths>::default();
        for route in routes {
            let paths = all.entry(&route.matches.host);
            let path = &route.matches.path;
            let places = if path.is_exact() {
                &mut paths.exactly
            } else {
                paths.longest = paths.longest.max(path.reading().len());
                &mut paths.below
            };
            places.entry(path.reading().into()).or_default().add(route);
        }
        Self(all)
    }
}

impl Paths {
    /// The place for the path with this reading: its own, or the longest that it is or lies below, on segment borders.
    fn find(&self, path: &str) -> Option<&Place> {
        let below = || {
            let candidates = borders(path).filter(|length| *length <= self.longest);
            candidates.filter_map(|length| path.get(..length)).find_map(|path| look_up(&self.below, path))
        };
        look_up(&self.exactly, path).or_else(below)
    }
}

fn look_up<'a>(places: &'a HashMap<Box<str>, Place>, path: &str) -> Option<&'a Place> {
    #[cfg(test)]
    tests::LOOK_UPS.with(|count| count.set(count.get() + 1));
    places.get(path)
}

/// The lengths at which a route's path can end in `path`, longest first: all of it, then before each slash.
fn borders(path: &str) -> impl Iterator<Item = usize> {
    let whole = Some(path.len()).filter(|_| !path.ends_with('/'));
    let slashes = path.bytes().enumerate().rev().filter(|(_, byte)| *byte == b'/').map(|(position, _)| position);
    whole.into_iter().chain(slashes)
}

impl Place {
    fn add(&mut self, route: Arc<Route>) {
        if route.matches.methods.is_none() {
            self.otherwise = Some(route);
            return;
        }
        let mut routes = self.by_method.take().map(|by_method| by_method.routes).unwrap_or_default();
        routes.push(route);
        let methods = routes.iter().filter_map(|route| route.matches.methods.as_ref());
        let allow = MethodSet::these(methods.flat_map(MethodSet::iter).cloned()).to_header();
        self.by_method = Some(Box::new(ByMethod { routes, allow }));
    }

    fn route(&self, method: &Method) -> Result<&Arc<Route>, Rejection> {
        let takes = |route: &&Arc<Route>| route.matches.methods.as_ref().is_some_and(|own| own.contains(method));
        let own = self.by_method.iter().flat_map(|by_method| &by_method.routes).find(takes);
        own.or(self.otherwise.as_ref()).ok_or_else(|| match &self.by_method {
            Some(by_method) => Rejection::MethodNotAllowed(by_method.allow.clone()),
            None => Rejection::NoRoute,
        })
    }

    /// The MCP endpoint that `request`, a browser's question, is about. It answers the question itself, whatever its methods.
    fn preflighted(&self, request: &request::Parts) -> Option<&Arc<Route>> {
        // Without others, one takes OPTIONS like anything else.
        self.by_method.as_ref()?;
        let method = cross_origin::preflighted(request)?;
        self.route(&method).ok().filter(|route| route.mcp.is_some())
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_method.iter().flat_map(|by_method| &by_method.routes).chain(&self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use http::Request;
    use http::header::HOST;

    use super::*;
    use crate::route::testing::public;

    thread_local! {
        /// How many look-ups were made on this thread.
        pub(super) static LOOK_UPS: Cell<usize> = const { Cell::new(0) };
    }

    /// Routes by what is in `match`, in YAML. That is their names, too.
    fn table(routes: &[&str]) -> RouteTable {
        let matches: Vec<_> = routes.iter().map(|route| format!("match: {{ {route} }}")).collect();
        let matches: Vec<_> = matches.iter().map(String::as_str).collect();
        let named = |(route, name): (Route, &&str)| Arc::new(Route { name: (*name).into(), ..route });
        public(&matches).into_iter().zip(routes).map(named).collect()
    }

    /// Which of the routes takes a request.
    fn taken(table: &RouteTable, method: &str, host: &str, path: &str) -> String {
        let request = Request::builder().method(method).uri(path).header(HOST, host);
        let request = request.body(()).unwrap().into_parts().0;
        let target = RequestTarget::of(&request).unwrap();
        match table.find(&target, &request) {
            Ok(route) => route.name.to_string(),
            Err(Rejection::MethodNotAllowed(allow)) => format!("405 {}", allow.to_str().unwrap()),
            Err(_) => "none".to_owned(),
        }
    }

    fn found(table: &RouteTable, host: &str, path: &str) -> String {
        taken(table, "GET", host, path)
    }

    #[test]
    fn a_path_matches_on_segment_borders() {
        let table = table(&["path: /mcp"]);
        for path in ["/mcp", "/mcp/", "/mcp/x", "/mcp/x/y"] {
            assert_eq!(found(&table, "a", path), "path: /mcp", "{path}");
        }
        for path in ["/", "/mcpx", "/mc", "/x/mcp", "/MCP"] {
            assert_eq!(found(&table, "a", path), "none", "{path}");
        }
    }

    #[test]
    fn an_exact_path_is_for_itself_alone_and_goes_before_all_others() {
        let table = table(&["path: /a, exact: true", "path: /a/, exact: true", "path: /", "path: /a/b"]);
        assert_eq!(found(&table, "x", "/a"), "path: /a, exact: true");
        assert_eq!(found(&table, "x", "/a/"), "path: /a/, exact: true");
        assert_eq!(found(&table, "x", "/a/c"), "path: /");
        assert_eq!(found(&table, "x", "/a/b/c"), "path: /a/b");
        assert_eq!(found(&super::tests::table(&["path: /, exact: true"]), "x", "/a"), "none");
    }

    #[test]
    fn the_longest_path_wins_and_the_most_specific_host_goes_before() {
        let [any, any_deep, wildcard] = ["path: /", "path: /a/b", "host: '*.example', path: /a"];
        let [name, name_deep] = ["host: h.example, path: /a", "host: h.example, path: /a/b/c"];
        let table = table(&[any, any_deep, wildcard, name, name_deep]);
        assert_eq!(found(&table, "h.example", "/a/b/c/d"), name_deep);
        assert_eq!(found(&table, "h.example", "/a/b"), name);
        assert_eq!(found(&table, "h.example", "/x"), any);
        assert_eq!(found(&table, "g.example", "/a/b/c"), wildcard);
        assert_eq!(found(&table, "g.h.example", "/a/b/c"), wildcard);
        assert_eq!(found(&table, "example", "/a/b/c"), any_deep);
    }

    #[test]
    fn a_method_is_taken_where_its_path_is_or_not_at_all() {
        let [get, post] = ["path: /a, methods: [GET]", "path: /a, methods: [POST, PUT]"];
        let [site, any, delete] = ["path: /", "path: /b", "path: /b, methods: [DELETE]"];
        let table = table(&[site, get, post, any, delete]);
        assert_eq!(taken(&table, "GET", "x", "/a/c"), get);
        assert_eq!(taken(&table, "HEAD", "x", "/a"), get);
        assert_eq!(taken(&table, "PUT", "x", "/a"), post);
        assert_eq!(taken(&table, "DELETE", "x", "/a"), "405 GET, HEAD, POST, PUT");
        assert_eq!(taken(&table, "OPTIONS", "x", "/a"), "405 GET, HEAD, POST, PUT");
        assert_eq!(taken(&table, "DELETE", "x", "/b"), delete);
        assert_eq!(taken(&table, "PATCH", "x", "/b"), any);
        assert_eq!(taken(&table, "get", "x", "/a"), "405 GET, HEAD, POST, PUT");
    }

    #[test]
    fn every_spelling_of_a_path_finds_the_same_route() {
        let encoded = "path: '/caf%C3%A9:x'";
        let table = table(&["path: /", encoded]);
        for path in ["/caf%C3%A9:x", "/caf%c3%a9:x", "/caf%C3%a9%3Ax/y", "/caf%c3%a9%3ax"] {
            assert_eq!(found(&table, "x", path), encoded, "{path}");
        }
    }

    #[test]
    fn a_request_without_a_host_finds_routes_for_any_host_only() {
        let table = table(&["host: h.example", "host: '*.example'"]);
        let request = Request::get("/").version(http::Version::HTTP_10).body(()).unwrap().into_parts().0;
        assert!(table.find(&RequestTarget::of(&request).unwrap(), &request).is_err());
    }

    #[test]
    fn the_work_grows_with_the_request_and_not_with_the_routes() {
        let look_ups = |count: usize, path: &str| {
            let routes: Vec<_> = (0..count).map(|number| format!("path: /service-{number:04}/mcp")).collect();
            let table = table(&routes.iter().map(String::as_str).collect::<Vec<_>>());
            LOOK_UPS.set(0);
            found(&table, "x", path);
            LOOK_UPS.get()
        };
        for path in ["/service-0007/mcp", "/service-0007/mcp/a/b", "/elsewhere/a/b/c", "/"] {
            assert_eq!(look_ups(10, path), look_ups(2_000, path), "{path}");
            assert!(look_ups(2_000, path) <= 2 + path.matches('/').count(), "{path}");
        }
        // No further down than the longest path of a route.
        assert!(look_ups(10, &"/a".repeat(10_000)) <= 12);
    }
}

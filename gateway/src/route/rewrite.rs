//! Paths at the upstream that are others than the client's: on the way there, and back in what the upstream says of itself.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use url::{ParseError, Position, Url};

use super::Route;
use crate::forward::Changes;

/// Headers with addresses of the upstream's own, which clients go to or take things for.
const ADDRESSES: [HeaderName; 2] = [LOCATION, CONTENT_LOCATION];

/// Puts the path in place that the upstream has for what was `received`. The query stays as it came, to the byte.
pub fn request(route: &Route, received: &RequestHeader, changes: &mut Changes<'_>) {
    let target = origin_form(received);
    if route.rewrite.is_some() {
        let query = target.iter().position(|byte| *byte == b'?').and_then(|position| target.get(position..));
        let mut rewritten = at_upstream(route, received.uri.path()).into_bytes();
        rewritten.extend_from_slice(query.unwrap_or_default());
        changes.set_target(rewritten);
    } else if target != received.raw_path() {
        changes.set_target(target.to_vec());
    }
}

/// Of a whole URL only the path was decided on, and only that goes on.
fn origin_form(received: &RequestHeader) -> &[u8] {
    match received.uri.path_and_query() {
        Some(path) if !received.raw_path().starts_with(b"/") => path.as_str().as_bytes(),
        _ => received.raw_path(),
    }
}

/// The path at the upstream for `path`, as a client of `route` has it.
fn at_upstream(route: &Route, path: &str) -> String {
    let Some(rewrite) = &route.rewrite else { return path.to_owned() };
    let below = below(path, route.matches.path.reading().len());
    let moved = format!("{}{below}", rewrite.as_str());
    if moved.is_empty() { "/".to_owned() } else { moved }
}

/// What is left of `path` behind its first octets, of which there are so many once it is decoded.
fn below(path: &str, mut octets: usize) -> &str {
    let mut rest = path;
    while octets > 0 {
        let length = if rest.starts_with('%') { 3 } else { 1 };
        rest = rest.get(length..).unwrap_or_default();
        octets -= 1;
    }
    rest
}

/// Says in `answer`, which came from the upstream at `authority` to a request for `path`, where the client finds what the
/// upstream names by an address of its own. Addresses elsewhere stay as they are, and so do those at the upstream that are no
/// route's: nothing would be right in their place.
///
/// # Errors
/// When Pingora refuses a value.
pub fn answer(route: &Route, authority: &str, path: &str, answer: &mut ResponseHeader) -> pingora::Result<()> {
    for name in &ADDRESSES {
        let Some(reference) = answer.headers.get(name).and_then(|value| value.to_str().ok()) else { continue };
        if let Some(mapped) = at_client(route, authority, path, reference)
            && let Ok(value) = HeaderValue::try_from(mapped)
        {
            answer.insert_header(name, value)?;
        }
    }
    Ok(())
}

/// The `reference` of an upstream's answer as its client has to follow it; none when that is what the client would do anyway,
/// or when it is not ours to say.
fn at_client(route: &Route, authority: &str, path: &str, reference: &str) -> Option<String> {
    if route.rewrite.is_none() && is_relative(reference) {
        return None; // to the client it means the same
    }
    let base = Url::parse(&format!("http://{authority}{}", at_upstream(route, path))).ok()?;
    let url = base.join(reference).ok()?;
    // The upstream knows itself by the name we call it, and by either scheme: whether TLS is spoken is for us to know.
    let is_upstream = url.authority() == base.authority() && matches!(url.scheme(), "http" | "https");
    if !is_upstream {
        return None;
    }
    let mapped = match &route.rewrite {
        None => url.path().to_owned(),
        Some(rewrite) => {
            let rest = url.path().strip_prefix(rewrite.as_str())?;
            let is_below = rest.is_empty() || (rest.starts_with('/') && !route.matches.path.is_exact());
            let mapped = is_below.then(|| format!("{}{rest}", route.matches.path.as_str()))?;
            if mapped.is_empty() { "/".to_owned() } else { mapped }
        }
    };
    // With two slashes it would lead to another host.
    if mapped.starts_with("//") {
        return None;
    }
    Some(format!("{mapped}{}", &url[Position::AfterPath..]))
}

/// Whether a reference stays at whatever host it is followed from.
fn is_relative(reference: &str) -> bool {
    !reference.starts_with("//") && Url::parse(reference) == Err(ParseError::RelativeUrlWithoutBase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::testing::public;

    const UPSTREAM: &str = "10.0.0.5:3000";

    fn route(path: &str, exact: bool, rewrite: Option<&str>) -> Route {
        let rewrite = rewrite.map(|path| format!(", rewrite: {{ path: '{path}' }}")).unwrap_or_default();
        public(&[&format!("match: {{ path: '{path}', exact: {exact} }}{rewrite}")]).remove(0)
    }

    fn sent(route: &Route, target: &str) -> String {
        String::from_utf8_lossy(&sent_octets(route, target.as_bytes())).into_owned()
    }

    fn sent_octets(route: &Route, target: &[u8]) -> Vec<u8> {
        let received = RequestHeader::build("GET", target, None).unwrap();
        let mut changes = Changes::default();
        request(route, &received, &mut changes);
        changes.target(&received).to_vec()
    }

    #[test]
    fn the_matched_path_is_replaced_and_the_rest_stays_to_the_byte() {
        let internal = route("/mcp", false, Some("/internal/"));
        for (target, at_upstream) in [
            ("/mcp", "/internal"),
            ("/mcp/", "/internal/"),
            ("/mcp?a=%2F&b=//../%zz", "/internal?a=%2F&b=//../%zz"),
            ("/mcp/x%20y/caf%c3%a9?", "/internal/x%20y/caf%c3%a9?"),
            ("/mcp/mcp", "/internal/mcp"),
        ] {
            assert_eq!(sent(&internal, target), at_upstream, "{target}");
        }
        assert_eq!(sent(&route("/", false, Some("/internal")), "/"), "/internal/");
        assert_eq!(sent(&route("/", false, Some("/internal")), "/x"), "/internal/x");
        assert_eq!(sent(&route("/", false, None), "/x?y"), "/x?y");
        assert_eq!(sent(&route("/caf%C3%A9", false, Some("/c")), "/caf%c3%a9/x"), "/c/x");
    }

    #[test]
    fn at_the_root_of_an_upstream_no_two_slashes_come_together() {
        let root = route("/mcp", false, Some("/"));
        for (target, at_upstream) in [("/mcp", "/"), ("/mcp/", "/"), ("/mcp/x/", "/x/"), ("/mcp?a", "/?a")] {
            assert_eq!(sent(&root, target), at_upstream, "{target}");
        }
    }

    #[test]
    fn an_exact_path_is_replaced_as_a_whole() {
        assert_eq!(sent(&route("/mcp", true, Some("/v2/")), "/mcp?a"), "/v2/?a");
        assert_eq!(sent(&route("/mcp/", true, Some("/")), "/mcp/"), "/");
    }

    #[test]
    fn octets_of_a_query_that_are_no_utf_8_stay() {
        assert_eq!(sent_octets(&route("/mcp", false, Some("/internal")), b"/mcp?\xff\xfe"), b"/internal?\xff\xfe");
        assert_eq!(sent_octets(&route("/mcp", false, None), b"/mcp?\xff\xfe"), b"/mcp?\xff\xfe");
    }

    #[test]
    fn of_a_whole_url_only_the_path_goes_on() {
        assert_eq!(sent(&route("/mcp", false, None), "http://other.example/mcp/x?y"), "/mcp/x?y");
        assert_eq!(sent(&route("/mcp", false, Some("/internal")), "http://other.example/mcp/x?y"), "/internal/x?y");
    }

    fn mapped(route: &Route, path: &str, reference: &str) -> Option<String> {
        at_client(route, UPSTREAM, path, reference)
    }

    #[test]
    fn what_the_upstream_says_of_its_own_addresses_is_true_for_the_client() {
        let internal = route("/mcp", false, Some("/internal"));
        for (reference, at_client) in [
            ("/internal", "/mcp"),
            ("/internal/?a=b#c", "/mcp/?a=b#c"),
            ("http://10.0.0.5:3000/internal/x%20y", "/mcp/x%20y"),
            ("https://10.0.0.5:3000/internal/x", "/mcp/x"),
            ("//10.0.0.5:3000/internal/x", "/mcp/x"),
            ("y", "/mcp/y"),
            ("?page=2", "/mcp/x?page=2"),
            ("../internal/z", "/mcp/z"),
        ] {
            assert_eq!(mapped(&internal, "/mcp/x", reference).as_deref(), Some(at_client), "{reference}");
        }
        let root = route("/mcp", false, Some("/"));
        assert_eq!(mapped(&root, "/mcp", "/login").as_deref(), Some("/mcp/login"));
        assert_eq!(mapped(&root, "/mcp", "login").as_deref(), Some("/mcp/login"));
        let exact = route("/mcp", true, Some("/internal"));
        assert_eq!(mapped(&exact, "/mcp", "/internal?x").as_deref(), Some("/mcp?x"));
        assert_eq!(mapped(&exact, "/mcp", "/internal/x"), None);
    }

    #[test]
    fn addresses_that_are_not_the_upstreams_stay() {
        let internal = route("/mcp", false, Some("/internal"));
        for reference in [
            "/elsewhere",
            "/internalx",
            "https://login.example.com/internal",
            "http://10.0.0.5/internal",
            "mailto:a@b",
            "http://",
        ] {
            assert_eq!(mapped(&internal, "/mcp/x", reference), None, "{reference}");
        }
    }

    #[test]
    fn without_rewriting_only_the_upstreams_name_is_left_out() {
        let plain = route("/mcp", false, None);
        assert_eq!(mapped(&plain, "/mcp", "http://10.0.0.5:3000/mcp/?a").as_deref(), Some("/mcp/?a"));
        for reference in ["/mcp/", "x", "?y", "", "https://elsewhere.example/"] {
            assert_eq!(mapped(&plain, "/mcp", reference), None, "{reference}");
        }
    }

    #[test]
    fn no_address_leads_to_another_host_by_two_slashes() {
        for (route, reference) in [
            (route("/", false, None), "http://10.0.0.5:3000//evil.example/"),
            (route("/", false, None), "http://10.0.0.5:3000/\\evil.example/"),
            (route("/", false, Some("/internal")), "/internal//evil.example/"),
            (route("/", false, Some("/internal")), "/internal/\\evil.example/"),
        ] {
            assert_eq!(mapped(&route, "/x", reference), None, "{reference}");
        }
    }
}

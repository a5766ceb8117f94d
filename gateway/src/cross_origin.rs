//! Browser clients of MCP endpoints: where they may come from, and what they may see.
//!
//! A page on any site can make its visitor's browser send requests here, and to servers on the visitor's own machine and
//! network. So a request that says where it comes from (`Origin`, RFC 6454 §7) passes only if the operator knows the
//! place, as MCP's transport asks of every server. The answers carry what browsers need before they let a page read
//! them (CORS, the Fetch standard §3.2), and a preflight, which cannot carry a token, is answered before one is asked
//! for.
//!
//! Never allows credentials of the browser's own (cookies, client certificates): agents hold tokens. What an upstream
//! says of origins is replaced by what is said here.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request};

use crate::answer::Answer;
use crate::config::{Origins, ResourceIdentifier, WebOrigin};
use crate::rejection::Rejection;

/// The methods of Streamable HTTP, in any revision.
pub const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");

/// What clients of MCP send, beyond what every page may send.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Accept, DPoP, MCP-Protocol-Version, Mcp-Session-Id, \
                               Last-Event-ID, Mcp-Method, Mcp-Name";

/// What clients of MCP read, beyond what every page may read.
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, DPoP-Nonce, Retry-After");

/// What the headers begin with in which a client repeats parameters of a tool call (MCP 2026-07-28): any name may follow.
const PARAMETER_PREFIX: &str = "mcp-param-";

/// How many of those a preflight may ask for.
const MAX_PARAMETERS: usize = 64;

/// How many seconds browsers may remember the answer to a preflight. Chromium keeps it for two hours at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// What the answer to a preflight depends on.
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");

const ANY: HeaderValue = HeaderValue::from_static("*");

/// What lets any page read an answer: for what is public, and for what is not there.
pub const PUBLIC: (HeaderName, HeaderValue) = (ACCESS_CONTROL_ALLOW_ORIGIN, ANY);

/// What the browser says of a request's origin and of what it is about to send. It was for us, and is not passed on.
pub const REQUEST_FIELDS: [HeaderName; 3] = [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS];

/// Where the browser clients of an MCP endpoint may come from.
pub enum CrossOrigin {
    /// From anywhere.
    Any,
    /// From these origins.
    These(Vec<HeaderValue>),
}

/// Where a request says it comes from.
enum Source<'a> {
    /// Nowhere: it is not from a browser, or from a page of the same origin.
    Unsaid,
    /// From this origin, which may.
    Allowed(&'a HeaderValue),
    /// From elsewhere, or it cannot be told.
    Foreign,
}

impl CrossOrigin {
    /// Allows `origins`, and that of the `resource` itself, if there is one.
    pub fn new(origins: &Origins, resource: Option<&ResourceIdentifier>) -> Self {
        let Origins::These(origins) = origins else { return Self::Any };
        let own = resource.map(WebOrigin::of);
        // An origin is ASCII without spaces, so nothing is lost here.
        let as_sent = |origin: &WebOrigin| HeaderValue::from_str(origin.as_str()).ok();
        Self::These(origins.iter().chain(&own).filter_map(as_sent).collect())
    }

    /// Whether `request` may go on, as far as its origin goes; or the answer to it, if it asks what browsers ask.
    ///
    /// # Errors
    /// [`Rejection::ForeignOrigin`].
    pub fn check(&self, request: &request::Parts) -> Result<Option<Answer>, Rejection> {
        if let Source::Foreign = self.source(&request.headers) {
            return Err(Rejection::ForeignOrigin);
        }
        if request.method != Method::OPTIONS {
            return Ok(None);
        }
        if is_preflight(request) {
            return Ok(self.allowed(&request.headers).map(|allowed| preflight(request, allowed, METHODS)));
        }
        let headers = [(ALLOW, METHODS)].into_iter().chain(self.fields(&request.headers)).collect();
        Ok(Some(Answer { status: StatusCode::METHOD_NOT_ALLOWED, headers, body: Bytes::new() }))
    }

    /// What has to be added to the answer to a request with these headers, so that browsers let the right pages read it.
    pub fn fields(&self, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = vec![(VARY, HeaderValue::from_static("Origin"))];
        if let Some(allowed) = self.allowed(request) {
            fields.push((ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
            fields.push((ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS));
        }
        fields
    }

    /// Who may read the answer to a request with these headers.
    fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        match (self, self.source(request)) {
            (_, Source::Unsaid | Source::Foreign) => None,
            (Self::Any, Source::Allowed(_)) => Some(ANY),
            (Self::These(_), Source::Allowed(origin)) => Some(origin.clone()),
        }
    }

    fn source<'a>(&self, request: &'a HeaderMap) -> Source<'a> {
        let mut origins = request.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return Source::Unsaid,
            (Some(origin), None) => origin,
            (Some(_), Some(_)) => return Source::Foreign,
        };
        let is_allowed = match self {
            Self::Any => origin.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && *byte != b','),
            // To the letter: browsers write an origin in one way.
            Self::These(origins) => origins.contains(origin),
        };
        if is_allowed { Source::Allowed(origin) } else { Source::Foreign }
    }
}

/// Whether a header of an upstream's answer says what is said here in its place.
pub fn is_superseded(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-")
}

/// The answer to a preflight for one of our public documents, which any page may read; none when `request` is no
/// preflight.
pub fn preflight_of_document(request: &request::Parts) -> Option<Answer> {
    is_preflight(request).then(|| preflight(request, ANY, HeaderValue::from_static("GET")))
}

/// The method of the request that a preflight asks about; none when `request` is no preflight.
pub fn preflighted(request: &request::Parts) -> Option<Method> {
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| is_preflight(request))?;
    Method::from_bytes(method.as_bytes()).ok()
}

fn is_preflight(request: &request::Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(request: &request::Parts, allowed: HeaderValue, methods: HeaderValue) -> Answer {
    let headers = vec![
        (ACCESS_CONTROL_ALLOW_ORIGIN, allowed),
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(&request.headers)),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        (VARY, PREFLIGHT_VARY),
    ];
    Answer { status: StatusCode::NO_CONTENT, headers, body: Bytes::new() }
}

/// What clients of MCP send, and those of the requested headers whose names only the tool called knows.
fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    let requested =
        request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().flat_map(|list| list.as_bytes().split(is_comma));
    let mut parameters: Vec<HeaderName> = Vec::new();
    for name in requested.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()) {
        let is_new = name.as_str().starts_with(PARAMETER_PREFIX) && !parameters.contains(&name);
        if is_new && parameters.len() < MAX_PARAMETERS {
            parameters.push(name);
        }
    }
    let mut allowed = REQUEST_HEADERS.to_owned();
    for name in &parameters {
        allowed.push_str(", ");
        allowed.push_str(name.as_str());
    }
    HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(REQUEST_HEADERS))
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSPECTOR: &str = "https://inspector.example.com";

    fn known() -> CrossOrigin {
        let origins = Origins::These(vec![INSPECTOR.parse().unwrap()]);
        CrossOrigin::new(&origins, Some(&"https://mcp.example.com/mcp".parse().unwrap()))
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> request::Parts {
        let builder = request::Request::builder().method(method).uri("/mcp");
        let add = |builder: request::Builder, (name, value): &(&str, &str)| builder.header(*name, value.as_bytes());
        headers.iter().fold(builder, add).body(()).unwrap().into_parts().0
    }

    /// The answer's headers by name, each of which must occur once.
    fn preflight_with(cross_origin: &CrossOrigin, origin: &str, requested: &[&str]) -> HeaderMap {
        let mut headers = vec![("origin", origin), ("access-control-request-method", "POST")];
        headers.extend(requested.iter().map(|list| ("access-control-request-headers", *list)));
        let answer = cross_origin.check(&request("OPTIONS", &headers)).unwrap().unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let count = answer.headers.len();
        let headers: HeaderMap = answer.headers.into_iter().collect();
        assert_eq!(headers.len(), count);
        headers
    }

    #[test]
    fn known_origins_and_the_resources_own_pass_and_so_does_who_names_none() {
        for origin in [INSPECTOR, "https://mcp.example.com"] {
            let request = request("POST", &[("origin", origin)]);
            assert!(matches!(known().check(&request), Ok(None)), "{origin}");
            let fields: HeaderMap = known().fields(&request.headers).into_iter().collect();
            assert_eq!(fields[ACCESS_CONTROL_ALLOW_ORIGIN], origin);
            assert_eq!(fields[VARY], "Origin");
            assert_eq!(fields.get("access-control-allow-credentials"), None);
        }
        let unsaid = request("POST", &[]);
        assert!(matches!(known().check(&unsaid), Ok(None)));
        assert_eq!(known().fields(&unsaid.headers), [(VARY, HeaderValue::from_static("Origin"))]);
    }

    #[test]
    fn any_other_origin_is_foreign_however_it_is_spelled() {
        for origin in [
            "https://evil.example",
            "null",
            "",
            "*",
            "http://inspector.example.com",
            "https://inspector.example.com:443",
            "https://inspector.example.com:8443",
            "https://inspector.example.com/",
            "https://inspector.example.com.evil.example",
            "https://INSPECTOR.example.com",
            "https://inspector.example.com, https://evil.example",
            "https://inspector.example.com https://mcp.example.com",
            "https://inspect\u{f6}r.example.com",
        ] {
            for method in ["GET", "POST", "DELETE", "OPTIONS"] {
                let request = request(method, &[("origin", origin), ("access-control-request-method", "POST")]);
                assert!(matches!(known().check(&request), Err(Rejection::ForeignOrigin)), "{method} {origin}");
                assert_eq!(known().fields(&request.headers).len(), 1, "{origin}");
            }
        }
        let twice = request("POST", &[("origin", INSPECTOR), ("origin", INSPECTOR)]);
        assert!(matches!(known().check(&twice), Err(Rejection::ForeignOrigin)));
    }

    #[test]
    fn where_any_origin_may_none_is_named_in_answers() {
        let any = CrossOrigin::new(&Origins::Any, None);
        for origin in ["https://anywhere.example", "null"] {
            assert_eq!(preflight_with(&any, origin, &[])[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            let fields: HeaderMap = any.fields(&request("GET", &[("origin", origin)]).headers).into_iter().collect();
            assert_eq!(fields[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        }
        for origin in ["https://a.example https://b.example", "https://a.example,null", "https://\u{e9}.example"] {
            let request = request("POST", &[("origin", origin)]);
            assert!(matches!(any.check(&request), Err(Rejection::ForeignOrigin)), "{origin}");
        }
    }

    #[test]
    fn a_preflight_allows_what_clients_of_mcp_send() {
        let answer = preflight_with(&known(), INSPECTOR, &["authorization,content-type,mcp-protocol-version"]);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], INSPECTOR);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, DELETE");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_HEADERS], REQUEST_HEADERS);
        assert_eq!(answer[ACCESS_CONTROL_MAX_AGE], "7200");
        assert_eq!(answer[VARY], "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    }

    #[test]
    fn a_preflight_allows_parameters_by_whatever_name_but_nothing_else_that_is_asked_for() {
        let lists =
            ["Mcp-Param-Region, x-custom,mcp-param-a b", "mcp-param-region,mcp-param-\u{e9}, cookie ,mcp-param-t!"];
        let allowed = preflight_with(&known(), INSPECTOR, &lists)[ACCESS_CONTROL_ALLOW_HEADERS].clone();
        assert_eq!(allowed, format!("{REQUEST_HEADERS}, mcp-param-region, mcp-param-t!"));
    }

    #[test]
    fn what_a_preflight_can_ask_for_is_bounded() {
        let list = (0..1000).map(|number| format!("mcp-param-{number}")).collect::<Vec<_>>().join(",");
        let allowed = preflight_with(&known(), INSPECTOR, &[&list])[ACCESS_CONTROL_ALLOW_HEADERS].clone();
        assert_eq!(allowed.to_str().unwrap().matches("mcp-param-").count(), MAX_PARAMETERS);
    }

    #[test]
    fn options_that_are_no_preflight_are_no_method_of_an_endpoint() {
        for headers in [&[][..], &[("origin", INSPECTOR)], &[("access-control-request-method", "POST")]] {
            let answer = known().check(&request("OPTIONS", headers)).unwrap().unwrap();
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
            assert!(answer.headers.contains(&(ALLOW, METHODS)), "{headers:?}");
        }
    }

    #[test]
    fn a_document_may_be_read_by_any_page() {
        let asked = [("origin", "https://anywhere.example"), ("access-control-request-method", "GET")];
        let answer = preflight_of_document(&request("OPTIONS", &asked)).unwrap();
        assert!(answer.headers.contains(&(ACCESS_CONTROL_ALLOW_ORIGIN, ANY)));
        assert!(preflight_of_document(&request("OPTIONS", &asked[..1])).is_none());
        assert!(preflight_of_document(&request("GET", &asked)).is_none());
    }

    #[test]
    fn what_an_upstream_says_of_origins_is_superseded() {
        for name in ["access-control-allow-origin", "access-control-allow-credentials", "access-control-max-age"] {
            assert!(is_superseded(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["vary", "content-type", "mcp-session-id"] {
            assert!(!is_superseded(&HeaderName::from_static(name)), "{name}");
        }
    }
}

//! ② Whom a request is for: host and path, read in one way or refused.
//!
//! What two programs could read differently (`//`, `/../`, `%2f`, `;`, a second `Host`) is how a request gets past a rule
//! that was written for its other reading. Nothing is normalised here: what needs it is refused.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST};
use http::{Method, Version, request};

use crate::rejection::{MalformedRequest, Rejection};

/// The host and path of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestTarget<'request> {
    /// In lower case, without port; none in HTTP/1.0 requests that name none.
    pub host: Option<Cow<'request, str>>,
    /// As it came.
    pub path: &'request str,
}

impl<'request> RequestTarget<'request> {
    /// Reads the target of `request`.
    ///
    /// # Errors
    /// [`MalformedRequest`] for what could be read in two ways.
    pub fn of(request: &'request request::Parts) -> Result<Self, Rejection> {
        // TRACE would show the agent what the upstream was sent (RFC 9110 §9.3.8), our JWT included.
        if request.method == Method::TRACE {
            return Err(MalformedRequest::Method.into());
        }
        check_length(request)?;
        let path = request.uri.path();
        check_path(path)?;
        Ok(Self { host: host(request)?, path })
    }
}

/// Refuses a target that is neither a path nor a whole URL (RFC 9112 §3.2): of such a one, `GET mcp`, Pingora gives us
/// the path `/` and would send upstream what came.
///
/// # Errors
/// [`MalformedRequest`].
pub fn check_form(target: &[u8]) -> Result<(), MalformedRequest> {
    let is_url = |scheme: &str| target.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme.as_bytes()));
    let known = target.starts_with(b"/") || is_url("http://") || is_url("https://");
    known.then_some(()).ok_or(MalformedRequest::Path)
}

/// Refuses a length that is said twice, even when it is the same (RFC 9112 §6.3): Pingora would pass both on.
fn check_length(request: &request::Parts) -> Result<(), MalformedRequest> {
    let mut lengths = request.headers.get_all(CONTENT_LENGTH).iter();
    let (first, second) = (lengths.next(), lengths.next());
    let is_number = first.is_none_or(|length| length.as_bytes().iter().all(u8::is_ascii_digit));
    (second.is_none() && is_number).then_some(()).ok_or(MalformedRequest::Http)
}

/// The host from `Host` or the request's own URI (RFC 9112 §3.2, RFC 9113 §8.3.1); both may be there when they agree.
fn host(request: &request::Parts) -> Result<Option<Cow<'_, str>>, MalformedRequest> {
    let mut fields = request.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => Some(field.to_str().map_err(|_| MalformedRequest::Host)?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(MalformedRequest::Host),
    };
    let authority = request.uri.authority().map(|authority| authority.as_str());
    let host = match (field, authority) {
        (Some(field), Some(authority)) if !field.eq_ignore_ascii_case(authority) => return Err(MalformedRequest::Host),
        (None, None) if request.version == Version::HTTP_11 => return Err(MalformedRequest::Host),
        (field, authority) => field.or(authority),
    };
    host.map(without_port).transpose()
}

fn without_port(authority: &str) -> Result<Cow<'_, str>, MalformedRequest> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            if !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(MalformedRequest::Host);
            }
            host
        }
        _ => authority,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(MalformedRequest::Host);
    }
    let has_upper_case = host.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if has_upper_case { host.to_ascii_lowercase().into() } else { host.into() })
}

/// Refuses a path that could be read in two ways: not in the normal form of RFC 3986 §6.2.2, or with characters that
/// some servers take for separators.
pub(crate) fn check_path(path: &str) -> Result<(), MalformedRequest> {
    let Some(segments) = path.strip_prefix('/') else { return Err(MalformedRequest::Path) };
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !is_last) || !is_plain(segment) {
            return Err(MalformedRequest::Path);
        }
    }
    Ok(())
}

/// Whether a path segment has one reading: no separators in disguise, nothing encoded that needs no encoding.
fn is_plain(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| char::from(digit.unwrap_or(b'!')).to_digit(16));
                let [Some(high), Some(low)] = digits else { return false };
                let decoded = u8::try_from(high * 16 + low).unwrap_or(b'/');
                let is_unreserved = decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded);
                if is_unreserved || decoded.is_ascii_control() || b"/\\;%?#".contains(&decoded) {
                    return false;
                }
            }
            b'\\' | b';' | b'#' => return false,
            byte if !byte.is_ascii_graphic() => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(builder: request::Builder) -> request::Parts {
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_target_is_a_path_or_a_whole_url() {
        for target in ["/", "/mcp", "http://a/mcp", "HTTPS://a"] {
            assert_eq!(check_form(target.as_bytes()), Ok(()), "{target}");
        }
        for target in ["", "mcp", "?a", "*", "a:80", "ftp://a/mcp", "http:/mcp"] {
            assert_eq!(check_form(target.as_bytes()), Err(MalformedRequest::Path), "{target}");
        }
    }

    fn host_of(builder: request::Builder) -> Result<Option<String>, MalformedRequest> {
        host(&parts(builder)).map(|host| host.map(Cow::into_owned))
    }

    #[test]
    fn plain_paths_pass() {
        for path in [
            "/",
            "/mcp",
            "/mcp/",
            "/a/b.c/d-e_f~g",
            "/caf%C3%A9",
            "/a%20b",
            "/a:b@c!$&'()*+,=",
            "/..a/b..",
            "/.well-known/x",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "mcp",
            "*",
            "//",
            "//mcp",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/..",
            "/.",
            "/a/..",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;x",
            "/a%3bx",
            "/a%23",
            "/a%3f",
            "/a%00",
            "/a%0a",
            "/a%7f",
            "/%2e%2e/b",
            "/.%2e/b",
            "/a%25b",
            "/%61dmin",
            "/a%4",
            "/a%",
            "/a%zz",
            "/é",
            "/a b",
        ] {
            assert_eq!(check_path(path), Err(MalformedRequest::Path), "{path}");
        }
    }

    #[test]
    fn the_host_is_lower_case_without_port() {
        let request = |host: &str| host_of(request::Request::get("/").header(HOST, host));
        assert_eq!(request("MCP.Example.com:8080"), Ok(Some("mcp.example.com".into())));
        assert_eq!(request("[::1]:8080"), Ok(Some("[::1]".into())));
        assert_eq!(request("[::1]"), Ok(Some("[::1]".into())));
        for bad in ["", "a b", "user@host", "a,b", "a/b", "host:80x", ":80", "a%2fb"] {
            assert_eq!(request(bad), Err(MalformedRequest::Host), "{bad}");
        }
    }

    #[test]
    fn rfc9112_s3_2_exactly_one_host() {
        let two = request::Request::get("/").header(HOST, "a.example").header(HOST, "a.example");
        assert_eq!(host_of(two), Err(MalformedRequest::Host));
        assert_eq!(host_of(request::Request::get("/")), Err(MalformedRequest::Host));
        assert_eq!(host_of(request::Request::get("/").version(Version::HTTP_10)), Ok(None));
    }

    #[test]
    fn a_uri_with_a_host_must_agree_with_the_field() {
        let both = |field: &str| host_of(request::Request::get("http://a.example/x").header(HOST, field));
        assert_eq!(both("A.example"), Ok(Some("a.example".into())));
        assert_eq!(both("b.example"), Err(MalformedRequest::Host));
        let authority_alone = request::Request::get("http://a.example:81/x").version(Version::HTTP_2);
        assert_eq!(host_of(authority_alone), Ok(Some("a.example".into())));
    }

    #[test]
    fn trace_is_refused() {
        let request = parts(request::Request::builder().method(Method::TRACE).uri("/").header(HOST, "a"));
        assert!(matches!(RequestTarget::of(&request), Err(Rejection::MalformedRequest(MalformedRequest::Method))));
    }
}

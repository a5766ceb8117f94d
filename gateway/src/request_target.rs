//! ② Whom a request is for: host and path, read in one way or refused.
//!
//! What two programs could read differently (`//`, `/../`, `%2f`, `;`, a second `Host`) is how a request gets past a rule
//! that was written for its other reading. Such a request is refused, and so is what only a server that is lenient in some
//! way would read otherwise: overlong UTF-8, characters that some take for a slash, `example.com.`, `0x7f.1`. What is left
//! has one reading, which routes are compared with; the path goes on as it came.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

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
    /// The path decoded. Two paths with the same reading are the same to most servers.
    pub reading: Cow<'request, str>,
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
        Ok(Self { host: host(request)?, path, reading: read_path(path)? })
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
    host.map(|authority| read_host(without_port(authority)?)).transpose()
}

/// The longest host: that of a name (RFC 1035 §2.3.4). An address is shorter.
const LONGEST_HOST: usize = 253;

/// What stands before the port (RFC 3986 §3.2.3), which may be empty. Colons within a host are those of an IPv6 address.
fn without_port(authority: &str) -> Result<&str, MalformedRequest> {
    let end_of_address = if authority.starts_with('[') { authority.find(']') } else { None };
    let port_begins = match end_of_address {
        Some(end) => end + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(port_begins).ok_or(MalformedRequest::Host)?;
    let digits = match port.strip_prefix(':') {
        Some(digits) => digits,
        None if port.is_empty() => "",
        None => return Err(MalformedRequest::Host),
    };
    let is_port =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok());
    is_port.then_some(host).ok_or(MalformedRequest::Host)
}

/// A host in the one form it is compared in: lower case, IPv6 addresses as RFC 5952 has them. Refused is what some take for
/// another host: an empty label (and so the dot at the end of a name), and IPv4 addresses in other forms than `192.0.2.1`.
///
/// # Errors
/// [`MalformedRequest::Host`].
pub(crate) fn read_host(host: &str) -> Result<Cow<'_, str>, MalformedRequest> {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        let canonical = format!("[{}]", address.ok_or(MalformedRequest::Host)?);
        return Ok(if canonical == host { host.into() } else { canonical.into() });
    }
    let is_in_order = |label: &[u8]| !label.is_empty() && label.iter().copied().all(is_part_of_a_name);
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_name = host.len() <= LONGEST_HOST && host.as_bytes().split(|byte| *byte == b'.').all(is_in_order);
    if !is_name || (is_number(last) && host.parse::<Ipv4Addr>().is_err()) {
        return Err(MalformedRequest::Host);
    }
    let has_upper_case = host.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if has_upper_case { host.to_ascii_lowercase().into() } else { host.into() })
}

fn is_part_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~')
}

/// Whether a host that ends with this label is an IPv4 address to browsers (the URL standard, "ends in a number checker").
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// A path as it reads once decoded. Refused is what could be read in two ways: what is not in the normal form of RFC 3986
/// §6.2.2 (but for the case of hexadecimal digits), and what some servers take for separators.
///
/// # Errors
/// [`MalformedRequest::Path`].
pub(crate) fn read_path(path: &str) -> Result<Cow<'_, str>, MalformedRequest> {
    if !path.starts_with('/') || !is_plain(path) {
        return Err(MalformedRequest::Path);
    }
    let reading = if path.contains('%') { decode(path)?.into() } else { Cow::Borrowed(path) };
    let mut segments = reading.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        // Of dots alone, or of what is cut off beside them: a step upwards, to some.
        let is_step = segment.bytes().all(|byte| matches!(byte, b'.' | b' '));
        if is_step && !(segment.is_empty() && is_last) {
            return Err(MalformedRequest::Path);
        }
    }
    Ok(reading)
}

/// Whether a path has no separators in disguise and nothing encoded that needs no encoding.
fn is_plain(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let Some(decoded) = octet([bytes.next(), bytes.next()]) else { return false };
                let is_unreserved = decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded);
                if is_unreserved || decoded.is_ascii_control() || b"/\\;%?#".contains(&decoded) {
                    return false;
                }
            }
            b'\\' | b';' | b'#' | b'?' => return false,
            byte if !byte.is_ascii_graphic() => return false,
            _ => {}
        }
    }
    true
}

/// The octet that two hexadecimal digits stand for.
fn octet(digits: [Option<u8>; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit?).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

/// A plain path, decoded. RFC 3986 §2.5 has UTF-8 for characters; what is none, overlong forms of a slash or a dot among
/// them, is refused.
fn decode(path: &str) -> Result<String, MalformedRequest> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { octet([bytes.next(), bytes.next()]) } else { Some(byte) };
        decoded.push(byte.ok_or(MalformedRequest::Path)?);
    }
    let text = String::from_utf8(decoded).map_err(|_| MalformedRequest::Path)?;
    if text.is_ascii() || !text.chars().any(is_deceptive) { Ok(text) } else { Err(MalformedRequest::Path) }
}

/// Whether servers that normalise Unicode (NFKC), or turn it into a smaller character set, may make this one of ASCII that
/// counts in a path: a separator, a dot, a letter or a digit; or nothing at all.
fn is_deceptive(character: char) -> bool {
    match character {
        _ if character.is_control() => true,
        // slashes and backslashes
        '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}' | '\u{fe68}' | '\u{ff0f}'
        | '\u{ff3c}' => true,
        // ℀ ℁ ℅ ℆, which have one in them
        '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}' => true,
        // dots, one to three
        '\u{2024}'..='\u{2026}' | '\u{fe19}' | '\u{fe30}' | '\u{fe52}' | '\u{ff0e}' => true,
        // ; ? # %
        '\u{37e}' | '\u{fe14}' | '\u{fe16}' | '\u{fe54}' | '\u{fe56}' | '\u{fe5f}' | '\u{fe6a}' => true,
        '\u{ff03}' | '\u{ff05}' | '\u{ff1b}' | '\u{ff1f}' => true,
        // full width digits and letters
        '\u{ff10}'..='\u{ff19}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => true,
        // what cannot be seen
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        _ => false,
    }
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
            assert!(read_path(path).is_ok(), "{path}");
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
            "/...",
            "/a/..../b",
            "/a/..%20/b",
            "/a/%20./b",
            "/%20/b",
            "/a?b",
            "/a%20/%20",
        ] {
            assert_eq!(read_path(path), Err(MalformedRequest::Path), "{path}");
        }
    }

    #[test]
    fn rfc3986_s6_2_2_1_hexadecimal_digits_and_what_need_not_be_encoded_read_alike() {
        for path in ["/caf%C3%A9:(x)", "/caf%c3%a9:(x)", "/caf%C3%a9%3A%28x%29", "/caf%C3%A9%3a(x)"] {
            assert_eq!(read_path(path).unwrap(), "/caf\u{e9}:(x)", "{path}");
        }
        assert!(matches!(read_path("/mcp/a:b"), Ok(Cow::Borrowed(_))), "nothing is copied where nothing is encoded");
    }

    #[test]
    fn rfc3629_s3_what_is_no_utf_8_is_refused() {
        for path in
            ["/a%c0%afb", "/%c0%ae%c0%ae/b", "/a%e0%80%afb", "/a%f0%80%80%afb", "/%c1%9c", "/%ff", "/%C3", "/%ed%a0%80"]
        {
            assert_eq!(read_path(path), Err(MalformedRequest::Path), "{path}");
        }
    }

    #[test]
    fn characters_that_some_take_for_ascii_are_refused() {
        for character in "\u{ff0f}\u{ff3c}\u{ff0e}\u{2215}\u{2044}\u{2025}\u{ff1b}\u{ff4d}\u{ff05}\u{200b}\u{ad}\u{feff}\u{85}\u{2028}".chars() {
            let encoded: String = character.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
            assert_eq!(read_path(&format!("/a{encoded}b")), Err(MalformedRequest::Path), "{encoded}");
        }
        for text in ["\u{6771}\u{4eac}\u{ff08}", "na\u{ef}ve", "\u{1f600}", "\u{430}"] {
            let encode = |byte: u8| if byte.is_ascii() { char::from(byte).into() } else { format!("%{byte:02X}") };
            let encoded: String = text.bytes().map(encode).collect();
            assert_eq!(read_path(&format!("/{encoded}")).unwrap(), format!("/{text}"));
        }
    }

    #[test]
    fn the_host_is_lower_case_without_port() {
        let request = |host: &str| host_of(request::Request::get("/").header(HOST, host));
        assert_eq!(request("MCP.Example.com:8080"), Ok(Some("mcp.example.com".into())));
        assert_eq!(request("[::1]:8080"), Ok(Some("[::1]".into())));
        assert_eq!(request("[::1]"), Ok(Some("[::1]".into())));
        assert_eq!(request("a.example:"), Ok(Some("a.example".into())));
        assert_eq!(request("[0:0:0:0:0:0:0:1]"), Ok(Some("[::1]".into())));
        assert_eq!(request("[2001:DB8::a]:443"), Ok(Some("[2001:db8::a]".into())));
        assert_eq!(request("192.0.2.1:80"), Ok(Some("192.0.2.1".into())));
        assert_eq!(request("xn--bcher-kva.example"), Ok(Some("xn--bcher-kva.example".into())));
        for bad in [
            "",
            "a b",
            "user@host",
            "a,b",
            "a/b",
            "host:80x",
            ":80",
            "a%2fb",
            "host:80:80",
            "host:65536",
            "a\\b",
            "*.a",
        ] {
            assert_eq!(request(bad), Err(MalformedRequest::Host), "{bad}");
        }
    }

    #[test]
    fn what_some_take_for_another_host_is_refused() {
        let longest = format!("{}.example", "a".repeat(LONGEST_HOST - 8));
        assert!(read_host(&longest).is_ok());
        for bad in [
            "a.example.",
            ".a.example",
            "a..example",
            ".",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[]",
            "[::1%25eth0]",
            "[v1.a]",
            "[127.0.0.1]",
            "2130706433",
            "0x7f000001",
            "0x7F.1",
            "127.1",
            "127.0.0.01",
            "0177.0.0.1",
            "256.0.0.1",
            "a.0x",
            "a.example.1",
            &format!("a{longest}"),
        ] {
            let outcome = host_of(request::Request::get("/").header(HOST, bad));
            assert_eq!(outcome, Err(MalformedRequest::Host), "{bad}");
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

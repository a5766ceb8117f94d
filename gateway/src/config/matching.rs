//! Which requests a route is for: hosts, paths and methods, as patterns.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::{HeaderValue, Method};

use crate::request_target;

/// The requests a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMatch {
    /// The hosts.
    pub host: HostPattern,
    /// The paths.
    pub path: PathPattern,
    /// The methods; all when there are none.
    pub methods: Option<MethodSet>,
}

/// A host name or IP address as it stands in a `Host` header, in lower case and without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    /// The name. An IPv6 address is in brackets, and in the form of RFC 5952.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// All of them.
    Any,
    /// All names below this one, at any depth, and not the name itself: `*.example.com`.
    Below(HostName),
    /// This one.
    Exactly(HostName),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("*"),
            Self::Below(host) => write!(formatter, "*.{}", host.0),
            Self::Exactly(host) => formatter.write_str(&host.0),
        }
    }
}

impl FromStr for HostPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("*.") {
            None if text == "*" => Err("stands for any host; leave it out"),
            None => text.parse().map(Self::Exactly),
            Some(name) => match name.parse::<HostName>()? {
                host if host.is_address() => Err("is an address, which has no names below it"),
                host => Ok(Self::Below(host)),
            },
        }
    }
}

impl HostName {
    fn is_address(&self) -> bool {
        self.0.starts_with('[') || self.0.parse::<std::net::Ipv4Addr>().is_ok()
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        if has_port {
            return Err("has a port; leave it out, a route is for a host on all listeners");
        }
        if text.contains('*') {
            return Err("has a wildcard that is not its whole first label; write one such as *.example.com");
        }
        let host = match url::Host::parse(text).map_err(|_| "is no host name")? {
            url::Host::Ipv6(address) => format!("[{address}]"),
            host => host.to_string(),
        };
        // Routes are compared with hosts that have passed the same check: one it refuses would never match.
        match request_target::read_host(&host) {
            Ok(read) => Ok(Self(read.into_owned())),
            Err(_) => Err("could be read in two ways; requests for it are refused"),
        }
    }
}

/// Which paths a route is for. Paths are compared as they read once decoded, so that `%C3%A9`, `%c3%a9` and, where a
/// server takes them for the same, `%3A` and `:` are no ways around a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    written: String,
    reading: String,
    is_exact: bool,
}

impl PathPattern {
    /// The pattern for `text` alone, to the letter.
    ///
    /// # Errors
    /// Why there can be no request for it.
    pub fn exactly(text: &str) -> Result<Self, &'static str> {
        let reading = read_path(text)?.into_owned();
        Ok(Self { written: text.to_owned(), reading, is_exact: true })
    }

    /// The pattern for `text` and everything below it; `/` stands for everything.
    ///
    /// # Errors
    /// Why there can be no request for it.
    pub fn below(text: &str) -> Result<Self, &'static str> {
        let reading = read_path(text)?;
        let without_slash = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        Ok(Self { written: without_slash(text), reading: without_slash(&reading), is_exact: false })
    }

    /// The path as it is written; what is below it too has no slash at its end, and `/` is empty.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The same, decoded.
    pub fn reading(&self) -> &str {
        &self.reading
    }

    /// Whether it is for that path alone.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.written.is_empty() { "/" } else { &self.written })
    }
}

/// Reads a path of the configuration as requests are read: one that is refused there would never match.
fn read_path(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !text.starts_with('/') {
        return Err("must begin with a slash");
    }
    if text.contains('?') {
        return Err("has a query; routes are found by paths alone");
    }
    request_target::read_path(text).map_err(|_| "could be read in two ways; requests for it are refused")
}

/// Methods, each once. Where GET is, HEAD is too (RFC 9110 §9.3.2), unless it was said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodSet(Vec<Method>);

impl MethodSet {
    /// These methods, and HEAD with GET.
    pub fn with_head(methods: impl IntoIterator<Item = Method>) -> Self {
        let with_head = |method: Method| {
            let head = (method == Method::GET).then_some(Method::HEAD);
            [method].into_iter().chain(head)
        };
        Self::these(methods.into_iter().flat_map(with_head))
    }

    /// These methods and no others.
    pub fn these(methods: impl IntoIterator<Item = Method>) -> Self {
        let mut set = Vec::new();
        for method in methods {
            if !set.contains(&method) {
                set.push(method);
            }
        }
        Self(set)
    }

    /// Whether `method` is one of them.
    pub fn contains(&self, method: &Method) -> bool {
        self.0.contains(method)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.iter()
    }

    /// The first that `other` has too.
    pub fn shared_with(&self, other: &Self) -> Option<&Method> {
        self.0.iter().find(|method| other.contains(method))
    }

    /// The value of `Allow` (RFC 9110 §10.2.1).
    pub fn to_header(&self) -> HeaderValue {
        let names: Vec<_> = self.0.iter().map(Method::as_str).collect();
        // A method is a token, and a token fits into a header.
        HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<String, &'static str> {
        text.parse::<HostPattern>().map(|pattern| pattern.to_string())
    }

    #[test]
    fn a_host_is_lower_case_and_has_no_port() {
        assert_eq!(host("MCP.Example.com"), Ok("mcp.example.com".into()));
        assert_eq!(host("[0:0::1]"), Ok("[::1]".into()));
        assert_eq!(host("[::ffff:192.0.2.1]"), Ok("[::ffff:192.0.2.1]".into()));
        assert_eq!(host("b\u{fc}cher.example"), Ok("xn--bcher-kva.example".into()));
        for bad in ["example.com:80", "a b", "example.com.", "a..example", "", "::1", "*"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_is_the_whole_first_label_of_a_name() {
        assert_eq!(host("*.Example.com"), Ok("*.example.com".into()));
        assert_eq!(host("*.internal"), Ok("*.internal".into()));
        for bad in ["*example.com", "a.*.com", "*.*.com", "a*.example.com", "*.", "*.10.0.0.1", "*.[::1]", "*.com:80"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_one_that_requests_may_have() {
        let below = |text: &str| PathPattern::below(text).map(|path| path.as_str().to_owned());
        let exactly = |text: &str| PathPattern::exactly(text).map(|path| path.as_str().to_owned());
        assert_eq!((below("/"), exactly("/")), (Ok(String::new()), Ok("/".into())));
        assert_eq!((below("/mcp/"), exactly("/mcp/")), (Ok("/mcp".into()), Ok("/mcp/".into())));
        assert_eq!(PathPattern::below("/caf%C3%A9/").unwrap().reading(), "/caf\u{e9}");
        for bad in ["mcp", "", "/a//b", "/a/../b", "/a%2fb", "//", "/a?b", "/caf\u{e9}", "/%C3"] {
            assert!(below(bad).is_err() && exactly(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rfc9110_s9_3_2_head_goes_with_get() {
        let set = MethodSet::with_head([Method::GET, Method::POST, Method::GET, Method::HEAD]);
        assert_eq!(set.to_header(), "GET, HEAD, POST");
        assert!(set.contains(&Method::HEAD) && !set.contains(&Method::PUT));
        assert_eq!(set.shared_with(&MethodSet::these([Method::PUT, Method::POST])), Some(&Method::POST));
        assert_eq!(MethodSet::these([Method::GET]).to_header(), "GET");
    }
}

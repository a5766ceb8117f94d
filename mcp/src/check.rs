//! What the headers of a request say beside its body, checked against it (2026-07-28, Streamable HTTP, request metadata and
//! server validation).
//!
//! Headers are never believed, only compared: a server behind, or a balancer before it, may act on them. Before 2026-07-28
//! they are not required, but where they stand they are compared all the same.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;

use crate::message::{Malformed, Message, Messages, Subject};
use crate::revision::Revision;

/// The header with the revision.
const VERSION: &str = "mcp-protocol-version";
/// The header with the method.
const METHOD: &str = "mcp-method";
/// The header with the name or URI of what the method is about.
const NAME: &str = "mcp-name";

/// Why a request is refused before it is asked who may make it. Always with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The body, or the body in this revision.
    #[error("the message is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// This header contradicts the body, or is missing, or cannot be read.
    #[error("the header {0} is missing, or cannot be read, or contradicts the body")]
    HeaderMismatch(&'static str),
    /// The revision asked for, which is none of those allowed. Visible ASCII, and not long.
    #[error("the protocol version {0:?} is not supported")]
    UnsupportedVersion(String),
}

impl Refused {
    /// The code of the JSON-RPC error.
    pub fn code(&self) -> i32 {
        match self {
            Self::Malformed(malformed) => malformed.code(),
            Self::HeaderMismatch(_) => -32020,
            Self::UnsupportedVersion(_) => -32022,
        }
    }
}

/// The revision a POST is of, with all that its headers say checked against its body.
///
/// # Errors
/// [`Refused`].
pub fn check(headers: &HeaderMap, messages: &Messages, allowed: &[Revision]) -> Result<Revision, Refused> {
    let header = header(headers, VERSION)?;
    if messages.iter().any(|message| message.meta_version().is_some_and(|version| Some(version) != header)) {
        return Err(Refused::HeaderMismatch(VERSION));
    }
    let revision = match header {
        Some(version) => named(version, allowed)?,
        None => unnamed(messages, allowed)?,
    };
    match messages.single() {
        Some(message) => check_message(headers, message, revision)?,
        None => check_batch(headers, revision)?,
    }
    Ok(revision)
}

/// The revision a GET or DELETE is of, which have no body; none when it does not say.
///
/// # Errors
/// [`Refused`], when it says one that is not allowed.
pub fn check_version_header(headers: &HeaderMap, allowed: &[Revision]) -> Result<Option<Revision>, Refused> {
    header(headers, VERSION)?.map(|version| named(version, allowed)).transpose()
}

fn check_message(headers: &HeaderMap, message: &Message, revision: Revision) -> Result<(), Refused> {
    let is_required = revision.is_stateless() && message.is_request();
    if revision.is_stateless() && message.method().is_none() {
        return Err(Malformed::JsonRpc.into()); // there are no requests of the server that it could answer
    }
    if is_required && message.meta_version().is_none() {
        return Err(Malformed::Meta.into());
    }
    compare(METHOD, header(headers, METHOD)?, message.method(), is_required)?;
    let name = header(headers, NAME)?.map(decode).transpose()?;
    match message.subject() {
        Subject::Tool(value) | Subject::Prompt(value) | Subject::Resource(value) => {
            compare(NAME, name.as_deref(), Some(value), is_required)
        }
        // The extension for tasks has clients send it, but no server insists.
        Subject::Task(Some(value)) => compare(NAME, name.as_deref(), Some(value), false),
        // What the name of any other method would be is not defined; extensions may.
        _ => Ok(()),
    }
}

/// A batch is of the one revision that has them. Headers that speak of one message say nothing true of several.
fn check_batch(headers: &HeaderMap, revision: Revision) -> Result<(), Refused> {
    if revision != Revision::V2025_03_26 {
        return Err(Malformed::Batch.into());
    }
    compare(METHOD, header(headers, METHOD)?, None, false)?;
    compare(NAME, header(headers, NAME)?, None, false)
}

fn compare(header: &'static str, value: Option<&str>, in_body: Option<&str>, is_required: bool) -> Result<(), Refused> {
    match value {
        None if is_required => Err(Refused::HeaderMismatch(header)),
        Some(value) if in_body != Some(value) => Err(Refused::HeaderMismatch(header)),
        None | Some(_) => Ok(()),
    }
}

/// The revision that a request names.
fn named(version: &str, allowed: &[Revision]) -> Result<Revision, Refused> {
    version.parse().ok().filter(|revision| allowed.contains(revision)).ok_or_else(|| unsupported(version))
}

/// The revision of a request that names none: the first with Streamable HTTP, or the one before it, which had no name for
/// it either. `initialize` is the exception: before 2026-07-28 every revision begins with it and none has the header there.
/// Where neither is spoken, 2026-07-28 has the missing header be the error; the revisions before it have none for it.
fn unnamed(messages: &Messages, allowed: &[Revision]) -> Result<Revision, Refused> {
    let initialize = messages.single().map(Message::subject);
    if let Some(Subject::Initialize(proposed)) = initialize {
        let with_sessions = || allowed.iter().copied().filter(|revision| !revision.is_stateless());
        let proposed = proposed.as_deref().unwrap_or_default();
        return with_sessions()
            .find(|revision| revision.as_str() == proposed)
            .or_else(|| with_sessions().max()) // the server says which one it will be
            .ok_or_else(|| unsupported(proposed));
    }
    let without_a_header = [Revision::V2025_03_26, Revision::V2024_11_05];
    without_a_header.into_iter().find(|revision| allowed.contains(revision)).ok_or_else(|| {
        let is_required = allowed.iter().any(|revision| revision.is_stateless());
        if is_required { Refused::HeaderMismatch(VERSION) } else { unsupported(Revision::V2025_03_26.as_str()) }
    })
}

fn unsupported(version: &str) -> Refused {
    /// Enough to see what was meant; longer ones are nobody's.
    const LENGTH: usize = 32;
    Refused::UnsupportedVersion(version.chars().filter(char::is_ascii_graphic).take(LENGTH).collect())
}

/// The value of a header that may stand once, in visible ASCII.
fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(Some(value)),
        _ => Err(Refused::HeaderMismatch(name)),
    }
}

/// What a name stands for: `=?base64?…?=` for what cannot stand in a header, anything else for itself.
fn decode(value: &str) -> Result<Cow<'_, str>, Refused> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(value));
    };
    let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(Cow::Owned).ok_or(Refused::HeaderMismatch(NAME))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use strum::VariantArray as _;

    use super::*;

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo",
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    const OLD_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
    const BATCH: &str = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    const NEW: (&str, &str) = (VERSION, "2026-07-28");

    fn mismatch<T>(header: &'static str) -> Result<T, Refused> {
        Err(Refused::HeaderMismatch(header))
    }

    fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        headers.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    fn of(headers: &[(&str, &str)], body: &str, allowed: &[Revision]) -> Result<Revision, Refused> {
        check(&header_map(headers), &Messages::parse(body.as_bytes()).unwrap(), allowed)
    }

    fn any(headers: &[(&str, &str)], body: &str) -> Result<Revision, Refused> {
        of(headers, body, Revision::VARIANTS)
    }

    #[test]
    fn a_request_that_stands_alone_says_in_headers_what_its_body_does() {
        let headers = [NEW, (METHOD, "tools/call"), (NAME, "echo")];
        assert_eq!(any(&headers, CALL), Ok(Revision::V2026_07_28));
        assert_eq!(any(&headers[..2], CALL), mismatch(NAME));
        assert_eq!(any(&[headers[0], headers[2]], CALL), mismatch(METHOD));
        assert_eq!(any(&headers[1..], CALL), mismatch(VERSION));
        assert_eq!(any(&[NEW, (METHOD, "tools/call"), (NAME, "drop-all")], CALL), mismatch(NAME));
        assert_eq!(any(&[NEW, (METHOD, "tools/list"), (NAME, "echo")], CALL), mismatch(METHOD));
        assert_eq!(any(&[NEW, (METHOD, "Tools/Call"), (NAME, "echo")], CALL), mismatch(METHOD));
        assert_eq!(any(&[(VERSION, "2025-11-25"), headers[1], headers[2]], CALL), mismatch(VERSION));
    }

    #[test]
    fn a_header_stands_once_and_in_ascii() {
        let headers = [NEW, (METHOD, "tools/call"), (NAME, "echo")];
        for again in headers {
            let twice: Vec<_> = headers.into_iter().chain([again]).collect();
            assert!(matches!(any(&twice, CALL), Err(Refused::HeaderMismatch(_))), "{again:?}");
        }
        assert_eq!(any(&[NEW, (METHOD, "tools/call"), (NAME, "écho")], CALL), mismatch(NAME));
        assert_eq!(any(&[(VERSION, "é")], OLD_CALL), mismatch(VERSION));
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_header_is_encoded_there() {
        let call = |name: &str| CALL.replace("echo", name);
        let with = |header: &str, name: &str| any(&[NEW, (METHOD, "tools/call"), (NAME, header)], &call(name));
        assert_eq!(with("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"), Ok(Revision::V2026_07_28));
        assert_eq!(with("=?base64?ZWNobw==?=", "echo"), Ok(Revision::V2026_07_28));
        assert_eq!(with("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="), Ok(Revision::V2026_07_28));
        for (header, name) in [
            ("=?base64?ZWNobw==?=", "=?base64?ZWNobw==?="),
            ("=?Base64?ZWNobw==?=", "echo"),
            ("=?base64?ZWNobw?=", "echo"),
            ("=?base64?_w==?=", "echo"),
            ("=?base64?/w==?=", "echo"),
        ] {
            assert_eq!(with(header, name), mismatch(NAME), "{header}");
        }
    }

    #[test]
    fn the_name_of_a_resource_is_its_uri_and_that_of_a_task_its_id() {
        for (method, member, is_required) in
            [("resources/read", "uri", true), ("prompts/get", "name", true), ("tasks/get", "taskId", false)]
        {
            let body = CALL.replace("tools/call", method).replace("\"name\"", &format!("\"{member}\""));
            assert_eq!(any(&[NEW, (METHOD, method), (NAME, "echo")], &body), Ok(Revision::V2026_07_28), "{method}");
            assert_eq!(any(&[NEW, (METHOD, method), (NAME, "other")], &body), mismatch(NAME), "{method}");
            assert_eq!(any(&[NEW, (METHOD, method)], &body).is_err(), is_required, "{method}");
        }
        let list = CALL.replace("tools/call", "tools/list");
        assert_eq!(any(&[NEW, (METHOD, "tools/list")], &list), Ok(Revision::V2026_07_28));
    }

    #[test]
    fn before_headers_were_required_they_are_compared_where_they_stand() {
        let old = (VERSION, "2025-11-25");
        assert_eq!(any(&[old], OLD_CALL), Ok(Revision::V2025_11_25));
        assert_eq!(any(&[old, (METHOD, "tools/call"), (NAME, "echo")], OLD_CALL), Ok(Revision::V2025_11_25));
        assert_eq!(any(&[old, (METHOD, "ping")], OLD_CALL), mismatch(METHOD));
        assert_eq!(any(&[old, (NAME, "other")], OLD_CALL), mismatch(NAME));
        assert_eq!(any(&[(NAME, "other")], OLD_CALL), mismatch(NAME));
        assert_eq!(any(&[old, (METHOD, "ping")], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), mismatch(METHOD));
    }

    #[test]
    fn a_request_that_stands_alone_says_its_revision_in_the_body_too_and_answers_nothing() {
        let headers = [NEW, (METHOD, "tools/call"), (NAME, "echo")];
        assert_eq!(any(&headers, OLD_CALL), Err(Malformed::Meta.into()));
        assert_eq!(any(&[NEW], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Err(Malformed::JsonRpc.into()));
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
        assert_eq!(any(&[NEW], notification), Ok(Revision::V2026_07_28));
        assert_eq!(any(&[NEW, (METHOD, "ping")], notification), mismatch(METHOD));
    }

    #[test]
    fn a_revision_that_is_not_allowed_is_refused_by_its_name() {
        let unsupported = |version: &str| Err(Refused::UnsupportedVersion(version.to_owned()));
        let body = CALL.replace("2026-07-28", "1900-01-01");
        assert_eq!(any(&[(VERSION, "1900-01-01")], &body), unsupported("1900-01-01"));
        assert_eq!(of(&[NEW], CALL, &[Revision::V2025_11_25]), unsupported("2026-07-28"));
        assert_eq!(any(&[(VERSION, &"x".repeat(1000))], OLD_CALL), unsupported(&"x".repeat(32)));
        assert_eq!(of(&[], OLD_CALL, &[Revision::V2025_11_25]), unsupported("2025-03-26"));
        assert_eq!(of(&[], OLD_CALL, &[Revision::V2026_07_28]), mismatch(VERSION));
    }

    #[test]
    fn a_request_that_names_no_revision_is_of_the_first_with_this_transport() {
        assert_eq!(any(&[], OLD_CALL), Ok(Revision::V2025_03_26));
        assert_eq!(of(&[], OLD_CALL, &[Revision::V2024_11_05]), Ok(Revision::V2024_11_05));
    }

    #[test]
    fn every_revision_with_sessions_begins_without_the_header() {
        let initialize = |version: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{version}"}}}}"#)
        };
        let allowed = [Revision::V2025_06_18, Revision::V2025_11_25, Revision::V2026_07_28];
        assert_eq!(of(&[], &initialize("2025-06-18"), &allowed), Ok(Revision::V2025_06_18));
        assert_eq!(of(&[], &initialize("2024-11-05"), &allowed), Ok(Revision::V2025_11_25));
        let unsupported = Err(Refused::UnsupportedVersion("2025-11-25".to_owned()));
        assert_eq!(of(&[], &initialize("2025-11-25"), &[Revision::V2026_07_28]), unsupported);
    }

    #[test]
    fn batches_are_of_one_revision_alone() {
        assert_eq!(any(&[], BATCH), Ok(Revision::V2025_03_26));
        assert_eq!(any(&[(VERSION, "2025-03-26")], BATCH), Ok(Revision::V2025_03_26));
        for other in ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"] {
            assert_eq!(any(&[(VERSION, other)], BATCH), Err(Malformed::Batch.into()), "{other}");
        }
        assert_eq!(any(&[(METHOD, "ping")], BATCH), mismatch(METHOD));
        assert_eq!(any(&[(NAME, "ping")], BATCH), mismatch(NAME));
        assert_eq!(any(&[], &format!("[{CALL}]")), mismatch(VERSION));
    }

    #[test]
    fn a_get_may_say_its_revision() {
        let get = |headers: &[(&str, &str)]| check_version_header(&header_map(headers), &[Revision::V2025_11_25]);
        assert_eq!(get(&[]), Ok(None));
        assert_eq!(get(&[(VERSION, "2025-11-25")]), Ok(Some(Revision::V2025_11_25)));
        assert_eq!(get(&[NEW]), Err(Refused::UnsupportedVersion("2026-07-28".to_owned())));
        assert_eq!(get(&[NEW, NEW]), mismatch(VERSION));
    }
}

//! What is changed in the head of a request on its way to the upstream.
//!
//! It is worked out once for both ways there: over HTTP/1.1 it takes effect while the head is written, so that no copy of
//! the client's is made, and over HTTP/2 in the copy that Pingora has made.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};
use phantomgate_upstreams::http_1::Sending;
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

/// How long most heads are, with a JWT, in bytes.
const USUAL_LENGTH: usize = 1024;

/// Changes of a head. Of two that are about the same field, the later one counts.
#[derive(Default)]
pub struct Changes<'a> {
    target: Option<Vec<u8>>,
    /// What fields are from now on; none: gone. In a map, as a client may send hundreds that are to be taken out, and each field
    /// is looked for.
    fields: HeaderMap<Option<Cow<'a, HeaderValue>>>,
}

impl<'a> Changes<'a> {
    /// Takes out all fields of this name.
    pub fn remove(&mut self, name: &HeaderName) {
        self.fields.insert(name.clone(), None);
    }

    /// Puts this in place of all fields of this name.
    pub fn insert(&mut self, name: HeaderName, value: impl Into<Cow<'a, HeaderValue>>) {
        self.fields.insert(name, Some(value.into()));
    }

    /// Puts another target in the place of the client's.
    pub fn set_target(&mut self, target: Vec<u8>) {
        self.target = Some(target);
    }

    /// The target that `received` has with the changes.
    pub fn target<'s>(&'s self, received: &'s RequestHeader) -> &'s [u8] {
        self.target.as_deref().unwrap_or_else(|| received.raw_path())
    }

    fn is_changed(&self, name: &HeaderName) -> bool {
        self.fields.contains_key(name)
    }

    /// Makes the changes in `header`.
    ///
    /// # Errors
    /// When Pingora refuses the target or a value.
    pub fn apply(self, header: &mut RequestHeader) -> Result<()> {
        if let Some(target) = self.target {
            header.set_raw_path(&target)?;
        }
        for (name, value) in &self.fields {
            match value {
                Some(value) => header.insert_header(name, HeaderValue::clone(value))?,
                None => drop(header.remove_header(name)),
            }
        }
        Ok(())
    }

    /// Says how the body of the request goes to an upstream over HTTP/1.1, if it `has_body` (RFC 9112 §6).
    ///
    /// # Errors
    /// Its length is no number.
    pub fn frame(&mut self, received: &HeaderMap, has_body: bool) -> Result<Sending> {
        let length = received.get(CONTENT_LENGTH).filter(|_| !self.is_changed(&CONTENT_LENGTH));
        if let Some(length) = length {
            // Where it is said several times, the first is as good as any: Pingora has seen that they are the same.
            let first = length.to_str().ok().and_then(|text| text.split(',').next()?.trim().parse::<u64>().ok());
            let length = first.ok_or_else(|| malformed("its length"))?;
            self.insert(CONTENT_LENGTH, Cow::Owned(length.into()));
            return Ok(Sending::Length(length));
        }
        if has_body {
            self.insert(TRANSFER_ENCODING, Cow::Owned(HeaderValue::from_static("chunked")));
            return Ok(Sending::Chunks);
        }
        Ok(Sending::Length(0))
    }

    /// The head of `received` with the changes, as HTTP/1.1 has it (RFC 9112 §3, §5). Its host comes first (RFC 9110 §7.2), what
    /// is ours comes last, and the rest is as it came.
    ///
    /// # Errors
    /// The target would end before its end.
    pub fn write(&self, received: &RequestHeader) -> Result<Vec<u8>> {
        let target = self.target(received);
        if target.iter().any(|byte| *byte <= b' ') {
            return Err(malformed("its target"));
        }
        let mut head = Vec::with_capacity(USUAL_LENGTH);
        for part in [received.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
            head.extend_from_slice(part);
        }
        let ours = |is_host| {
            let fields = self.fields.iter().filter(move |(name, _)| (*name == HOST) == is_host);
            fields.filter_map(|(name, value)| Some((name.as_str().as_bytes(), value.as_deref()?)))
        };
        let mut field = |name: &[u8], value: &HeaderValue| {
            for part in [name, b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        };
        ours(true).for_each(|(name, value)| field(name, value));
        // Over HTTP/1.1 their names are kept as they were spelt.
        let mut spelt = received.case_header_iter().map(|(name, _)| name.as_slice());
        for (name, value) in &received.headers {
            let spelt = spelt.next().unwrap_or(name.as_str().as_bytes());
            if !self.is_changed(name) {
                field(spelt, value);
            }
        }
        ours(false).for_each(|(name, value)| field(name, value));
        head.extend_from_slice(b"\r\n");
        Ok(head)
    }
}

fn malformed(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_down()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn received() -> RequestHeader {
        let mut received = RequestHeader::build("POST", b"/a?b", None).unwrap();
        for (name, value) in [("Accept", "*/*"), ("hOsT", "client"), ("X-A", "1"), ("x-a", "2"), ("Cookie", "c=d")] {
            received.append_header(name, value).unwrap();
        }
        received
    }

    fn changes() -> Changes<'static> {
        let mut changes = Changes::default();
        changes.insert(HeaderName::from_static("x-ours"), Cow::Owned(HeaderValue::from_static("3")));
        changes.insert(HOST, Cow::Owned(HeaderValue::from_static("upstream")));
        changes.remove(&HeaderName::from_static("x-a"));
        changes
    }

    fn written(changes: &Changes<'_>, received: &RequestHeader) -> String {
        String::from_utf8(changes.write(received).unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_changed_is_written_as_it_came() {
        let head = "POST /a?b HTTP/1.1\r\nhost: upstream\r\nAccept: */*\r\nCookie: c=d\r\nx-ours: 3\r\n\r\n";
        assert_eq!(written(&changes(), &received()), head);
    }

    #[test]
    fn what_is_written_is_what_pingora_would_send() {
        let (received, mut changes) = (received(), changes());
        changes.set_target(b"/c".to_vec());
        let head = written(&changes, &received);
        let mut sent = received.clone();
        changes.apply(&mut sent).unwrap();
        let mut fields = BytesMut::new();
        sent.header_to_h1_wire(&mut fields);
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_lowercase).filter(|line| !line.is_empty()).collect();
            lines.sort();
            lines
        };
        let (line, rest) = head.split_once("\r\n").unwrap();
        assert_eq!((line, sent.raw_path()), ("POST /c HTTP/1.1", &b"/c"[..]));
        assert_eq!(sorted(rest), sorted(std::str::from_utf8(&fields).unwrap()));
    }

    #[test]
    fn the_later_change_counts() {
        let mut changes = changes();
        changes.insert(HeaderName::from_static("x-a"), Cow::Owned(HeaderValue::from_static("4")));
        changes.remove(&HeaderName::from_static("x-ours"));
        let head = written(&changes, &received());
        assert!(head.contains("x-a: 4\r\n") && !head.contains("x-ours") && !head.contains("X-A"), "{head}");
    }

    #[test]
    fn fields_of_http_2_have_the_names_they_came_with() {
        let mut received = RequestHeader::build_no_case("GET", b"/", None).unwrap();
        received.append_header("X-B", "1").unwrap();
        assert_eq!(written(&Changes::default(), &received), "GET / HTTP/1.1\r\nx-b: 1\r\n\r\n");
    }

    #[test]
    fn a_target_cannot_be_more_than_one() {
        for target in [&b"/ HTTP/1.1\r\nHost: other"[..], b"/a b", b"/\n", b"/\0"] {
            let mut changes = changes();
            changes.set_target(target.to_vec());
            assert!(changes.write(&received()).is_err(), "{target:?}");
        }
    }

    #[test]
    fn rfc9112_s6_a_body_has_a_length_or_comes_in_chunks() {
        for (length, has_body, sending, field) in [
            (Some("5"), true, Sending::Length(5), "content-length: 5\r\n"),
            (Some("5, 5"), true, Sending::Length(5), "content-length: 5\r\n"),
            (Some("0"), false, Sending::Length(0), "content-length: 0\r\n"),
            (None, true, Sending::Chunks, "transfer-encoding: chunked\r\n"),
            (None, false, Sending::Length(0), ""),
        ] {
            let mut received = RequestHeader::build("POST", b"/", None).unwrap();
            if let Some(length) = length {
                received.append_header("Content-Length", length).unwrap();
            }
            let mut changes = Changes::default();
            assert_eq!(changes.frame(&received.headers, has_body).unwrap(), sending, "{length:?}");
            assert_eq!(written(&changes, &received), format!("POST / HTTP/1.1\r\n{field}\r\n"));
        }
        // A client that calls its length something for the next hop alone.
        let mut received = RequestHeader::build("POST", b"/", None).unwrap();
        received.append_header("Content-Length", "5").unwrap();
        let mut changes = Changes::default();
        changes.remove(&CONTENT_LENGTH);
        assert_eq!(changes.frame(&received.headers, true).unwrap(), Sending::Chunks);
    }
}

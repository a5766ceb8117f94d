//! The head of an answer (RFC 9112 §4, §5), and what it says of the answer's body (§6.3) and of its connection (§9.3).

use std::mem::MaybeUninit;

use bytes::{Buf as _, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use pingora_http::{ResponseHeader, header_value_from_slice};

use super::Malformed;
use super::body::Body;

/// How many fields a head may have.
const MOST_FIELDS: usize = 256;

/// From how many bytes of empty lines on what comes is no answer. A few are skipped, as old servers sent one too many.
const LONGEST_BLANK: usize = 16;

/// How many fields are made room for beyond those that were read: about as many are added on the way to the client.
const SPARE: usize = 4;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    /// As the upstream sent it, but for what would contradict its framing. The names of its fields are in lower case.
    pub(super) header: ResponseHeader,
    /// What comes behind it; none where that is another head.
    pub(super) body: Option<Body>,
    /// Whether its connection can serve another request, once the body is read.
    pub(super) keeps_connection: bool,
}

/// Takes the head of the answer to a request of this `method` from what was `read`; none when there is more of it to come.
///
/// # Errors
/// It is none, it begins another protocol, or what it says of its length has no one meaning.
pub(super) fn take(read: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    let blank = read.iter().take(LONGEST_BLANK).take_while(|byte| matches!(byte, b'\r' | b'\n'));
    if blank.count() == LONGEST_BLANK {
        return Err(Malformed("empty lines in place of a head"));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = parser().parse_response_with_uninit_headers(&mut parsed, read, &mut fields);
    let Status::Complete(length) = status.map_err(|_| Malformed("the head"))? else { return Ok(None) };

    let (mut parts, ()) = Response::new(()).into_parts();
    parts.version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    parts.status = status.filter(|status| *status != StatusCode::SWITCHING_PROTOCOLS).ok_or(Malformed("the status"))?;
    parts.headers.reserve(parsed.headers.len() + SPARE);
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed("the name of a field"))?;
        parts.headers.append(name, header_value_from_slice(field.value));
    }
    let (body, keeps_connection) = framing(method, parts.status, parts.version, &mut parts.headers)?;
    let mut header = ResponseHeader::from(parts);
    header.set_reason_phrase(parsed.reason).map_err(|_| Malformed("the reason phrase"))?;
    read.advance(length);
    Ok(Some(Head { header, body, keeps_connection }))
}

/// Whether a head may end in what was `read`, whose first `known` bytes hold no end. Whoever sends a head in many pieces would
/// otherwise have all of it parsed again with each of them.
pub(super) fn may_end(read: &[u8], known: usize) -> bool {
    let end_may_begin = known.saturating_sub(b"\n\r\n".len() - 1);
    let rest = read.get(end_may_begin..).unwrap_or_default();
    rest.windows(2).any(|bytes| bytes == b"\n\n") || rest.windows(3).any(|bytes| bytes == b"\n\r\n")
}

/// As a proxy has to read what a server says (RFC 9112 §5.1, §5.2): blanks before a colon mean nothing, and neither does the
/// end of a line that goes on in the next.
fn parser() -> ParserConfig {
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    parser
}

/// What comes behind a head, and whether its connection can be used again after that. What nobody may go by any more is taken
/// out of `fields`.
fn framing(
    method: &Method,
    status: StatusCode,
    version: Version,
    fields: &mut HeaderMap,
) -> Result<(Option<Body>, bool), Malformed> {
    let is_encoded = fields.contains_key(TRANSFER_ENCODING);
    let has_both = is_encoded && fields.remove(CONTENT_LENGTH).is_some();
    let length = if is_encoded { None } else { content_length(fields)? };
    // With both lengths, or one that this version does not know, somebody on the way may have been led astray.
    let is_doubtful = has_both || (is_encoded && version == Version::HTTP_10);
    let keeps_connection = !is_doubtful && is_kept(version, fields);
    let body = match status.as_u16() {
        100..=199 => return Ok((None, keeps_connection)),
        204 | 304 => Body::EMPTY,
        _ if method == Method::HEAD => Body::EMPTY,
        _ if is_encoded && is_chunked(fields) => Body::CHUNKED,
        _ => match length {
            Some(length) => Body::Length(length),
            None => return Ok((Some(Body::UntilClosed), false)),
        },
    };
    Ok((Some(body), keeps_connection))
}

/// The length that `fields` give (RFC 9110 §8.6). Where they say the same several times, they say it once from then on.
///
/// # Errors
/// They say different things, or something that is no number.
fn content_length(fields: &mut HeaderMap) -> Result<Option<u64>, Malformed> {
    const MALFORMED: Malformed = Malformed("its length");
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let (Some(value), other) = (values.next(), values.next()) else { return Ok(None) };
    let mut parts = value.as_bytes().split(|byte| *byte == b',');
    let length = parts.next().and_then(number).ok_or(MALFORMED)?;
    if other.is_none() && parts.next().is_none() {
        return Ok(Some(length));
    }
    let all = fields.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if !all.map(number).all(|number| number == Some(length)) {
        return Err(MALFORMED);
    }
    fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(Some(length))
}

/// Digits and nothing else: what can be read in two ways is not read.
fn number(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text.trim_ascii()).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Whether the body comes in chunks: that is the last of its codings (RFC 9112 §6.1).
fn is_chunked(fields: &HeaderMap) -> bool {
    let last = fields.get_all(TRANSFER_ENCODING).iter().next_back();
    let last = last.and_then(|value| value.as_bytes().rsplit(|byte| *byte == b',').next());
    last.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// Whether the server keeps the connection (RFC 9112 §9.3).
fn is_kept(version: Version, fields: &HeaderMap) -> bool {
    let mut options = fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    if version == Version::HTTP_10 {
        return options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
    }
    !options.any(|option| option.eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Head, Malformed> {
        take(&mut head.into(), &Method::GET).map(|head| head.expect("it is whole"))
    }

    fn head(fields: &str) -> Result<Head, Malformed> {
        read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
    }

    fn values<'a>(head: &'a Head, name: &str) -> Vec<&'a str> {
        head.header.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_head_is_read_as_it_was_sent_and_what_is_behind_it_stays() {
        let mut text = BytesMut::from("HTTP/1.1 404 Gone Fishing\r\nContent-Length: 2\r\nX-A: 1\r\nx-a:\t2 \r\n\r\nok");
        let head = take(&mut text, &Method::GET).unwrap().unwrap();
        assert_eq!(
            (head.header.status, head.header.get_reason_phrase()),
            (StatusCode::NOT_FOUND, Some("Gone Fishing"))
        );
        assert_eq!(values(&head, "x-a"), ["1", "2"]);
        assert_eq!((head.body, head.keeps_connection), (Some(Body::Length(2)), true));
        assert_eq!(text, "ok");
    }

    #[test]
    fn a_head_that_is_not_whole_yet_is_left_where_it_is() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for length in 0..whole.len() {
            let mut text = BytesMut::from(&whole[..length]);
            assert!(take(&mut text, &Method::GET).unwrap().is_none(), "{length}");
            assert_eq!(text, &whole[..length]);
        }
    }

    #[test]
    fn empty_lines_come_before_a_head_but_not_in_its_place() {
        assert!(read(&format!("{}HTTP/1.1 200 OK\r\n\r\n", "\r\n".repeat(7))).is_ok());
        assert!(read(&format!("{}HTTP/1.1 200 OK\r\n\r\n", "\r\n".repeat(8))).is_err());
        assert!(take(&mut BytesMut::from(&[b'\n'; LONGEST_BLANK][..]), &Method::GET).is_err());
    }

    #[test]
    fn rfc9112_s5_2_a_folded_line_is_one() {
        let head = head("X-A: 1\r\n  2\r\nX-B : 3\r\n").unwrap();
        assert_eq!((values(&head, "x-a"), values(&head, "x-b")), (vec!["1 2"], vec!["3"]));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 No\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "220 smtp.example.com ESMTP\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\na\0b: c\r\n\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        let fields = "a: b\r\n".repeat(MOST_FIELDS);
        assert!(head(&fields).is_ok());
        assert!(head(&format!("{fields}a: b\r\n")).is_err());
    }

    #[test]
    fn rfc9112_s6_3_what_has_no_body_has_none_whatever_it_says() {
        for status in ["204 No Content", "304 Not Modified"] {
            let head = read(&format!("HTTP/1.1 {status}\r\nContent-Length: 7\r\n\r\n")).unwrap();
            assert_eq!(head.body, Some(Body::EMPTY), "{status}");
        }
        let mut text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into();
        assert_eq!(take(&mut text, &Method::HEAD).unwrap().unwrap().body, Some(Body::EMPTY));
        assert_eq!(read("HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n").unwrap().body, None);
    }

    #[test]
    fn rfc9112_s6_3_the_last_coding_says_where_the_body_ends() {
        for coding in [
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding: gzip, CHUNKED\r\n",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(head(coding).unwrap().body, Some(Body::CHUNKED), "{coding}");
        }
        for coding in [
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "",
        ] {
            let head = head(coding).unwrap();
            assert_eq!((head.body, head.keeps_connection), (Some(Body::UntilClosed), false), "{coding}");
        }
    }

    #[test]
    fn rfc9112_s6_3_of_two_kinds_of_length_the_coding_counts_and_the_connection_is_not_trusted() {
        let head = head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n").unwrap();
        assert_eq!((head.body, head.keeps_connection), (Some(Body::CHUNKED), false));
        assert!(values(&head, "content-length").is_empty());
        let old = read("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert!(!old.keeps_connection);
    }

    #[test]
    fn rfc9110_s8_6_a_length_is_one_number() {
        for (fields, length) in [
            ("Content-Length: 5\r\n", 5),
            ("Content-Length: 5, 5\r\n", 5),
            ("Content-Length: 5\r\nContent-Length: 05\r\n", 5),
        ] {
            let head = head(fields).unwrap();
            assert_eq!(head.body, Some(Body::Length(length)), "{fields}");
            assert_eq!(values(&head, "content-length"), [length.to_string()]);
        }
        for value in
            ["", "+5", "-5", "5a", "0x5", "5 5", "5,", "5, 6", "5\r\nContent-Length: 6", "18446744073709551616"]
        {
            assert!(head(&format!("Content-Length: {value}\r\n")).is_err(), "{value}");
        }
    }

    #[test]
    fn rfc9112_s9_3_what_the_server_says_of_its_connection() {
        for (fields, is_kept) in
            [("", true), ("Connection: x, Close\r\n", false), ("Connection: a\r\nConnection: close\r\n", false)]
        {
            assert_eq!(head(&format!("Content-Length: 0\r\n{fields}")).unwrap().keeps_connection, is_kept, "{fields}");
        }
        for (fields, is_kept) in [("", false), ("Connection: Keep-Alive\r\n", true)] {
            let head = read(&format!("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n{fields}\r\n")).unwrap();
            assert_eq!(head.keeps_connection, is_kept, "{fields}");
        }
    }
}

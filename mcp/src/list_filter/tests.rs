use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::{FilterError, ListFilter, Visibility};
use crate::message::ListKind;
use crate::testing::{Open, brotli, deflate, gzip, zlib};

const LIMIT: usize = 10_000;
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What goes by these names is visible.
struct Named(&'static [&'static str]);

impl Visibility for Named {
    fn is_visible(&self, _: ListKind, name: &str) -> bool {
        self.0.contains(&name)
    }
}

fn headers(content_type: &str, encoding: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    if !encoding.is_empty() {
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
    }
    headers
}

fn filter(content_type: &str, encoding: &str) -> ListFilter {
    ListFilter::new(&headers(content_type, encoding), Arc::new(Named(&["a", "c"])), LIMIT).unwrap().unwrap()
}

fn run(filter: &mut ListFilter, chunks: &[&[u8]]) -> Result<Vec<u8>, FilterError> {
    let mut output = Vec::new();
    for chunk in chunks {
        output.extend(filter.push(chunk)?);
    }
    output.extend(filter.finish()?);
    Ok(output)
}

/// The body, filtered in one piece and byte by byte.
fn filtered(content_type: &str, body: &str) -> Result<String, FilterError> {
    let whole = run(&mut filter(content_type, ""), &[body.as_bytes()]);
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(whole, run(&mut filter(content_type, ""), &bytes), "{body}");
    whole.map(|output| String::from_utf8(output).unwrap())
}

fn json(body: &str) -> Result<String, FilterError> {
    filtered(JSON, body)
}

fn events(body: &str) -> Result<String, FilterError> {
    filtered(EVENTS, body)
}

#[test]
fn what_is_not_visible_is_taken_out_and_all_else_keeps_its_bytes() {
    for (body, expected) in [
        (
            r#"{"jsonrpc": "2.0", "id":1, "result": { "tools": [ {"name":"a", "x":1.0} , {"name":"b"},{"x":"\u00e9","name":"c"} ], "nextCursor" :"n"} }"#,
            r#"{"jsonrpc": "2.0", "id":1, "result": { "tools": [ {"name":"a", "x":1.0},{"x":"\u00e9","name":"c"} ], "nextCursor" :"n"} }"#,
        ),
        (r#"{"result":{"tools":[{"name":"b"}]}}"#, r#"{"result":{"tools":[]}}"#),
        (r#"{"result":{"prompts":[{"name":"b"},{"name":"a"}]}}"#, r#"{"result":{"prompts":[{"name":"a"}]}}"#),
        (
            r#"{"result":{"resources":[{"name":"a","uri":"b"},{"name":"b","uri":"a"}]}}"#,
            r#"{"result":{"resources":[{"name":"b","uri":"a"}]}}"#,
        ),
        (
            r#"{"result":{"resourceTemplates":[{"uriTemplate":"\u0061"},{"uriTemplate":"\u0062"}]}}"#,
            r#"{"result":{"resourceTemplates":[{"uriTemplate":"\u0061"}]}}"#,
        ),
        (
            r#"[{"id":1,"result":{"tools":[{"name":"b"}]}},{"id":2,"result":{}},{"\u0072esult":{"\u0074ools":[{"name":"b"}]}}]"#,
            r#"[{"id":1,"result":{"tools":[]}},{"id":2,"result":{}},{"\u0072esult":{"\u0074ools":[]}}]"#,
        ),
    ] {
        assert_eq!(json(body).as_deref(), Ok(expected), "{body}");
    }
}

#[test]
fn what_holds_no_list_passes_as_it_is() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}] , "x":[1, 2]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"b"}],"structuredContent":{"tools":[{"name":"b"}]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{"tools":{}},"tools":{"name":"b"},"prompts":null}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":{"tools":[{"name":"b"}]}}}"#,
        r#"{"jsonrpc":"2.0","method":"sampling/createMessage","params":{"tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":{"x":1,"x":2},"cacheScope":"public","ttlMs":1}}"#,
        "\"an error\"",
        "[1, 2]",
        "",
        " \n",
    ] {
        assert_eq!(json(body).as_deref(), Ok(body));
    }
}

#[test]
fn a_list_is_the_callers_own() {
    for (result, expected) in [
        (r#""tools":[],"cacheScope":"public""#, r#""tools":[],"cacheScope":"private""#),
        (r#""cacheScope" : "public" ,"tools":[{"name":"b"}]"#, r#""cacheScope" : "private" ,"tools":[]"#),
        (r#""cacheScope":null,"tools":[]"#, r#""cacheScope":"private","tools":[]"#),
        (r#""ttlMs": 5 ,"tools":[{"name":"b"}]"#, r#""ttlMs": 5,"cacheScope":"private" ,"tools":[]"#),
        (r#""tools":[],"ttlMs":5"#, r#""tools":[],"ttlMs":5,"cacheScope":"private""#),
        (r#""tools":[],"ttlMs":5,"cacheScope":"private""#, r#""tools":[],"ttlMs":5,"cacheScope":"private""#),
        (r#""tools":[]"#, r#""tools":[]"#),
    ] {
        let message = |result: &str| format!("{{\"id\":1,\"result\":{{{result}}}}}");
        assert_eq!(json(&message(result)), Ok(message(expected)));
    }
}

#[test]
fn what_cannot_be_read_does_not_pass() {
    for body in [
        "{",
        "hello",
        "{} {}",
        "\u{feff}{}",
        r#"{"result":{"tools":[{"name":"a"}]},"result":{"tools":[{"name":"b"}]}}"#,
        r#"{"result":{"tools":[],"tools":[{"name":"b"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","name":"b"}]}}"#,
        r#"{"result":{"tools":[{"title":"a"}]}}"#,
        r#"{"result":{"tools":[{"name":1}]}}"#,
        r#"{"result":{"tools":["a"]}}"#,
        r#"{"result":{"x":NaN}}"#,
    ] {
        assert_eq!(json(body), Err(FilterError::Unreadable), "{body}");
    }
    assert_eq!(run(&mut filter(JSON, ""), &[b"{\"result\":\"\xff\"}"]), Err(FilterError::Unreadable));
}

#[test]
fn nothing_passes_after_an_error() {
    let mut filter = filter(EVENTS, "");
    assert!(filter.push(b"data: {\n\n").is_err());
    assert!(filter.push(b"data: {}\n\n").is_err() && filter.finish().is_err());
}

#[test]
fn events_pass_as_they_are_unless_a_list_changes() {
    for stream in [
        "",
        ": ping\n\n",
        "\u{feff}data: {}\r\n\r\n",
        "id: 1\r\nretry: 300\rdata:\n\n",
        "event: endpoint\ndata: /messages?id=1\n\n",
        "event: message\ndata:{\"id\":1,\ndata:\"result\":{}}\r\r\n",
        "data: {\"result\":{\"tools\":[{\"name\":\"a\"}]}}\n:c\nid: 1\n\n",
        "data: {}\n\ndata: {}",
        "datum: {\n\n",
        "event: x\n\n\n\n:\n:\n",
    ] {
        assert_eq!(events(stream).as_deref(), Ok(stream));
    }
}

#[test]
fn an_event_whose_list_changes_keeps_its_other_lines() {
    for (stream, expected) in [
        (
            "id: 1\nevent: message\ndata: {\"result\":{\"tools\":[{\"name\":\"b\"}]}}\nretry: 5\n:c\n\n",
            "id: 1\nevent: message\ndata: {\"result\":{\"tools\":[]}}\nretry: 5\n:c\n\n",
        ),
        (
            "data: {\"result\":\ndata:   {\"tools\":[\nid: 7\ndata:{\"name\":\"a\"},{\"name\":\"b\"}\ndata: ]}}\n\n",
            "data: {\"result\":\ndata:   {\"tools\":[\ndata: {\"name\":\"a\"}\ndata: ]}}\nid: 7\n\n",
        ),
        ("data:{\"result\":{\"tools\":[{\"name\":\"b\"}]}}\r\r", "data: {\"result\":{\"tools\":[]}}\n\r"),
        (
            "data:{\"result\":{\"tools\":[{\"name\":\"b\"}]}}\r\n\r\n:c\r\n",
            "data: {\"result\":{\"tools\":[]}}\n\r\n:c\r\n",
        ),
        (
            "\u{feff}data:{\"result\":{\"tools\":[{\"name\":\"b\"}]}}\n\n",
            "\u{feff}data: {\"result\":{\"tools\":[]}}\n\n",
        ),
        ("data:{\"result\":{\"tools\":[{\"name\":\"b\"}]}}", "data: {\"result\":{\"tools\":[]}}\n"),
    ] {
        assert_eq!(events(stream).as_deref(), Ok(expected), "{stream}");
    }
}

#[test]
fn an_event_that_cannot_be_read_does_not_pass() {
    for stream in [
        "data: {\n\n",
        "data: [{]\n\n",
        "event: other\ndata: {\"result\":NaN}\n\n",
        "data: {\"result\":{\"tools\":[{\"name\":\"a\"}]\n",
    ] {
        assert_eq!(events(stream), Err(FilterError::Unreadable), "{stream}");
    }
}

#[test]
fn an_event_goes_on_as_soon_as_it_is_whole_and_a_comment_as_soon_as_its_line_is() {
    let mut filter = filter(EVENTS, "");
    for (chunk, passes) in [
        (": ping\n", ": ping\n"),
        ("data: {}\n", ""),
        ("\n: pi", "data: {}\n\n"),
        ("ng\r", ": ping\r"),
        ("\ndata: 1\r", "\n"),
        ("\n\r", "data: 1\r\n\r"),
        ("\ndata: 2\n\ndata:", "\ndata: 2\n\n"),
    ] {
        assert_eq!(filter.push(chunk.as_bytes()), Ok(Bytes::from(passes)), "{chunk:?}");
    }
}

#[test]
fn what_is_held_is_bounded() {
    let long = "x".repeat(LIMIT);
    assert_eq!(json(&format!("\"{long}\"")), Err(FilterError::TooLarge));
    assert_eq!(events(&format!("data: {long}\n\n")), Err(FilterError::TooLarge));
    let many = "data: {}\n\n".repeat(LIMIT);
    assert_eq!(events(&many), Ok(many));
}

#[test]
fn what_a_few_bytes_expand_to_is_bounded() {
    let bomb = ":\n".repeat(LIMIT * 100);
    for (encoding, bomb) in [("gzip", gzip(bomb.as_bytes())), ("deflate", zlib(bomb.as_bytes())), ("br", brotli(&bomb))]
    {
        let mut filter = filter(EVENTS, encoding);
        assert_eq!(filter.push(&bomb), Err(FilterError::TooLarge), "{encoding}");
    }
}

#[test]
fn encoded_bodies_are_decoded_wherever_they_are_cut() {
    let body = r#"{"result":{"tools":[{"name":"a"},{"name":"b"}]}}"#;
    for (encoding, encoded) in [
        ("gzip", gzip(body.as_bytes())),
        ("X-GZip", [gzip(&body.as_bytes()[..20]), gzip(&body.as_bytes()[20..])].concat()),
        ("deflate", zlib(body.as_bytes())),
        ("deflate", deflate(body.as_bytes())),
        ("br", brotli(body)),
        ("identity", body.into()),
    ] {
        for size in [1, 3, encoded.len()] {
            let chunks: Vec<&[u8]> = encoded.chunks(size).collect();
            let mut filter = filter(JSON, encoding);
            assert_eq!(filter.is_decoding(), encoding != "identity");
            let output = run(&mut filter, &chunks).map(|output| String::from_utf8(output).unwrap());
            assert_eq!(output.as_deref(), Ok(r#"{"result":{"tools":[{"name":"a"}]}}"#), "{encoding}");
        }
        assert_eq!(run(&mut filter(JSON, encoding), &[]), Ok(Vec::new()), "{encoding}");
    }
}

#[test]
fn an_encoded_event_goes_on_when_its_bytes_have_come() {
    let stream = b"data: {}\n\n";
    let flushed = crate::testing::flushed_gzip(stream);
    assert_eq!(filter(EVENTS, "gzip").push(&flushed), Ok(Bytes::from_static(stream)));
}

#[test]
fn what_does_not_decode_does_not_pass() {
    let body = r#"{"result":{}}"#;
    for (encoding, encoded) in
        [("gzip", gzip(body.as_bytes())), ("deflate", zlib(body.as_bytes())), ("br", brotli(body))]
    {
        let cut = &encoded[..encoded.len() - 1];
        assert_eq!(run(&mut filter(JSON, encoding), &[cut]), Err(FilterError::Decoding), "{encoding}, cut");
        let more = [&encoded[..], b"{}"].concat();
        assert_eq!(run(&mut filter(JSON, encoding), &[&more]), Err(FilterError::Decoding), "{encoding}, and more");
        assert_eq!(
            run(&mut filter(JSON, encoding), &[b"\xff\xff\xff"]),
            Err(FilterError::Decoding),
            "{encoding}, none"
        );
    }
    let mut wrong = gzip(body.as_bytes());
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(run(&mut filter(JSON, "gzip"), &[&wrong]), Err(FilterError::Decoding));
    // A window of a gigabyte.
    assert_eq!(filter(JSON, "br").push(&[0x11, 30, 0, 0, 0]), Err(FilterError::Decoding));
}

#[test]
fn a_gzip_header_may_have_every_field() {
    let plain = gzip(b"{}");
    let mut header = vec![0x1F, 0x8B, 8, 2 | 4 | 8 | 16, 0, 0, 0, 0, 0, 255, 3, 0, 1, 2, 3];
    header.extend(b"name\0comment\0\x12\x34");
    let full = [&header[..], &plain[10..]].concat();
    for size in [1, full.len()] {
        let chunks: Vec<&[u8]> = full.chunks(size).collect();
        assert_eq!(run(&mut filter(JSON, "gzip"), &chunks).as_deref(), Ok(&b"{}"[..]));
    }
    let endless = [&[0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 255][..], &[b'x'; 2000]].concat();
    assert_eq!(filter(JSON, "gzip").push(&endless), Err(FilterError::Decoding));
}

#[test]
fn content_types_are_taken_for_what_a_client_might_take_them_for() {
    let made = |headers: &HeaderMap| ListFilter::new(headers, Arc::new(Open), LIMIT).map(|filter| filter.is_some());
    for filtered in
        ["Application/JSON; charset=utf-8", "application/problem+json", "text/event-stream;x=y", "text/json"]
    {
        assert_eq!(made(&headers(filtered, "")), Ok(true), "{filtered}");
    }
    assert_eq!(made(&headers("text/html", "")), Ok(false));
    assert_eq!(made(&headers("text/html", "zstd")), Ok(false));
    assert_eq!(made(&HeaderMap::new()), Ok(false));
    assert_eq!(made(&headers("application/json, text/event-stream", "")), Err(FilterError::ContentType));
    let mut twice = headers("text/html", "");
    twice.append(CONTENT_TYPE, JSON.parse().unwrap());
    assert_eq!(made(&twice), Err(FilterError::ContentType));
    for encoding in ["zstd", "gzip, br", "compress"] {
        assert_eq!(made(&headers(JSON, encoding)), Err(FilterError::UnsupportedEncoding), "{encoding}");
    }
}

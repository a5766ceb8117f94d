//! What holds for any bytes that others send.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::list_filter::{FilterError, ListFilter, Visibility};
use crate::message::{ListKind, Malformed, Messages};
use crate::testing::{Open, brotli, gzip, zlib};
use crate::{EventBoundary, Operation};

/// Half of all names are visible.
struct Half;

impl Visibility for Half {
    fn is_visible(&self, _: ListKind, name: &str) -> bool {
        name.len().is_multiple_of(2)
    }
}

/// JSON of any shape whose members have the names that readers look for.
fn value() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "jsonrpc",
        "id",
        "method",
        "params",
        "result",
        "name",
        "uri",
        "tools",
        "prompts",
        "_meta",
        "ref",
        "type",
        "cacheScope",
        "ttlMs",
        "notifications",
        "arguments",
        "Name",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["2.0", "tools/call", "ping", "ref/prompt", "a"]).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A list result, or another message.
fn message() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        ("tools", "name"),
        ("prompts", "name"),
        ("resources", "uri"),
        ("resourceTemplates", "uriTemplate"),
    ]);
    let list =
        (kind, prop::collection::vec((".{0,4}", value()), 0..5), value()).prop_map(|((kind, name), items, more)| {
            let items: Vec<_> = items.into_iter().map(|(text, more)| json!({ "z": more, name: text })).collect();
            json!({ "jsonrpc": "2.0", "id": 1, "result": { kind: items, "more": more, "ttlMs": 1 } })
        });
    let call = (".{0,4}", value()).prop_map(|(name, arguments)| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": arguments } })
    });
    prop_oneof![list, call, value()]
}

/// The lines of an event stream, more or less; with what ends them.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let end = prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n", "\r\n\r\n", "\r\r"]);
    let line = prop_oneof![
        4 => message().prop_map(|message| format!("data: {message}")),
        1 => message().prop_map(|message| format!("data:{}", serde_json::to_string_pretty(&message).unwrap().replace('\n', "\ndata: "))),
        1 => Just(": ping".to_owned()),
        1 => "(id|event|retry|data)(: ?.{0,4})?",
        1 => "(\u{feff})?",
    ];
    prop::collection::vec((line, end), 0..8)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| (line + end).into_bytes()).collect())
}

/// Bytes cut into chunks of these lengths, over and over.
fn chunks<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for length in lengths.iter().cycle().take(if lengths.is_empty() { 0 } else { bytes.len() }) {
        let (chunk, rest) = bytes.split_at((*length).min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks.push(bytes);
    chunks
}

fn run(
    content_type: &str,
    encoding: &str,
    visibility: Arc<dyn Visibility>,
    chunks: &[&[u8]],
) -> Result<Vec<u8>, FilterError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
    let mut filter = ListFilter::new(&headers, visibility, 1 << 20)?.unwrap();
    let mut output = Vec::new();
    for chunk in chunks {
        output.extend(filter.push(chunk)?);
    }
    output.extend(filter.finish()?);
    Ok(output)
}

/// The items of all lists in a message, as they are written.
fn items(message: &Value) -> Vec<(String, String)> {
    let members = ["tools", "prompts", "resources", "resourceTemplates"];
    let names = ["name", "name", "uri", "uriTemplate"];
    let lists =
        members.into_iter().zip(names).filter_map(|(list, name)| Some((message["result"][list].as_array()?, name)));
    lists
        .flat_map(|(list, name)| {
            list.iter().map(move |item| (item[name].as_str().unwrap().to_owned(), item.to_string()))
        })
        .collect()
}

/// The text of a value with a member of one of its objects once more at its end.
fn with_duplicate(value: &Value, at: &prop::sample::Index) -> Option<String> {
    fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
        match value {
            Value::Object(members) => {
                found.extend((!members.is_empty()).then_some(members));
                members.values().for_each(|value| objects(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| objects(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    objects(value, &mut found);
    let object = *found.get(at.index(found.len().max(1)))?;
    let text = serde_json::to_string(object).unwrap();
    let name = object.keys().nth(at.index(object.len())).unwrap();
    let escaped: String = name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let twice = format!("{},\"{escaped}\":1}}", &text[..text.len() - 1]);
    Some(value.to_string().replacen(&text, &twice, 1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256), value in message()) {
        for body in [bytes, value.to_string().into_bytes()] {
            if let Ok(messages) = Messages::parse(&body) {
                prop_assert!(messages.iter().count() > 0);
                let read: Value = serde_json::from_slice(&body).unwrap();
                if let Some(Operation::Tool(name)) = messages.single().map(crate::Message::operation) {
                    prop_assert_eq!(Some(name), read["params"]["name"].as_str());
                }
            }
        }
    }

    #[test]
    fn what_names_a_member_twice_is_never_read(value in message(), at: prop::sample::Index) {
        if let Some(text) = with_duplicate(&value, &at) {
            prop_assert_eq!(Messages::parse(text.as_bytes()), Err(Malformed::DuplicateMember), "{}", text);
        }
    }

    #[test]
    fn of_a_list_what_is_visible_stays_as_it_is_written(message in message()) {
        let text = message.to_string();
        let filtered = run("application/json", "", Arc::new(Half), &[text.as_bytes()]);
        prop_assume!(filtered.is_ok()); // lists of anything but items are refused
        let filtered: Value = serde_json::from_slice(&filtered.unwrap()).unwrap();
        let visible: Vec<_> = items(&message).into_iter().filter(|(name, _)| name.len().is_multiple_of(2)).collect();
        prop_assert_eq!(items(&filtered), visible);
    }

    #[test]
    fn it_makes_no_difference_where_a_body_is_cut(
        stream in stream(),
        message in message(),
        lengths in prop::collection::vec(1_usize..40, 0..6),
    ) {
        for (content_type, body) in [("text/event-stream", stream), ("application/json", message.to_string().into())] {
            let whole = run(content_type, "", Arc::new(Half), &[&body]);
            let cut = run(content_type, "", Arc::new(Half), &chunks(&body, &lengths));
            prop_assert_eq!(&whole, &cut);
            let text = String::from_utf8(body.clone()).unwrap();
            for (encoding, encoded) in [("gzip", gzip(&body)), ("deflate", zlib(&body)), ("br", brotli(&text))] {
                prop_assert_eq!(&whole, &run(content_type, encoding, Arc::new(Half), &chunks(&encoded, &lengths)));
            }
        }
    }

    #[test]
    fn what_hides_nothing_changes_nothing(stream in stream(), lengths in prop::collection::vec(1_usize..40, 0..6)) {
        // Neither is there anything to mark as private.
        let stream = String::from_utf8(stream).unwrap().replace("ttlMs", "ttl").replace("cacheScope", "scope");
        if let Ok(filtered) = run("text/event-stream", "", Arc::new(Open), &chunks(stream.as_bytes(), &lengths)) {
            prop_assert_eq!(String::from_utf8(filtered).unwrap(), stream);
        }
    }

    #[test]
    fn filtering_again_changes_nothing(stream in stream()) {
        if let Ok(once) = run("text/event-stream", "", Arc::new(Half), &[&stream]) {
            let twice = run("text/event-stream", "", Arc::new(Half), &[&once]);
            prop_assert_eq!(twice, Ok(once));
        }
    }

    #[test]
    fn between_events_there_is_no_part_of_one(stream in stream(), at: prop::sample::Index) {
        let (before, after) = stream.split_at(at.index(stream.len() + 1));
        let mut boundary = EventBoundary::new();
        boundary.push(before);
        if boundary.is_between_events() {
            let with = [before, b"data: put in\n\n", after].concat();
            let mut expected: Vec<_> = data_of_events(&stream);
            let found = data_of_events(&with);
            let position = found.iter().position(|data| data == "put in");
            prop_assert!(position.is_some());
            expected.insert(position.unwrap(), "put in".to_owned());
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn any_bytes_are_filtered_or_refused(body in prop::collection::vec(any::<u8>(), 0..256)) {
        for content_type in ["application/json", "text/event-stream"] {
            for encoding in ["", "gzip", "deflate", "br"] {
                let _ = run(content_type, encoding, Arc::new(Half), &[&body]);
            }
        }
    }
}

/// The data of all events, read in the plain way: line by line, all of it at once.
fn data_of_events(stream: &[u8]) -> Vec<String> {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop(); // after the last line's end
    let (mut events, mut data) = (Vec::new(), None::<String>);
    for line in lines {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        match (line, field) {
            ("", _) => events.extend(data.take()),
            (_, "data") => {
                let value = value.strip_prefix(' ').unwrap_or(value);
                data = Some(data.map_or_else(|| value.to_owned(), |data| data + "\n" + value));
            }
            _ => {}
        }
    }
    events
}

#[test]
fn time_is_linear_in_the_length_of_an_object() {
    // Were it quadratic, this would take minutes.
    let members: Vec<_> = (0..400_000).map(|number| format!("\"{number}\":0")).collect();
    let params = format!("{{{},\"name\":\"a\"}}", members.join(","));
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    assert!(Messages::parse(body.as_bytes()).is_ok());
}

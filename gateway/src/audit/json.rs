//! A record as JSON, on one line.
//!
//! Each request leaves one, so it is written by hand: what serde_json would look for in each name and each text (something to
//! escape), names do not have, and texts hardly ever.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use phantomgate_introspection::ScopeSet;
use uuid::Uuid;

use super::record::{AuditRecord, LONGEST_TEXT, Latency, whole_micros};
use crate::telemetry::TraceParent;

/// How a field begins that is not the first.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// A record that is written down: what is kept of a request, by the thread that has just served it and has everything at
/// hand. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JsonRecord {
    text: Arc<str>,
    trace: Option<TraceParent>,
}

impl JsonRecord {
    /// The JSON object, without an end of the line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where in its trace the request is, of which the JSON has only the trace.
    pub fn trace(&self) -> Option<TraceParent> {
        self.trace
    }
}

impl From<&AuditRecord<'_>> for JsonRecord {
    fn from(record: &AuditRecord<'_>) -> Self {
        // As long as most are.
        let mut text = String::with_capacity(1024);
        write(record, &mut text);
        Self { text: text.into(), trace: record.trace }
    }
}

/// Puts `record` at the end of `line`.
fn write(record: &AuditRecord<'_>, line: &mut String) {
    // All of them, so that none is forgotten that is added.
    let AuditRecord {
        time,
        request_id,
        trace,
        decision,
        reason,
        cause,
        status,
        route,
        method,
        path,
        mcp_method,
        mcp_name,
        client_id,
        subject,
        token,
        token_lookup,
        scopes_required,
        scopes_granted,
        peer,
        protocol,
        upstream,
        endpoint,
        retries,
        bytes_received,
        bytes_sent,
        latency,
    } = record;
    let Latency { introspection, message, credential, decision: own, upstream: at_upstream, total } = *latency;
    let mut object = Object { line };
    object.display("{\"time\":", humantime::format_rfc3339_micros(UNIX_EPOCH + time.since_epoch()));
    object.plain(name!("request_id"), request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    if let Some(trace) = trace {
        object.display(name!("trace_id"), trace.trace_id);
    }
    object.plain(name!("decision"), decision.into());
    object.plain(name!("reason"), reason.into());
    object.text_if(name!("cause"), cause.as_deref());
    object.number(name!("status"), (*status).into());
    object.text_if(name!("route"), *route);
    object.text(name!("method"), method);
    object.text(name!("path"), path);
    object.text_if(name!("mcp_method"), mcp_method.as_deref());
    object.text_if(name!("mcp_name"), mcp_name.as_deref());
    object.text_if(name!("client_id"), client_id.as_deref());
    object.text_if(name!("subject"), subject.as_deref());
    if let Some(token) = token {
        object.display(name!("token"), token);
    }
    if let Some(token_lookup) = token_lookup {
        object.plain(name!("token_lookup"), token_lookup);
    }
    object.scopes_if(name!("scopes_required"), scopes_required.as_deref());
    object.scopes_if(name!("scopes_granted"), *scopes_granted);
    if let Some(peer) = peer {
        object.peer(name!("peer"), peer);
    }
    object.plain(name!("protocol"), protocol);
    object.text_if(name!("upstream"), *upstream);
    object.text_if(name!("endpoint"), *endpoint);
    for (name, count) in
        [(name!("retries"), retries), (name!("bytes_received"), bytes_received), (name!("bytes_sent"), bytes_sent)]
    {
        object.number(name, u64::try_from(*count).unwrap_or(u64::MAX));
    }
    for (name, span) in [
        (name!("introspection_us"), introspection),
        (name!("message_us"), message),
        (name!("credential_us"), credential),
        (name!("decision_us"), own),
        (name!("upstream_us"), at_upstream),
        (name!("total_us"), Some(total)),
    ] {
        if let Some(span) = span {
            object.number(name, whole_micros(span));
        }
    }
    object.line.push('}');
}

/// An object that has begun. Its fields have names as `name!` makes them.
struct Object<'a> {
    line: &'a mut String,
}

impl Object<'_> {
    fn number(&mut self, name: &'static str, number: u64) {
        self.line.push_str(name);
        self.digits(number);
    }

    fn digits(&mut self, number: u64) {
        self.line.push_str(itoa::Buffer::new().format(number));
    }

    /// A text whose characters are letters, digits and punctuation that JSON has no use for.
    fn plain(&mut self, name: &'static str, text: &str) {
        self.line.push_str(name);
        self.line.push('"');
        self.line.push_str(text);
        self.line.push('"');
    }

    /// The same, of what has to be put into words.
    fn display(&mut self, name: &'static str, text: impl Display) {
        self.line.push_str(name);
        self.line.push('"');
        // A string takes whatever comes.
        let _ = write!(self.line, "{text}");
        self.line.push('"');
    }

    fn text(&mut self, name: &'static str, text: &str) {
        // All of them, one or not: so the processor can look at many at once.
        let needs_escapes =
            text.bytes().fold(false, |any, byte| any | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
        if needs_escapes {
            self.line.push_str(name);
            self.line.push_str(&serde_json::Value::from(text).to_string());
        } else {
            self.plain(name, text);
        }
    }

    fn text_if(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Scopes, which have nothing to escape, as one bounded text.
    fn scopes_if(&mut self, name: &'static str, scopes: Option<&ScopeSet>) {
        let Some(scopes) = scopes else { return };
        self.line.push_str(name);
        self.line.push('"');
        let start = self.line.len();
        for scope in scopes.iter() {
            if self.line.len() > start {
                self.line.push(' ');
            }
            self.line.push_str(scope.as_str());
        }
        if self.line.len() > start + LONGEST_TEXT {
            self.line.truncate(start + LONGEST_TEXT);
            self.line.push('\u{2026}');
        }
        self.line.push('"');
    }

    fn peer(&mut self, name: &'static str, peer: &SocketAddr) {
        let SocketAddr::V4(peer) = peer else { return self.display(name, peer) };
        self.line.push_str(name);
        for (octet, before) in peer.ip().octets().into_iter().zip(['"', '.', '.', '.']) {
            self.line.push(before);
            self.digits(octet.into());
        }
        self.line.push(':');
        self.digits(peer.port().into());
        self.line.push('"');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schemars::generate::SchemaSettings;
    use serde_json::{Map, Value, json};

    use super::super::record::tests::record;
    use super::*;
    use crate::telemetry::{SpanId, TraceId};

    fn text(record: &AuditRecord<'_>) -> String {
        JsonRecord::from(record).text().to_owned()
    }

    fn written(record: &AuditRecord<'_>) -> Map<String, Value> {
        serde_json::from_str(&text(record)).unwrap()
    }

    /// One with everything that a record of a request which was granted has not.
    fn of_an_odd_request() -> AuditRecord<'static> {
        let trace = TraceParent { trace_id: TraceId::new([0xab; 16]), span_id: SpanId::new([1; 8]), is_sampled: true };
        AuditRecord {
            trace: Some(trace),
            cause: Some("a cause".into()),
            scopes_required: Some(std::borrow::Cow::Owned(ScopeSet::default())),
            peer: Some("[2001:db8::1]:443".parse().unwrap()),
            retries: 3,
            latency: Latency {
                introspection: Some(Duration::from_nanos(1)),
                message: Some(Duration::from_micros(2)),
                credential: Some(Duration::from_millis(3)),
                decision: Some(Duration::from_secs(4)),
                upstream: Some(Duration::MAX),
                total: Duration::ZERO,
            },
            ..record()
        }
    }

    #[test]
    fn times_are_exact_to_the_microsecond_and_what_never_happened_is_left_out() {
        assert_eq!(
            text(&record()),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.000007Z","request_id":"00000000-0000-0000-0000-000000000001","#,
                r#""decision":"allow","reason":"granted","status":200,"route":"mcp","method":"POST","path":"/mcp","#,
                r#""mcp_method":"tools/call","mcp_name":"fetch-users","client_id":"agent","subject":"alice","#,
                r#""token_lookup":"hit","scopes_required":"users:read","scopes_granted":"users:read users:write","#,
                r#""peer":"127.0.0.1:40000","protocol":"HTTP/1.1","upstream":"users-mcp","#,
                r#""endpoint":"10.0.0.5:3000","retries":0,"bytes_received":120,"bytes_sent":340,"#,
                r#""introspection_us":3,"upstream_us":4000,"total_us":5000}"#
            )
        );
        let record = written(&of_an_odd_request());
        let of_these = |names: &[&str]| -> Vec<Value> { names.iter().map(|name| record[*name].clone()).collect() };
        assert_eq!(record["trace_id"], "ab".repeat(16));
        assert_eq!(
            of_these(&["cause", "scopes_required", "peer"]),
            [json!("a cause"), json!(""), json!("[2001:db8::1]:443")]
        );
        assert_eq!(
            of_these(&["introspection_us", "message_us", "credential_us", "decision_us", "upstream_us", "total_us"]),
            [json!(0), json!(2), json!(3_000), json!(4_000_000), json!(u64::MAX), json!(0)]
        );
    }

    #[test]
    fn it_has_the_fields_of_its_schema() {
        let generator = SchemaSettings::default().for_serialize().into_generator();
        let schema = generator.into_root_schema_for::<AuditRecord<'static>>();
        let is_required = |name: &String| schema.get("required").unwrap().as_array().unwrap().contains(&json!(name));
        let documented: Vec<&String> = schema.get("properties").unwrap().as_object().unwrap().keys().collect();
        // No digest is made here but of a token that was admitted.
        let but_token = documented.iter().copied().filter(|name| *name != "token");
        assert_eq!(written(&of_an_odd_request()).keys().collect::<Vec<_>>(), but_token.collect::<Vec<_>>());
        let bare = AuditRecord {
            route: None,
            mcp_method: None,
            mcp_name: None,
            client_id: None,
            subject: None,
            token_lookup: None,
            scopes_required: None,
            scopes_granted: None,
            peer: None,
            upstream: None,
            endpoint: None,
            latency: Latency::default(),
            ..record()
        };
        let required = documented.into_iter().filter(|name| is_required(name));
        assert_eq!(written(&bare).keys().collect::<Vec<_>>(), required.collect::<Vec<_>>());
    }

    #[test]
    fn it_is_one_line_of_json_whatever_stands_in_a_text() {
        let hostile = "a\r\n{\"decision\":\"allow\"}\u{2028}\u{1b}[31m\0";
        let characters = ('\0'..'\u{100}').chain(['\u{2028}', '\u{fffd}', '\u{10ffff}']);
        for path in
            characters.map(|character| format!("before{character}after")).chain([hostile.to_owned(), String::new()])
        {
            let record = AuditRecord { path: path.as_str().into(), subject: Some(path.as_str().into()), ..record() };
            let line = text(&record);
            assert!(!line.contains(|character| character < ' '), "{line}");
            let record: Map<String, Value> = serde_json::from_str(&line).unwrap();
            assert_eq!(
                (&record["path"], &record["subject"], &record["decision"]),
                (&json!(path), &json!(path), &json!("allow"))
            );
        }
    }

    #[test]
    fn scopes_are_cut_off_as_other_texts_are() {
        let cut = |scopes: &str| {
            let scopes = ScopeSet::from_granted(scopes);
            let record = AuditRecord { scopes_granted: Some(&scopes), ..record() };
            written(&record)["scopes_granted"].clone()
        };
        assert_eq!(cut(&"s".repeat(256)), "s".repeat(256));
        assert_eq!(cut(&"s".repeat(257)), format!("{}…", "s".repeat(256)));
        assert_eq!(
            cut(&format!("{} {}", "s".repeat(200), "t".repeat(200))),
            format!("{} {}…", "s".repeat(200), "t".repeat(55))
        );
    }
}

use super::*;

fn parse(body: &str) -> Result<Messages, Malformed> {
    Messages::parse(body.as_bytes())
}

/// The one message `{"jsonrpc":"2.0", …}` with these members.
fn message(members: &str) -> Result<Message, Malformed> {
    parse(&format!(r#"{{"jsonrpc":"2.0",{members}}}"#)).map(|mut messages| messages.list.remove(0))
}

/// The request of a method with these parameters.
fn request(method: &str, params: &str) -> Result<Message, Malformed> {
    message(&format!(r#""id":1,"method":"{method}","params":{params}"#))
}

#[test]
fn what_a_request_is_about_is_read_from_its_method_and_its_parameters() {
    for (method, params, operation) in [
        ("tools/call", r#"{"arguments":{"name":"b"},"name":"a"}"#, Operation::Tool("a")),
        ("prompts/get", r#"{"name":"a"}"#, Operation::Prompt("a")),
        ("resources/read", r#"{"uri":"file:///a"}"#, Operation::Resource("file:///a")),
        ("resources/subscribe", r#"{"uri":"file:///a"}"#, Operation::Resource("file:///a")),
        ("resources/unsubscribe", r#"{"uri":"file:///a"}"#, Operation::Resource("file:///a")),
        ("resources/subscribe", "{}", Operation::Other),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"a"}}"#, Operation::CompletePrompt("a")),
        (
            "completion/complete",
            r#"{"ref":{"uri":"a:{b}","type":"ref/resource"}}"#,
            Operation::CompleteResource("a:{b}"),
        ),
        ("tools/list", "{}", Operation::List(ListKind::Tools)),
        ("prompts/list", "{}", Operation::List(ListKind::Prompts)),
        ("resources/list", r#"{"cursor":"x"}"#, Operation::List(ListKind::Resources)),
        ("resources/templates/list", "{}", Operation::List(ListKind::ResourceTemplates)),
        ("initialize", r#"{"protocolVersion":"2025-11-25"}"#, Operation::Protocol),
        ("ping", "{}", Operation::Protocol),
        ("server/discover", "{}", Operation::Protocol),
        ("logging/setLevel", r#"{"level":"info"}"#, Operation::Protocol),
        ("tasks/get", r#"{"taskId":"t"}"#, Operation::Protocol),
        ("tasks/list", "{}", Operation::Protocol),
        ("tools/Call", r#"{"name":"a"}"#, Operation::Other),
        ("notifications/initialized", "{}", Operation::Other),
        ("vendor/list", r#"{"Name":1}"#, Operation::Other),
    ] {
        assert_eq!(request(method, params).unwrap().operation(), operation, "{method} {params}");
    }
    let listen =
        request("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":["a:b","c:d"]}}"#).unwrap();
    assert_eq!(listen.operation(), Operation::Listen(&["a:b".to_owned(), "c:d".to_owned()]));
    let listen = request("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#).unwrap();
    assert_eq!(listen.operation(), Operation::Listen(&[]));
}

#[test]
fn the_order_of_members_makes_no_difference() {
    let message = message(r#""params":{"name":"a"},"method":"tools/call","id":"x""#).unwrap();
    assert_eq!((message.operation(), message.id()), (Operation::Tool("a"), Some(&Id::Text("x".into()))));
}

#[test]
fn a_notification_needs_no_permission_and_a_call_without_an_id_is_still_a_call() {
    let initialized = message(r#""method":"notifications/initialized""#).unwrap();
    assert_eq!((initialized.operation(), initialized.is_request()), (Operation::Protocol, false));
    let call = message(r#""method":"tools/call","params":{"name":"a"}"#).unwrap();
    assert_eq!((call.operation(), call.is_request()), (Operation::Tool("a"), false));
}

#[test]
fn what_names_nothing_where_it_must_is_refused() {
    for (method, params) in [
        ("tools/call", "{}"),
        ("tools/call", r#"{"name":7}"#),
        ("tools/call", r#"{"uri":"a"}"#),
        ("prompts/get", r#"{"name":null}"#),
        ("resources/read", r#"{"name":"a"}"#),
        ("resources/read", r#"{"uri":["a"]}"#),
        ("completion/complete", "{}"),
        ("completion/complete", r#"{"ref":"a"}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/tool","name":"a"}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","uri":"a"}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"a","uri":"b"}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"a","Name":"b"}}"#),
        ("subscriptions/listen", r#"{"notifications":[]}"#),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":"a"}}"#),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":["a",1]}}"#),
        ("subscriptions/listen", r#"{"notifications":{"resourcesubscriptions":["a"]}}"#),
    ] {
        assert_eq!(request(method, params), Err(Malformed::Name), "{method} {params}");
    }
    assert_eq!(message(r#""id":1,"method":"tools/call""#), Err(Malformed::Name));
}

#[test]
fn what_another_program_could_read_in_another_way_is_refused() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"paramſ":{"name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping","ID":2}]"#,
    ] {
        assert_eq!(parse(body), Err(Malformed::DuplicateMember), "{body}");
    }
}

#[test]
fn what_is_json_but_not_json_rpc_is_refused() {
    for body in [
        "1",
        "null",
        "\"ping\"",
        "{}",
        "[1]",
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},[]]"#,
    ] {
        assert_eq!(parse(body), Err(Malformed::JsonRpc), "{body}");
    }
    assert_eq!(parse("[]"), Err(Malformed::EmptyBatch));
}

#[test]
fn what_is_not_json_is_called_that_even_where_it_is_no_json_rpc_either() {
    for body in ["", "hello", "{\"id\":1,\"method\":7", r#"{"jsonrpc":"1.0"} {}"#, "\u{feff}{}"] {
        assert_eq!(parse(body), Err(Malformed::Json), "{body}");
    }
}

#[test]
fn answers_of_the_client_keep_their_ids() {
    let result = message(r#""id":1,"result":{"action":"accept"}"#).unwrap();
    assert_eq!((result.operation(), result.method()), (Operation::Response, None));
    assert_eq!(result.id(), Some(&Id::Number(1.into())));
    assert_eq!(message(r#""id":"a","error":{"code":1}"#).unwrap().id(), Some(&Id::Text("a".into())));
    assert_eq!(message(r#""id":null,"error":{"code":1}"#).unwrap().id(), Some(&Id::Null));
    assert_eq!(message(r#""error":{"code":1}"#).unwrap().id(), None);
}

#[test]
fn an_error_about_the_whole_has_the_id_of_the_one_request() {
    assert_eq!(parse(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#).unwrap().id(), Id::Number(7.into()));
    for body in [
        r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
    ] {
        assert_eq!(parse(body).unwrap().id(), Id::Null, "{body}");
    }
}

#[test]
fn a_batch_is_one_even_of_one() {
    let batch = parse(r#"[{"jsonrpc":"2.0","id":7,"method":"ping"},{"jsonrpc":"2.0","id":8,"result":{}}]"#).unwrap();
    assert!(batch.is_batch());
    let operations: Vec<_> = batch.iter().map(Message::operation).collect();
    assert_eq!(operations, [Operation::Protocol, Operation::Response]);
    assert!(parse(r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#).unwrap().is_batch());
    assert!(!parse(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#).unwrap().is_batch());
}

#[test]
fn the_revision_a_body_says_is_a_text_or_refused() {
    let with = |meta: &str| request("ping", &format!("{{\"_meta\":{meta}}}"));
    let version = with(r#"{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#).unwrap();
    assert_eq!(version.meta_version(), Some("2026-07-28"));
    assert_eq!(with("{}").unwrap().meta_version(), None);
    assert_eq!(with("null").unwrap().meta_version(), None);
    assert_eq!(with(r#"{"io.modelcontextprotocol/protocolVersion":1}"#), Err(Malformed::Meta));
    assert_eq!(with("[]"), Err(Malformed::Meta));
    // An answer has no use for one; a server that looks for it first may still go by it.
    let answer = |version: &str| {
        message(&format!(
            r#""id":1,"result":{{}},"params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":{version}}}}}"#
        ))
    };
    assert_eq!(answer(r#""2026-07-28""#).unwrap().meta_version(), Some("2026-07-28"));
    assert_eq!(answer("1"), Err(Malformed::Meta));
    assert_eq!(message(r#""id":1,"result":{},"params":[]"#), Err(Malformed::JsonRpc));
}

#[test]
fn codes_are_those_of_json_rpc() {
    assert_eq!([Malformed::Json, Malformed::Batch, Malformed::Name].map(Malformed::code), [-32700, -32600, -32602]);
}

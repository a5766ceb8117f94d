//! Every message is authorized by what it asks for, and what could be read in two ways is refused.

use e2e::{AnswerExt, Given, RawConnection, World, within};
use serde_json::{Value, json};
use tokio_stream::iter;

use super::{assert_refused, endpoint, given};

const MODERN: &str = "2026-07-28";

fn rules() -> Value {
    json!({ "tools": { "echo": "allow", "update": { "scopes": ["mcp:write"] }, "drop-*": "deny" } })
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "arguments": { "text": "é\u{1F600}" } })
}

fn modern(params: Value) -> Value {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

#[tokio::test]
async fn a_tool_that_is_allowed_is_called_with_the_very_bytes_that_were_sent() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let message = "{ \"id\" : 1.0e2,\n\t\"params\":{\"arguments\":{\"z\":1,\"a\":[1.50, -0]},\"name\":\"ec\\u0068o\"}, \
                   \"method\":\"tools/call\",\"jsonrpc\":\"2.0\" }\n";

    let answer = world.send(&token, message).answer().await;

    assert_eq!(answer.assert_status(200).json()["body"], message);
}

#[tokio::test]
async fn a_tool_whose_scope_is_missing_is_403_with_all_scopes_of_the_operation() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();

    let answer = world.call(&token, "tools/call", &tool("update")).answer().await;

    assert_eq!(assert_refused(&answer, 403, "insufficient_scope"), -32006);
    answer.assert_challenge_error("insufficient_scope");
    assert_eq!(answer.challenge().get("scope"), Some("mcp:read mcp:write"));
    assert!(answer.challenge().get("resource_metadata").is_some());
    let able = world.authorization_server.issue(json!({ "scope": "mcp:write mcp:read" }));
    world.call(&able, "tools/call", &tool("update")).answer().await.assert_status(200);
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn scopes_of_the_route_and_of_the_tool_are_asked_for_in_one_challenge() {
    let world = endpoint(rules()).await;
    let token = world.authorization_server.issue(json!({ "scope": "other" }));

    let answer = world.call(&token, "tools/call", &tool("update")).answer().await;

    assert_refused(&answer, 403, "insufficient_scope");
    assert_eq!(answer.challenge().get("scope"), Some("mcp:read mcp:write"));
}

#[tokio::test]
async fn a_tool_that_is_denied_or_that_no_rule_is_for_is_403() {
    let world = endpoint(rules()).await;
    let token = world.authorization_server.issue(json!({ "scope": "mcp:read mcp:write" }));
    for name in ["drop-all", "unknown", "Echo", "echo ", ""] {
        let answer = world.call(&token, "tools/call", &tool(name)).answer().await;

        assert_eq!(assert_refused(&answer, 403, "tool_denied"), -32014, "{name}");
        assert!(answer.headers.get("www-authenticate").is_none(), "no scope would help");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn with_a_default_that_allows_only_rules_deny() {
    let world = endpoint(json!({ "default": "allow", "tools": { "drop-*": "deny" } })).await;
    let token = world.valid_token();

    world.call(&token, "tools/call", &tool("anything")).answer().await.assert_status(200);
    world.call(&token, "x/anything", &json!({})).answer().await.assert_status(200);
    assert_refused(&world.call(&token, "tools/call", &tool("drop-x")).answer().await, 403, "tool_denied");
}

#[tokio::test]
async fn prompts_resources_completions_and_other_methods_have_rules_of_their_own() {
    let world = endpoint(json!({
        "prompts": { "greet": "allow" },
        "resources": { "file:///public/*": "allow" },
        "methods": { "x/*": "allow", "logging/setLevel": "deny", "tasks/cancel": { "scopes": ["mcp:tasks"] } },
    }))
    .await;
    let token = world.valid_token();
    for (method, params, status) in [
        ("prompts/get", json!({ "name": "greet" }), 200),
        ("prompts/get", json!({ "name": "other" }), 403),
        ("resources/read", json!({ "uri": "file:///public/a" }), 200),
        ("resources/read", json!({ "uri": "file:///private/a" }), 403),
        ("resources/subscribe", json!({ "uri": "file:///private/a" }), 403),
        ("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "greet" } }), 200),
        ("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "other" } }), 403),
        ("completion/complete", json!({ "ref": { "type": "ref/resource", "uri": "file:///private/{p}" } }), 403),
        ("x/own", json!({}), 200),
        ("y/own", json!({}), 403),
        ("logging/setLevel", json!({ "level": "debug" }), 403),
        ("tasks/get", json!({ "taskId": "t" }), 200),
        ("tasks/cancel", json!({ "taskId": "t" }), 403),
        ("initialize", json!({ "protocolVersion": "2025-11-25" }), 200),
        ("ping", json!({}), 200),
    ] {
        let answer = world.call(&token, method, &params).answer().await;

        assert_eq!(answer.status, status, "{method} {params}: {answer:?}");
    }
}

#[tokio::test]
async fn a_subscription_is_authorized_by_the_resources_it_is_for() {
    let world = endpoint(json!({ "resources": { "file:///public/*": "allow" } })).await;
    let token = world.valid_token();
    for (uris, status) in [(json!(["file:///public/a"]), 200), (json!(["file:///public/a", "file:///private/b"]), 403)]
    {
        let params = modern(json!({ "notifications": { "resourceSubscriptions": uris } }));
        let request = world.call(&token, "subscriptions/listen", &params);

        let answer =
            request.header("mcp-protocol-version", MODERN).header("mcp-method", "subscriptions/listen").answer().await;

        answer.assert_status(status);
    }
}

#[tokio::test]
async fn a_scope_that_implies_another_is_as_good() {
    let mut given = given(rules()).await;
    given.config["authorization_servers"]["main"]["scope_implies"] =
        json!({ "mcp:admin": ["mcp:write"], "mcp:write": ["mcp:read"] });
    let world = given.start().await;
    let token = world.authorization_server.issue(json!({ "scope": "mcp:admin" }));

    world.call(&token, "tools/call", &tool("update")).answer().await.assert_status(200);
    world.call(&token, "tools/call", &tool("echo")).answer().await.assert_status(200);
}

#[tokio::test]
async fn a_client_may_be_told_to_ask_for_all_scopes_at_once() {
    let mut rules = rules();
    rules["challenge"] = json!("all");
    let world = endpoint(rules).await;

    let answer = world.get("/mcp").answer().await;

    assert_eq!(answer.assert_status(401).challenge().get("scope"), Some("mcp:read mcp:write"));
}

// --- batches ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn each_member_of_a_batch_is_authorized() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let call = |id: u8, name: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": tool(name) });

    let good = json!([call(1, "echo"), call(2, "echo")]).to_string();
    assert_eq!(world.send(&token, good.clone()).answer().await.assert_status(200).json()["body"], good);
    for bad in ["drop-x", "update"] {
        let answer = world.send(&token, json!([call(1, "echo"), call(2, bad)]).to_string()).answer().await;

        assert_eq!(answer.assert_status(403).json()["id"], Value::Null);
    }
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn only_2025_03_26_has_batches() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let batch = json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }]).to_string();
    for (version, status) in [("2025-03-26", 200), ("2025-06-18", 400), ("2025-11-25", 400), (MODERN, 400)] {
        let answer = world.send(&token, batch.clone()).header("mcp-protocol-version", version).answer().await;

        answer.assert_status(status);
    }
    assert_eq!(world.send(&token, "[]").answer().await.assert_status(400).json()["error"]["code"], -32600);
}

// --- what could be read in two ways -----------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_not_json_rpc_or_could_be_read_in_two_ways_is_400() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (message, code) in [
        (String::new(), -32700),
        ("{".to_owned(), -32700),
        (format!("{ping}{ping}"), -32700),
        (format!("\u{feff}{ping}"), -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_owned(), -32600),
        (r#""ping""#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["a"]}}"#.to_owned(), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.to_owned(), -32602),
        (
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}1{}}}}}"#,
                "[".repeat(5_000),
                "]".repeat(5_000)
            ),
            -32600,
        ),
    ] {
        let answer = world.send(&token, message.clone()).answer().await;

        answer.assert_status(400);
        assert_eq!(answer.json()["error"]["code"], code, "{message:.200}");
        assert_eq!(answer.json()["jsonrpc"], "2.0");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_message_in_another_character_set_or_encoding_is_415() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (name, value) in [("content-type", "application/json; charset=utf-7"), ("content-encoding", "gzip")] {
        let mut request = world.post("/mcp").bearer_auth(&token).body(ping).header(name, value);
        if name != "content-type" {
            request = request.header("content-type", "application/json");
        }

        request.answer().await.assert_status(415);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn methods_that_mcp_does_not_use_are_405() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    for method in ["PUT", "PATCH", "HEAD"] {
        let request = world.request(method.parse().unwrap(), "/mcp").bearer_auth(&token);

        let answer = request.answer().await;

        assert_eq!(answer.assert_status(405).header("allow"), "GET, POST, DELETE");
    }
}

#[tokio::test]
async fn get_and_delete_are_authenticated_and_carry_no_message() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    for method in [http::Method::GET, http::Method::DELETE] {
        world.request(method.clone(), "/mcp").answer().await.assert_status(401);
        world.request(method.clone(), "/mcp").bearer_auth(&token).answer().await.assert_status(200);
        let with_message = world.request(method, "/mcp").bearer_auth(&token).body(r#"{"jsonrpc":"2.0"}"#);
        with_message.answer().await.assert_status(415);
    }
}

#[tokio::test]
async fn http_2_content_that_is_not_announced_is_found_all_the_same() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    for (content, status) in [(r#"{"jsonrpc":"2.0"}"#, 415), ("", 200)] {
        let body = reqwest::Body::wrap_stream(iter([Ok::<_, std::io::Error>(content)]));

        let answer = client.get(world.url("/mcp")).bearer_auth(&token).body(body).answer().await;

        answer.assert_status(status);
    }
    assert_eq!(world.upstream.only_request().body(), "");
}

// --- headers beside the message ---------------------------------------------------------------------------------------

#[tokio::test]
async fn headers_of_2026_07_28_must_agree_with_the_message() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let base64 = "=?base64?ZWNobw==?=";
    for (headers, outcome) in [
        (&[("mcp-method", "tools/call"), ("mcp-name", "echo")][..], Ok(())),
        (&[("mcp-method", "tools/call"), ("mcp-name", base64)], Ok(())),
        (&[("mcp-method", "tools/call"), ("mcp-name", "update")], Err("header_mismatch")),
        (&[("mcp-method", "ping"), ("mcp-name", "echo")], Err("header_mismatch")),
        (&[("mcp-method", "tools/call")], Err("header_mismatch")),
        (&[("mcp-name", "echo")], Err("header_mismatch")),
        (&[("mcp-method", "tools/call"), ("mcp-name", "=?BASE64?ZWNobw==?=")], Err("header_mismatch")),
    ] {
        let mut request =
            world.call(&token, "tools/call", &modern(tool("echo"))).header("mcp-protocol-version", MODERN);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.answer().await;

        match outcome {
            Ok(()) => _ = answer.assert_status(200),
            Err(reason) => assert_eq!(assert_refused(&answer, 400, reason), -32020, "{headers:?}"),
        }
    }
}

#[tokio::test]
async fn a_header_that_names_a_harmless_tool_is_refused_in_older_revisions_too() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    for version in [None, Some("2025-11-25")] {
        let mut request = world.call(&token, "tools/call", &tool("update")).header("mcp-name", "echo");
        if let Some(version) = version {
            request = request.header("mcp-protocol-version", version);
        }

        assert_refused(&request.answer().await, 400, "header_mismatch");
    }
}

#[tokio::test]
async fn the_version_in_the_header_is_that_of_the_message() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let call = |params: Value, version: &str| {
        let request = world.call(&token, "tools/call", &params).header("mcp-method", "tools/call");
        request.header("mcp-name", "echo").header("mcp-protocol-version", version)
    };

    let older = call(modern(tool("echo")), "2025-11-25").answer().await;
    assert_eq!(assert_refused(&older, 400, "header_mismatch"), -32020);
    let without = call(tool("echo"), MODERN).answer().await;
    assert_eq!(assert_refused(&without, 400, "malformed_message"), -32602);
    let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {}, "params": modern(json!({})) });
    let answer = world.send(&token, answer.to_string()).header("mcp-protocol-version", "2025-11-25").answer().await;
    // What is no request has no id that could be answered.
    let error = answer.assert_status(400).json();
    assert_eq!((&error["id"], &error["error"]["code"]), (&Value::Null, &json!(-32020)), "{error}");
}

#[tokio::test]
async fn a_revision_that_is_not_spoken_is_400_with_what_to_speak_in_its_place() {
    let world = endpoint(json!({ "default": "allow", "revisions": ["2025-11-25", MODERN] })).await;
    let token = world.valid_token();
    for version in ["2025-06-18", "2030-01-01", "latest"] {
        let answer = world.call(&token, "ping", &json!({})).header("mcp-protocol-version", version).answer().await;

        assert_eq!(assert_refused(&answer, 400, "unsupported_version"), -32022);
        let data = &answer.json()["error"]["data"];
        assert_eq!((&data["supported"], &data["requested"]), (&json!([MODERN]), &json!(version)));
    }
    let answer = world.get("/mcp").bearer_auth(&token).header("mcp-protocol-version", "2025-06-18").answer().await;
    answer.assert_status(400);
}

#[tokio::test]
async fn unknown_parameters_in_headers_pass() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let request = world.call(&token, "tools/call", &modern(tool("echo"))).header("mcp-protocol-version", MODERN);

    let answer = request
        .header("mcp-method", "tools/call")
        .header("mcp-name", "echo")
        .header("mcp-param-region", "=?base64?w6k=?=")
        .answer()
        .await;

    answer.assert_status(200);
    assert_eq!(world.upstream.only_request().header("mcp-param-region"), "=?base64?w6k=?=");
}

// --- bodies -----------------------------------------------------------------------------------------------------------

fn padded(length: usize) -> String {
    let message =
        |padding: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": { "p": padding } }).to_string();
    message(&"x".repeat(length - message("").len()))
}

#[tokio::test]
async fn a_message_as_large_as_may_be_passes_and_one_byte_more_is_413() {
    let world = endpoint(json!({ "default": "allow", "max_body": "1MiB" })).await;
    let token = world.valid_token();
    let limit = 1024 * 1024;
    let chunked = |message: String| {
        let parts: Vec<_> =
            message.into_bytes().chunks(10_000).map(|part| Ok::<_, std::io::Error>(part.to_vec())).collect();
        world.send(&token, "").body(reqwest::Body::wrap_stream(iter(parts)))
    };

    let answer = world.send(&token, padded(limit)).answer().await;
    assert!(answer.assert_status(200).json()["body"] == padded(limit), "1 MiB was changed on the way");
    let answer = chunked(padded(limit)).answer().await;
    assert!(answer.assert_status(200).json()["body"] == padded(limit), "1 MiB in chunks was changed on the way");

    let answer = world.send(&token, padded(limit + 1)).answer().await;
    assert_eq!(answer.assert_status(413).json()["error"]["data"]["reason"], "body_too_large");
    chunked(padded(limit + 1)).answer().await.assert_status(413);
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn a_client_without_a_token_is_not_read() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let mut connection = world.raw().await;

    let head = "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n";
    connection.send(head).await;

    connection.response().await.unwrap().assert_status(401);
}

#[tokio::test]
async fn rfc9112_s9_6_a_client_that_is_refused_while_it_still_sends_gets_the_answer() {
    let world = endpoint(json!({ "default": "allow", "max_body": "1MiB" })).await;
    let token = world.valid_token();

    // Much more than the buffers of both ends hold. A client that cannot write does not look for an answer.
    for _ in 0..10 {
        world.send("unknown", padded(8 * 1024 * 1024)).answer().await.assert_status(401);
        world.send(&token, padded(8 * 1024 * 1024)).answer().await.assert_status(413);
    }
}

#[tokio::test]
async fn a_message_goes_to_another_endpoint_whole_when_the_first_cannot_be_reached() {
    let mut given = given(json!({ "default": "allow" })).await;
    let gone = e2e::ReservedPort::new();
    given.config["upstreams"]["upstream"]["endpoints"] =
        json!([format!("http://{}", gone.address()), given.upstream.url()]);
    let world = given.start().await;
    let token = world.valid_token();
    for length in [1_000, 300_000] {
        for _ in 0..2 {
            let answer = world.send(&token, padded(length)).answer().await;

            assert!(answer.assert_status(200).json()["body"] == padded(length));
        }
    }
}

#[tokio::test]
async fn rfc9110_s10_1_1_a_message_that_waits_for_100_continue_arrives() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let mut connection = world.raw().await;
    let body = padded(1_000);

    connection.send(head(&token, &format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len()))).await;
    connection.response().await.unwrap().assert_status(100);
    connection.send(body.clone()).await;

    assert_eq!(connection.response().await.unwrap().assert_status(200).json()["body"], body);
}

#[tokio::test]
async fn rfc9110_s10_1_1_a_message_that_waited_for_100_continue_is_answered_when_its_upstream_is_away() {
    let mut given = given(json!({ "default": "allow" })).await;
    let away = e2e::ReservedPort::new();
    given.config["upstreams"]["upstream"]["endpoints"] = json!([format!("http://{}", away.address())]);
    let world = given.start().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;
    let body = padded(1_000);

    connection.send(head(&token, &format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len()))).await;
    connection.response().await.unwrap().assert_status(100);
    connection.send(body).await;

    let answer = connection.response().await.unwrap();
    assert_eq!(answer.assert_status(502).json()["error"]["data"]["reason"], "upstream_unavailable");
}

fn head(token: &str, fields: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{fields}\r\n"
    )
}

#[tokio::test]
async fn one_connection_serves_one_message_after_another_refused_or_not() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let mut connection: RawConnection = world.raw().await;
    for (name, status) in [("echo", 200), ("drop-x", 403), ("update", 403), ("echo", 200)] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool(name) }).to_string();

        connection.send(head(&token, &format!("Content-Length: {}\r\n", body.len()))).await;
        connection.send(body).await;

        within("an answer", connection.response()).await.unwrap().assert_status(status);
    }
}

#[tokio::test]
async fn http_2_messages_pass_too() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    for (name, status) in [("echo", 200), ("drop-x", 403), ("echo", 200)] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool(name) }).to_string();
        let request = client.post(world.url("/mcp")).bearer_auth(&token).header("content-type", "application/json");

        request.body(body).answer().await.assert_status(status);
    }
}

#[tokio::test]
async fn an_error_of_the_upstream_is_passed_on_untouched() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    let body = r#"{ "jsonrpc":"2.0", "error": {"code":-32000,"message":"Bad Request: No valid session ID provided"}, "id":null }"#;
    world.upstream.answer_with_status(400);
    world.upstream.answer_with("application/json", body);

    let answer = world.call(&token, "tools/list", &json!({})).answer().await;

    assert_eq!(answer.assert_status(400).body, body);
}

#[tokio::test]
async fn a_route_without_rules_passes_everything_unread() {
    let world = World::new().await;
    let token = world.valid_token();

    let answer =
        world.post("/mcp").bearer_auth(&token).header("content-type", "application/json").body("{").answer().await;

    assert_eq!(answer.assert_status(200).json()["body"], "{");
}

#[tokio::test]
async fn a_public_endpoint_has_rules_too() {
    let mut given = Given::new().await;
    given.add_public_route("open", "/open");
    given.config["routes"][1]["mcp"] = json!({ "tools": { "echo": "allow" } });
    let world = given.start().await;
    for (name, status) in [("echo", 200), ("other", 403)] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name } }).to_string();
        let request = world.post("/open").header("content-type", "application/json").body(body);

        request.answer().await.assert_status(status);
    }
}

#[tokio::test]
async fn the_record_names_the_method_and_the_tool() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();

    world.call(&token, "tools/call", &tool("drop-x")).answer().await.assert_status(403);

    world
        .gateway
        .logged(&["reason=\"tool_denied\"", "mcp_method=\"tools/call\"", "mcp_name=\"drop-x\"", "subject=\"alice\""])
        .await;
}

//! Lists show what the caller may use.

use e2e::{AnswerExt, World};
use serde_json::{Value, json};

use super::endpoint;

fn rules() -> Value {
    json!({
        "tools": { "echo": "allow", "update": { "scopes": ["mcp:write"] }, "drop": "deny" },
        "prompts": { "greet": "allow" },
        "resources": { "file:///public/*": "allow" },
    })
}

const TOOLS: &str = r#"{"result":{"tools":[{"name":"echo","x":1.50,"inputSchema":{"type":"object"}}, {"name":"update"},
    {"name":"drop"},{"name":"unknown"}],"nextCursor":"c2","ttlMs":5000,"cacheScope":"public","extra":[1,2]},"jsonrpc":"2.0","id":1}"#;

async fn list(world: &World, scope: &str) -> Value {
    let token = world.authorization_server.issue(json!({ "scope": scope }));
    world.call(&token, "tools/list", &json!({})).answer().await.assert_status(200).json()
}

fn names(answer: &Value, list: &str, name: &str) -> Vec<String> {
    let items = answer["result"][list].as_array().unwrap_or_else(|| panic!("{list} in {answer}"));
    items.iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_of_tools_shows_what_the_token_may_be_used_for() {
    let world = endpoint(rules()).await;
    world.upstream.answer_with("application/json", TOOLS);

    let reader = list(&world, "mcp:read").await;
    let writer = list(&world, "mcp:read mcp:write").await;

    assert_eq!(names(&reader, "tools", "name"), ["echo"]);
    assert_eq!(names(&writer, "tools", "name"), ["echo", "update"]);
    assert_eq!(reader["result"]["cacheScope"], "private");
    for (member, value) in [("nextCursor", json!("c2")), ("ttlMs", json!(5000)), ("extra", json!([1, 2]))] {
        assert_eq!(reader["result"][member], value);
    }
}

#[tokio::test]
async fn what_is_kept_keeps_its_bytes() {
    let world = endpoint(rules()).await;
    world.upstream.answer_with("application/json", TOOLS);
    let token = world.valid_token();

    let answer = world.call(&token, "tools/list", &json!({})).answer().await;

    let body = &answer.assert_status(200).body;
    assert!(body.contains(r#"{"name":"echo","x":1.50,"inputSchema":{"type":"object"}}"#), "{body}");
    assert!(!body.contains("drop") && !body.contains("unknown"), "{body}");
}

#[tokio::test]
async fn a_list_may_show_what_more_scopes_would_allow() {
    let mut rules = rules();
    rules["lists"] = json!("obtainable");
    let world = endpoint(rules).await;
    world.upstream.answer_with("application/json", TOOLS);

    assert_eq!(names(&list(&world, "mcp:read").await, "tools", "name"), ["echo", "update"]);
}

#[tokio::test]
async fn prompts_resources_and_templates_are_filtered_too() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    for (method, list, name, items, shown) in [
        ("prompts/list", "prompts", "name", json!([{ "name": "greet" }, { "name": "other" }]), "greet"),
        (
            "resources/list",
            "resources",
            "uri",
            json!([{ "uri": "file:///private/a", "name": "a" }, { "uri": "file:///public/b", "name": "b" }]),
            "file:///public/b",
        ),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            json!([{ "uriTemplate": "file:///public/{x}", "name": "a" }, { "uriTemplate": "db:///{x}", "name": "b" }]),
            "file:///public/{x}",
        ),
    ] {
        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { list: items } }).to_string();
        world.upstream.answer_with("application/json", answer);

        let answer = world.call(&token, method, &json!({})).answer().await;

        assert_eq!(names(&answer.assert_status(200).json(), list, name), [shown], "{method}");
    }
}

#[tokio::test]
async fn a_list_in_an_event_stream_is_filtered() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    let progress = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
    let list = format!("id: 7\ndata: {}\n\n", TOOLS.replace('\n', "\ndata: "));
    world.upstream.answer_with("text/event-stream", format!(": hello\n\n{progress}{list}"));

    let answer = world.call(&token, "tools/list", &json!({})).answer().await;

    let body = &answer.assert_status(200).body;
    assert!(body.starts_with(&format!(": hello\n\n{progress}id: 7\n")), "{body}");
    let data: Vec<_> =
        body.rsplit_once("id: 7\n").unwrap().1.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(names(&serde_json::from_str(&data.join("\n")).unwrap(), "tools", "name"), ["echo"]);
}

#[tokio::test]
async fn a_list_that_is_repeated_in_a_stream_of_its_own_is_filtered() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    world.upstream.answer_with("text/event-stream", format!("data: {}\n\n", TOOLS.replace('\n', " ")));

    let answer = world.get("/mcp").bearer_auth(&token).header("last-event-id", "6").answer().await;

    let body = &answer.assert_status(200).body;
    assert!(body.contains("echo") && !body.contains("drop"), "{body}");
}

#[tokio::test]
async fn each_list_of_a_batch_is_filtered() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    world.upstream.answer_with("application/json", format!("[{TOOLS},{}]", TOOLS.replace("\"id\":1", "\"id\":2")));
    let request = |id: u8| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });

    let answer = world.send(&token, json!([request(1), request(2)]).to_string()).answer().await;

    for answer in answer.assert_status(200).json().as_array().unwrap() {
        assert_eq!(names(answer, "tools", "name"), ["echo"]);
    }
}

#[tokio::test]
async fn a_list_is_asked_for_uncompressed_and_read_when_it_is_not() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    // `gzip -9n` of a list with the tools echo and drop.
    world.upstream.answer_with("application/json", GZIP);
    world.upstream.add_header("content-encoding", "gzip");

    let request = world.call(&token, "tools/list", &json!({})).header("accept-encoding", "gzip, br");
    let answer = request.answer().await;

    assert_eq!(names(&answer.assert_status(200).json(), "tools", "name"), ["echo"]);
    assert!(answer.headers.get("content-encoding").is_none());
    assert!(world.upstream.only_request().headers.get("accept-encoding").is_none());
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_not_passed_on() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    world.upstream.add_header("content-encoding", "x-unknown");
    world.upstream.answer_with("application/json", TOOLS);

    let answer = world.call(&token, "tools/list", &json!({})).answer().await;

    assert_eq!(answer.assert_status(502).json()["error"]["data"]["reason"], "upstream_unavailable");
}

#[tokio::test]
async fn where_everything_is_allowed_answers_pass_as_they_are() {
    let world = endpoint(json!({ "default": "allow" })).await;
    let token = world.valid_token();
    world.upstream.answer_with("application/json", TOOLS);

    let answer = world.call(&token, "tools/list", &json!({})).answer().await;

    assert_eq!(answer.assert_status(200).body, TOOLS);
}

#[tokio::test]
async fn a_result_of_a_tool_is_never_touched() {
    let world = endpoint(rules()).await;
    let token = world.valid_token();
    world.upstream.answer_with("application/json", TOOLS);

    let request = world.call(&token, "tools/call", &json!({ "name": "echo" })).header("accept-encoding", "gzip");
    let answer = request.answer().await;

    assert_eq!(answer.assert_status(200).body, TOOLS);
    assert_eq!(world.upstream.only_request().header("accept-encoding"), "gzip");
}

const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0xca, 0x2a, 0xce, 0xcf, 0x2b, 0x2a, 0x48,
    0x56, 0xb2, 0x52, 0x32, 0xd2, 0x33, 0x50, 0xd2, 0x51, 0xca, 0x4c, 0x51, 0xb2, 0x32, 0xd4, 0x51, 0x2a, 0x4a, 0x2d,
    0x2e, 0xcd, 0x29, 0x51, 0xb2, 0xaa, 0x56, 0x2a, 0xc9, 0xcf, 0xcf, 0x29, 0x56, 0xb2, 0x8a, 0xae, 0x56, 0xca, 0x4b,
    0xcc, 0x4d, 0x05, 0xaa, 0x4b, 0x4d, 0xce, 0xc8, 0x57, 0xaa, 0xd5, 0x81, 0xf3, 0x53, 0x8a, 0xf2, 0x0b, 0x94, 0x6a,
    0x63, 0x6b, 0x6b, 0x01, 0xe4, 0x9f, 0x41, 0x80, 0x4d, 0x00, 0x00, 0x00,
];

//! What a request says of itself in its header: the version (from 2025-06-18) and what its body says (2026-07-28).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{AnswerExt, Response};
use http::Method;
use serde_json::{Value, json};

use crate::mcp::{STATELESS, bare, call, echo, endpoint, message, open, post};

/// Refused for what its header says; the error is for the request.
#[track_caller]
fn assert_mismatch(answer: &Response, why: &str) {
    assert_eq!(answer.status, 400, "{why}: {answer:#?}");
    let error = answer.json();
    assert_eq!((&error["error"]["code"], &error["id"]), (&json!(-32020), &json!(1)), "{why}: {error}");
}

// --- the version ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn rev2025_06_18_and_later_transport_protocol_version_one_that_is_not_spoken_is_400() {
    let world = endpoint(json!({ "default": "allow", "revisions": ["2025-06-18", "2025-11-25", STATELESS] })).await;
    let token = world.valid_token();
    for version in ["2025-03-26", "2024-11-05", "2030-01-01", "2025-6-18", "", "2025-06-18, 2025-11-25", "DRAFT"] {
        let ping = message("2025-06-18", "ping", json!({}));
        let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let posts = [ping, notification].map(|message| bare(&world, "2025-03-26", message.to_string()));
        let others = [Method::GET, Method::DELETE].map(|method| world.request(method, "/mcp"));
        for request in posts.into_iter().chain(others) {
            let answer = request.header("mcp-protocol-version", version).bearer_auth(&token).answer().await;

            assert_eq!(answer.status, 400, "{version:?}: {answer:#?}");
        }
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2025_06_18_and_2025_11_25_transport_protocol_version_without_one_it_is_2025_03_26() {
    let world = open().await;
    let token = world.valid_token();
    let batch = json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }]).to_string();

    bare(&world, "2025-03-26", batch.clone()).bearer_auth(&token).answer().await.assert_status(200);

    let without_it = endpoint(json!({ "default": "allow", "revisions": ["2025-06-18", "2025-11-25"] })).await;
    let token = without_it.valid_token();
    let ping = message("2025-06-18", "ping", json!({})).to_string();
    let answer = bare(&without_it, "2025-03-26", ping).bearer_auth(&token).answer().await;
    assert_eq!(answer.assert_status(400).json()["error"]["data"]["requested"], "2025-03-26");
}

#[tokio::test]
async fn rev2026_07_28_transport_protocol_version_one_that_is_not_spoken_is_400_with_those_that_are() {
    let world = open().await;
    let token = world.valid_token();
    for version in ["2030-01-01", "1900-01-01", "2024-11-05"] {
        let mut ping = message(STATELESS, "ping", json!({}));
        ping["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(version);

        let request = bare(&world, version, ping.to_string()).header("mcp-method", "ping").bearer_auth(&token);
        let answer = request.answer().await;

        let error = answer.assert_status(400).json();
        assert_eq!((&error["error"]["code"], &error["id"]), (&json!(-32022), &json!(1)), "{error}");
        // Of the revisions spoken, the one whose clients negotiate by this error.
        assert_eq!(error["error"]["data"]["supported"], json!([STATELESS]), "{error}");
        assert_eq!(error["error"]["data"]["requested"], version, "{error}");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2026_07_28_transport_protocol_version_the_header_is_that_of_the_body() {
    let world = open().await;
    let token = world.valid_token();
    for (header, body) in [
        (Some("2025-11-25"), STATELESS),
        (Some(STATELESS), "2025-11-25"),
        (Some(STATELESS), "2030-01-01"),
        (Some("2030-01-01"), STATELESS),
        (None, STATELESS),
    ] {
        let mut call = message(STATELESS, "tools/call", json!({ "name": "echo" }));
        call["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(body);
        let request = bare(&world, "2025-03-26", call.to_string()).header("mcp-method", "tools/call");
        let request = request.header("mcp-name", "echo").bearer_auth(&token);
        let request =
            header.into_iter().fold(request, |request, version| request.header("mcp-protocol-version", version));

        assert_mismatch(&request.answer().await, &format!("{header:?} with {body}"));
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2026_07_28_transport_protocol_version_where_no_older_one_is_spoken_it_must_be_there() {
    let world = endpoint(json!({ "default": "allow", "revisions": [STATELESS] })).await;
    let token = world.valid_token();
    for request in [message(STATELESS, "tools/list", json!({})), message("2025-11-25", "tools/list", json!({}))] {
        let answer = bare(&world, "2025-03-26", request.to_string()).bearer_auth(&token).answer().await;

        assert_mismatch(&answer, &request.to_string());
    }
    // So does the first request of an older client, to whom the error names what is spoken (versioning page, SHOULD).
    let initialize = message("2025-11-25", "initialize", json!({ "protocolVersion": "2025-11-25" }));
    let answer = bare(&world, "2025-03-26", initialize.to_string()).bearer_auth(&token).answer().await;
    assert_eq!(answer.assert_status(400).json()["error"]["data"]["supported"], json!([STATELESS]));
    assert!(world.upstream.received().is_empty());
}

// --- the method and the name ------------------------------------------------------------------------------------------

#[tokio::test]
async fn rev2026_07_28_transport_standard_headers_mcp_method_is_required_of_every_request() {
    let world = open().await;
    let token = world.valid_token();
    for (method, params) in [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("ping", json!({})),
        ("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "summary" } })),
        ("x/unknown", json!({})),
    ] {
        let content = message(STATELESS, method, params.clone()).to_string();
        let without = bare(&world, STATELESS, content.clone()).bearer_auth(&token).answer().await;
        let other = bare(&world, STATELESS, content).header("mcp-method", "tools/call").bearer_auth(&token);

        assert_mismatch(&without, &format!("{method} without its header"));
        assert_mismatch(&other.answer().await, &format!("{method} with another header"));
        call(&world, &token, STATELESS, method, params).answer().await.assert_status(200);
    }
}

#[tokio::test]
async fn rev2026_07_28_transport_standard_headers_mcp_name_is_required_of_tools_prompts_and_resources() {
    let world = open().await;
    let token = world.valid_token();
    for (method, params) in [
        ("tools/call", json!({ "name": "one" })),
        ("prompts/get", json!({ "name": "one" })),
        ("resources/read", json!({ "uri": "file:///one" })),
    ] {
        let request = |name: Option<&str>| {
            let content = message(STATELESS, method, params.clone()).to_string();
            let request = bare(&world, STATELESS, content).header("mcp-method", method).bearer_auth(&token);
            name.into_iter().fold(request, |request, name| request.header("mcp-name", name)).answer()
        };

        assert_mismatch(&request(None).await, &format!("{method} without its header"));
        for other in ["two", "", "one two", "One", "=?base64?dHdv?="] {
            assert_mismatch(&request(Some(other)).await, &format!("{method} with {other:?}"));
        }
        call(&world, &token, STATELESS, method, params.clone()).answer().await.assert_status(200);
    }
    assert_eq!(world.upstream.received().len(), 3);
}

#[tokio::test]
async fn rev2026_07_28_transport_value_encoding_a_name_is_decoded_before_it_is_compared() {
    let world = open().await;
    let token = world.valid_token();
    let request = |name: &str, header: String| {
        let content = message(STATELESS, "tools/call", json!({ "name": name })).to_string();
        let request = bare(&world, STATELESS, content).header("mcp-method", "tools/call").bearer_auth(&token);
        request.header("mcp-name", header).answer()
    };
    let encoded = |name: &str| format!("=?base64?{}?=", BASE64_STANDARD.encode(name));

    for name in ["Hello, 世界", " padded ", "two\nlines", "=?base64?literal?=", "plain", ""] {
        let answer = request(name, encoded(name)).await;
        assert_eq!(answer.status, 200, "{name:?}: {answer:#?}");
        assert_eq!(world.upstream.received().last().unwrap().header("mcp-name"), encoded(name), "as it came");
    }
    let arrived = world.upstream.received().len();
    let literal = BASE64_STANDARD.encode("plain");
    for header in [
        format!("=?BASE64?{literal}?="),
        format!("=?Base64?{literal}?="),
        format!("=?base64?{literal}"),
        format!("=?base64?{literal}=?="),
        format!("=?base64?{literal} ?="),
        "=?base64?%%%?=".to_owned(),
        literal,
    ] {
        assert_mismatch(&request("plain", header.clone()).await, &header);
    }
    let latin = format!("=?base64?{}?=", BASE64_STANDARD.encode(b"caf\xe9"));
    assert_mismatch(&request("caf\u{fffd}", latin).await, "not UTF-8");
    assert_eq!(world.upstream.received().len(), arrived);
}

#[tokio::test]
async fn rev2026_07_28_transport_custom_headers_those_that_nobody_here_knows_are_passed_on_as_they_are() {
    let world = open().await;
    let token = world.valid_token();
    let fields = [
        ("mcp-param-region", "us-west1"),
        ("mcp-param-text", "=?base64?IHBhZGRlZCA=?="),
        ("mcp-param-odd", "=?base64?%?="),
    ];
    let request =
        fields.iter().fold(echo(&world, &token, STATELESS), |request, (name, value)| request.header(*name, *value));

    request.answer().await.assert_status(200);

    let arrived = world.upstream.only_request();
    for (name, value) in fields {
        assert_eq!(arrived.header(name), value);
    }
    assert_eq!(arrived.header("mcp-method"), "tools/call");
    assert_eq!(arrived.header("mcp-name"), "echo");
    assert_eq!(arrived.header("mcp-protocol-version"), STATELESS);
}

#[tokio::test]
async fn rev2026_07_28_transport_server_validation_policy_is_not_fooled_by_headers_of_an_older_version() {
    let world = endpoint(json!({ "tools": { "echo": "allow" } })).await;
    let token = world.valid_token();
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let content = message(version, "tools/call", json!({ "name": "drop-all" })).to_string();
        let request = bare(&world, version, content).header("mcp-method", "tools/call").header("mcp-name", "echo");

        request.bearer_auth(&token).answer().await.assert_status(400);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2026_07_28_transport_sending_messages_a_notification_needs_no_headers_of_its_own() {
    let world = open().await;
    let token = world.valid_token();
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/x" });

    let bare = bare(&world, STATELESS, notification.to_string()).bearer_auth(&token).answer().await;
    let full = post(&world, STATELESS, &notification).bearer_auth(&token).answer().await;

    bare.assert_status(200);
    full.assert_status(200);
    let bodies: Vec<_> = world.upstream.received().iter().map(|request| json_of(&request.body())).collect();
    assert_eq!(bodies, [notification.clone(), notification]);
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

//! Security, and sending messages: POST, and what is answered to it.

use e2e::{AnswerExt, RawConnection, World};
use http::Method;
use serde_json::{Value, json};

use crate::mcp::{
    EVERY_REVISION, STATELESS, WITH_SESSIONS, bare, call, echo, endpoint, message, open, post, with_version,
};

/// A notification, as a client of `revision` says it.
fn notification(revision: &str, method: &str) -> Value {
    let mut message = message(revision, method, json!({}));
    message.as_object_mut().unwrap().remove("id");
    message
}

#[tokio::test]
async fn rev2025_03_26_to_2025_11_25_transport_endpoint_one_path_takes_post_get_and_delete() {
    let world = open().await;
    let token = world.valid_token();
    for revision in WITH_SESSIONS {
        echo(&world, &token, revision).answer().await.assert_status(200);
        for method in [Method::GET, Method::DELETE] {
            let answer =
                with_version(world.request(method.clone(), "/mcp"), revision).bearer_auth(&token).answer().await;

            assert_eq!(answer.assert_status(200).json()["method"], method.as_str(), "{revision}");
        }
    }
}

// --- security ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_revision_transport_security_a_foreign_origin_is_403() {
    let world = endpoint(json!({ "default": "allow", "origins": ["https://inspector.example.com"] })).await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        for origin in ["https://evil.example", "null", "https://inspector.example.com.evil.example"] {
            let get = with_version(world.get("/mcp"), revision).bearer_auth(&token);
            let without_token = post(&world, revision, &message(revision, "ping", json!({})));
            for request in [echo(&world, &token, revision), get, without_token] {
                let answer = request.header("origin", origin).answer().await;

                answer.assert_status(403);
                assert_eq!(answer.headers.get("access-control-allow-origin"), None, "{revision} {origin}");
            }
        }
        let known = echo(&world, &token, revision).header("origin", "https://inspector.example.com");
        known.answer().await.assert_status(200);
    }
    assert_eq!(world.upstream.received().len(), EVERY_REVISION.len());
    assert_eq!(world.authorization_server.introspections(&token), 1, "none for a foreign page");
}

// --- one message, or several ------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_revision_transport_encoding_a_message_that_is_not_utf_8_is_400() {
    let world = open().await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        let mut content = message(revision, "ping", json!({ "text": "caf?" })).to_string().into_bytes();
        let last = content.iter().position(|byte| *byte == b'?').unwrap();
        content[last] = 0xe9; // é, in Latin-1

        let request = bare(&world, revision, content).header("mcp-method", "ping").bearer_auth(&token);
        let answer = request.answer().await;

        assert_eq!(answer.assert_status(400).json()["error"]["code"], -32700, "{revision}");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2025_03_26_transport_sending_messages_a_batch_has_requests_and_notifications_or_responses() {
    let world = open().await;
    let token = world.valid_token();
    let ping = message("2025-03-26", "ping", json!({}));
    let notification = notification("2025-03-26", "notifications/initialized");
    let response = json!({ "jsonrpc": "2.0", "id": "of-the-server", "result": {} });
    for batch in [json!([ping, notification]), json!([notification, notification]), json!([response, response])] {
        let batch = batch.to_string();

        let answer = bare(&world, "2025-03-26", batch.clone()).bearer_auth(&token).answer().await;

        assert_eq!(answer.assert_status(200).json()["body"], batch);
    }
}

#[tokio::test]
async fn rev2025_06_18_and_later_transport_sending_messages_a_batch_is_400() {
    let world = open().await;
    let token = world.valid_token();
    for revision in ["2025-06-18", "2025-11-25", STATELESS] {
        let ping = message(revision, "ping", json!({}));
        for batch in [json!([ping]), json!([ping, ping]), json!([])] {
            let request = bare(&world, revision, batch.to_string()).header("mcp-method", "ping").bearer_auth(&token);

            let answer = request.answer().await;

            assert_eq!(answer.assert_status(400).json()["error"]["code"], -32600, "{revision} {batch}");
        }
    }
    assert!(world.upstream.received().is_empty());
}

// --- notifications and responses --------------------------------------------------------------------------------------

#[tokio::test]
async fn every_revision_transport_sending_messages_202_without_a_body_is_passed_on() {
    let world = open().await;
    let token = world.valid_token();
    world.upstream.answer_with_status(202);
    world.upstream.answer_with("application/json", "");
    for revision in EVERY_REVISION {
        let answer = post(&world, revision, &notification(revision, "notifications/progress")).bearer_auth(&token);

        assert_eq!(answer.answer().await.assert_status(202).body, "", "{revision}");
    }
    for revision in WITH_SESSIONS {
        let response = json!({ "jsonrpc": "2.0", "id": 7, "result": { "roots": [] } });

        let answer = bare(&world, revision, response.to_string()).bearer_auth(&token).answer().await;

        assert_eq!(answer.assert_status(202).body, "", "{revision}");
    }
    assert_eq!(world.upstream.received().len(), EVERY_REVISION.len() + WITH_SESSIONS.len());
}

#[tokio::test]
async fn every_revision_transport_sending_messages_a_notification_that_is_not_accepted_is_an_http_error_without_an_id()
{
    let world = endpoint(json!({ "default": "allow", "methods": { "notifications/x": "deny" } })).await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        let mut malformed = notification(revision, "notifications/progress");
        malformed["jsonrpc"] = json!("1.0");
        for (message, status) in [(notification(revision, "notifications/x"), 403), (malformed, 400)] {
            let answer = post(&world, revision, &message).bearer_auth(&token).answer().await;

            let error = answer.assert_status(status).json();
            assert_eq!(error["id"], Value::Null, "{revision}: {error}");
            assert!(error["error"]["code"].is_i64(), "{revision}: {error}");
        }
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rev2026_07_28_transport_sending_messages_a_response_of_the_client_is_400() {
    let world = open().await;
    let token = world.valid_token();
    for response in [
        json!({ "jsonrpc": "2.0", "id": 7, "result": {} }),
        json!({ "jsonrpc": "2.0", "id": 7, "error": { "code": -1, "message": "no" } }),
    ] {
        let answer = bare(&world, STATELESS, response.to_string()).bearer_auth(&token).answer().await;

        answer.assert_status(400);
    }
    assert!(world.upstream.received().is_empty());
}

// --- requests ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_revision_transport_sending_messages_a_request_is_answered_with_json_or_with_an_event_stream() {
    let world = open().await;
    let token = world.valid_token();
    let response = r#"{ "jsonrpc":"2.0", "id":1, "result":{"content":[ ]} }"#;
    for (content_type, content) in [
        ("application/json", response.to_owned()),
        ("text/event-stream", format!("event: message\ndata: {response}\n\n")),
    ] {
        world.upstream.answer_with(content_type, content.clone());
        for revision in EVERY_REVISION {
            let answer = echo(&world, &token, revision).answer().await;

            assert_eq!(answer.assert_status(200).header("content-type"), content_type, "{revision}");
            assert_eq!(answer.body, content, "{revision}");
        }
    }
    let accepted = world.upstream.received();
    assert!(accepted.iter().all(|request| request.header("accept") == "application/json, text/event-stream"));
}

#[tokio::test]
async fn every_revision_transport_sending_messages_a_request_that_is_refused_is_answered_with_json() {
    let world = endpoint(json!({ "tools": { "update": { "scopes": ["users:write"] } } })).await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        let update = json!({ "name": "update" });
        for request in [
            echo(&world, &token, revision),
            call(&world, &token, revision, "tools/call", update.clone()),
            post(&world, revision, &message(revision, "tools/call", update)),
        ] {
            let answer = request.answer().await;

            let error = answer.assert_status_in(&[401, 403]).json();
            assert_eq!(answer.header("content-type"), "application/json", "{revision}");
            assert_eq!((&error["jsonrpc"], &error["id"]), (&json!("2.0"), &json!(1)), "{revision}");
        }
    }
}

#[tokio::test]
async fn every_revision_transport_messages_arrive_with_the_bytes_they_were_sent_with() {
    let world = open().await;
    let token = world.valid_token();
    for revision in EVERY_REVISION {
        let compact = message(revision, "tools/call", json!({ "name": "echo", "arguments": { "n": 1 } })).to_string();
        let spaced = format!("\t{} \r\n", compact.replace(":1}", ":1.0e0 }"));

        let request = bare(&world, revision, spaced.clone()).header("mcp-method", "tools/call");
        let answer = request.header("mcp-name", "echo").bearer_auth(&token).answer().await;

        assert_eq!(answer.assert_status(200).json()["body"], spaced, "{revision}");
    }
}

#[tokio::test]
async fn rev2026_07_28_transport_protocol_version_404_of_a_server_that_lacks_the_method_is_passed_on() {
    let world = open().await;
    let token = world.valid_token();
    let body = r#"{ "jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"} }"#;
    world.upstream.answer_with_status(404);
    world.upstream.answer_with("application/json", body);

    for _ in 0..2 {
        let answer = call(&world, &token, STATELESS, "x/unknown", json!({})).answer().await;

        assert_eq!(answer.assert_status(404).body, body);
    }
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn rev2026_07_28_transport_backward_compatibility_400_of_the_server_is_passed_on() {
    let world = open().await;
    let token = world.valid_token();
    world.upstream.answer_with_status(400);
    for body in ["", "Bad Request: no session", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"x"}}"#]
    {
        world.upstream.answer_with("application/json", body);

        let answer = call(&world, &token, STATELESS, "server/discover", json!({})).answer().await;

        assert_eq!(answer.assert_status(400).body, body, "a client sees by it that the server is an older one");
    }
}

// --- header names -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn rev2026_07_28_transport_case_sensitivity_names_of_headers_are_of_any_case_and_their_values_are_not() {
    let world = open().await;
    let token = world.valid_token();
    for (fields, status) in [
        ("MCP-PROTOCOL-VERSION: 2026-07-28\r\nmcp-method: tools/call\r\nmCP-nAME: echo", 200),
        ("mcp-protocol-version: 2026-07-28\r\nMCP-METHOD: tools/call\r\nMcp-Name: echo", 200),
        ("mcp-protocol-version: 2026-07-28\r\nMcp-Method: Tools/Call\r\nMcp-Name: echo", 400),
        ("mcp-protocol-version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: Echo", 400),
    ] {
        let answer = raw(&world, &token, fields).await;

        assert_eq!(answer.status, status, "{fields}: {answer:#?}");
    }
}

#[tokio::test]
async fn rev2026_07_28_transport_server_validation_a_header_with_invalid_characters_is_400() {
    let world = open().await;
    let token = world.valid_token();
    for fields in [
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: \u{e9}cho",
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/c\u{e4}ll\r\nMcp-Name: echo",
        "MCP-Protocol-Version: 2026-07-28\u{e9}\r\nMcp-Method: tools/call\r\nMcp-Name: echo",
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\nMcp-Name: echo",
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\u{1}",
    ] {
        let answer = raw(&world, &token, fields).await;

        assert_eq!(answer.status, 400, "{fields:?}: {answer:#?}");
    }
    assert!(world.upstream.received().is_empty());
}

/// A call of the tool `echo` in 2026-07-28, with these fields as they are.
async fn raw(world: &World, token: &str, fields: &str) -> e2e::Response {
    let call = message(STATELESS, "tools/call", json!({ "name": "echo" })).to_string();
    let mut connection: RawConnection = world.raw().await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n{fields}\r\n\
         Content-Length: {}\r\n\r\n",
        call.len()
    );
    connection.send(head + &call).await;
    connection.response().await.unwrap()
}

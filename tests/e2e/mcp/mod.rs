//! MCP endpoints: messages, lists, sessions and streams, with a scripted upstream.

mod lists;
mod messages;
mod sessions;
mod streams;

use e2e::{Given, Response, World};
use serde_json::{Value, json};

/// The gateway with an MCP endpoint at `/mcp`, of which the section `mcp` is this.
async fn endpoint(mcp: Value) -> World {
    given(mcp).await.start().await
}

async fn given(mcp: Value) -> Given {
    let mut given = Given::new().await;
    given.config["routes"][0]["mcp"] = mcp;
    given
}

/// Checks that an answer is a JSON-RPC error, for the request with the id 1; gives its code.
#[track_caller]
fn assert_refused(answer: &Response, status: u16, reason: &str) -> i64 {
    answer.assert_status(status);
    let error = answer.json();
    assert_eq!((&error["jsonrpc"], &error["id"]), (&json!("2.0"), &json!(1)), "{error}");
    assert_eq!(error["error"]["data"]["reason"], reason, "{error}");
    error["error"]["code"].as_i64().unwrap()
}

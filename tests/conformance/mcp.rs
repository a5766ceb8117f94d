//! Messages as clients of each revision of MCP send them, to a gateway with an MCP endpoint at `/mcp`.

use e2e::{Given, World};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// The revisions with Streamable HTTP, all spoken by an endpoint unless its configuration says otherwise.
pub(crate) const EVERY_REVISION: [&str; 4] = ["2025-03-26", "2025-06-18", "2025-11-25", STATELESS];
/// Those in which a resource server and its authorization server are two.
pub(crate) const FROM_2025_06_18: [&str; 3] = ["2025-06-18", "2025-11-25", STATELESS];
/// Those in which a challenge names scopes.
pub(crate) const FROM_2025_11_25: [&str; 2] = ["2025-11-25", STATELESS];
/// Those with `initialize`, sessions, GET and DELETE.
pub(crate) const WITH_SESSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
/// The one without.
pub(crate) const STATELESS: &str = "2026-07-28";

/// A gateway with an MCP endpoint at `/mcp`, of which the section `mcp` is this.
pub(crate) async fn endpoint(mcp: Value) -> World {
    given(mcp).await.start().await
}

/// The same, not started yet.
pub(crate) async fn given(mcp: Value) -> Given {
    let mut given = Given::new().await;
    given.config["routes"][0]["mcp"] = mcp;
    given
}

/// An endpoint at which nothing but the token decides.
pub(crate) async fn open() -> World {
    endpoint(json!({ "default": "allow" })).await
}

/// A request with the id 1, as a client of `revision` says it.
pub(crate) fn message(revision: &str, method: &str, params: Value) -> Value {
    let mut params = params;
    if revision == STATELESS {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": revision,
            "io.modelcontextprotocol/clientInfo": { "name": "conformance", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
    }
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// A message of `revision` on its way, with the fields that repeat what it says and without a token.
pub(crate) fn post(world: &World, revision: &str, message: &Value) -> RequestBuilder {
    let mut request = bare(world, revision, message.to_string());
    if revision == STATELESS {
        request = request.header("mcp-method", message["method"].as_str().unwrap_or_default());
        if let Some(name) = name(message) {
            request = request.header("mcp-name", name);
        }
    }
    request
}

/// The same, with none of these fields but the version.
pub(crate) fn bare(world: &World, revision: &str, content: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = world.post("/mcp").header("content-type", "application/json");
    with_version(request.header("accept", "application/json, text/event-stream").body(content), revision)
}

/// A request that says its revision, if that has a field for it.
pub(crate) fn with_version(request: RequestBuilder, revision: &str) -> RequestBuilder {
    if revision == "2025-03-26" { request } else { request.header("mcp-protocol-version", revision) }
}

/// The same request with a token in its query.
pub(crate) fn with_token_in_query(request: RequestBuilder, token: &str) -> RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.url_mut().query_pairs_mut().append_pair("access_token", token);
    RequestBuilder::from_parts(client, request)
}

/// A request with the id 1 on its way, with `token`.
pub(crate) fn call(world: &World, token: &str, revision: &str, method: &str, params: Value) -> RequestBuilder {
    post(world, revision, &message(revision, method, params)).bearer_auth(token)
}

/// A call of the tool `echo` on its way, with `token`.
pub(crate) fn echo(world: &World, token: &str, revision: &str) -> RequestBuilder {
    call(world, token, revision, "tools/call", json!({ "name": "echo", "arguments": {} }))
}

/// What `Mcp-Name` repeats.
fn name(message: &Value) -> Option<&str> {
    match message["method"].as_str()? {
        "tools/call" | "prompts/get" => message["params"]["name"].as_str(),
        "resources/read" => message["params"]["uri"].as_str(),
        _ => None,
    }
}

//! What pages in browsers may do, and what is no message.

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::probe::{FOREIGN_ORIGIN, Finding, Probe, Reply, failed, initialize, request, skipped};

pub(super) async fn foreign_origin(probe: &Probe<'_>) -> Finding {
    let token = probe.target.token.as_deref();
    let with_token =
        |request: reqwest::RequestBuilder| token.into_iter().fold(request, |r, token| r.bearer_auth(token));
    let reply = probe.ask(with_token(probe.post(&initialize()).header(header::ORIGIN, FOREIGN_ORIGIN))).await?;
    if reply.status == StatusCode::UNAUTHORIZED && token.is_none() {
        return skipped("401 comes first, and no token was given");
    }
    reply.expect(&[403], format!("Origin: {FOREIGN_ORIGIN}"))?;
    match allowed_origin(&reply) {
        Some(origin) => failed(format!("403, but with Access-Control-Allow-Origin: {origin}")),
        None => Ok(()),
    }
}

pub(super) async fn preflight(probe: &Probe<'_>) -> Finding {
    let own = probe.target.url.origin().ascii_serialization();
    let request = probe.request(Method::OPTIONS).header(header::ORIGIN, &own);
    let request = request
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,mcp-protocol-version");
    let reply = probe.ask(request).await?;
    if reply.status == StatusCode::UNAUTHORIZED {
        return failed("401: browsers send no token with a preflight");
    }
    if reply.field("access-control-allow-credentials") == Some("true") {
        return failed(
            "Access-Control-Allow-Credentials: true, which a server whose clients have tokens does not need",
        );
    }
    match allowed_origin(&reply) {
        Some(origin) if reply.status.is_success() && (origin == own || origin == "*") => Ok(()),
        Some(origin) => failed(format!("{} with Access-Control-Allow-Origin: {origin}", reply.status)),
        None if reply.status.is_success() => failed(format!("{}, but no Access-Control-Allow-Origin", reply.status)),
        None => skipped(format!("{}: the server has nothing for browsers", reply.status)),
    }
}

fn allowed_origin(reply: &Reply) -> Option<&str> {
    reply.field("access-control-allow-origin")
}

pub(super) async fn unknown_version(probe: &Probe<'_>) -> Finding {
    let token = probe.token()?;
    for version in ["1999-12-31", "no-version"] {
        let request = probe.post(&request("ping", json!({}))).bearer_auth(token);
        let reply = probe.ask(request.header("mcp-protocol-version", version)).await?;
        reply.expect(&[400], format!("MCP-Protocol-Version: {version}"))?;
    }
    Ok(())
}

pub(super) async fn batch(probe: &Probe<'_>) -> Finding {
    let token = probe.token()?;
    let batch = Value::Array(vec![request("ping", json!({})), request("ping", json!({}))]);
    for version in ["2025-06-18", "2025-11-25"] {
        let request = probe.post(&batch).bearer_auth(token).header("mcp-protocol-version", version);
        let reply = probe.ask(request).await?;
        if !reply.status.is_client_error() || matches!(reply.status.as_u16(), 401 | 403) {
            return failed(format!("a batch in {version}: {} instead of 400", reply.status));
        }
    }
    Ok(())
}

//! `POST /v1/revocations`: what the operator wants forgotten.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use http::{StatusCode, header};
use phantomgate_introspection::{OpaqueToken, Revocation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Operations;
use super::problem::Problem;

/// The largest body taken, in bytes: twice the longest token.
const LARGEST_BODY: usize = 16 * 1024;

const NOT_ONE: &str = "Name exactly one of token, token_digest, subject, client_id and session_id, as a text";

/// What a request says. A member that stands twice, and one that is not known, are errors: nobody should believe that
/// something was revoked that was not.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["token"] }, { "required": ["token_digest"] }, { "required": ["subject"] },
    { "required": ["client_id"] }, { "required": ["session_id"] },
]))]
pub(super) struct Document {
    /// The token itself.
    token: Option<String>,
    /// What the audit shows of a token: 16 hexadecimal digits.
    token_digest: Option<String>,
    /// The subject whose tokens these are.
    subject: Option<String>,
    /// The client whose tokens these are.
    client_id: Option<String>,
    /// The session (`sid`) whose tokens these are.
    session_id: Option<String>,
    /// The name of the authorization server that this is about; all of them when left out.
    authorization_server: Option<String>,
}

/// What a revocation came to.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revoked {
    /// How many tokens were known that are not any more.
    forgotten: u64,
}

pub(super) async fn revoke(
    State(operations): State<Arc<Operations>>,
    request: Request,
) -> Result<Json<Revoked>, Problem> {
    operations.revoke(request).await.map(|forgotten| Json(Revoked { forgotten }))
}

impl Operations {
    async fn revoke(&self, request: Request) -> Result<u64, Problem> {
        // A page can post forms and texts to anywhere; for JSON its browser asks first, and is told no.
        if !is_json(&request) {
            return Err(Problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send application/json"));
        }
        let body = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await;
        let body = body.map_err(|_| Problem(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"))?;
        let (revocation, server) = parse(&body).map_err(|detail| Problem(StatusCode::BAD_REQUEST, detail))?;
        let gateway = self.current.get();
        let servers = &gateway.authorization_servers;
        let concerned: Vec<_> = servers
            .iter()
            .filter(|own| server.as_ref().is_none_or(|name| own.name == *name))
            .map(|server| server.introspector.clone())
            .collect();
        if concerned.is_empty() && server.is_some() {
            return Err(Problem(StatusCode::BAD_REQUEST, "No authorization server has this name"));
        }
        let by = revocation.kind();
        let revoke = move || concerned.iter().map(|introspector| introspector.revoke(&revocation)).sum();
        let forgotten: u64 = tokio::task::spawn_blocking(revoke)
            .await
            .map_err(|_| Problem(StatusCode::INTERNAL_SERVER_ERROR, "The revocation did not come to its end"))?;
        tracing::info!(by, authorization_server = server, forgotten, "revoked");
        Ok(forgotten)
    }
}

pub(super) fn is_json(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The revocation in `body`, and the authorization server that it is about, if it names one.
fn parse(body: &[u8]) -> Result<(Revocation, Option<String>), &'static str> {
    let document: Document = serde_json::from_slice(body).map_err(|_| NOT_ONE)?;
    let Document { token, token_digest, subject, client_id, session_id, authorization_server } = document;
    let token = token.map(|token| Revocation::Token(Arc::new(Zeroizing::new(token))));
    let named = [
        token,
        token_digest.map(Revocation::TokenDigest),
        subject.map(Revocation::Subject),
        client_id.map(Revocation::Client),
        session_id.map(Revocation::Session),
    ];
    let mut named = named.into_iter().flatten();
    let (Some(revocation), None) = (named.next(), named.next()) else { return Err(NOT_ONE) };
    check(&revocation)?;
    Ok((revocation, authorization_server))
}

fn check(revocation: &Revocation) -> Result<(), &'static str> {
    let is_digest = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match revocation {
        Revocation::Token(token) if OpaqueToken::parse(token).is_err() => Err("The token has not the form of one"),
        Revocation::TokenDigest(digest) if !is_digest(digest) => {
            Err("A token_digest has 16 hexadecimal digits, as the audit shows it")
        }
        Revocation::Subject(text) | Revocation::Client(text) | Revocation::Session(text) if text.is_empty() => {
            Err(NOT_ONE)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_thing_is_revoked() {
        for (body, by) in [
            (r#"{"token":"abc"}"#, "token"),
            (r#"{"token_digest":"0123456789abcdef"}"#, "token_digest"),
            (r#"{"subject":"john","authorization_server":"main"}"#, "subject"),
            (r#"{"client_id":"agent","subject":null}"#, "client"),
            (r#"{"session_id":"s"}"#, "session"),
        ] {
            assert_eq!(parse(body.as_bytes()).map_err(|_| body).unwrap().0.kind(), by);
        }
        for body in [
            "",
            "{}",
            "[]",
            r#"{"authorization_server":"main"}"#,
            r#"{"subject":"john","client_id":"agent"}"#,
            r#"{"subject":"john","subject":"jane"}"#,
            r#"{"sub":"john"}"#,
            r#"{"subject":""}"#,
            r#"{"subject":7}"#,
            r#"{"token":"a b"}"#,
            r#"{"token_digest":"0123456789abcde"}"#,
            r#"{"token_digest":"0123456789abcdeg"}"#,
        ] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn only_json_is_taken_for_json() {
        let request = |kind: &str| {
            Request::post("/v1/revocations").header("content-type", kind).body(axum::body::Body::empty()).unwrap()
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is_json(&request(kind)), "{kind}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "text/plain; application/json", ""] {
            assert!(!is_json(&request(kind)), "{kind}");
        }
    }
}

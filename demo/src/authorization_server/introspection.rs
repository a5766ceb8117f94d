//! Owns the introspection endpoint (RFC 7662): the library authenticates the caller and says whether the token is
//! active and addressed to it; this file adds who the person is.
//!
//! Never: adds anything to an answer that is not `active: true`.

use aws_lc_rs::digest;
use axum::Json;
use axum::body::{self, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{MAX_REQUEST_BYTES, Person, Shared};

pub(super) async fn introspect(State(server): Shared, parts: request::Parts, request: Bytes) -> Response {
    if !parts.headers.contains_key(header::AUTHORIZATION) {
        // The library calls this a malformed request; RFC 7662 §2.3 has a status of its own for it.
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"introspection\"")];
        let error = json!({ "error": "invalid_client", "error_description": "say who you are" });
        return (StatusCode::UNAUTHORIZED, challenge, Json(error)).into_response();
    }
    let (mut parts, body) = server.answer(parts, request.clone()).await.into_parts();
    let Ok(body) = body::to_bytes(body, MAX_REQUEST_BYTES).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let active = serde_json::from_slice::<Value>(&body)
        .ok()
        .filter(|answer| parts.status == StatusCode::OK && answer.get("active") == Some(&Value::Bool(true)));
    let Some(answer) = active else { return Response::from_parts(parts, body.into()) };
    parts.headers.remove(header::CONTENT_LENGTH);
    (parts, Json(describe(answer, &request))).into_response()
}

/// An active answer, with the person's names and the members that the library leaves out.
fn describe(mut answer: Value, request: &[u8]) -> Value {
    let person = answer.get("sub").and_then(Value::as_str).and_then(Person::find);
    let not_before = answer.get("iat").cloned();
    let token = url::form_urlencoded::parse(request).find(|(name, _)| name == "token").map(|(_, value)| value);
    let Some(members) = answer.as_object_mut() else { return answer };
    if let Some(Value::Object(about)) = person.map(Person::introspected) {
        members.extend(about);
    }
    if let Some(not_before) = not_before {
        members.insert("nbf".to_owned(), not_before);
    }
    if let Some(token) = token {
        members.insert("jti".to_owned(), json!(token_identifier(&token)));
    }
    answer
}

/// A name for the token that does not give it away: the first half of its SHA-256.
fn token_identifier(token: &str) -> String {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_answer_names_the_person_and_never_the_token() {
        let answer = describe(json!({ "active": true, "sub": "jane", "iat": 7 }), b"token=secret-token");
        assert_eq!(answer["email"], "jane.doe@customer.example");
        assert_eq!(answer["nbf"], 7);
        assert!(answer["jti"].is_string());
        assert!(!answer.to_string().contains("secret-token"));
    }
}

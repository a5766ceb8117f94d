//! What the scripted authorization server answers at each of its endpoints.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Answer, CLIENT_ID, FormRequest, Script};
use crate::{Jwt, clock::now, jwt::overlay};

const JWT: &str = "application/jwt";
const SIGNED: &str = "application/token-introspection+jwt";

pub(super) fn router(script: Arc<Script>) -> Router {
    Router::new()
        .route("/introspect", post(introspect))
        .route("/token", post(exchange))
        .route("/jwks", get(key_set))
        .route("/.well-known/oauth-authorization-server", get(oauth_metadata))
        .route("/.well-known/openid-configuration", get(metadata))
        .with_state(script)
}

async fn oauth_metadata(State(script): State<Arc<Script>>) -> Response {
    if *script.openid_alone.lock().unwrap() {
        return StatusCode::NOT_FOUND.into_response();
    }
    metadata(State(script)).await.into_response()
}

async fn metadata(State(script): State<Arc<Script>>) -> axum::Json<Value> {
    script.metadata_requests.send_modify(|count| *count += 1);
    axum::Json(script.metadata.lock().unwrap().clone())
}

async fn key_set(State(script): State<Arc<Script>>) -> Response {
    script.key_set_requests.send_modify(|count| *count += 1);
    let published = Answer::json(200, &json!({ "keys": [script.key.lock().unwrap().jwk()] }));
    let answer = script.key_set.lock().unwrap().clone().unwrap_or(published);
    respond(&script, "", answer).await
}

async fn introspect(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = receive(&script.introspections, headers, &body);
    let outage = script.outage.lock().unwrap().clone();
    let scripted = || {
        if !request.is_authenticated() {
            return Answer::status(401);
        }
        let Some(token) = request.field("token").first().copied() else { return Answer::status(400) };
        script.answers.lock().unwrap().get(token).cloned().unwrap_or(Answer::Inactive)
    };
    let answer = outage.unwrap_or_else(scripted);
    let accept = request.headers.get(header::ACCEPT).map_or("", |accept| accept.to_str().unwrap());
    respond(&script, accept, answer).await
}

async fn exchange(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = receive(&script.exchanges, headers, &body);
    let scripted = script.exchange_answer.lock().unwrap().clone();
    let answer = match scripted {
        Some(answer) => answer,
        None if !request.is_authenticated() => Answer::status(401),
        None => Answer::json(200, &exchanged(&script, &request)),
    };
    respond(&script, "", answer).await
}

/// A new token for what was asked, with the members that the grant's specification wants.
fn exchanged(script: &Script, request: &FormRequest) -> Value {
    let first = |name: &str| request.field(name).first().map(|value| json!(value));
    let mut answer = json!({
        "access_token": format!("exchanged-{}", uuid::Uuid::new_v4().simple()),
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": first("scope"),
    });
    if request.field("grant_type") == ["urn:ietf:params:oauth:grant-type:token-exchange"] {
        let access_token = || json!("urn:ietf:params:oauth:token-type:access_token");
        answer["issued_token_type"] = first("requested_token_type").unwrap_or_else(access_token);
    }
    overlay(&mut answer, &script.exchange.lock().unwrap());
    answer
}

fn receive(requests: &watch::Sender<Vec<FormRequest>>, headers: HeaderMap, body: &[u8]) -> FormRequest {
    let request = FormRequest { headers, form: form_urlencoded::parse(body).into_owned().collect() };
    requests.send_modify(|requests| requests.push(request.clone()));
    request
}

async fn respond(script: &Script, accept: &str, mut answer: Answer) -> Response {
    while let Answer::Held(mut released, then) = answer {
        // Dropping the sender releases too, so that a failing test does not leave a request behind.
        let _ = released.wait_for(|released| *released).await;
        answer = *then;
    }
    match (answer, accept) {
        (Answer::Raw(status, content_type, body), _) => content(status, content_type, body),
        (Answer::Redirect(location), _) => Redirect::temporary(&location).into_response(),
        (Answer::Claims(claims), JWT) => content(StatusCode::OK, JWT, phantom_token(script, claims)),
        (Answer::Inactive, JWT) => StatusCode::NO_CONTENT.into_response(),
        (Answer::Claims(claims), SIGNED) => content(StatusCode::OK, SIGNED, signed(script, &claims)),
        (Answer::Inactive, SIGNED) => content(StatusCode::OK, SIGNED, signed(script, &json!({ "active": false }))),
        (Answer::Claims(claims), _) => axum::Json(claims).into_response(),
        (Answer::Inactive | Answer::Held(..), _) => axum::Json(json!({ "active": false })).into_response(),
    }
}

fn content(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// The claims as a JWT access token, whose members say by themselves that it is one and that it is active.
fn phantom_token(script: &Script, mut claims: Value) -> String {
    overlay(&mut claims, &json!({ "active": null, "token_type": null }));
    Jwt::new("at+jwt", claims).sign(&script.key.lock().unwrap())
}

/// RFC 9701 section 5.
fn signed(script: &Script, claims: &Value) -> String {
    let response = json!({ "iss": script.issuer, "aud": CLIENT_ID, "iat": now(), "token_introspection": claims });
    Jwt::new("token-introspection+jwt", response).sign(&script.key.lock().unwrap())
}

//! Owns the API at the far end of the chain: a list of users, for whoever brings a JWT made for exactly this API.
//!
//! It trusts one issuer, the authorization server, and one audience, its own. Never: an opaque token, the JWT that
//! phantomgate signs for the MCP server (its audience is another), or a call without the scope `users:read`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};

use crate::access_token::{Refused, Verifier};
use crate::recorder::{self, Recorder};

/// The scope a caller needs.
pub const SCOPE: &str = "users:read";

/// One user, as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// First name.
    pub given_name: String,
    /// Last name.
    pub family_name: String,
    /// Address.
    pub email: String,
}

/// The users there are.
pub fn users() -> Vec<User> {
    [("John", "Doe", "john.doe@customer.example"), ("Jane", "Doe", "jane.doe@customer.example")]
        .map(|(given_name, family_name, email)| User {
            given_name: given_name.to_owned(),
            family_name: family_name.to_owned(),
            email: email.to_owned(),
        })
        .to_vec()
}

/// `GET /users`, behind `verifier`; `recorder` remembers what arrives.
pub fn router(verifier: Verifier, recorder: Recorder) -> Router {
    Router::new()
        .route("/users", get(list))
        .with_state(Arc::new(verifier))
        .layer(middleware::from_fn_with_state(recorder, recorder::record))
}

async fn list(State(verifier): State<Arc<Verifier>>, headers: HeaderMap) -> Response {
    let Some(token) = recorder::bearer(&headers) else {
        return challenge(StatusCode::UNAUTHORIZED, format!("Bearer scope=\"{SCOPE}\""));
    };
    match verifier.verify(token).await {
        Ok(claims) if claims.allows(SCOPE) => Json(users()).into_response(),
        Ok(_) => challenge(StatusCode::FORBIDDEN, format!("Bearer error=\"insufficient_scope\", scope=\"{SCOPE}\"")),
        Err(refused) => refusal(&refused),
    }
}

/// The answer to a token that does not verify (RFC 6750 §3.1); when the issuer's keys cannot be had, that is not the
/// token's fault.
pub(crate) fn refusal(refused: &Refused) -> Response {
    match refused {
        Refused::KeysUnavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], refused.to_string()).into_response()
        }
        Refused::NotAJwt
        | Refused::WrongType
        | Refused::AlgorithmNotAllowed
        | Refused::UnknownKey
        | Refused::Invalid(_) => challenge(
            StatusCode::UNAUTHORIZED,
            format!("Bearer error=\"invalid_token\", error_description=\"{refused}\""),
        ),
    }
}

/// A refusal with its challenge.
pub(crate) fn challenge(status: StatusCode, challenge: String) -> Response {
    (status, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_are_exactly_these() {
        let listed = serde_json::to_string(&users()).unwrap();
        let expected = r#"[{"given_name":"John","family_name":"Doe","email":"john.doe@customer.example"},{"given_name":"Jane","family_name":"Doe","email":"jane.doe@customer.example"}]"#;
        assert_eq!(listed, expected);
    }
}

//! Asks the authorization server about one token: [`response`] reads what comes.

use http::StatusCode;

use crate::authorization_server::{AuthorizationServer, Endpoint};
use crate::clock::NumericDate;
use crate::error::Unavailable;
use crate::response::{self, Introspection};

/// One introspection (RFC 7662 §2.1).
pub(crate) async fn introspect(server: &AuthorizationServer, token: &str) -> Result<Introspection, Unavailable> {
    let form = [("token", token), ("token_type_hint", "access_token")];
    let answer = server.post(Endpoint::Introspection, "application/json", &form).await?;
    match answer.status {
        StatusCode::OK => response::parse(&answer.body, NumericDate::now()),
        refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(Unavailable::ClientRefused(refused.as_u16()))
        }
        other => Err(Unavailable::Status(other.as_u16())),
    }
}

//! Owns token exchange (RFC 8693): the MCP server brings the JWT that phantomgate signed for it and leaves with a JWT
//! that this server signed for the users API, on behalf of the same person, naming the MCP server as the actor.
//!
//! Never wider: one client may do this, with tokens that were meant for it, for one audience, and for no scope that the
//! token it brings does not have. The result dies no later than what it was made from.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;
use uuid::Uuid;

use super::ClientCredentials;
use super::signing::SigningKey;
use crate::access_token::{Actor, Audience, Claims, Refused, Verifier};

/// `grant_type` (RFC 8693 §2.1).
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// An OAuth access token, as a token type (RFC 8693 §3).
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Long enough for one call.
const LIFETIME: Duration = Duration::from_secs(60);

/// Who may exchange which JWT for which.
#[derive(Clone)]
pub struct ExchangePolicy {
    /// The client that may.
    pub client: ClientCredentials,
    /// Who signed the JWTs it brings: phantomgate.
    pub subject_issuer: String,
    /// Where their keys are published.
    pub subject_jwks_uri: String,
    /// Their audience, which is that client.
    pub subject_audience: String,
    /// The one audience it may ask for.
    pub audience: String,
}

/// The policy, and what it takes to verify a subject token.
pub(super) struct Exchange {
    policy: ExchangePolicy,
    issuer: String,
    subjects: Verifier,
}

impl Exchange {
    pub(super) fn new(policy: ExchangePolicy, issuer: &str, http: reqwest::Client) -> Exchange {
        let subjects = Verifier::new(&policy.subject_issuer, &policy.subject_audience, &policy.subject_jwks_uri, http);
        Exchange { policy, issuer: issuer.to_owned(), subjects }
    }
}

/// Why there is nothing in exchange (RFC 6749 §5.2, RFC 8693 §2.2.2).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ExchangeError {
    #[error("{0}")]
    InvalidRequest(String),
    #[error("the client is not known, or its secret is wrong")]
    InvalidClient,
    #[error("the client may exchange tokens for its own audience only")]
    InvalidTarget,
    #[error("the token brought does not have all the scopes asked for")]
    InvalidScope,
    #[error("this server cannot verify the token now")]
    TemporarilyUnavailable,
    #[error("this server cannot sign now")]
    ServerError,
}

#[derive(Serialize)]
struct Exchanged {
    access_token: String,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
}

/// Whether a form at the token endpoint asks for an exchange.
pub(super) fn is_exchange(form: &[u8]) -> bool {
    form_urlencoded::parse(form).any(|(name, value)| name == "grant_type" && value == GRANT_TYPE)
}

/// The answer to such a form.
pub(super) async fn answer(exchange: &Exchange, key: &SigningKey, headers: &HeaderMap, form: &[u8]) -> Response {
    match perform(exchange, key, headers, form).await {
        Ok(exchanged) => ([(header::CACHE_CONTROL, "no-store")], Json(exchanged)).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn perform(
    exchange: &Exchange,
    key: &SigningKey,
    headers: &HeaderMap,
    form: &[u8],
) -> Result<Exchanged, ExchangeError> {
    authenticate(&exchange.policy.client, headers)?;
    let request = ExchangeRequest::parse(form)?;
    let subject = exchange.subjects.verify(&request.subject_token).await.map_err(|refused| match refused {
        Refused::KeysUnavailable(_) => ExchangeError::TemporarilyUnavailable,
        other => ExchangeError::InvalidRequest(format!("subject_token: {other}")),
    })?;
    let now = jsonwebtoken::get_current_timestamp();
    let claims = decide(&request, &subject, exchange, now)?;
    let access_token = key.sign(&claims).map_err(|_| ExchangeError::ServerError)?;
    Ok(Exchanged {
        access_token,
        issued_token_type: ACCESS_TOKEN_TYPE,
        token_type: "Bearer",
        expires_in: claims.exp.saturating_sub(now),
        scope: claims.scope,
    })
}

/// `client_secret_basic` (RFC 6749 §2.3.1): both halves are form-encoded first.
fn authenticate(client: &ClientCredentials, headers: &HeaderMap) -> Result<(), ExchangeError> {
    let decoded = headers
        .get(header::AUTHORIZATION)
        .and_then(|field| field.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"))
        .and_then(|(_, credentials)| String::from_utf8(STANDARD.decode(credentials).ok()?).ok());
    let Some((id, secret)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) else {
        return Err(ExchangeError::InvalidClient);
    };
    let same = |given: &str, expected: &str| {
        verify_slices_are_equal(form_decode(given).as_bytes(), expected.as_bytes()).is_ok()
    };
    if same(id, &client.id) & same(secret, &client.secret) { Ok(()) } else { Err(ExchangeError::InvalidClient) }
}

fn form_decode(value: &str) -> String {
    form_urlencoded::parse(value.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

/// The parameters of RFC 8693 §2.1, each at most once but for the targets.
#[derive(Default)]
struct ExchangeRequest {
    subject_token: String,
    targets: Vec<String>,
    scope: Option<String>,
}

impl ExchangeRequest {
    fn parse(form: &[u8]) -> Result<ExchangeRequest, ExchangeError> {
        let invalid = |why: &str| ExchangeError::InvalidRequest(why.to_owned());
        let (mut subject_token, mut subject_token_type, mut requested_token_type) = (None, None, None);
        let mut request = ExchangeRequest::default();
        for (name, value) in form_urlencoded::parse(form) {
            let slot = match name.as_ref() {
                "subject_token" => &mut subject_token,
                "subject_token_type" => &mut subject_token_type,
                "requested_token_type" => &mut requested_token_type,
                "scope" => &mut request.scope,
                "audience" | "resource" => {
                    request.targets.push(value.into_owned());
                    continue;
                }
                "actor_token" | "actor_token_type" => {
                    return Err(invalid("the actor is the client; there is no actor_token here"));
                }
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(invalid("a parameter is given twice"));
            }
        }
        let is_jwt = |token_type: &str| token_type == ACCESS_TOKEN_TYPE || token_type == JWT_TYPE;
        if !subject_token_type.as_deref().is_some_and(is_jwt) {
            return Err(invalid("subject_token_type must say access_token or jwt"));
        }
        if !requested_token_type.as_deref().is_none_or(is_jwt) {
            return Err(invalid("requested_token_type can only be access_token or jwt"));
        }
        request.subject_token = subject_token.ok_or_else(|| invalid("subject_token is missing"))?;
        Ok(request)
    }
}

/// The claims of the new token, which are in no respect wider than `subject`'s.
fn decide(request: &ExchangeRequest, subject: &Claims, exchange: &Exchange, now: u64) -> Result<Claims, ExchangeError> {
    let policy = &exchange.policy;
    if request.targets.is_empty() || request.targets.iter().any(|target| *target != policy.audience) {
        return Err(ExchangeError::InvalidTarget);
    }
    let scope = match request.scope.as_deref() {
        None => subject.scope.clone(),
        Some(wanted) if wanted.split(' ').all(|scope| subject.allows(scope)) => wanted.to_owned(),
        Some(_) => return Err(ExchangeError::InvalidScope),
    };
    Ok(Claims {
        iss: exchange.issuer.clone(),
        sub: subject.sub.clone(),
        aud: Audience::One(policy.audience.clone()),
        client_id: policy.client.id.clone(),
        scope,
        iat: now,
        exp: subject.exp.min(now + LIFETIME.as_secs()),
        jti: Uuid::new_v4().to_string(),
        act: Some(Actor { sub: policy.client.id.clone() }),
    })
}

impl IntoResponse for ExchangeError {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            ExchangeError::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            ExchangeError::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
            ExchangeError::InvalidTarget => (StatusCode::BAD_REQUEST, "invalid_target"),
            ExchangeError::InvalidScope => (StatusCode::BAD_REQUEST, "invalid_scope"),
            ExchangeError::TemporarilyUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            ExchangeError::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let body = Json(json!({ "error": error, "error_description": self.to_string() }));
        let mut response = (status, [(header::CACHE_CONTROL, "no-store")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Basic realm=\"token\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        let policy = ExchangePolicy {
            client: ClientCredentials { id: "users-mcp".to_owned(), secret: "s3cret&".to_owned() },
            subject_issuer: "http://gate.example".to_owned(),
            subject_jwks_uri: "http://gate.example/jwks".to_owned(),
            subject_audience: "https://mcp.internal/users".to_owned(),
            audience: "https://api.internal/users".to_owned(),
        };
        Exchange::new(policy, "http://as.example", reqwest::Client::new())
    }

    fn subject() -> Claims {
        Claims {
            iss: "http://gate.example".to_owned(),
            sub: "john".to_owned(),
            aud: Audience::One("https://mcp.internal/users".to_owned()),
            client_id: "agent".to_owned(),
            scope: "users:read profile".to_owned(),
            iat: 100,
            exp: 120,
            jti: "1".to_owned(),
            act: None,
        }
    }

    fn request(targets: &[&str], scope: Option<&str>) -> ExchangeRequest {
        ExchangeRequest {
            subject_token: String::new(),
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            scope: scope.map(str::to_owned),
        }
    }

    const API: &str = "https://api.internal/users";

    #[test]
    fn the_result_speaks_for_the_person_and_names_the_actor() {
        let claims = decide(&request(&[API], Some("users:read")), &subject(), &exchange(), 100).unwrap();
        assert_eq!((claims.sub.as_str(), claims.scope.as_str()), ("john", "users:read"));
        assert_eq!(claims.act, Some(Actor { sub: "users-mcp".to_owned() }));
        assert_eq!(claims.aud, Audience::One(API.to_owned()));
    }

    #[test]
    fn the_result_dies_no_later_than_its_subject() {
        assert_eq!(decide(&request(&[API], None), &subject(), &exchange(), 100).unwrap().exp, 120);
    }

    #[test]
    fn another_audience_is_refused_and_so_is_none() {
        for targets in [&["https://payroll.internal"][..], &[API, "https://payroll.internal"], &[]] {
            let refused = decide(&request(targets, None), &subject(), &exchange(), 100);
            assert_eq!(refused, Err(ExchangeError::InvalidTarget));
        }
    }

    #[test]
    fn a_wider_scope_is_refused() {
        let refused = decide(&request(&[API], Some("users:read users:write")), &subject(), &exchange(), 100);
        assert_eq!(refused, Err(ExchangeError::InvalidScope));
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        let form = format!("subject_token=a&subject_token=b&subject_token_type={ACCESS_TOKEN_TYPE}");
        assert!(matches!(ExchangeRequest::parse(form.as_bytes()), Err(ExchangeError::InvalidRequest(_))));
    }

    #[test]
    fn rfc6749_s2_3_1_the_secret_is_form_encoded_before_basic() {
        let client = exchange().policy.client;
        let headers = |pair: &str| {
            let mut headers = HeaderMap::new();
            let field = format!("Basic {}", STANDARD.encode(pair));
            headers.insert(header::AUTHORIZATION, field.parse().unwrap());
            headers
        };
        assert_eq!(authenticate(&client, &headers("users-mcp:s3cret%26")), Ok(()));
        assert_eq!(authenticate(&client, &headers("users-mcp:wrong")), Err(ExchangeError::InvalidClient));
        assert_eq!(authenticate(&client, &HeaderMap::new()), Err(ExchangeError::InvalidClient));
    }
}

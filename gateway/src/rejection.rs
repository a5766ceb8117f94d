//! Every way a request can be refused, by who is at fault; and the one map from there to the answer.
//!
//! [`Rejection::terms`] is exhaustive: a new rejection does not compile until it has a status, a reason, an error code for
//! JSON-RPC and words for the client. Its golden test shows all answers side by side.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use phantomgate_introspection::exchange::{ClaimsChallenge, ExchangeError, Refusal};
use phantomgate_introspection::{Inactive, IntrospectionError, ScopeSet, Unavailable};
use phantomgate_mcp::{Id, Malformed, Revision};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::audit::{Decision, Reason};
use crate::challenge::{Challenge, ErrorCode};
use crate::config::Per;
use crate::json_rpc;
use crate::limits;
use crate::mcp::session::SessionFault;
use crate::route::Protection;
use crate::signing::SigningError;

/// Why a request is refused.
#[derive(Debug, Clone)]
pub enum Rejection {
    // the client's fault
    /// No route is for this host and path.
    NoRoute,
    /// The request can be read in two ways, or not at all.
    MalformedRequest(MalformedRequest),
    /// There is no bearer token.
    MissingCredential,
    /// What is there cannot be a token.
    MalformedToken,
    /// The token may not be used.
    InactiveToken(Inactive),
    /// The token is for another resource.
    WrongAudience,
    /// The person has to do something at the authorization server first.
    InsufficientClaims(ClaimsChallenge),
    /// Its method is not taken where it goes; these are.
    MethodNotAllowed(HeaderValue),
    /// The message is not plain JSON, or stands where none is read.
    UnsupportedMediaType,
    /// The message is larger than the route takes.
    BodyTooLarge,
    /// Its head is larger than the route takes.
    HeaderTooLarge,
    /// It did not arrive in time.
    RequestTimeout,
    /// The message is no JSON-RPC, or could be read in two ways.
    MalformedMessage(Malformed),
    /// This header says something else than the message, or is missing.
    HeaderMismatch(&'static str),
    /// The request is of a revision of MCP that is not spoken here.
    UnsupportedVersion(UnsupportedVersion),
    /// The session has ended, or never was this client's.
    SessionNotFound(SessionFault),
    // policy
    /// The token was granted less than all of this.
    InsufficientScope(ScopeSet),
    /// Nobody may do this here.
    ToolDenied,
    /// It comes from a browser, from a place that is not allowed or cannot be told.
    ForeignOrigin,
    /// Too many came in too short a time.
    RateLimited {
        /// Whose.
        per: Per,
        /// When one would pass.
        retry_after: Duration,
    },
    /// The subject has as many event streams open as it may.
    TooManyStreams,
    /// As many requests are under way on the route as may be.
    ConcurrencyLimited,
    // the authorization server's fault
    /// It could not be learnt whether the token is active.
    IntrospectionUnavailable(Arc<Unavailable>),
    /// Its metadata, which was asked for here, cannot be had.
    MetadataUnavailable(Arc<Unavailable>),
    /// The token cannot be exchanged for what the upstream needs.
    ExchangeRefused(Refusal),
    // the upstream's fault
    /// The upstream could not be reached, or broke off before it answered.
    UpstreamUnavailable(UpstreamFault),
    /// The upstream has as many requests under way as it may have.
    UpstreamOverloaded,
    // ours
    /// The gateway stops, and the answer would outlast it.
    Stopping,
    /// Its record could not be kept.
    AuditUnavailable,
    /// We are at fault.
    Internal(&'static str),
}

/// What is malformed about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MalformedRequest {
    /// A method that would show the agent what it may not see.
    Method,
    /// No host, several, or one that is none.
    Host,
    /// A path that could be read in two ways.
    Path,
    /// More than one credential (RFC 6750 §2).
    TwoCredentials,
    /// A token in the query, on a public route.
    TokenInQuery,
    /// A token longer than any we take.
    TokenTooLong,
    /// Pingora could not make sense of it.
    Http,
}

/// What a client of another revision is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedVersion {
    /// What is spoken here.
    pub supported: Vec<Revision>,
    /// What it asked for.
    pub requested: String,
}

/// What went wrong at the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFault {
    /// It could not be connected to, or ended the connection.
    Unreachable,
    /// No TLS came about: its certificate is not believed, or it does not believe ours.
    Tls,
    /// It did not answer in time.
    Timeout,
    /// A list in its answer cannot be read, so it cannot be told what the caller may see of it.
    Unfilterable,
}

/// How a rejection is answered.
struct Terms {
    decision: Decision,
    reason: Reason,
    status: StatusCode,
    /// For people. Never holds anything of the request.
    detail: &'static str,
}

impl Rejection {
    /// The one map from rejections to answers.
    fn terms(&self) -> Terms {
        use Decision::{Deny, Fail};
        let terms = |decision, reason, status, detail| Terms { decision, reason, status, detail };
        match self {
            Self::NoRoute => terms(Deny, Reason::NoRoute, StatusCode::NOT_FOUND, "No route is for this host and path"),
            Self::MalformedRequest(what) => {
                let detail = match what {
                    MalformedRequest::Method => "This method is not passed on",
                    MalformedRequest::Host => "The request must name exactly one host",
                    MalformedRequest::Path => "The path is not in its normal form",
                    MalformedRequest::TwoCredentials => "The request has more than one credential",
                    MalformedRequest::TokenInQuery => "A token does not belong in the query",
                    MalformedRequest::TokenTooLong => "The token is too long",
                    MalformedRequest::Http => "The request is not valid HTTP",
                };
                terms(Deny, Reason::MalformedRequest, StatusCode::BAD_REQUEST, detail)
            }
            Self::MissingCredential => {
                terms(Deny, Reason::MissingCredential, StatusCode::UNAUTHORIZED, "An access token is needed")
            }
            Self::MalformedToken | Self::InactiveToken(_) => terms(
                Deny,
                Reason::InactiveToken,
                StatusCode::UNAUTHORIZED,
                "The access token is expired, revoked, malformed or invalid",
            ),
            Self::WrongAudience => terms(
                Deny,
                Reason::WrongAudience,
                StatusCode::UNAUTHORIZED,
                "The access token was not issued for this resource",
            ),
            Self::MethodNotAllowed(_) => {
                terms(Deny, Reason::MethodNotAllowed, StatusCode::METHOD_NOT_ALLOWED, "This method is not taken here")
            }
            Self::UnsupportedMediaType => terms(
                Deny,
                Reason::MalformedMessage,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "A message is uncompressed application/json in UTF-8, sent with POST",
            ),
            Self::BodyTooLarge => {
                terms(Deny, Reason::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE, "The message is too large")
            }
            Self::HeaderTooLarge => terms(
                Deny,
                Reason::HeaderTooLarge,
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The head of the request is too large",
            ),
            Self::RequestTimeout => {
                terms(Deny, Reason::RequestTimeout, StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time")
            }
            Self::RateLimited { .. } => terms(
                Deny,
                Reason::RateLimited,
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests in too short a time; try again later",
            ),
            Self::TooManyStreams => terms(
                Deny,
                Reason::TooManyStreams,
                StatusCode::TOO_MANY_REQUESTS,
                "Too many event streams are open; end one, or try again later",
            ),
            Self::ConcurrencyLimited => terms(
                Fail,
                Reason::ConcurrencyLimited,
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests are under way; try again later",
            ),
            Self::MalformedMessage(malformed) => {
                terms(Deny, Reason::MalformedMessage, StatusCode::BAD_REQUEST, malformed_message(*malformed))
            }
            Self::HeaderMismatch(_) => terms(
                Deny,
                Reason::HeaderMismatch,
                StatusCode::BAD_REQUEST,
                "A header of the request does not agree with its body, or is missing",
            ),
            Self::UnsupportedVersion(_) => terms(
                Deny,
                Reason::UnsupportedVersion,
                StatusCode::BAD_REQUEST,
                "This revision of MCP is not spoken here",
            ),
            Self::SessionNotFound(_) => {
                terms(Deny, Reason::SessionNotFound, StatusCode::NOT_FOUND, "There is no such session; begin a new one")
            }
            Self::ToolDenied => {
                terms(Deny, Reason::ToolDenied, StatusCode::FORBIDDEN, "This may not be used here by anybody")
            }
            Self::InsufficientScope(_) => terms(
                Deny,
                Reason::InsufficientScope,
                StatusCode::FORBIDDEN,
                "The access token was not granted the scope that this needs",
            ),
            Self::ForeignOrigin => terms(
                Deny,
                Reason::ForeignOrigin,
                StatusCode::FORBIDDEN,
                "Requests from this origin are not allowed here",
            ),
            Self::IntrospectionUnavailable(_) => terms(
                Fail,
                Reason::IntrospectionUnavailable,
                StatusCode::SERVICE_UNAVAILABLE,
                "The access token cannot be checked at the moment; try again",
            ),
            Self::MetadataUnavailable(_) => terms(
                Fail,
                Reason::IntrospectionUnavailable,
                StatusCode::SERVICE_UNAVAILABLE,
                "The authorization server's metadata cannot be had at the moment; try again",
            ),
            Self::InsufficientClaims(_) => terms(
                Deny,
                Reason::InsufficientClaims,
                StatusCode::UNAUTHORIZED,
                "The authorization server asks for more before it lets this pass",
            ),
            Self::ExchangeRefused(_) => terms(
                Fail,
                Reason::ExchangeRefused,
                StatusCode::BAD_GATEWAY,
                "The authorization server gives no token for the upstream",
            ),
            Self::UpstreamUnavailable(UpstreamFault::Unreachable | UpstreamFault::Tls) => terms(
                Fail,
                Reason::UpstreamUnavailable,
                StatusCode::BAD_GATEWAY,
                "The upstream cannot be reached at the moment",
            ),
            Self::UpstreamUnavailable(UpstreamFault::Unfilterable) => terms(
                Fail,
                Reason::UpstreamUnavailable,
                StatusCode::BAD_GATEWAY,
                "The upstream's answer cannot be read",
            ),
            Self::UpstreamUnavailable(UpstreamFault::Timeout) => terms(
                Fail,
                Reason::UpstreamUnavailable,
                StatusCode::GATEWAY_TIMEOUT,
                "The upstream does not answer at the moment",
            ),
            Self::Stopping => {
                terms(Fail, Reason::StreamCut, StatusCode::SERVICE_UNAVAILABLE, "The gateway is stopping; try again")
            }
            Self::UpstreamOverloaded => terms(
                Fail,
                Reason::UpstreamOverloaded,
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests to the upstream are under way; try again",
            ),
            Self::AuditUnavailable => terms(
                Fail,
                Reason::InternalError,
                StatusCode::SERVICE_UNAVAILABLE,
                "The gateway cannot keep its records at the moment; try again",
            ),
            Self::Internal(_) => terms(
                Fail,
                Reason::InternalError,
                StatusCode::INTERNAL_SERVER_ERROR,
                "The gateway could not serve the request",
            ),
        }
    }

    /// The pair that goes into log, metric and audit.
    pub fn decision(&self) -> (Decision, Reason) {
        let terms = self.terms();
        (terms.decision, terms.reason)
    }

    /// What the operator should know beyond the reason; nothing of the request and no secret.
    pub fn cause(&self) -> Option<String> {
        match self {
            Self::InactiveToken(inactive) => Some(inactive.to_string()),
            Self::IntrospectionUnavailable(unavailable) | Self::MetadataUnavailable(unavailable) => {
                Some(unavailable.to_string())
            }
            Self::ExchangeRefused(refusal) => Some(refusal.to_string()),
            Self::Internal(cause) => Some((*cause).to_owned()),
            Self::AuditUnavailable => Some("there is no room for its record".to_owned()),
            Self::MalformedRequest(what) => Some(format!("{what:?}")),
            Self::UpstreamUnavailable(fault) => Some(format!("{fault:?}")),
            Self::MalformedMessage(malformed) => Some(malformed.to_string()),
            Self::HeaderMismatch(header) => Some((*header).to_owned()),
            Self::SessionNotFound(fault) => Some(format!("{fault:?}")),
            Self::RateLimited { per, .. } => Some(format!("per {per}")),
            Self::MalformedToken => Some("it has not the form of a token".to_owned()),
            Self::NoRoute
            | Self::MissingCredential
            | Self::WrongAudience
            | Self::MethodNotAllowed(_)
            | Self::UnsupportedMediaType
            | Self::BodyTooLarge
            | Self::HeaderTooLarge
            | Self::RequestTimeout
            | Self::TooManyStreams
            | Self::ConcurrencyLimited
            | Self::UnsupportedVersion(_)
            | Self::ToolDenied
            | Self::UpstreamOverloaded
            | Self::InsufficientClaims(_)
            | Self::InsufficientScope(_)
            | Self::ForeignOrigin
            | Self::Stopping => None,
        }
    }

    /// The answer for a client of the route with this `protection`, if one was found. A JSON-RPC request (its `id` is
    /// there) gets a JSON-RPC error, anything else problem details (RFC 9457).
    pub fn answer(&self, protection: Option<&Protection>, id: Option<&Id>) -> Answer {
        let Terms { reason, status, detail, .. } = self.terms();
        let reason_name = <&str>::from(reason);
        let mut answer = match id {
            Some(id) => Answer::json(status, "application/json", &self.json_rpc_error(id)),
            None => Answer::json(
                status,
                "application/problem+json",
                &json!({
                    "title": status.canonical_reason(),
                    "status": status.as_u16(),
                    "detail": detail,
                    "reason": reason_name,
                }),
            ),
        };
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = protection.and_then(|protection| self.challenge(protection)) {
            answer.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Self::MethodNotAllowed(allow) = self {
            answer.insert(header::ALLOW, allow.clone());
        }
        if let Some(span) = self.retry_after() {
            let seconds = (span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1);
            answer.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::AuditUnavailable = self {
            answer.insert(header::RETRY_AFTER, HeaderValue::from(1));
        }
        answer
    }

    /// When it makes sense to try again, where that can be told.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::IntrospectionUnavailable(unavailable) | Self::MetadataUnavailable(unavailable) => {
                Some(unavailable.retry_after())
            }
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::TooManyStreams | Self::ConcurrencyLimited | Self::UpstreamOverloaded => Some(limits::SOON),
            _ => None,
        }
    }

    /// The JSON-RPC error for the request with this `id`.
    pub fn json_rpc_error(&self, id: &Id) -> Value {
        let Terms { reason, detail, .. } = self.terms();
        let code = match self {
            Self::MalformedMessage(malformed) => malformed.code(),
            _ => json_rpc::error_code(reason),
        };
        let mut data = json!({ "reason": <&str>::from(reason) });
        if let (Self::UnsupportedVersion(version), Some(data)) = (self, data.as_object_mut()) {
            let supported: Vec<_> = version.supported.iter().map(|revision| revision.as_str()).collect();
            data.insert("supported".to_owned(), json!(supported));
            data.insert("requested".to_owned(), json!(version.requested));
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": detail, "data": data } })
    }

    /// The challenge that goes with the answer, for a client that could do better with it.
    fn challenge(&self, protection: &Protection) -> Option<HeaderValue> {
        let error = |code| Some((code, self.terms().detail));
        let (error, scope) = match self {
            // RFC 6750 §3.1: who sent no token is told what to get, not that something is wrong with it.
            Self::MissingCredential => (None, Some(&protection.challenge_scopes)),
            Self::MalformedToken | Self::InactiveToken(_) | Self::WrongAudience => {
                (error(ErrorCode::InvalidToken), Some(&protection.challenge_scopes))
            }
            Self::InsufficientScope(required) => (error(ErrorCode::InsufficientScope), Some(required)),
            Self::InsufficientClaims(_) => (error(ErrorCode::InsufficientClaims), None),
            Self::MalformedRequest(
                MalformedRequest::TwoCredentials | MalformedRequest::TokenInQuery | MalformedRequest::TokenTooLong,
            ) => (error(ErrorCode::InvalidRequest), None),
            Self::MalformedRequest(
                MalformedRequest::Method | MalformedRequest::Host | MalformedRequest::Path | MalformedRequest::Http,
            )
            | Self::NoRoute
            | Self::MethodNotAllowed(_)
            | Self::UnsupportedMediaType
            | Self::BodyTooLarge
            | Self::HeaderTooLarge
            | Self::RequestTimeout
            | Self::RateLimited { .. }
            | Self::TooManyStreams
            | Self::ConcurrencyLimited
            | Self::MalformedMessage(_)
            | Self::HeaderMismatch(_)
            | Self::UnsupportedVersion(_)
            | Self::SessionNotFound(_)
            | Self::ToolDenied
            | Self::ForeignOrigin
            | Self::IntrospectionUnavailable(_)
            | Self::MetadataUnavailable(_)
            | Self::ExchangeRefused(_)
            | Self::UpstreamUnavailable(_)
            | Self::Stopping
            | Self::UpstreamOverloaded
            | Self::AuditUnavailable
            | Self::Internal(_) => return None,
        };
        let claims = match self {
            Self::InsufficientClaims(claims) => Some(claims.as_str()),
            _ => None,
        };
        let resource_metadata = protection.resource.metadata_url();
        Challenge { error, scope, claims, resource_metadata: Some(&resource_metadata) }.to_header()
    }
}

fn malformed_message(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Json => "The message is not JSON in UTF-8",
        Malformed::TooDeep => "The message is nested too deeply",
        Malformed::DuplicateMember => "A member of the message stands twice, or in two spellings",
        Malformed::JsonRpc => "The message is not JSON-RPC 2.0",
        Malformed::EmptyBatch | Malformed::Batch => "Only revision 2025-03-26 has batches, and none is empty",
        Malformed::Name => "The message does not name what it asks for",
        Malformed::Meta => "The message does not tell its protocol version",
    }
}

impl From<MalformedRequest> for Rejection {
    fn from(what: MalformedRequest) -> Self {
        Self::MalformedRequest(what)
    }
}

impl From<IntrospectionError> for Rejection {
    fn from(error: IntrospectionError) -> Self {
        match error {
            IntrospectionError::Inactive(inactive) => Self::InactiveToken(inactive),
            IntrospectionError::Unavailable(unavailable) => Self::IntrospectionUnavailable(unavailable),
        }
    }
}

impl From<ExchangeError> for Rejection {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::SubjectTokenInvalid => Self::InactiveToken(Inactive::Denied),
            ExchangeError::InsufficientClaims(claims) => Self::InsufficientClaims(claims),
            ExchangeError::Refused(refusal) => Self::ExchangeRefused(refusal),
            ExchangeError::Unavailable(unavailable) => Self::IntrospectionUnavailable(unavailable),
        }
    }
}

impl From<SigningError> for Rejection {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::NoClientId => {
                Self::IntrospectionUnavailable(Arc::new(Unavailable::Malformed(error.to_string())))
            }
            SigningError::NoKey => Self::Internal("there is no signing key"),
            SigningError::Library(_) | SigningError::Header => Self::Internal("a JWT could not be signed"),
        }
    }
}

#[cfg(test)]
mod tests;

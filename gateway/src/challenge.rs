//! The `WWW-Authenticate` header (RFC 6750 §3, RFC 9728 §5.1): one challenge on one line, each parameter once.

use std::fmt::Write as _;

use http::HeaderValue;
use phantomgate_introspection::ScopeSet;

/// An error code of RFC 6750 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed.
    InvalidRequest,
    /// The token is expired, revoked, malformed or not for this resource.
    InvalidToken,
    /// The token was granted too little.
    InsufficientScope,
    /// The person has to do something first, which `claims` tells (Microsoft's claims challenge).
    InsufficientClaims,
}

/// A Bearer challenge.
#[derive(Debug, Default)]
pub struct Challenge<'a> {
    /// What is wrong with the token; absent when there was none (RFC 6750 §3.1).
    pub error: Option<(ErrorCode, &'static str)>,
    /// All that the operation needs.
    pub scope: Option<&'a ScopeSet>,
    /// What the client has to hand to the authorization server with its next request, in base64url.
    pub claims: Option<&'a str>,
    /// Where the client learns which authorization server to go to.
    pub resource_metadata: Option<&'a str>,
}

impl Challenge<'_> {
    /// The value of the header. Parameters are quoted; what would need escaping in them was refused when the
    /// configuration was read (RFC 6750 §3 allows no quotes and backslashes at all).
    pub fn to_header(&self) -> Option<HeaderValue> {
        let mut text = String::from("Bearer");
        let mut separator = " ";
        let mut parameter = |name: &str, value: &dyn std::fmt::Display| {
            let _ = write!(text, "{separator}{name}=\"{value}\"");
            separator = ", ";
        };
        if let Some((code, description)) = self.error {
            parameter("error", &<&str>::from(code));
            parameter("error_description", &description);
        }
        if let Some(scope) = self.scope.filter(|scope| !scope.is_empty()) {
            parameter("scope", scope);
        }
        if let Some(claims) = self.claims {
            parameter("claims", &claims);
        }
        if let Some(url) = self.resource_metadata {
            parameter("resource_metadata", &url);
        }
        HeaderValue::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6750_s3_parameters_stand_once_and_are_quoted() {
        let challenge = Challenge {
            error: Some((ErrorCode::InsufficientScope, "More is needed")),
            scope: Some(&ScopeSet::from_granted("a b")),
            claims: None,
            resource_metadata: Some("https://a.example/.well-known/oauth-protected-resource"),
        };
        assert_eq!(
            challenge.to_header().unwrap(),
            "Bearer error=\"insufficient_scope\", error_description=\"More is needed\", scope=\"a b\", \
             resource_metadata=\"https://a.example/.well-known/oauth-protected-resource\""
        );
    }

    #[test]
    fn an_empty_challenge_is_the_scheme_alone() {
        assert_eq!(Challenge::default().to_header().unwrap(), "Bearer");
    }
}

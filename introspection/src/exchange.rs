//! One token for another, at the authorization server (RFC 8693; RFC 7523 as Microsoft Entra has it).
//!
//! [`form`] and [`response::read`] are pure: what is asked for, and what of the answer may be used. [`exchange`] is the
//! thin shell between them. An answer is never taken on trust: a token that is wider than what was asked for is refused,
//! whatever the authorization server thinks of it.

pub mod response;

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::authorization_server::{AuthorizationServer, Endpoint};
use crate::claims::Claims;
use crate::clock::NumericDate;
use crate::error::Unavailable;
use crate::response::ActiveToken;
use crate::scope::ScopeSet;
use crate::secret::Secret;
use crate::token::OpaqueToken;

/// How the token of an agent becomes one for an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// A token exchange (RFC 8693).
    TokenExchange(TokenExchange),
    /// The bearer grant (RFC 7523 §2.1) with `requested_token_use=on_behalf_of`.
    OnBehalfOf {
        /// What to ask for; at least one.
        scopes: ScopeSet,
    },
}

/// What a token exchange asks for (RFC 8693 §2.1). At least one of `audience` and `resource` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenExchange {
    /// `audience`: the upstream, as the authorization server knows it.
    pub audience: Option<String>,
    /// `resource`: the upstream's URI (RFC 8707).
    pub resource: Option<String>,
    /// `scope`; when empty, none is asked for.
    pub scopes: ScopeSet,
    /// `requested_token_type`.
    pub requested_token_type: TokenType,
    /// Who acts for the subject.
    pub actor: Option<Actor>,
}

/// A type of token (RFC 8693 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// An access token, of whatever form.
    AccessToken,
    /// A JWT.
    Jwt,
}

/// Who acts for the subject of a token (RFC 8693 §1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `actor_token`.
    pub token: Secret,
    /// `actor_token_type`.
    pub token_type: TokenType,
}

/// The token of an agent, for an exchange that may outlive its request. Wiped when dropped.
#[derive(Clone)]
pub struct SubjectToken(Zeroizing<String>);

/// What came of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The value of an `Authorization` header; marked sensitive.
    pub authorization: HeaderValue,
    /// When it ends: never after the token it was exchanged for.
    pub expires_at: Option<NumericDate>,
}

/// Why nothing came of an exchange, by who is at fault.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExchangeError {
    /// The agent's token is no longer valid (`invalid_grant`): 401.
    #[error("the authorization server takes the token no longer")]
    SubjectTokenInvalid,
    /// The person has to do something first (Microsoft Entra): 401 with a claims challenge.
    #[error("the authorization server asks for more claims")]
    InsufficientClaims(ClaimsChallenge),
    /// The authorization server refuses, or gives what may not be used: 502.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no answer: 503.
    #[error("no answer from the authorization server: {0}")]
    Unavailable(Arc<Unavailable>),
}

/// What an agent has to hand to its authorization server, in base64url: fit for a quoted string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimsChallenge(String);

/// Why the result of an exchange is not used. Says nothing of the tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An error code of RFC 6749 §5.2 or its extensions, as the server wrote it; printable ASCII.
    #[error("the authorization server refuses the exchange: {0}")]
    ErrorCode(String),
    /// A member of the answer is not what it must be.
    #[error("the answer to the exchange is of no use: {0}")]
    Unfit(&'static str),
    /// The token can do more than was asked for.
    #[error("the token from the exchange is wider than asked: its {0}")]
    Wider(&'static str),
}

impl TokenType {
    /// Its identifier (RFC 8693 §3).
    pub const fn identifier(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
    }
}

impl From<OpaqueToken<'_>> for SubjectToken {
    fn from(token: OpaqueToken<'_>) -> Self {
        Self(token.to_owned())
    }
}

impl ClaimsChallenge {
    /// The longest one that is passed on, in bytes: agents have to fit it into a URL.
    const MAX_LENGTH: usize = 4 * 1024;

    /// The challenge that asks for `claims`, if that is a JSON object and not too long.
    pub fn parse(claims: &str) -> Option<Self> {
        let is_fit = claims.len() <= Self::MAX_LENGTH && Claims::parse(claims.as_bytes()).is_ok();
        is_fit.then(|| Self(BASE64_URL_SAFE_NO_PAD.encode(claims)))
    }

    /// The value of the parameter `claims`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Unavailable> for ExchangeError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable.into())
    }
}

/// Exchanges `token`, of which `subject` is known, at `server`.
///
/// # Errors
/// [`ExchangeError`].
pub async fn exchange(
    server: &AuthorizationServer,
    exchange: &Exchange,
    token: &SubjectToken,
    subject: &ActiveToken,
) -> Result<IssuedToken, ExchangeError> {
    let actor = match exchange {
        Exchange::TokenExchange(TokenExchange { actor: Some(actor), .. }) => Some(actor.token.current()),
        _ => None,
    };
    let scope = scopes(exchange).to_string();
    let form = form(exchange, &token.0, actor.as_ref().map(|token| token.as_str()), &scope);
    let answer = server.post(Endpoint::Token, "application/json", &form).await?;
    response::read(&answer, exchange, subject, NumericDate::now())
}

/// The request (RFC 8693 §2.1; RFC 7523 §2.1). `actor` is the token of the [`Actor`], `scope` the scopes as one text.
fn form<'a>(
    exchange: &'a Exchange,
    token: &'a str,
    actor: Option<&'a str>,
    scope: &'a str,
) -> Vec<(&'static str, &'a str)> {
    let mut form = Vec::new();
    match exchange {
        Exchange::TokenExchange(asked) => {
            form.extend([
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", token),
                // Whatever form it has, it was issued as an access token.
                ("subject_token_type", TokenType::AccessToken.identifier()),
                ("requested_token_type", asked.requested_token_type.identifier()),
            ]);
            form.extend(asked.audience.as_deref().map(|audience| ("audience", audience)));
            form.extend(asked.resource.as_deref().map(|resource| ("resource", resource)));
            if let (Some(configured), Some(actor)) = (&asked.actor, actor) {
                form.extend([("actor_token", actor), ("actor_token_type", configured.token_type.identifier())]);
            }
        }
        Exchange::OnBehalfOf { .. } => form.extend([
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", token),
            ("requested_token_use", "on_behalf_of"),
        ]),
    }
    if !scope.is_empty() {
        form.push(("scope", scope));
    }
    form
}

fn scopes(exchange: &Exchange) -> &ScopeSet {
    match exchange {
        Exchange::TokenExchange(asked) => &asked.scopes,
        Exchange::OnBehalfOf { scopes } => scopes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> TokenExchange {
        TokenExchange {
            audience: Some("users".to_owned()),
            resource: Some("https://users.internal".to_owned()),
            scopes: ScopeSet::from_granted("a b"),
            requested_token_type: TokenType::AccessToken,
            actor: None,
        }
    }

    #[test]
    fn rfc8693_s2_1_the_request_names_subject_types_and_target() {
        assert_eq!(
            form(&Exchange::TokenExchange(asked()), "tok", None, "a b"),
            [
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", "tok"),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("audience", "users"),
                ("resource", "https://users.internal"),
                ("scope", "a b"),
            ]
        );
    }

    #[test]
    fn rfc8693_s2_1_an_actor_comes_with_its_type_and_what_is_not_asked_for_is_left_out() {
        let actor = Actor { token: Secret::fixed(Zeroizing::new("act".to_owned())), token_type: TokenType::Jwt };
        let exchange = Exchange::TokenExchange(TokenExchange { audience: None, actor: Some(actor), ..asked() });
        let form = form(&exchange, "tok", Some("act"), "");
        assert!(form.contains(&("actor_token", "act")));
        assert!(form.contains(&("actor_token_type", "urn:ietf:params:oauth:token-type:jwt")));
        assert!(!form.iter().any(|(name, _)| ["audience", "scope"].contains(name)), "{form:?}");
    }

    #[test]
    fn rfc7523_s2_1_on_behalf_of_sends_the_token_as_the_assertion() {
        let exchange = Exchange::OnBehalfOf { scopes: ScopeSet::from_granted("https://graph.microsoft.com/User.Read") };
        assert_eq!(
            form(&exchange, "tok", None, "https://graph.microsoft.com/User.Read"),
            [
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", "tok"),
                ("requested_token_use", "on_behalf_of"),
                ("scope", "https://graph.microsoft.com/User.Read"),
            ]
        );
    }
}

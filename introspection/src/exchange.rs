//! One token for another, at the authorization server (RFC 8693; RFC 7523 as Microsoft Entra has it).

use crate::scope::ScopeSet;
use crate::secret::Secret;

/// How the token of an agent becomes one for an upstream.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub struct Actor {
    /// `actor_token`.
    pub token: Secret,
    /// `actor_token_type`.
    pub token_type: TokenType,
}

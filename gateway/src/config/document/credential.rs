//! What an upstream gets in place of the token, as people write it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::values::Span;
use super::Secret;

/// What the upstream gets in place of the token.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    /// What kind of credential. Each key below is for the kinds that it names.
    pub(crate) kind: CredentialKind,
    /// `signed`: `aud` of the JWT, what the upstream calls itself. `exchange`: the `audience` to ask for.
    pub(crate) audience: Option<String>,
    /// `signed`: the longest life of the JWT, 10s up to that of `signing`, which stands when left out.
    pub(crate) lifetime: Option<Span>,
    /// `signed`: further claims of the JWT, by their names there: each a claim of the authorization server's answer, or a
    /// path of names joined by dots that leads to one.
    #[serde(default)]
    pub(crate) claims: BTreeMap<String, String>,
    /// `exchange`: the `resource` to ask for (RFC 8707), an absolute URI.
    pub(crate) resource: Option<String>,
    /// `exchange`, `on_behalf_of`: the scopes to ask for.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// `exchange`: the type of token to ask for, `access_token` when left out.
    pub(crate) requested_token_type: Option<TokenType>,
    /// `exchange`: who acts for the subject of the token (RFC 8693 §1.1).
    pub(crate) actor: Option<Actor>,
    /// `header`: the name of the header.
    pub(crate) name: Option<String>,
    /// `header`: its value.
    pub(crate) secret: Option<Secret>,
    /// `header`: what stands before the secret, a space included.
    pub(crate) prefix: Option<String>,
}

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum CredentialKind {
    /// The JWT that the authorization server gave in place of the token, where `introspection.response` is `jwt`.
    Jwt,
    /// A JWT access token (RFC 9068) that we sign for this upstream.
    Signed,
    /// A token that the authorization server gives in exchange (RFC 8693).
    Exchange,
    /// A token that the authorization server gives on behalf of the user (RFC 7523, as Microsoft Entra has it).
    OnBehalfOf,
    /// A secret in a header, the same for everybody.
    Header,
    /// None at all.
    None,
}

/// A type of token (RFC 8693 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenType {
    /// An access token, of whatever form.
    #[default]
    AccessToken,
    /// A JWT.
    Jwt,
}

/// Who acts for the subject of a token.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Actor {
    /// The actor's own token.
    pub(crate) token: Secret,
    /// Its type.
    #[serde(rename = "type", default)]
    pub(crate) typ: TokenType,
}

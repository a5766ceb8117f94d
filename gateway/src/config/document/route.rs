//! Which requests go where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credential, Mcp, RouteLimits};
use crate::config::values::Span;

/// Which requests go where, and who may send them. A route is protected unless it says `public: true`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Its name in logs and the audit.
    pub(crate) name: String,
    /// The requests it is for.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// What stands in place of the matched path at the upstream; the path stays as it came when left out.
    pub(crate) rewrite: Option<Rewrite>,
    /// Where they go: the name of an upstream.
    pub(crate) upstream: String,
    /// Anybody may pass, and no token is looked at.
    #[serde(default)]
    pub(crate) public: bool,
    /// The public URL of what is protected, and the audience a token must carry (RFC 8707, RFC 9728).
    pub(crate) resource: Option<String>,
    /// Who knows the tokens: the name of an authorization server.
    pub(crate) authorization_server: Option<String>,
    /// Which tokens are taken. A JWT on a route that takes opaque tokens alone is introspected like any other.
    #[serde(default = "accepts")]
    pub(crate) accepts: Vec<TokenForm>,
    /// Further audiences that will do in place of `resource`, where the authorization server has names of its own for it.
    #[serde(default)]
    pub(crate) audiences: Vec<String>,
    /// Bounds for this route, below those of the authorization server.
    #[serde(default)]
    pub(crate) cache: RouteCache,
    /// What a token must have been granted, all of it.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// What the upstream gets in place of the token.
    pub(crate) credential: Option<Credential>,
    /// What its requests may take.
    #[serde(default)]
    pub(crate) limits: RouteLimits,
    /// The route is an MCP endpoint. Without this, requests are passed on unread.
    pub(crate) mcp: Option<Mcp>,
}

/// A form of access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenForm {
    /// One that tells nothing: the authorization server is asked (RFC 7662).
    Opaque,
    /// A JWT access token (RFC 9068), verified here with the authorization server's keys.
    Jwt,
}

/// How long a route believes what it was told of a token.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RouteCache {
    /// The longest life of an answer for this route, 1s to 24h; that of the authorization server when left out.
    pub(crate) max_ttl: Option<Span>,
}

/// The requests a route is for.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Match {
    /// A host name without port, or `*.` and a host name for everything below that, at any depth; any host when left out.
    pub(crate) host: Option<String>,
    /// A path and everything below it: `/mcp` is for `/mcp` and `/mcp/x`, not for `/mcpx`.
    pub(crate) path: String,
    /// The path is for itself alone, to the letter, and not for what is below it.
    pub(crate) exact: bool,
    /// Methods in capitals; all of them when left out. GET includes HEAD. Where a path has routes and none of them takes the
    /// method of a request, that is answered 405.
    pub(crate) methods: Option<Vec<String>>,
}

/// Another path at the upstream.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// What stands in place of `match.path`. What follows it stays, and so does the query, to the byte.
    pub(crate) path: String,
}

impl Default for Match {
    fn default() -> Self {
        Self { host: None, path: "/".to_owned(), exact: false, methods: None }
    }
}

fn accepts() -> Vec<TokenForm> {
    vec![TokenForm::Opaque]
}

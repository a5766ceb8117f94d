//! The configuration as people write it. These comments are the reference: the JSON Schema repeats them.

mod authorization_server;
mod credential;
mod mcp;
mod rule;

pub(crate) use authorization_server::{
    Assertion, AssertionAlgorithm, Authentication, AuthorizationServer, Cache, Client, Endpoints, Introspection, Jwt,
    Tls,
};
pub(crate) use credential::{Credential, CredentialKind, TokenType};
pub(crate) use mcp::{Mcp, Sessions};
pub(crate) use rule::Rule;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Span;

/// The configuration of phantomgate.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "phantomgate configuration")]
pub(crate) struct Document {
    /// Where to listen, for HTTP/1.1 and cleartext HTTP/2. At least one.
    pub(crate) listeners: Vec<Listener>,
    /// Where the operator's own requests are answered: health, metrics, revocations. Nowhere when left out.
    pub(crate) admin: Option<Admin>,
    /// How long requests under way may take to finish after SIGTERM.
    #[serde(default = "defaults::drain_timeout")]
    pub(crate) drain_timeout: Span,
    /// The authorization servers that know the tokens, by a name of your choice.
    #[serde(default)]
    pub(crate) authorization_servers: BTreeMap<String, AuthorizationServer>,
    /// Our own keys, needed by routes with a credential of the kind `signed`.
    pub(crate) signing: Option<Signing>,
    /// Where requests go, by a name of your choice.
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// Which requests go where, and who may send them. The most specific one wins.
    pub(crate) routes: Vec<Route>,
}

/// One address to listen on.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// IP address and port: `0.0.0.0:8080`, `127.0.0.1:8080`, `[::]:8080`. Port 0 lets the system choose one.
    pub(crate) address: String,
}

/// Where the operator's own requests are answered, and who may send them.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// IP address and port, apart from those of the listeners.
    pub(crate) address: String,
    /// What requests must carry as `Authorization: Bearer …`. Needed where the address is not a loopback one.
    pub(crate) token: Option<Secret>,
}

/// Where a secret is. It is never written into this file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secret {
    /// A file with nothing but the secret in it (a final line break is cut off), relative to the folder of this one. It is
    /// read again when it changes.
    pub(crate) file: Option<PathBuf>,
    /// The name of an environment variable.
    pub(crate) env: Option<String>,
}

/// Our own keys. Their public halves are published at `/.well-known/jwks.json`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signing {
    /// `iss` of the JWTs: an https URL (http on loopback), under which upstreams know us.
    pub(crate) issuer: String,
    /// The algorithm of new keys.
    #[serde(default)]
    pub(crate) algorithm: SigningAlgorithm,
    /// The folder of the private keys, relative to the folder of this file. The first key is made when there is none.
    #[serde(default = "defaults::keys")]
    pub(crate) keys: PathBuf,
    /// The longest life of a JWT, 10s to 1h. Never longer than the token it stands for.
    #[serde(default = "defaults::lifetime")]
    pub(crate) lifetime: Span,
}

/// A signature algorithm, by its registered name (RFC 7518, RFC 8037).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, strum::Display, strum::EnumString,
)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256: every library verifies it.
    #[default]
    ES256,
    /// Ed25519: a little faster.
    EdDSA,
    /// RSA PKCS #1 v1.5, 2048 bits: slow to sign, for upstreams that know nothing else.
    RS256,
    /// RSA PSS, 2048 bits.
    PS256,
}

/// A named group of endpoints that serve the same thing.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    /// `http://host:port` or `https://host:port`; they take turns. At least one.
    pub(crate) endpoints: Vec<String>,
    /// How long to wait for them.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
}

/// How long to wait for an upstream.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// Until a connection stands, TLS included, 10ms to 60s.
    pub(crate) connect: Span,
    /// The longest silence of an upstream, before its first byte or in a stream, 1s to 1h. Pingora's timers are kept for as
    /// long: under constant traffic each processor takes about 1.4 MB for each minute of it.
    pub(crate) idle_stream: Span,
}

/// Which requests go where, and who may send them. A route is protected unless it says `public: true`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Its name in logs and the audit.
    pub(crate) name: String,
    /// The requests it is for.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
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
    #[serde(default = "defaults::accepts")]
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
    /// A host name without port; any host when left out.
    pub(crate) host: Option<String>,
    /// A path and everything below it: `/mcp` is for `/mcp` and `/mcp/x`, not for `/mcpx`.
    pub(crate) path: String,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Span::seconds(1), idle_stream: Span::seconds(15 * 60) }
    }
}

impl Default for Match {
    fn default() -> Self {
        Self { host: None, path: "/".to_owned() }
    }
}

mod defaults {
    use super::{PathBuf, Span, TokenForm};

    pub(super) fn accepts() -> Vec<TokenForm> {
        vec![TokenForm::Opaque]
    }

    pub(super) fn drain_timeout() -> Span {
        Span::seconds(30)
    }

    pub(super) fn keys() -> PathBuf {
        "keys/".into()
    }

    pub(super) fn lifetime() -> Span {
        Span::seconds(5 * 60)
    }
}

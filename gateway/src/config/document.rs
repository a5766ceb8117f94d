//! The configuration as people write it. These comments are the reference: the JSON Schema repeats them.

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

/// An authorization server, and who we are to it.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizationServer {
    /// Its issuer identifier, to the letter: an https URL (http on loopback). Its metadata (RFC 8414, OpenID) is found
    /// from here.
    pub(crate) issuer: String,
    /// The client we are registered as.
    pub(crate) client: Client,
    /// Endpoints set by hand, where there is no metadata or it is wrong.
    #[serde(default)]
    pub(crate) endpoints: Endpoints,
    /// How tokens are introspected.
    #[serde(default)]
    pub(crate) introspection: Introspection,
    /// How long answers are kept, and how many.
    #[serde(default)]
    pub(crate) cache: Cache,
}

/// The client we are registered as, with the right to introspect tokens.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// Its identifier.
    pub(crate) id: String,
    /// Its secret.
    pub(crate) secret: Secret,
    /// How it authenticates.
    #[serde(default)]
    pub(crate) authentication: Authentication,
}

/// Where a secret is. It is never written into this file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secret {
    /// A file with nothing but the secret in it (a final line break is cut off), relative to the folder of this one.
    pub(crate) file: Option<PathBuf>,
    /// The name of an environment variable.
    pub(crate) env: Option<String>,
}

/// Client authentication, by its registered names (RFC 7591).
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Authentication {
    /// In the Authorization header (RFC 6749 §2.3.1).
    #[default]
    ClientSecretBasic,
    /// In the form.
    ClientSecretPost,
}

/// Endpoints set by hand.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoints {
    /// The introspection endpoint (RFC 7662): an https URL (http on loopback).
    pub(crate) introspection: Option<String>,
}

/// How tokens are introspected.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Introspection {
    /// The time for one answer, 10ms to 60s. After it the agent gets 503.
    pub(crate) timeout: Span,
}

/// How long answers are kept, and how many.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cache {
    /// The longest life of an answer about an active token, 1s to 24h. Never longer than the token itself.
    pub(crate) max_ttl: Span,
    /// The life of an answer about an inactive token, at most 10m.
    pub(crate) negative_ttl: Span,
    /// How many active tokens are kept; a tenth as many inactive ones.
    #[schemars(range(min = 1))]
    pub(crate) max_entries: u64,
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
    /// The longest silence of an upstream, before its first byte or in a stream, 1s to 24h.
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
    /// What a token must have been granted, all of it.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// What the upstream gets in place of the token.
    pub(crate) credential: Option<Credential>,
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

/// What the upstream gets in place of the token.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    /// What kind of credential.
    pub(crate) kind: CredentialKind,
    /// `aud` of the JWT, for the kind `signed`: what the upstream calls itself.
    pub(crate) audience: Option<String>,
}

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CredentialKind {
    /// A JWT access token (RFC 9068) that we sign for this upstream.
    Signed,
    /// None at all.
    None,
}

impl Default for Introspection {
    fn default() -> Self {
        Self { timeout: Span::seconds(2) }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { max_ttl: Span::seconds(5 * 60), negative_ttl: Span::seconds(10), max_entries: 1_000_000 }
    }
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
    use super::{PathBuf, Span};

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

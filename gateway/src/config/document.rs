//! The configuration as people write it. These comments are the reference: the JSON Schema repeats them.

mod admin;
mod audit;
mod authorization_server;
mod credential;
mod limits;
mod listener;
mod mcp;
mod route;
mod rule;
mod telemetry;
mod tls;
mod upstream;

pub(crate) use admin::Admin;
pub(crate) use audit::{AuditSink, AuditTo, WhenFull};
pub(crate) use authorization_server::{
    Assertion, AssertionAlgorithm, Authentication, AuthorizationServer, Cache, Client, Endpoints, Introspection, Jwt,
    Tls,
};
pub(crate) use credential::{Credential, CredentialKind, TokenType};
pub(crate) use limits::{Limits, Rate, RouteLimits};
pub(crate) use listener::{ClientCertificate, Listener, ListenerTls};
pub(crate) use mcp::{Mcp, Sessions};
pub(crate) use route::{Match, Route, TokenForm};
pub(crate) use rule::Rule;
pub(crate) use telemetry::{Otlp, Telemetry};
pub(crate) use tls::{Protocol, UpstreamTls};
pub(crate) use upstream::{Ejection, Endpoint, Health, Timeouts, Upstream, UpstreamLimits};

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
    /// Where to listen, for HTTP/1.1 and HTTP/2. At least one.
    pub(crate) listeners: Vec<Listener>,
    /// Where the operator's own requests are answered: health, metrics, revocations. Nowhere when left out.
    pub(crate) admin: Option<Admin>,
    /// Where the records of requests go. When left out, each is a line of the log.
    pub(crate) audit: Option<Vec<AuditSink>>,
    /// OpenTelemetry: traces, and records where `audit` says so.
    pub(crate) telemetry: Option<Telemetry>,
    /// How long requests under way may take to finish after SIGTERM.
    #[serde(default = "defaults::drain_timeout")]
    pub(crate) drain_timeout: Span,
    /// What clients' connections may take, on all listeners together.
    #[serde(default)]
    pub(crate) limits: Limits,
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

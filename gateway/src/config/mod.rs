//! The configuration: from a file as written to values that cannot be wrong.
//!
//! ```text
//! text ─► tree (values and their places) ─► document (serde, as written) ─► resolve ─► Config (what the program runs on)
//!                     └───────── findings: every error at once, each with its place and its remedy ─────────┘
//! ```
//!
//! [`document`] is what people write, and the source of the JSON Schema. [`Config`] is what the rest of the program sees:
//! it has no optional section that must be there and no name that points nowhere. [`resolve`] is the one place that turns
//! the first into the second.

mod document;
mod findings;
mod limits;
mod listener;
mod matching;
mod read;
mod reference;
mod resolve;
mod telemetry;
mod tree;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use phantomgate_introspection::exchange::Exchange;
use phantomgate_introspection::{Accepts, ScopeHierarchy, ScopeSet, Secret};
use phantomgate_mcp::Revision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use document::SigningAlgorithm;
pub use findings::{ConfigError, Report};
pub use limits::{ConnectionConfig, Per, RateConfig, RouteLimitsConfig};
pub use listener::{ClientAuthorities, ListenerConfig, TlsConfig, TlsVersion};
pub use matching::{HostName, HostPattern, MethodSet, PathPattern, RequestMatch};
pub use telemetry::{AuditConfig, AuditDestination, AuditSinkConfig, CollectorConfig, SampleRatio, TracesConfig};
pub use values::{ResourceIdentifier, WebOrigin};

/// What the gateway runs on.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen, at least one address.
    pub listeners: Vec<ListenerConfig>,
    /// Where the operator's own requests are answered, if anywhere.
    pub admin: Option<AdminConfig>,
    /// Where the records of requests go.
    pub audit: AuditConfig,
    /// How requests are traced, if they are.
    pub traces: Option<TracesConfig>,
    /// How long requests under way may take to finish when the gateway is told to stop.
    pub drain_timeout: Duration,
    /// What clients' connections may take.
    pub limits: Arc<ConnectionConfig>,
    /// Authorization servers; routes refer to them by index.
    pub authorization_servers: Vec<phantomgate_introspection::Config>,
    /// Our own keys; there whenever a route signs.
    pub signing: Option<SigningConfig>,
    /// Upstreams; routes refer to them by index.
    pub upstreams: Vec<phantomgate_upstreams::Config>,
    /// Routes, no two of which match the same requests.
    pub routes: Vec<RouteConfig>,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// What requests must carry; there whenever the address is not a loopback one.
    pub token: Option<Secret>,
}

/// How JWTs are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig {
    /// `iss` of the JWTs.
    pub issuer: String,
    /// The algorithm of keys made from now on.
    pub algorithm: SigningAlgorithm,
    /// The folder of the private keys.
    pub keys: PathBuf,
    /// The longest life of a JWT.
    pub lifetime: Duration,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// Its name in logs, metrics and the audit.
    pub name: String,
    /// The requests it is for.
    pub matches: RequestMatch,
    /// What stands in place of the matched path at the upstream, exact where that is.
    pub rewrite: Option<PathPattern>,
    /// Where its requests go: an index into [`Config::upstreams`].
    pub upstream: usize,
    /// Who may pass, and what the upstream gets to see.
    pub protection: Option<ProtectionConfig>,
    /// What its requests may take.
    pub limits: RouteLimitsConfig,
    /// What makes it an MCP endpoint, if it is one.
    pub mcp: Option<McpConfig>,
}

/// An MCP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpConfig {
    /// The revisions that are spoken, at least one.
    pub revisions: Vec<Revision>,
    /// The origins of browser clients, besides that of the resource.
    pub origins: Origins,
    /// Who may do what.
    pub policy: PolicyConfig,
    /// Which items lists show.
    pub lists: Lists,
    /// Which scopes a client without a token is told to ask for.
    pub challenge: ChallengeScopes,
    /// The largest message, in bytes.
    pub max_body: usize,
    /// How long sessions last.
    pub sessions: SessionLimits,
    /// Whether the authorization server's metadata is answered here too.
    pub authorization_server_metadata: bool,
}

/// Where browser clients may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// From anywhere.
    Any,
    /// From these.
    These(Vec<WebOrigin>),
}

/// Who may do what, by name or pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConfig {
    /// What counts where no rule does.
    pub default: Rule,
    /// By names of tools.
    pub tools: Vec<(String, Rule)>,
    /// By names of prompts.
    pub prompts: Vec<(String, Rule)>,
    /// By URIs of resources.
    pub resources: Vec<(String, Rule)>,
    /// By methods.
    pub methods: Vec<(String, Rule)>,
}

impl PolicyConfig {
    /// All scopes that any rule asks for, each once.
    pub fn scopes(&self) -> ScopeSet {
        let kinds = [&self.tools, &self.prompts, &self.resources, &self.methods];
        let mut scopes = ScopeSet::default();
        for rule in [&self.default].into_iter().chain(kinds.into_iter().flatten().map(|(_, rule)| rule)) {
            if let Rule::Scopes(needed) = rule {
                scopes.extend(needed);
            }
        }
        scopes
    }
}

/// Who may do something, of those whom the route lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// All of them.
    Allow,
    /// Nobody.
    Deny,
    /// Who was granted all of these.
    Scopes(ScopeSet),
}

/// Which items lists show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lists {
    /// What the token may be used for.
    #[default]
    Usable,
    /// What it could be used for with more scopes, too.
    Obtainable,
}

/// Which scopes a client without a token is told to ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeScopes {
    /// Those of the route. For more, a client is told when it needs them.
    #[default]
    Required,
    /// All that any rule of the route asks for: for clients that cannot ask for more later.
    All,
}

/// How long a session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// The longest time without a request.
    pub idle: Duration,
    /// The longest time at all.
    pub max_life: Duration,
}

/// What a protected route asks for. A route without it is public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectionConfig {
    /// The public URL of the resource, and the audience a token must carry.
    pub resource: ResourceIdentifier,
    /// Who knows the tokens: an index into [`Config::authorization_servers`].
    pub authorization_server: usize,
    /// Further audiences that will do in place of the resource.
    pub audiences: Vec<String>,
    /// Which tokens are taken, and for how long an answer about one is believed.
    pub accepts: Accepts,
    /// What a token must have been granted.
    pub scopes: ScopeSet,
    /// Which scopes include others.
    pub scope_hierarchy: ScopeHierarchy,
    /// What the upstream gets in place of the token.
    pub credential: CredentialConfig,
}

/// What the upstream gets in place of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialConfig {
    /// The JWT that the authorization server gave in place of the token.
    Jwt,
    /// A JWT that we sign.
    Signed(SignedConfig),
    /// A token that the authorization server gives in exchange.
    Exchange(Exchange),
    /// A secret in a header.
    Header(HeaderConfig),
    /// Nothing.
    None,
}

/// A JWT that we sign.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SignedConfig {
    /// `aud` of the JWT.
    pub audience: String,
    /// Its longest life, at most that of [`SigningConfig`].
    pub lifetime: Duration,
    /// Further claims: the name in the JWT, and the name of what the authorization server said, which is kept by the name
    /// in [`phantomgate_introspection::Config::claims`].
    pub claims: Vec<(String, String)>,
}

/// A secret in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderConfig {
    /// The name of the header.
    pub name: HeaderName,
    /// What stands before the secret.
    pub prefix: String,
    /// The secret.
    pub secret: Secret,
}

/// Reads the configuration file at `path`.
///
/// # Errors
/// A [`Report`] of everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, Report> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) => Err(Report::unreadable(path, &error)),
    }
}

/// Reads a configuration from `text`. `file` is where it stands: it is named in errors, and relative paths in the
/// configuration start from its folder.
///
/// # Errors
/// A [`Report`] of everything that is wrong with it.
pub fn parse(file: &Path, text: &str) -> Result<Config, Report> {
    let folder = file.parent().unwrap_or(Path::new(""));
    read::read(text).and_then(|read| resolve::resolve(read, folder)).map_err(|findings| findings.into_report(file))
}

/// The JSON Schema of the configuration, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(document::Document).to_value()
}

/// The same for people: every key with its type, its default and what it is for, in Markdown.
pub fn reference() -> String {
    reference::markdown(&schema())
}

#[cfg(test)]
mod tests;

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
mod read;
mod resolve;
mod tree;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use phantomgate_introspection::exchange::Exchange;
use phantomgate_introspection::{Accepts, ScopeSet, Secret};

pub use document::SigningAlgorithm;
pub use findings::Report;
pub use values::{HostName, PathPrefix, ResourceIdentifier};

/// What the gateway runs on.
#[derive(Debug)]
pub struct Config {
    /// Where to listen, at least one address.
    pub listeners: Vec<SocketAddr>,
    /// Where the operator's own requests are answered, if anywhere.
    pub admin: Option<AdminConfig>,
    /// How long requests under way may take to finish when the gateway is told to stop.
    pub drain_timeout: Duration,
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
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// What requests must carry; there whenever the address is not a loopback one.
    pub token: Option<Secret>,
}

/// How JWTs are signed.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// Its name in logs, metrics and the audit.
    pub name: String,
    /// The host it is for, or any.
    pub host: Option<HostName>,
    /// The path it is for, and everything below it.
    pub path: PathPrefix,
    /// Where its requests go: an index into [`Config::upstreams`].
    pub upstream: usize,
    /// Who may pass, and what the upstream gets to see.
    pub protection: Option<ProtectionConfig>,
}

/// What a protected route asks for. A route without it is public.
#[derive(Debug, Clone)]
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
    /// What the upstream gets in place of the token.
    pub credential: CredentialConfig,
}

/// What the upstream gets in place of the token.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone)]
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

#[cfg(test)]
mod tests;

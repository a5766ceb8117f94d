//! Token in, facts out: everything that talks to an authorization server, or verifies what it says.
//!
//! ```text
//! OpaqueToken ─► TokenDigest ─► cache ──hit──────────────────────────────────► Arc<CachedToken>
//!                                 └─miss─► flight (one per token) ─┬─► client ───────► response ─► cache
//!                                                                  └─► access_token ─►┘
//! ```
//!
//! [`Introspector::introspect`] is the whole of it for a caller: an [`OpaqueToken`] becomes a [`CachedToken`] or an
//! [`IntrospectionError`] that says whether the token or the authorization server is at fault.
//!
//! [`AuthorizationServer`] is the peer: the only thing that sends and receives. What is asked and how an answer is read is
//! pure ([`response`], [`exchange`], [`jwt`], [`key_set`], [`metadata`]): bytes in, values out, time as an argument. What
//! products do otherwise than the standards is one table ([`Vendor`]). Wall clocks are read in [`clock`] alone.
//!
//! This crate never decides whether a request may pass (audiences and scopes are compared by the gateway), never signs for
//! an upstream, and knows neither Pingora nor YAML.

mod access_token;
mod address;
pub mod authorization_server;
mod breaker;
mod cache;
pub mod claims;
mod client;
pub mod client_authentication;
pub mod clock;
pub mod config;
mod error;
pub mod exchange;
mod flight;
mod introspector;
pub mod jwe;
pub mod jwt;
pub mod key_set;
pub mod metadata;
mod metrics;
#[cfg(test)]
mod properties;
mod remote;
pub mod response;
mod revocation;
pub mod scope;
pub mod secret;
mod shared;
#[cfg(test)]
mod testing;
pub mod token;
mod transport;
mod vendor;
mod watch;

pub use address::AddressNotAllowed;
pub use authorization_server::AuthorizationServer;
pub use cache::CachedToken;
pub use claims::Claims;
pub use client_authentication::ClientAuthentication;
pub use clock::NumericDate;
pub use config::Config;
pub use error::{BuildError, IntrospectionError, Unavailable};
pub use introspector::{Accepts, CacheState, Introspector, Lookup};
pub use metadata::{AuthorizationServerMetadata, Issuer};
pub use metrics::LookupCounts;
pub use response::{ActiveToken, Inactive, Introspection};
pub use revocation::Revocation;
pub use scope::{Scope, ScopeHierarchy, ScopeSet};
pub use secret::Secret;
pub use token::{OpaqueToken, TokenDigest};
pub use vendor::Vendor;
pub use watch::Ended;

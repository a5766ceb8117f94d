//! phantomgate: agents hold opaque tokens, upstreams get JWTs, and neither sees the other's.
//!
//! # Life of a request
//! ```text
//! listener ─► route ─► credential ─► introspection ─► message ─► authorize ─► Grant ─► credential of ─► token swap ─► upstream ─► audit
//!                                                                                     the upstream
//!  server    request_   credential   (the crate       mcp (and    authorize           upstream_       token_swap    (the crate    audit
//!            target,                 phantomgate-     the crate                       credential,                   phantomgate-
//!            route                   introspection)   phantomgate-mcp)                signing                       upstreams)
//! ```
//! [`proxy`] is that line: [`admission::admit`] says who asks, [`mcp`] what for, where a route is an MCP
//! endpoint, and [`authorize::authorize`] whether they may. [`rejection`] maps every way out of it to an answer.
//!
//! # What always holds
//! 1. No byte of an agent's credential reaches an upstream, a log or an error.
//! 2. No request reaches an upstream without a [`authorize::Grant`], which only [`authorize`] can make.
//! 3. Every request leaves exactly one [`audit::AuditRecord`].
//! 4. A configuration with errors is never run.
//! 5. What a client can make us keep is bounded ([`limits`]).
//! 6. No request is lost when the configuration changes ([`reload`]), another process takes over ([`hand_over`]), or the
//!    gateway ends ([`stopping`]).

pub mod admin;
pub mod admission;
pub mod answer;
pub mod audit;
pub mod authorize;
pub mod certificate;
pub mod challenge;
pub mod config;
pub mod connection;
pub mod context;
pub mod credential;
pub mod cross_origin;
pub mod deadline;
pub mod delivery;
#[cfg(test)]
mod documentation;
pub mod downstream;
pub mod forward;
pub mod gateway;
pub mod hand_over;
pub mod json_rpc;
pub mod limits;
pub mod listener;
pub mod live;
pub mod logging;
pub mod mcp;
pub mod metrics;
pub mod proxy;
pub mod rejection;
pub mod reload;
pub mod request_body;
pub mod request_target;
pub mod respond;
pub mod route;
pub mod server;
pub mod service_manager;
pub mod signing;
pub mod stopping;
pub mod stopwatch;
pub mod telemetry;
pub mod token_swap;
pub mod upstream_credential;
pub mod visit;
pub mod well_known;
pub mod workers;

/// Installs the process's TLS cryptography. First thing in `main`: whoever comes first decides, and Pingora would choose
/// another.
pub fn install_crypto_provider() {
    // An error means that it is installed already, which is just as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

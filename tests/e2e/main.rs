//! End-to-end tests: each starts the real `phantomgate` binary between an authorization server and an upstream.
//!
//! One file per behaviour. A test named for a section of an RFC checks a MUST of that section.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admin;
mod audit;
mod authorization;
mod authorization_servers;
mod cache;
mod challenge;
mod clients;
mod command_line;
mod credentials;
mod cross_origin;
mod edges;
mod failure;
mod harness;
mod inbound_jwt;
mod inspector;
mod lifecycle;
mod limits;
mod mcp;
mod metadata;
mod metrics;
mod played_upstream;
mod revocation;
mod rewriting;
mod routing;
mod smuggling;
mod ssrf;
mod streaming;
mod telemetry;
mod tls;
mod token_swap;
mod trailers;
mod upgrades;
mod upstream_credentials;
mod upstreams;

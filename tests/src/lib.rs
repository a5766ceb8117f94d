//! The harness of the end-to-end tests: a world of real and scripted servers around the real `phantomgate` binary.
//!
//! A test reads as three sentences: given these servers, when this request, then this answer.
//!
//! ```no_run
//! # use e2e::{AnswerExt, World};
//! # use serde_json::json;
//! # async fn test() {
//! let world = World::new().await;
//! let token = world.authorization_server.issue(json!({ "scope": "mcp:read" }));
//!
//! let answer = world.get("/mcp").bearer_auth(&token).answer().await;
//!
//! answer.assert_status(200);
//! # }
//! ```
//!
//! When a world ends it checks, in every test, what must always hold: no agent credential reached the upstream, and no
//! credential at all is in the gateway's output. Ports come from the operating system, nothing waits by sleeping, and
//! every process started here is ended by its own id.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; whoever reads it wants the line, not an error chain"
)]

mod admin;
mod authorization_server;
mod bearer;
mod browser;
mod certificates;
mod client;
mod clock;
pub mod collector;
mod credentials;
mod endpoint;
mod fixtures;
mod gateway;
mod hosts;
mod jwt;
mod load;
pub mod mcp_checks;
mod openapi;
mod process;
mod raw;
mod upstream;
mod world;
mod wrk;

pub use authorization_server::{Answer, AuthorizationServer, FormRequest};
pub use bearer::BearerInjector;
pub use browser::{CODE_CHALLENGE, CODE_VERIFIER, TokenResponse, follow_redirects};
pub use certificates::{Certificates, Identity};
pub use client::{AnswerExt, Response, within};
pub use clock::{now, until};
pub use collector::{Collector, Signals, attributes, hexadecimal, otlp::Span};
pub use credentials::Credentials;
pub use endpoint::{Behaviour, Endpoint};
pub use fixtures::{
    Fixture, conformance_server, dashboard, django_oauth_toolkit, glewlwyd, inspector, mcp_conformance, oidc_provider,
    oidc_provider_over_tls, python_client, python_server, server_everything, server_everything_of_2024,
    start_oidc_provider, typescript_client,
};
pub use gateway::{CommandLine, Gateway, ReservedPort, Successor, phantomgate};
pub use hosts::Hosts;
pub use jwt::{Jwt, SigningKey, decode_jwt};
pub use load::{Connection, Load, Message, QuietUpstream};
pub use openapi::Description;
pub use process::Process;
pub use raw::RawConnection;
pub use upstream::{EventStream, Handshake, Received, Upstream};
pub use world::{Given, World};
pub use wrk::Wrk;

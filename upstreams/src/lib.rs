//! Where requests go: an [`Upstream`] is a named group of endpoints; a [`Visit`] is one request's way to one of them, which
//! is handed to Pingora as a peer. Over HTTP/1.1 the request and its answer are an [`http_1::RoundTrip`] there.
//!
//! ```text
//!              names looked up ┐
//!              health checks   ├─► table ──select──► Visit ─► peer ─► answered, or not
//!              the operator    ┘     ▲                                      │
//!                                    └───────────── ejections ◄─────────────┘
//! ```
//!
//! A name may stand for several addresses. Each is selected, checked and ejected for itself; weights and draining are the
//! endpoint's. Whatever changes who gets requests makes a new [`table`], which requests only read.
//!
//! This crate knows no tokens and no routes. Whether a request may go anywhere is decided before it is asked where: the gateway
//! calls [`Upstream::enter`] with a grant in its hand.

mod background;
mod check;
pub mod config;
mod ejection;
mod endpoint;
mod health;
pub mod http_1;
mod idle;
mod member;
mod metrics;
mod peer;
mod retry_budget;
pub mod state;
mod table;
mod tls;
mod upstream;
mod visit;

pub use config::{Config, Ejection, EndpointConfig, HashBy, HealthCheck, Limits, Selection, Timeouts};
pub use endpoint::{EndpointUrl, InvalidEndpoint};
pub use member::Place;
pub use peer::Protocol;
pub use tls::{IdentityFiles, TlsConfig};
pub use upstream::{UnknownEndpoint, Upstream};
pub use visit::{NoTarget, Visit};

//! Where requests go: an [`Upstream`] is a named group of [`Endpoint`]s; one of them is selected per request and handed
//! to Pingora as a peer.
//!
//! This crate knows no requests, no tokens and no routes. Whether a request may go anywhere is decided before it is asked
//! where: the gateway calls [`Upstream::target`] with a grant in its hand.

pub mod config;
mod endpoint;
mod peer;
mod tls;
mod upstream;

pub use config::{Config, Timeouts};
pub use endpoint::{Endpoint, EndpointUrl, InvalidEndpoint};
pub use peer::Protocol;
pub use tls::{IdentityFiles, TlsConfig};
pub use upstream::{Target, Upstream};

//! A whole world on loopback, in which an AI agent with an opaque token reaches an API through phantomgate.
//!
//! ```text
//!   agent ──opaque token──▶ phantomgate ──JWT for the MCP server──▶ MCP server ──JWT for the API──▶ users API
//!     │                          │                                      │
//!     │ logs in, gets it         │ asks what it means                   │ exchanges one JWT for the other
//!     └─────────────────▶  authorization server  ◀──────────────────────┘
//! ```
//!
//! [`World::start`] starts all of it but the agent; [`agent`] plays that one, and [`walk_through`] tells the story. The
//! production binary contains nothing of this crate.

pub mod access_token;
pub mod agent;
pub mod authorization_server;
pub mod console;
mod fetch;
mod gateway;
pub mod mcp_server;
pub mod recorder;
pub mod users_api;
pub mod walk_through;
mod world;

pub use world::{API_AUDIENCE, MCP_AUDIENCE, Urls, World};

//! The Model Context Protocol over HTTP, as far as one has to read it to decide who may do what: bytes in, facts out.
//!
//! ```text
//! request   body ─► Messages ─┬─► check ─► Revision
//!           headers ──────────┘            Message::operation ─► who may do it is the gateway's to say
//! response  body ─► ListFilter ─► the same body without what the caller may not see
//!                   EventBoundary ─► whether an event may be put in here
//! ```
//!
//! A request is read in one strict pass: what two programs could read in two ways (a member that stands twice, or that
//! differs from one that matters by case alone) is refused, because the server behind may be the other program. What the
//! headers say beside the body is compared with it ([`check()`]); no decision is taken on a header. `Mcp-Param-…` headers
//! are not compared: which there are is known from a tool's schema alone, and the server has it.
//!
//! This crate never decides whether a request may pass, and knows neither I/O, clocks, OAuth, Pingora nor YAML.

mod check;
mod event_stream;
mod id;
mod json;
mod list_filter;
mod message;
#[cfg(test)]
mod properties;
mod revision;
#[cfg(test)]
mod testing;

pub use check::{Refused, check, check_version_header};
pub use event_stream::EventBoundary;
pub use id::{Id, id_of};
pub use list_filter::{FilterError, ListFilter, Visibility};
pub use message::{ListKind, Malformed, Message, Messages, Operation};
pub use revision::Revision;

//! Conformance: one test for each MUST of an RFC that concerns a gateway in front of a protected resource, through the real
//! binary. One file per RFC; a test is named for the section whose MUST it checks.
//!
//! The same for MCP, one folder for each of its two pages that concern us: `mcp_authorization` and `mcp_transport`. Their tests
//! are named for the revisions and the section; `README.md` says which test is for which requirement. `mcp_checks` is a
//! check list that any MCP server can be run against.
//!
//! What an RFC asks of authorization servers, of clients or of people has no test here. MUSTs that need a real server (the
//! algorithms of RFC 9701, nested encryption) are checked in `e2e/authorization_servers.rs`; those of RFC 6750, 8707 and
//! 9728 beside the behaviour that they are about.
//!
//! `differential.rs` is of another kind: the official suite of MCP, with and without the gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod differential;
mod mcp;
mod mcp_authorization;
mod mcp_checks;
mod mcp_transport;
mod requirements;
mod rfc7523;
mod rfc7662;
mod rfc8414;
mod rfc8693;
mod rfc9068;
mod rfc9701;

use e2e::{AnswerExt, Response, World};

/// The answer to a request with `token`, which is an agent's.
async fn ask(world: &World, token: &str) -> Response {
    world.credentials.agent(token);
    world.get("/mcp").bearer_auth(token).answer().await
}

/// Refused for now, with the time to come back; never a challenge, which would start a new login.
#[track_caller]
fn assert_unavailable(answer: &Response, why: &str) {
    assert_eq!(answer.status, 503, "{why}: {answer:#?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{why}: {answer:#?}");
    assert_eq!(answer.headers.get("www-authenticate"), None, "{why}");
}

//! What the headers of a request say beside its body, checked against it.

use http::HeaderMap;

use crate::message::{Malformed, Messages};
use crate::revision::Revision;

/// Why a request is refused before it is asked who may make it. Always with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The body, or the body in this revision.
    #[error("the message is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// This header contradicts the body, or is missing, or cannot be read.
    #[error("the header {0} does not match the body")]
    HeaderMismatch(&'static str),
    /// The revision asked for is none of those allowed.
    #[error("the protocol version {0:?} is not supported")]
    UnsupportedVersion(String),
}

impl Refused {
    /// The code of the JSON-RPC error.
    pub fn code(&self) -> i32 {
        match self {
            Self::Malformed(malformed) => malformed.code(),
            Self::HeaderMismatch(_) => -32020,
            Self::UnsupportedVersion(_) => -32022,
        }
    }
}

/// The revision a POST is of, with all that its headers say checked against its body (2026-07-28, Streamable HTTP, server
/// validation).
///
/// # Errors
/// [`Refused`].
pub fn check(headers: &HeaderMap, messages: &Messages, allowed: &[Revision]) -> Result<Revision, Refused> {
    let _ = (headers, messages, allowed);
    Err(Malformed::Json.into())
}

/// The revision a GET or DELETE is of, which have no body; none when it does not say.
///
/// # Errors
/// [`Refused`].
pub fn check_version_header(headers: &HeaderMap, allowed: &[Revision]) -> Result<Option<Revision>, Refused> {
    let _ = (headers, allowed);
    Ok(None)
}

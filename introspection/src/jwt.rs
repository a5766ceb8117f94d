//! JWTs of others, verified (RFC 7519 §7.2, RFC 8725).

use crate::error::Unavailable;

/// What a JWT must be, to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The media types allowed in `typ`, without `application/`, compared without case; an empty text allows that there is
    /// no `typ`.
    pub types: &'a [&'a str],
    /// `aud` must name this, where it is given.
    pub audience: Option<&'a str>,
    /// Whether there must be an `exp`. One that is there counts in any case.
    pub must_expire: bool,
}

/// Why a JWT is not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerificationError {
    /// The JWT is at fault. The text names the check, nothing of the content.
    #[error("{0}")]
    Invalid(&'static str),
    /// The keys cannot be had.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

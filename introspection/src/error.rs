//! What can go wrong, by who is at fault: the token, or the authorization server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use crate::address::AddressNotAllowed;
use crate::response::Inactive;

/// Why an introspection gave no active token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IntrospectionError {
    /// The authorization server knows the token and says no, or does not know it. The client's fault: 401.
    #[error("the token is not active: {0}")]
    Inactive(Inactive),
    /// There is no usable answer about the token. Never the client's fault: 503, and nothing is cached.
    #[error("no answer from the authorization server: {0}")]
    Unavailable(Arc<Unavailable>),
}

/// What kept the authorization server from answering. Says nothing of the token, so it can be logged as it is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// The request failed on its way: refused, reset, TLS, name resolution.
    #[error("{0}")]
    Transport(String),
    /// No complete answer in the configured time.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The authorization server refuses *us*: the client identifier or its secret is wrong, or may not introspect.
    #[error("it refuses our client credentials (status {0})")]
    ClientRefused(u16),
    /// Any other status than the one that goes with an answer.
    #[error("it answered with status {status}")]
    Status {
        /// The status.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The body is larger than any introspection response or metadata document should be.
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The body is not what the standard asks for.
    #[error("its answer is malformed: {0}")]
    Malformed(String),
    /// The metadata belongs to another issuer than the one asked (RFC 8414 §3.3).
    #[error("its metadata names another issuer, {0:?}")]
    ForeignIssuer(String),
    /// An endpoint from the metadata that may not be called, or is not there.
    #[error("its metadata is of no use: {0}")]
    Metadata(&'static str),
    /// Its keys cannot be used.
    #[error("its key set is of no use: {0}")]
    KeySet(&'static str),
    /// It is where we must not go.
    #[error(transparent)]
    AddressNotAllowed(#[from] AddressNotAllowed),
    /// Our key has not signed the assertion that says who we are.
    #[error("our client assertion cannot be signed")]
    Unsigned,
    /// The configuration names no client, so there is nobody to ask as.
    #[error("we are no client of it")]
    NoClient,
    /// It has failed again and again, and is not asked until this has passed.
    #[error("it failed again and again; it is asked again in {0:?}")]
    CircuitOpen(Duration),
    /// As many requests as may are waiting for it already.
    #[error("too many requests are waiting for it")]
    Overloaded,
    /// The task that asked was ended before it had an answer: the gateway is shutting down.
    #[error("the introspection was given up")]
    Abandoned,
}

impl From<Unavailable> for IntrospectionError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable.into())
    }
}

impl Unavailable {
    /// When to try again, as far as is known: at most a minute, whatever a server says.
    pub fn retry_after(&self) -> Duration {
        let span = match self {
            Self::CircuitOpen(span) | Self::Status { retry_after: Some(span), .. } => *span,
            _ => Duration::from_secs(2),
        };
        span.clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

impl From<reqwest::Error> for Unavailable {
    fn from(error: reqwest::Error) -> Self {
        let cause = innermost(&error);
        if let Some(refused) = cause.downcast_ref::<AddressNotAllowed>() {
            return Self::AddressNotAllowed(refused.clone());
        }
        Self::Transport(cause.to_string())
    }
}

/// The innermost cause is the one an operator can act on ("connection refused"); the outer ones repeat the URL.
pub(crate) fn innermost(error: &reqwest::Error) -> &(dyn std::error::Error + 'static) {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

/// Why an introspector cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    HttpClient(String),
    /// A certificate or key is of no use.
    #[error("cannot use {}: {problem}", path.display())]
    File {
        /// The file it is in.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The key for client assertions is of no use.
    #[error("the client's private key is not a private key for {0:?} (PEM, PKCS #8)")]
    AssertionKey(Algorithm),
    /// Nor is the one for encrypted answers.
    #[error("the decryption key is neither an RSA key of 2048 to 8192 bits nor one on P-256 or P-384 (PEM, PKCS #8)")]
    DecryptionKey,
    /// A client that authenticates by its certificate has none.
    #[error("tls_client_auth needs a certificate and a private key of the client")]
    NoCertificate,
    /// Identifier and secret cannot be put into a header.
    #[error("the client identifier and secret cannot be sent")]
    Credentials,
}

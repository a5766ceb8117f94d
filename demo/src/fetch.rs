//! Owns how the parts of the demo talk HTTP to each other: one client that follows no redirect, gives up soon and
//! ignores proxy settings, and one bounded way to read a JSON document.
//!
//! Never: an unbounded read, a retry, a redirect.

use std::time::Duration;

use serde::de::DeserializeOwned;

/// Whatever a peer answers, no more than this many bytes of it are read.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The peer could not be reached, or went away.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, #[source] reqwest::Error),
    /// The peer answered, and not with success.
    #[error("{0} answered {1}")]
    Status(String, u16),
    /// The peer answered more than the caller allows.
    #[error("{0} answered more than {1} bytes")]
    TooLarge(String, usize),
    /// The peer answered something that is not the JSON document it should be.
    #[error("{0} answered a document that cannot be read: {1}")]
    Malformed(String, #[source] serde_json::Error),
}

/// The HTTP client of the demo's servers and of its agent.
///
/// # Errors
/// When the TLS library cannot be set up.
pub(crate) fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()
}

/// GETs a JSON document of at most `limit` bytes.
///
/// # Errors
/// [`FetchError`]: unreachable, not 200 (a redirect is not followed, so it is an error too), too large, not such a
/// document.
pub(crate) async fn fetch_json<T: DeserializeOwned>(
    http: &reqwest::Client,
    url: &str,
    limit: usize,
) -> Result<T, FetchError> {
    let response = http.get(url).header("Accept", "application/json").send().await;
    read_json(response.map_err(|error| unreachable(url, error))?, url, limit).await
}

/// Reads the JSON document of at most `limit` bytes that a request to `url` was answered with.
///
/// # Errors
/// [`FetchError`]: not a success, too large, not such a document.
pub(crate) async fn read_json<T: DeserializeOwned>(
    mut response: reqwest::Response,
    url: &str,
    limit: usize,
) -> Result<T, FetchError> {
    if !response.status().is_success() {
        return Err(FetchError::Status(url.to_owned(), response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, error))? {
        if body.len() + chunk.len() > limit {
            return Err(FetchError::TooLarge(url.to_owned(), limit));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| FetchError::Malformed(url.to_owned(), error))
}

fn unreachable(url: &str, error: reqwest::Error) -> FetchError {
    FetchError::Unreachable(url.to_owned(), error.without_url())
}

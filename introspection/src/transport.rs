//! The HTTP client for one authorization server: which addresses it goes to, whom it trusts, and how much it reads.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::ACCEPT;
use reqwest::RequestBuilder;
use url::Url;

use crate::address::AllowedAddresses;
use crate::config::Config;
use crate::error::{BuildError, Unavailable};

/// Sends requests to one authorization server. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Transport {
    allowed: AllowedAddresses,
    client: reqwest::Client,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, BuildError> {
        let allowed = AllowedAddresses::of(config);
        let client = client(config.introspection.timeout, &allowed)
            .map_err(|error| BuildError::HttpClient(error.to_string()))?;
        Ok(Self { allowed, client })
    }

    /// A request to be sent to `url`.
    pub(crate) fn post(&self, url: Url) -> Result<RequestBuilder, Unavailable> {
        self.allowed.check(&url)?;
        Ok(self.client.post(url))
    }

    /// What is at `url`, if that is not more than `limit` bytes; the body is read for the status 200 alone.
    pub(crate) async fn get(
        &self,
        url: Url,
        accept: &'static str,
        limit: usize,
    ) -> Result<(StatusCode, Vec<u8>), Unavailable> {
        self.allowed.check(&url)?;
        let answer = self.client.get(url).header(ACCEPT, accept).send().await?;
        match answer.status() {
            StatusCode::OK => Ok((StatusCode::OK, read_body(answer, limit).await?)),
            other => Ok((other, Vec::new())),
        }
    }
}

fn client(timeout: Duration, allowed: &AllowedAddresses) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(allowed.clone()))
        .connect_timeout(timeout)
        .timeout(timeout)
        .tcp_nodelay(true)
        .user_agent(concat!("phantomgate/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The body of `answer`, or an error as soon as it is larger than `limit` bytes.
pub(crate) async fn read_body(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, Unavailable> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(Unavailable::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

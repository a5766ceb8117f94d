//! Asks the authorization server about one token: the thin shell around [`request`] and
//! [`response`]. Bounded in time, in body size and in requests under way. Follows no redirect, uses no
//! proxy of the environment, caches nothing.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tokio::sync::Semaphore;
use url::Url;

use crate::client_authentication::ClientAuthentication;
use crate::clock::NumericDate;
use crate::config::{Config, IntrospectionEndpoint};
use crate::error::{BuildError, Unavailable};
use crate::metadata::MetadataSource;
use crate::request;
use crate::response::{self, Introspection};

/// The largest answer read, in bytes. Real ones have a few hundred to a few thousand.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How many introspections may be under way at one authorization server. More wait, within their own timeout.
const MAX_IN_FLIGHT: usize = 512;

pub(crate) struct IntrospectionClient {
    http: reqwest::Client,
    endpoint: Endpoint,
    client_id: String,
    authentication: ClientAuthentication,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    in_flight: Semaphore,
}

enum Endpoint {
    At(Url),
    Discovered(MetadataSource),
}

impl IntrospectionClient {
    pub(crate) fn new(config: &Config) -> Result<Self, BuildError> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(config.timeout)
            .timeout(config.timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("phantomgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BuildError::HttpClient(error.to_string()))?;
        let authorization = config.authentication.authorization_header(&config.client_id);
        if authorization.is_none() && matches!(config.authentication, ClientAuthentication::ClientSecretBasic(_)) {
            return Err(BuildError::Credentials);
        }
        let endpoint = match &config.endpoint {
            IntrospectionEndpoint::At(url) => Endpoint::At(url.clone()),
            IntrospectionEndpoint::Discovered => Endpoint::Discovered(MetadataSource::new(config.issuer.clone())),
        };
        Ok(Self {
            http,
            endpoint,
            client_id: config.client_id.clone(),
            authentication: config.authentication.clone(),
            authorization,
            timeout: config.timeout,
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
        })
    }

    /// One introspection (RFC 7662 §2.1), metadata included when it is not known yet.
    pub(crate) async fn introspect(&self, token: &str) -> Result<Introspection, Unavailable> {
        match tokio::time::timeout(self.timeout, self.ask(token)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Unavailable::Timeout(self.timeout)),
        }
    }

    async fn ask(&self, token: &str) -> Result<Introspection, Unavailable> {
        let _permit = self.in_flight.acquire().await.map_err(|_closed| Unavailable::Abandoned)?;
        let url = self.endpoint().await?;
        let form = request::introspection_form(token, &self.client_id, &self.authentication);
        let mut request = self
            .http
            .post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = request.send().await?;
        match answer.status() {
            StatusCode::OK => response::parse(&read_body(answer, MAX_BODY).await?, NumericDate::now()),
            refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(Unavailable::ClientRefused(refused.as_u16()))
            }
            other => Err(Unavailable::Status(other.as_u16())),
        }
    }

    async fn endpoint(&self) -> Result<Url, Unavailable> {
        match &self.endpoint {
            Endpoint::At(url) => Ok(url.clone()),
            Endpoint::Discovered(metadata) => metadata.introspection_endpoint(&self.http).await,
        }
    }
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

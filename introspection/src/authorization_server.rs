//! One authorization server, as a peer: where its endpoints are, how we authenticate there, and the keys it signs with.
//!
//! Everything that is sent to an authorization server is sent here: bounded in time, in body size and in requests under
//! way. Follows no redirect, uses no proxy of the environment, caches no answer.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;
use url::Url;

use crate::claims::Claims;
use crate::clock::NumericDate;
use crate::config::{Client, Config, Endpoints};
use crate::error::{BuildError, Unavailable};
use crate::jwt::{Expected, VerificationError};
use crate::metadata::{Issuer, MetadataSource};

/// The largest answer read, in bytes. Real ones have a few hundred to a few thousand.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How many requests may be under way at one authorization server. More wait, within their own timeout.
const MAX_IN_FLIGHT: usize = 512;

/// A peer of ours.
pub struct AuthorizationServer {
    http: reqwest::Client,
    issuer: Issuer,
    client: Option<Client>,
    endpoints: Endpoints,
    metadata: MetadataSource,
    timeout: Duration,
    in_flight: Semaphore,
}

/// An endpoint where we authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// RFC 7662.
    Introspection,
    /// RFC 6749 §3.2.
    Token,
}

/// What the authorization server answered, whatever the status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type in lower case, without parameters.
    pub content_type: Option<String>,
    /// `Retry-After` in seconds, or `X-Retry-After`, which some send.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

impl AuthorizationServer {
    /// Sets it up; nothing is sent yet.
    ///
    /// # Errors
    /// [`BuildError`] when no HTTP client can be had for `config`.
    pub fn new(config: &Config) -> Result<Self, BuildError> {
        let timeout = config.introspection.timeout;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(timeout)
            .timeout(timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("phantomgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BuildError::HttpClient(error.to_string()))?;
        Ok(Self {
            http,
            issuer: config.issuer.clone(),
            client: config.client.clone(),
            endpoints: config.endpoints.clone(),
            metadata: MetadataSource::new(config.issuer.clone()),
            timeout,
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
        })
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The client we are registered as.
    pub fn client_id(&self) -> Option<&str> {
        self.client.as_ref().map(|client| client.id.as_str())
    }

    /// Sends `form` to `endpoint` with our client authentication, and gives what it answers.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no answer. An answer of any status is one.
    pub async fn post(
        &self,
        endpoint: Endpoint,
        accept: &'static str,
        form: &[(&str, &str)],
    ) -> Result<Answer, Unavailable> {
        match tokio::time::timeout(self.timeout, self.send(endpoint, accept, form)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Unavailable::Timeout(self.timeout)),
        }
    }

    async fn send(
        &self,
        endpoint: Endpoint,
        accept: &'static str,
        form: &[(&str, &str)],
    ) -> Result<Answer, Unavailable> {
        let _permit = self.in_flight.acquire().await.map_err(|_closed| Unavailable::Abandoned)?;
        let client = self.client.as_ref().ok_or(Unavailable::NoClient)?;
        let url = self.endpoint(endpoint).await?;
        let mut request = self
            .http
            .post(url)
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(encode(form, client));
        if let Some(authorization) = client.authentication.authorization_header(&client.id) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.send().await?;
        let status = response.status();
        let content_type = essence(response.headers());
        let retry_after = retry_after(response.headers());
        Ok(Answer { status, content_type, retry_after, body: read_body(response, MAX_BODY).await? })
    }

    async fn endpoint(&self, endpoint: Endpoint) -> Result<Url, Unavailable> {
        let by_hand = match endpoint {
            Endpoint::Introspection => &self.endpoints.introspection,
            Endpoint::Token => &self.endpoints.token,
        };
        match by_hand {
            Some(url) => Ok(url.clone()),
            None => self.metadata.introspection_endpoint(&self.http).await,
        }
    }

    /// Whether it is not asked at present, because it failed again and again.
    pub(crate) fn is_given_up(&self) -> bool {
        false
    }

    /// What `jwe` holds, encrypted to us (RFC 7516).
    ///
    /// # Errors
    /// [`VerificationError`].
    pub fn decrypt(&self, _jwe: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, VerificationError> {
        Err(VerificationError::Invalid("no decryption yet"))
    }

    /// The claims of `jwt`, if a key of this authorization server signed it and it is what is expected, at the time `now`.
    ///
    /// # Errors
    /// [`VerificationError`].
    #[expect(clippy::unused_async, reason = "the key set is fetched here")]
    pub async fn verify(
        &self,
        _jwt: &str,
        _expected: &Expected<'_>,
        _now: NumericDate,
    ) -> Result<Claims, VerificationError> {
        Err(VerificationError::Unavailable(Unavailable::Metadata("no keys yet")))
    }
}

/// Every value is form-encoded, so a token cannot add fields of its own. Token and secret are in the result: it is for the
/// HTTP client, which keeps it until it is sent, and for nobody else.
fn encode(form: &[(&str, &str)], client: &Client) -> String {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    client.authentication.append_to(&client.id, &mut body);
    body.finish()
}

/// The media type of a body, without its parameters.
fn essence(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER).or_else(|| headers.get("x-retry-after"))?;
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
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

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::{ClientAuthentication, Secret};

    #[test]
    fn rfc7662_s2_1_the_token_is_form_encoded() {
        let secret = Secret::fixed(Zeroizing::new("a&b=c d".to_owned()));
        let client =
            Client { id: "gate way".to_owned(), authentication: ClientAuthentication::ClientSecretPost(secret) };
        assert_eq!(
            encode(&[("token", "tok&x=+/~"), ("token_type_hint", "access_token")], &client),
            "token=tok%26x%3D%2B%2F%7E&token_type_hint=access_token&client_id=gate+way&client_secret=a%26b%3Dc+d"
        );
    }
}

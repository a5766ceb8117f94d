//! One authorization server, as a peer: where its endpoints are, how we authenticate there, and the keys it signs with.
//!
//! Everything that is sent to an authorization server is sent here: bounded in time, in body size and in requests under
//! way. Follows no redirect, uses no proxy of the environment, caches no answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;
use url::Url;
use zeroize::Zeroizing;

use crate::breaker::{Breaker, Sign};
use crate::claims::Claims;
use crate::client_authentication::{AssertionAudience, Authenticator, Credentials};
use crate::clock::NumericDate;
use crate::config::{Config, Endpoints, JwtRules, ResponseForm};
use crate::error::{BuildError, Unavailable};
use crate::jwe::DecryptionKey;
use crate::jwt::{self, Expected, SignedJwt, VerificationError};
use crate::key_set::{KeySet, MAX_KEY_SET};
use crate::metadata::{self, AuthorizationServerMetadata, Issuer};
use crate::remote::Remote;
use crate::secret::FromSecret;
use crate::transport::{self, Transport};

/// The largest answer read, in bytes. Real ones have a few hundred to a few thousand.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How many requests may be under way at one authorization server. More wait, within their own timeout.
const MAX_IN_FLIGHT: usize = 512;

/// How old metadata may be before it is fetched again.
const METADATA_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// How old keys may be before they are fetched again: how long a withdrawn one still counts.
const KEYS_MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// A peer of ours.
pub struct AuthorizationServer {
    transport: Transport,
    issuer: Issuer,
    client: Option<Authenticator>,
    endpoints: Endpoints,
    jwt: JwtRules,
    decryption_key: Option<FromSecret<DecryptionKey>>,
    /// Whether its keys are needed for certain.
    needs_keys: bool,
    /// Whether it is asked about tokens for certain.
    needs_introspection: bool,
    metadata: Remote<AuthorizationServerMetadata>,
    keys: Remote<KeySet>,
    timeout: Duration,
    in_flight: Semaphore,
    breaker: Breaker,
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
        Ok(Self {
            transport: Transport::new(config)?,
            issuer: config.issuer.clone(),
            client: config
                .client
                .as_ref()
                .map(|client| Authenticator::new(client, config.tls.identity.is_some(), config.vendor.quirks()))
                .transpose()?,
            endpoints: config.endpoints.clone(),
            jwt: config.jwt.clone(),
            decryption_key: match &config.introspection.decryption_key {
                None => None,
                Some(key) => {
                    let key = FromSecret::new(key.clone(), DecryptionKey::from_pem);
                    Some(key.ok_or(BuildError::DecryptionKey)?)
                }
            },
            needs_keys: config.verifies_jwts || config.introspection.response != ResponseForm::Json,
            needs_introspection: config.introspects,
            metadata: Remote::new("the metadata of an authorization server", METADATA_MAX_AGE),
            keys: Remote::new("the keys of an authorization server", KEYS_MAX_AGE),
            timeout: config.introspection.timeout,
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            breaker: Breaker::default(),
        })
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The client we are registered as.
    pub fn client_id(&self) -> Option<&str> {
        self.client.as_ref().map(Authenticator::client_id)
    }

    /// Makes sure that what is needed to work with it is at hand: its endpoints, and its keys where it signs for us. Costs
    /// next to nothing once it is.
    ///
    /// # Errors
    /// [`Unavailable`] when something is not to be had.
    pub async fn prepare(&self) -> Result<(), Unavailable> {
        if self.needs_introspection {
            self.endpoint(Endpoint::Introspection).await?;
        }
        if self.needs_keys {
            self.keys().await?;
        }
        Ok(())
    }

    /// Its metadata (RFC 8414), byte for byte as it publishes it; at most an hour old while it can be asked.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none, or it says to be of another issuer.
    pub async fn published_metadata(&self) -> Result<Bytes, Unavailable> {
        match tokio::time::timeout(self.timeout, self.metadata()).await {
            Ok(metadata) => Ok(metadata?.document().clone()),
            Err(_elapsed) => Err(Unavailable::Timeout(self.timeout)),
        }
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
        let admitted = self.breaker.admit(Instant::now()).map_err(Unavailable::CircuitOpen)?;
        let outcome = tokio::time::timeout(self.timeout, self.send(endpoint, accept, form)).await;
        let outcome = outcome.unwrap_or(Err(Unavailable::Timeout(self.timeout)));
        if let Some(sign) = sign(&outcome) {
            self.breaker.note(admitted, sign, Instant::now());
        }
        outcome
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
        let audience = match client.assertion_audience() {
            None | Some(AssertionAudience::Issuer) => self.issuer.to_string(),
            Some(AssertionAudience::Endpoint) => url.to_string(),
            Some(AssertionAudience::TokenEndpoint) => self.endpoint(Endpoint::Token).await?.to_string(),
            Some(AssertionAudience::Fixed(audience)) => audience.clone(),
        };
        let credentials = client.credentials(&audience, NumericDate::now())?;
        let mut request = self
            .transport
            .post(url)?
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(encode(form, &credentials));
        if let Some(authorization) = credentials.header {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.send().await?;
        let status = response.status();
        let content_type = essence(response.headers());
        let retry_after = retry_after(response.headers());
        Ok(Answer { status, content_type, retry_after, body: transport::read_body(response, MAX_BODY).await? })
    }

    async fn endpoint(&self, endpoint: Endpoint) -> Result<Url, Unavailable> {
        let by_hand = match endpoint {
            Endpoint::Introspection => &self.endpoints.introspection,
            Endpoint::Token => &self.endpoints.token,
        };
        if let Some(url) = by_hand {
            return Ok(url.clone());
        }
        let mtls = self.client.as_ref().is_some_and(Authenticator::is_by_certificate);
        let metadata = self.metadata().await?;
        match endpoint {
            Endpoint::Introspection => metadata.introspection_endpoint(mtls),
            Endpoint::Token => metadata.token_endpoint(mtls),
        }
    }

    /// Whether it is not asked at present, because it failed again and again.
    pub(crate) fn is_given_up(&self) -> bool {
        self.breaker.is_open()
    }

    /// What `jwe` holds, encrypted to us (RFC 7516).
    ///
    /// # Errors
    /// [`VerificationError`].
    pub fn decrypt(&self, jwe: &str) -> Result<Zeroizing<Vec<u8>>, VerificationError> {
        let key =
            self.decryption_key.as_ref().ok_or(VerificationError::Invalid("we have no key to decrypt it with"))?;
        key.current().decrypt(jwe).ok_or(VerificationError::Invalid("it cannot be decrypted"))
    }

    /// The claims of `jwt`, if a key of this authorization server signed it and it is what is expected, at the time `now`.
    ///
    /// # Errors
    /// [`VerificationError`].
    pub async fn verify(
        &self,
        jwt: &str,
        expected: &Expected<'_>,
        now: NumericDate,
    ) -> Result<Claims, VerificationError> {
        let signed = SignedJwt::parse(jwt, expected.types, &self.jwt.algorithms)?;
        let claims = match tokio::time::timeout(self.timeout, self.verify_signature(&signed)).await {
            Ok(claims) => claims?,
            Err(_elapsed) => return Err(Unavailable::Timeout(self.timeout).into()),
        };
        jwt::check(&claims, self.issuer.as_str(), expected, self.jwt.clock_tolerance, now)?;
        Ok(claims)
    }

    async fn verify_signature(&self, signed: &SignedJwt<'_>) -> Result<Claims, VerificationError> {
        let keys = self.keys().await?;
        if let Some(claims) = signed.verify(&keys)? {
            return Ok(claims);
        }
        // By a key that is new, perhaps.
        let newer = self.keys.after(&keys, || self.fetch_keys()).await?;
        signed.verify(&newer)?.ok_or(VerificationError::Invalid("it is not signed with a known key"))
    }

    async fn metadata(&self) -> Result<Arc<AuthorizationServerMetadata>, Unavailable> {
        self.metadata.get(|| metadata::fetch(self.transport.clone(), self.issuer.clone())).await
    }

    async fn keys(&self) -> Result<Arc<KeySet>, Unavailable> {
        self.keys.get(|| self.fetch_keys()).await
    }

    fn fetch_keys(&self) -> impl Future<Output = Result<KeySet, Unavailable>> + Send + 'static {
        let (transport, issuer, metadata) = (self.transport.clone(), self.issuer.clone(), self.metadata.clone());
        let by_hand = self.endpoints.jwks.clone();
        async move {
            let url = match by_hand {
                Some(url) => url,
                None => metadata.get(|| metadata::fetch(transport.clone(), issuer)).await?.jwks_uri()?,
            };
            // RFC 7517 §8.5, and what servers send in its place.
            match transport.get(url, "application/jwk-set+json, application/json", MAX_KEY_SET).await? {
                (StatusCode::OK, body) => KeySet::parse(&body),
                (other, _) => Err(Unavailable::Status { status: other.as_u16(), retry_after: None }),
            }
        }
    }
}

/// What came of a request tells of the server, if it tells anything.
fn sign(outcome: &Result<Answer, Unavailable>) -> Option<Sign> {
    match outcome {
        Ok(Answer { status, .. }) => Some(if is_outage(status.as_u16()) { Sign::Outage } else { Sign::Life }),
        Err(Unavailable::Transport(_) | Unavailable::Timeout(_)) => Some(Sign::Outage),
        Err(Unavailable::Status { status, .. }) if is_outage(*status) => Some(Sign::Outage),
        Err(_) => None,
    }
}

/// What gateways answer for a server that is away. A plain 500 may be about one token.
fn is_outage(status: u16) -> bool {
    (502..=504).contains(&status)
}

/// Every value is form-encoded, so a token cannot add fields of its own. Token and secret are in the result: it is for the
/// HTTP client, which keeps it until it is sent, and for nobody else.
fn encode(form: &[(&str, &str)], credentials: &Credentials) -> String {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    body.extend_pairs(credentials.form.iter().map(|(name, value)| (name, value.as_str())));
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

#[cfg(test)]
mod tests;

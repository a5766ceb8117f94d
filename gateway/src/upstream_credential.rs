//! ⑦ What an upstream gets in place of the agent's token.
//!
//! Whatever is made from a token is kept with what is known of it ([`DerivedCredentials`]) and gone with it: a revoked
//! token takes all that was made from it along. Requests that need the same credential at once cause one exchange, which
//! goes on when the client that caused it goes away.

mod derived;

pub use derived::{CredentialKey, DerivedCredentials, Made};

use std::sync::Arc;
use std::time::Instant;

use derived::{Flight, Landing};
use http::{HeaderName, HeaderValue, header, request};
use phantomgate_introspection::exchange::{self, Exchange, ExchangeError, SubjectToken};
use phantomgate_introspection::{CachedToken, Introspector, NumericDate, Unavailable};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::authorize::Grant;
use crate::config::HeaderConfig;
use crate::credential;
use crate::rejection::Rejection;
use crate::signing::SignedCredential;

/// How many exchanges of one route may be under way or waiting. They outlive the clients that caused them, so clients that
/// ask and leave would otherwise fill the memory.
const MAX_EXCHANGES: usize = 4 * 1024;

/// What goes upstream in place of the agent's token.
#[derive(Debug, Clone)]
pub enum UpstreamCredential {
    /// This header, whose value is marked sensitive.
    Header(HeaderName, HeaderValue),
    /// Nothing.
    None,
}

/// Where the credential of a route comes from.
pub struct CredentialSource {
    /// What it is kept under.
    pub key: CredentialKey,
    /// How it is made.
    pub kind: CredentialKind,
}

/// How a credential is made.
pub enum CredentialKind {
    /// It came with the answer about the token.
    Jwt,
    /// We sign it.
    Signed(SignedCredential),
    /// The authorization server gives it.
    Exchange(ExchangeCredential),
    /// It is the same for everybody.
    Header(HeaderConfig),
}

/// A credential that the authorization server gives in exchange for a token.
pub struct ExchangeCredential {
    exchange: Arc<Exchange>,
    introspector: Introspector<DerivedCredentials>,
    room: Arc<Semaphore>,
}

/// The credential that `grant` entitles to: one made before, or a new one. `request` is the one that the grant was given
/// for. Notes in `has_waited` whether the authorization server was waited for.
///
/// # Errors
/// The [`Rejection`] to answer with, when it cannot be had.
pub async fn obtain(
    grant: &Grant,
    request: &request::Parts,
    now: NumericDate,
    has_waited: &mut bool,
) -> Result<UpstreamCredential, Rejection> {
    let source = grant.route().protection.as_ref().and_then(|protection| protection.credential.as_ref());
    let (Some(CredentialSource { key, kind }), Some(token)) = (source, grant.token()) else {
        return Ok(UpstreamCredential::None);
    };
    let authorization = match kind {
        CredentialKind::Jwt => token.active().jwt.clone().ok_or_else(no_jwt)?,
        CredentialKind::Signed(signed) => match token.derived().reusable(*key, now) {
            Some(jwt) => jwt,
            None => {
                let made = signed.sign(token.active(), now)?;
                token.derived().put(*key, made.clone(), now);
                made.header
            }
        },
        CredentialKind::Exchange(exchange) => match token.derived().reusable(*key, now) {
            Some(issued) => issued,
            None => {
                *has_waited = true;
                exchange.issue(*key, token, credential::from(request)?.into(), now).await?
            }
        },
        CredentialKind::Header(config) => {
            return Ok(UpstreamCredential::Header(config.name.clone(), secret_header(config)?));
        }
    };
    Ok(UpstreamCredential::Header(header::AUTHORIZATION, authorization))
}

/// The authorization server was asked for a JWT with each answer; one without is no answer.
fn no_jwt() -> Rejection {
    let reason = "it gave no JWT in place of the token".to_owned();
    Rejection::IntrospectionUnavailable(Arc::new(Unavailable::Malformed(reason)))
}

fn secret_header(config: &HeaderConfig) -> Result<HeaderValue, Rejection> {
    let text = Zeroizing::new(format!("{}{}", config.prefix, config.secret.current().as_str()));
    // It was fit when the configuration was read; its file may have been written anew since.
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Rejection::Internal("the secret of the credential does not fit into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl ExchangeCredential {
    /// Credentials by `exchange` at the authorization server of `introspector`.
    pub fn new(exchange: Exchange, introspector: Introspector<DerivedCredentials>) -> Self {
        Self { exchange: Arc::new(exchange), introspector, room: Arc::new(Semaphore::new(MAX_EXCHANGES)) }
    }

    /// Exchanges `subject`, which `token` is known of, unless somebody else does so already.
    async fn issue(
        &self,
        key: CredentialKey,
        token: &Arc<CachedToken<DerivedCredentials>>,
        subject: SubjectToken,
        now: NumericDate,
    ) -> Result<HeaderValue, Rejection> {
        let landing = match token.derived().join(key, now) {
            Flight::Landed(issued) => return Ok(issued),
            Flight::UnderWay(landing) => landing,
            Flight::ToStart(departure, landing) => {
                let Ok(place) = self.room.clone().try_acquire_owned() else {
                    let full = Err(unavailable(Unavailable::Overloaded));
                    token.derived().land(key, departure, full, now);
                    return wait(landing).await;
                };
                let (token, exchange) = (token.clone(), self.exchange.clone());
                let introspector = self.introspector.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let server = introspector.authorization_server();
                    let started = Instant::now();
                    let outcome = exchange::exchange(server, &exchange, &subject, token.active()).await;
                    introspector.exchanged(&outcome, started.elapsed());
                    if matches!(outcome, Err(ExchangeError::SubjectTokenInvalid)) {
                        introspector.forget(&token);
                    }
                    let now = NumericDate::now();
                    let outcome = outcome.map(|issued| Made::new(issued.authorization, issued.expires_at, now));
                    token.derived().land(key, departure, outcome.map_err(Rejection::from), now);
                });
                landing
            }
        };
        wait(landing).await
    }
}

async fn wait(mut landing: Landing) -> Result<HeaderValue, Rejection> {
    match landing.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(outcome)) => outcome.clone(),
        // The task that made it has ended without an outcome: the gateway is shutting down.
        Ok(None) | Err(_) => Err(unavailable(Unavailable::Abandoned)),
    }
}

fn unavailable(reason: Unavailable) -> Rejection {
    Rejection::IntrospectionUnavailable(reason.into())
}

//! Cache, flight, client: the way from a token to the facts about it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::authorization_server::AuthorizationServer;
use crate::cache::{CachedToken, TokenCache};
use crate::client;
use crate::clock::NumericDate;
use crate::config::Config;
use crate::error::{BuildError, IntrospectionError, Unavailable};
use crate::token::{Digester, OpaqueToken};

/// Introspects tokens at one authorization server as one client. Cheap to clone; clones share their cache.
///
/// `D` is what the caller derives from an active token and wants to end with it; see [`CachedToken::derived`].
pub struct Introspector<D>(Arc<Inner<D>>);

struct Inner<D> {
    digester: Digester,
    cache: TokenCache<D>,
    server: Arc<AuthorizationServer>,
    room: Arc<Semaphore>,
}

/// How many requests may wait for an introspection. A question outlives the client that caused it, so clients that ask and
/// leave would otherwise fill the memory, each with a token of its own.
const MAX_WAITING: usize = 16 * 1024;

/// Which tokens a route takes, and for how long it believes what it was told of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// Opaque tokens, and whatever else the authorization server introspects.
    pub opaque: bool,
    /// JWT access tokens (RFC 9068), verified here. Without it a JWT is a token like any other, and introspected.
    pub jwt: bool,
    /// The longest life of an answer for this route; the cache's own is never exceeded.
    pub max_ttl: Duration,
}

impl Default for Accepts {
    fn default() -> Self {
        Self { opaque: true, jwt: false, max_ttl: Duration::MAX }
    }
}

/// What is to be forgotten.
#[derive(Clone)]
pub enum Revocation {
    /// One token.
    Token(Arc<Zeroizing<String>>),
    /// The tokens with this digest, as the audit shows it: 16 hexadecimal digits.
    TokenDigest(String),
    /// All tokens of a subject.
    Subject(String),
    /// All tokens of a client.
    Client(String),
    /// All tokens of a session (`sid`).
    Session(String),
}

impl<D> Clone for Introspector<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Default + Send + Sync + 'static> Introspector<D> {
    /// Sets up an introspector; nothing is sent yet.
    ///
    /// # Errors
    /// [`BuildError`] when no HTTP client can be had for `config`.
    pub fn new(config: &Config) -> Result<Self, BuildError> {
        Self::with_room(config, MAX_WAITING)
    }

    fn with_room(config: &Config, room: usize) -> Result<Self, BuildError> {
        Ok(Self(Arc::new(Inner {
            digester: Digester::new(
                config.issuer.as_str(),
                config.client.as_ref().map_or("", |client| client.id.as_str()),
            ),
            cache: TokenCache::new(&config.cache),
            server: Arc::new(AuthorizationServer::new(config)?),
            room: Arc::new(Semaphore::new(room)),
        })))
    }

    /// The authorization server that is asked.
    pub fn authorization_server(&self) -> &Arc<AuthorizationServer> {
        &self.0.server
    }

    /// Forgets what `revocation` says, at once and for all answers that are still on their way. Gives the number of
    /// answers that were known.
    ///
    /// Goes through the whole cache: call it where blocking for a moment is allowed.
    pub fn revoke(&self, _revocation: &Revocation) -> u64 {
        0
    }

    /// What the authorization server says of `token` at the time `now`: from the cache, from somebody else's question
    /// that is under way, or by asking.
    ///
    /// # Errors
    /// [`IntrospectionError::Inactive`] when the token may not be used, [`IntrospectionError::Unavailable`] when that
    /// cannot be told.
    pub async fn introspect(
        &self,
        token: OpaqueToken<'_>,
        _accepts: Accepts,
        now: NumericDate,
    ) -> Result<Arc<CachedToken<D>>, IntrospectionError> {
        let digest = self.0.digester.digest(token);
        if let Some(known) = self.0.cache.get(&digest, now).await {
            return known.map_err(IntrospectionError::Inactive);
        }
        let unavailable = |what: Unavailable| IntrospectionError::Unavailable(what.into());
        let place = self.0.room.clone().try_acquire_owned().map_err(|_full| unavailable(Unavailable::Overloaded))?;
        let inner = self.0.clone();
        let token = token.to_owned();
        // A task of its own: a client that goes away while it waits does not end the question that others wait for.
        let flight = tokio::spawn(async move {
            let _place = place;
            inner.cache.get_or_fetch(digest, client::introspect(&inner.server, &token)).await
        });
        flight.await.unwrap_or_else(|_ended| Err(unavailable(Unavailable::Abandoned)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{Client, Endpoints, Introspection};
    use crate::{ClientAuthentication, Issuer, Secret};

    #[tokio::test]
    async fn when_too_many_wait_one_more_is_told_at_once_and_clients_that_left_count() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let secret = Secret::fixed(Zeroizing::new("s".to_owned()));
        let config = Config {
            client: Some(Client {
                id: "gateway".to_owned(),
                authentication: ClientAuthentication::ClientSecretBasic(secret),
            }),
            endpoints: Endpoints { introspection: Some(url.parse().unwrap()), ..Endpoints::default() },
            introspection: Introspection { timeout: Duration::from_secs(60), ..Introspection::default() },
            ..Config::new(Issuer::parse(&url).unwrap())
        };
        let introspector = Introspector::<()>::with_room(&config, 1).unwrap();
        let now = NumericDate::now();
        let leaving = tokio::spawn({
            let introspector = introspector.clone();
            async move {
                introspector.introspect(OpaqueToken::parse("one").unwrap(), Accepts::default(), now).await.map(|_| ())
            }
        });
        let _asked = silent.accept().await.unwrap();
        leaving.abort();
        assert!(leaving.await.unwrap_err().is_cancelled());

        let outcome =
            introspector.introspect(OpaqueToken::parse("two").unwrap(), Accepts::default(), now).await.map(|_| ());

        let Err(IntrospectionError::Unavailable(reason)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(*reason, Unavailable::Overloaded), "{reason}");
    }
}

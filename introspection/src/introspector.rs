//! Cache, flight, client: the way from a token to the facts about it.

use std::sync::Arc;

use crate::cache::{CachedToken, TokenCache};
use crate::client::IntrospectionClient;
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
    client: IntrospectionClient,
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
        Ok(Self(Arc::new(Inner {
            digester: Digester::new(config.issuer.as_str(), &config.client_id),
            cache: TokenCache::new(&config.cache),
            client: IntrospectionClient::new(config)?,
        })))
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
        now: NumericDate,
    ) -> Result<Arc<CachedToken<D>>, IntrospectionError> {
        let digest = self.0.digester.digest(token);
        if let Some(known) = self.0.cache.get(&digest, now).await {
            return known.map_err(IntrospectionError::Inactive);
        }
        let inner = self.0.clone();
        let token = token.to_owned();
        // A task of its own: a client that goes away while it waits does not end the question that others wait for.
        let flight =
            tokio::spawn(async move { inner.cache.get_or_fetch(digest, inner.client.introspect(&token)).await });
        flight.await.unwrap_or_else(|_ended| Err(IntrospectionError::Unavailable(Unavailable::Abandoned.into())))
    }
}

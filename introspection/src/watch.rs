//! How long a token that is in use may stay in use: for answers that take longer than a decision lives.
//!
//! A request is decided once; an event stream that it opens may last for hours. Whoever keeps one open waits here for the
//! end of its token: its expiry, a revocation, or an answer that it is not active any more. The authorization server is
//! asked again whenever an answer about the token would be too old for a new request, through the cache like any request.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::CachedToken;
use crate::clock::NumericDate;
use crate::error::{IntrospectionError, Unavailable};
use crate::introspector::{Accepts, Introspector};
use crate::response::Inactive;
use crate::token::OpaqueToken;

/// How soon an authorization server that gave no answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long nothing but failures is put up with.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a token cannot be used any longer.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It is known to be over.
    Inactive(Inactive),
    /// It could not be learnt for a minute whether it is.
    Unconfirmed(Arc<Unavailable>),
}

impl<D: Default + Send + Sync + 'static> Introspector<D> {
    /// Waits until `token`, of which `known` is known, may not be used any more on a route that `accepts` it.
    pub fn watch(
        &self,
        token: OpaqueToken<'_>,
        known: Arc<CachedToken<D>>,
        accepts: Accepts,
    ) -> impl Future<Output = Ended> + Send + use<D> {
        let (introspector, token, mut known) = (self.clone(), token.to_owned(), known);
        async move {
            let mut revocations = introspector.cache().revocations();
            let mut failing_since = None;
            loop {
                let now = NumericDate::now();
                if !introspector.cache().stands(&known) {
                    return Ended::Inactive(Inactive::Revoked);
                }
                if known.active().expires_at.is_some_and(|expiry| expiry <= now) {
                    return Ended::Inactive(Inactive::Expired);
                }
                let mut wait = known.end(accepts.max_ttl).from_now();
                if wait.is_zero() {
                    match introspector.confirm(&token, accepts, now).await {
                        Ok(newer) => {
                            // An old answer may stand in for a while, where that is configured.
                            wait = newer.end(accepts.max_ttl).from_now().max(ASK_AGAIN.min(accepts.max_ttl));
                            (known, failing_since) = (newer, None);
                        }
                        Err(IntrospectionError::Inactive(inactive)) => return Ended::Inactive(inactive),
                        Err(IntrospectionError::Unavailable(unavailable)) => {
                            let since = *failing_since.get_or_insert_with(Instant::now);
                            if since.elapsed() >= PATIENCE {
                                return Ended::Unconfirmed(unavailable);
                            }
                            wait = ASK_AGAIN;
                        }
                    }
                }
                if let Some(expiry) = known.active().expires_at {
                    wait = wait.min(expiry.from_now());
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = revocations.changed() => {}
                }
            }
        }
    }

    async fn confirm(
        &self,
        token: &str,
        accepts: Accepts,
        now: NumericDate,
    ) -> Result<Arc<CachedToken<D>>, IntrospectionError> {
        let token = OpaqueToken::parse(token).map_err(|_| IntrospectionError::Inactive(Inactive::Denied))?;
        self.introspect(token, accepts, now).await
    }
}

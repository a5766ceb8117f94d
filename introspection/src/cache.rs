//! The token cache: what is known of a token, for as long as it may be believed.
//!
//! - An active answer lives until the token's `exp` or `max_ttl`, whichever comes first, and its end is checked again on
//!   every hit, by the wall clock.
//! - Inactive answers have a cache of their own, so that a flood of random tokens pushes out nothing that is in use.
//! - Failures of the authorization server are not answers and are never kept.
//! - Of several requests for the same unknown token one asks; the others wait for its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;

use crate::clock::NumericDate;
use crate::config::CacheConfig;
use crate::error::{IntrospectionError, Unavailable};
use crate::response::{ActiveToken, Inactive, Introspection};
use crate::token::{BuildDigestHasher, TokenDigest};

/// An active token, what the authorization server said of it, and what the caller derived from that.
///
/// `D` is the caller's: whatever it makes from the answer (a signed JWT, say) is put there and ends with the entry.
#[derive(Debug)]
pub struct CachedToken<D> {
    digest: TokenDigest,
    active: ActiveToken,
    /// The first second at which the entry may no longer be used.
    live_until: NumericDate,
    derived: D,
}

impl<D> CachedToken<D> {
    /// What the authorization server said.
    pub fn active(&self) -> &ActiveToken {
        &self.active
    }

    /// What the token is known by in logs.
    pub fn digest(&self) -> TokenDigest {
        self.digest
    }

    /// What the caller derived from this token.
    pub fn derived(&self) -> &D {
        &self.derived
    }

    fn is_live(&self, now: NumericDate) -> bool {
        now < self.live_until
    }
}

pub(crate) struct TokenCache<D> {
    active: Cache<TokenDigest, Arc<CachedToken<D>>, BuildDigestHasher>,
    inactive: Cache<TokenDigest, Inactive, BuildDigestHasher>,
    max_ttl: Duration,
}

impl<D: Default + Send + Sync + 'static> TokenCache<D> {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        Self {
            active: Cache::builder()
                .max_capacity(config.max_entries)
                .expire_after(EndOfLife)
                .build_with_hasher(BuildDigestHasher::default()),
            inactive: Cache::builder()
                .max_capacity(config.max_entries.div_ceil(10))
                .time_to_live(config.negative_ttl)
                .build_with_hasher(BuildDigestHasher::default()),
            max_ttl: config.max_ttl,
        }
    }

    /// What is known at the time `now`, if anything: the active token, or why it is none.
    pub(crate) async fn get(
        &self,
        digest: &TokenDigest,
        now: NumericDate,
    ) -> Option<Result<Arc<CachedToken<D>>, Inactive>> {
        match self.active.get(digest).await {
            Some(token) if token.is_live(now) => return Some(Ok(token)),
            Some(_dead) => self.active.invalidate(digest).await,
            None => {}
        }
        self.inactive.get(digest).await.map(Err)
    }

    /// The active token under `digest`; `fetch` runs if nobody else's does, and its answer is everybody's.
    pub(crate) async fn get_or_fetch(
        &self,
        digest: TokenDigest,
        fetch: impl Future<Output = Result<Introspection, Unavailable>>,
    ) -> Result<Arc<CachedToken<D>>, IntrospectionError> {
        let fetch = async {
            // A flight for the same token may have landed between this request's look and now.
            if let Some(inactive) = self.inactive.get(&digest).await {
                return Err(IntrospectionError::Inactive(inactive));
            }
            match fetch.await {
                Ok(Introspection::Active(active)) => Ok(Arc::new(self.entry(digest, active))),
                Ok(Introspection::Inactive(inactive)) => {
                    self.inactive.insert(digest, inactive).await;
                    Err(IntrospectionError::Inactive(inactive))
                }
                Err(unavailable) => Err(IntrospectionError::Unavailable(unavailable.into())),
            }
        };
        self.active.try_get_with(digest, fetch).await.map_err(Arc::unwrap_or_clone)
    }

    fn entry(&self, digest: TokenDigest, active: ActiveToken) -> CachedToken<D> {
        let ceiling = NumericDate::now().after(self.max_ttl);
        let live_until = active.expires_at.map_or(ceiling, |expiry| expiry.min(ceiling));
        CachedToken { digest, active, live_until, derived: D::default() }
    }
}

/// Tells moka when an entry ends, so that the dead do not take the room of the living.
struct EndOfLife;

impl<D> Expiry<TokenDigest, Arc<CachedToken<D>>> for EndOfLife {
    fn expire_after_create(&self, _: &TokenDigest, token: &Arc<CachedToken<D>>, _: Instant) -> Option<Duration> {
        Some(token.live_until.since(NumericDate::now()))
    }
}

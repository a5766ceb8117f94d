//! The token cache: what is known of a token, for as long as it may be believed.
//!
//! - An active answer lives until the token's `exp` or `max_ttl`, whichever comes first; a route may set an earlier end for
//!   itself. Its end is checked again on every hit, by the wall clock.
//! - Shortly before its end an entry in use is due to be asked about again, off the path of the request.
//! - After its end it may stand in for a while if the authorization server fails, where that is configured.
//! - Inactive answers have a cache of their own, so that a flood of random tokens pushes out nothing that is in use.
//! - Failures of the authorization server are not answers and are never kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use quick_cache::{Lifecycle, UnitWeighter};
use tokio::sync::watch;

use crate::clock::NumericDate;
use crate::config::CacheConfig;
use crate::response::{ActiveToken, Inactive};
use crate::revocation::{Generation, Ledger, Mark};
use crate::shared::Shared;
use crate::token::{BuildDigestHasher, TokenDigest};

/// An active token, what the authorization server said of it, and what the caller derived from that.
///
/// `D` is the caller's: whatever it makes from the answer (a signed JWT, say) is put there and ends with the entry.
///
/// Where many are known, hardly any of it is near the processor when one of them comes: what each request looks at lies together.
#[derive(Debug)]
#[repr(C)]
pub struct CachedToken<D> {
    /// The generation of revocations that it is known to have outlived.
    generation: AtomicU64,
    answered_at: NumericDate,
    /// The first second at which the entry is no answer any more.
    live_until: NumericDate,
    derived: D,
    active: ActiveToken,
    digest: TokenDigest,
    /// The first second at which it cannot stand in either.
    usable_until: NumericDate,
    refreshing: AtomicBool,
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

    /// Whether it may stand in for an answer at the time `now`, for anybody.
    fn is_usable(&self, now: NumericDate) -> bool {
        now < self.usable_until
    }

    /// True for the first who asks. Only that one asks the authorization server ahead of time.
    pub(crate) fn start_refresh(&self) -> bool {
        !self.refreshing.swap(true, Ordering::Relaxed)
    }

    /// Its end for whoever believes answers for `max_ttl` at most.
    pub(crate) fn end(&self, max_ttl: Duration) -> NumericDate {
        self.live_until.min(self.answered_at.after(max_ttl))
    }

    /// Whether it is time to ask again: in the last fifth of its life, unless that ends with the token's own.
    fn is_due(&self, end: NumericDate, now: NumericDate) -> bool {
        let ahead = Duration::from_secs((end.since(self.answered_at).as_secs() / 5).max(1));
        let ends_with_token = self.active.expires_at.is_some_and(|expiry| expiry <= end);
        !ends_with_token && end.since(self.answered_at) > ahead && now.after(ahead) >= end
    }
}

/// What is known of a token.
pub(crate) enum Known<D> {
    /// It is active.
    Active(Arc<CachedToken<D>>),
    /// It is active, and due to be asked about again.
    Due(Arc<CachedToken<D>>),
    /// It was active; good to stand in, if at all.
    Over(Arc<CachedToken<D>>),
    /// It is inactive.
    Inactive(Inactive),
    /// Nothing.
    Nothing,
}

/// Active tokens are looked up by every request, so they are where that takes the fewest steps; inactive ones where they end by
/// themselves.
pub(crate) struct TokenCache<D> {
    active: ActiveTokens<D>,
    /// The active ones by when they end, so that the dead do not take the room of the living. Locked before any of them is put
    /// or taken out.
    ends: Mutex<BTreeSet<(NumericDate, TokenDigest)>>,
    inactive: moka::sync::Cache<TokenDigest, Inactive, BuildDigestHasher>,
    ledger: Arc<Ledger>,
    shared: Shared,
    max_entries: u64,
    max_ttl: Duration,
    stale_if_error: Duration,
}

type ActiveTokens<D> =
    quick_cache::sync::Cache<TokenDigest, Arc<CachedToken<D>>, UnitWeighter, BuildDigestHasher, MakesRoom>;

/// How many of the dead are taken out before one is put in: more than one, so that they become fewer, and few, because a
/// request waits.
const BURIED_AT_ONCE: usize = 64;

impl<D: Default + Send + Sync + 'static> TokenCache<D> {
    /// Revocations are kept for `keep_revocations` at least, and as long as an answer whose question took `longest_question`
    /// may be in use. They are those of the cache that this one `succeeds`, where it does; `evictions` counts the live
    /// entries that had to make room.
    pub(crate) fn new(
        config: &CacheConfig,
        longest_question: Duration,
        keep_revocations: Duration,
        succeeds: Option<&Self>,
        evictions: Counter,
    ) -> Self {
        // A second more for clocks that only count whole ones.
        let longest_life = longest_question + config.max_ttl + config.stale_if_error + Duration::from_secs(1);
        let keep = longest_life.max(keep_revocations);
        let ledger = succeeds.map_or_else(|| Arc::new(Ledger::new(keep)), |predecessor| predecessor.ledger.clone());
        ledger.keep_for(keep);
        Self {
            active: active_tokens(config.max_entries, evictions),
            ends: Mutex::default(),
            inactive: moka::sync::Cache::builder()
                .max_capacity(inactive_capacity(config.max_entries))
                .time_to_live(config.negative_ttl)
                .build_with_hasher(BuildDigestHasher::default()),
            ledger,
            shared: Shared::default(),
            max_entries: config.max_entries,
            max_ttl: config.max_ttl,
            stale_if_error: config.stale_if_error,
        }
    }

    /// What is known at the time `now`, for whoever believes answers for `max_ttl` at most.
    pub(crate) fn get(&self, digest: &TokenDigest, max_ttl: Duration, now: NumericDate) -> Known<D> {
        match self.active.get(digest) {
            // Who revokes it takes it out, and counts it.
            Some(token) if !self.stands(&token) => {}
            Some(token) => {
                let end = token.end(max_ttl);
                if now >= end {
                    return Known::Over(token);
                }
                return if token.is_due(end, now) { Known::Due(token) } else { Known::Active(token) };
            }
            None => {}
        }
        self.inactive.get(digest).map_or(Known::Nothing, Known::Inactive)
    }

    /// The generation for a question that is asked now.
    pub(crate) fn generation(&self) -> Generation {
        self.ledger.generation()
    }

    /// Tells of revocations from now on.
    pub(crate) fn revocations(&self) -> watch::Receiver<()> {
        self.ledger.revocations()
    }

    /// Whether no revocation since its question is about `token`.
    pub(crate) fn stands(&self, token: &CachedToken<D>) -> bool {
        self.ledger.stands(token.digest, &token.active, &token.generation)
    }

    /// Whether `token` may stand in for an answer at the time `now`, for whoever believes answers for `max_ttl` at most.
    pub(crate) fn may_stand_in(&self, token: &CachedToken<D>, max_ttl: Duration, now: NumericDate) -> bool {
        token.is_usable(now) && now < token.end(max_ttl).after(self.stale_if_error) && self.stands(token)
    }

    /// Keeps the answer to a question of the generation `asked_in`, unless it was revoked in the meantime.
    pub(crate) fn put(
        &self,
        digest: TokenDigest,
        mut active: ActiveToken,
        asked_in: Generation,
        now: NumericDate,
    ) -> Arc<CachedToken<D>> {
        self.shared.share(&mut active);
        let until = |end: NumericDate| active.expires_at.map_or(end, |expiry| expiry.min(end));
        let token = Arc::new(CachedToken {
            digest,
            answered_at: now,
            live_until: until(now.after(self.max_ttl)),
            usable_until: until(now.after(self.max_ttl).after(self.stale_if_error)),
            generation: AtomicU64::new(asked_in),
            refreshing: AtomicBool::new(false),
            derived: D::default(),
            active,
        });
        if self.stands(&token) {
            self.inactive.invalidate(&digest);
            self.bury(now, BURIED_AT_ONCE);
            // Declared before the lock, and so let go of after it.
            let mut displaced = Vec::new();
            let mut ends = self.ends.lock();
            self.active.insert_with_lifecycle(digest, token.clone(), &mut displaced);
            for old in &displaced {
                ends.remove(&(old.usable_until, old.digest));
            }
            // The cache may have no room for who comes, if all are in use who are there.
            if !displaced.iter().any(|old| Arc::ptr_eq(old, &token)) {
                ends.insert((token.usable_until, digest));
            }
        }
        token
    }

    /// Takes out what is known of an active token, if `condition` holds. Says whether it did.
    fn take(&self, digest: &TokenDigest, condition: impl FnOnce(&CachedToken<D>) -> bool) -> bool {
        let mut ends = self.ends.lock();
        let taken = self.active.remove_if(digest, |token| condition(token));
        if let Some((_, token)) = &taken {
            ends.remove(&(token.usable_until, *digest));
        }
        drop(ends);
        taken.is_some()
    }

    /// Takes out active tokens that are of no use to anybody at the time `now`, but only so many. Says whether those were all.
    fn bury(&self, now: NumericDate, most: usize) -> bool {
        // Declared before the lock, and so let go of after it.
        let mut dead = Vec::new();
        let mut ends = self.ends.lock();
        for _ in 0..most {
            let Some((_, digest)) = ends.first().copied().filter(|(end, _)| *end <= now) else { return true };
            ends.pop_first();
            dead.extend(self.active.remove_if(&digest, |token| !token.is_usable(now)));
        }
        false
    }

    /// Whether a JWT that verifies is refused, because it was revoked here.
    pub(crate) fn denies(&self, digest: TokenDigest, active: &ActiveToken) -> bool {
        self.ledger.denies(digest, active)
    }

    /// Forgets what is known of one token.
    pub(crate) fn forget(&self, digest: &TokenDigest) {
        self.take(digest, |_| true);
    }

    /// Keeps that a token is inactive.
    pub(crate) fn put_inactive(&self, digest: TokenDigest, inactive: Inactive) {
        self.inactive.insert(digest, inactive);
        self.forget(&digest);
    }

    /// Forgets all that bears one of `marks`; gives how many entries that were.
    pub(crate) fn revoke(&self, marks: impl IntoIterator<Item = Mark>, now: NumericDate) -> u64 {
        self.ledger.revoke(marks, now);
        let mut forgotten = 0;
        for (digest, token) in self.active.iter() {
            if !self.stands(&token) && self.take(&digest, |token| !self.stands(token)) {
                forgotten += u64::from(token.is_usable(now));
            }
        }
        forgotten
    }

    /// Forgets all there is.
    pub(crate) fn revoke_all(&self, now: NumericDate) {
        self.ledger.revoke_all(now);
        self.bury_all(NumericDate::from_seconds(u64::MAX));
    }

    /// Takes out all active tokens that are of no use to anybody at the time `now`, some at a time: requests go on meanwhile.
    fn bury_all(&self, now: NumericDate) {
        while !self.bury(now, 1_000) {}
    }

    /// How many active and inactive entries there may be.
    pub(crate) fn capacity(&self) -> (u64, u64) {
        (self.max_entries, inactive_capacity(self.max_entries))
    }

    /// How many active and inactive entries there are.
    pub(crate) fn count(&self) -> (u64, u64) {
        self.bury_all(NumericDate::now());
        self.inactive.run_pending_tasks();
        (self.ends.lock().len() as u64, self.inactive.entry_count())
    }
}

/// How many inactive entries there may be where there may be so many active ones.
fn inactive_capacity(max_entries: u64) -> u64 {
    max_entries.div_ceil(10)
}

/// Room for so many active tokens; `evictions` counts those that had to make room.
fn active_tokens<D>(max_entries: u64, evictions: Counter) -> ActiveTokens<D> {
    let expected = usize::try_from(max_entries).unwrap_or(usize::MAX);
    ActiveTokens::with(expected, max_entries, UnitWeighter, BuildDigestHasher::default(), MakesRoom(evictions))
}

/// Counts active tokens that have to make room.
#[derive(Clone)]
struct MakesRoom(Counter);

impl<D> Lifecycle<TokenDigest, Arc<CachedToken<D>>> for MakesRoom {
    /// Those that made room, or were replaced.
    type RequestState = Vec<Arc<CachedToken<D>>>;

    fn before_evict(&self, _: &mut Self::RequestState, _: &TokenDigest, _: &mut Arc<CachedToken<D>>) {
        self.0.increment(1);
    }

    fn on_evict(&self, displaced: &mut Self::RequestState, _: TokenDigest, token: Arc<CachedToken<D>>) {
        displaced.push(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpaqueToken;
    use crate::token::Digester;

    const LONG: Duration = Duration::MAX;

    fn cache(max_ttl: u64, stale_if_error: u64) -> TokenCache<()> {
        let config = CacheConfig {
            max_ttl: Duration::from_secs(max_ttl),
            stale_if_error: Duration::from_secs(stale_if_error),
            ..CacheConfig::default()
        };
        TokenCache::new(&config, Duration::from_secs(2), Duration::ZERO, None, Counter::noop())
    }

    fn digest() -> TokenDigest {
        digest_of("t")
    }

    fn digest_of(token: &str) -> TokenDigest {
        Digester::new("introspected", "a", "b").digest(OpaqueToken::parse(token).unwrap())
    }

    fn state(known: &Known<()>) -> &'static str {
        match known {
            Known::Active(_) => "active",
            Known::Due(_) => "due",
            Known::Over(_) => "over",
            Known::Inactive(_) => "inactive",
            Known::Nothing => "nothing",
        }
    }

    /// What is known of a token that was put at 0 s, at each of these seconds.
    fn states(cache: &TokenCache<()>, expires_at: Option<u64>, max_ttl: Duration, at: &[u64]) -> Vec<&'static str> {
        let start = NumericDate::now();
        let date = |seconds: u64| start.after(Duration::from_secs(seconds));
        let active = ActiveToken { expires_at: expires_at.map(date), ..ActiveToken::default() };
        cache.put(digest(), active, cache.generation(), start);
        at.iter().map(|&seconds| state(&cache.get(&digest(), max_ttl, date(seconds)))).collect()
    }

    #[test]
    fn an_entry_ends_with_the_ttl_and_is_due_in_the_last_fifth_of_it() {
        let at = [0, 79, 80, 99, 100, 1_000];
        assert_eq!(states(&cache(100, 0), None, LONG, &at), ["active", "active", "due", "due", "over", "over"]);
    }

    #[test]
    fn an_entry_ends_with_the_token_and_is_never_due_then() {
        assert_eq!(states(&cache(100, 0), Some(50), LONG, &[0, 49, 50]), ["active", "active", "over"]);
        assert_eq!(states(&cache(100, 0), Some(100), LONG, &[99, 100]), ["active", "over"]);
    }

    #[test]
    fn the_shorter_ttl_of_a_route_wins_for_that_route() {
        let cache = cache(100, 0);
        let short = Duration::from_secs(10);
        assert_eq!(states(&cache, None, short, &[7, 8, 10]), ["active", "due", "over"]);
        assert_eq!(states(&cache, None, LONG, &[10]), ["active"]);
        assert_eq!(states(&cache, None, Duration::from_secs(1), &[0, 1]), ["active", "over"]);
    }

    #[test]
    fn an_entry_that_is_over_stands_in_for_so_long_and_never_past_exp() {
        let start = NumericDate::now();
        let date = |seconds: u64| start.after(Duration::from_secs(seconds));
        let usable = |cache: &TokenCache<()>, expires_at: Option<u64>| {
            let active = ActiveToken { expires_at: expires_at.map(date), ..ActiveToken::default() };
            let token = cache.put(digest(), active, 0, start);
            [9, 10, 29, 30].map(|seconds| cache.may_stand_in(&token, LONG, date(seconds)))
        };
        assert_eq!(usable(&cache(10, 20), None), [true, true, true, false]);
        assert_eq!(usable(&cache(10, 20), Some(15)), [true, true, false, false]);
        assert_eq!(usable(&cache(10, 0), None), [true, false, false, false]);
    }

    #[test]
    fn for_a_route_with_a_shorter_ttl_an_entry_stands_in_from_its_own_end_on() {
        let start = NumericDate::now();
        let stands_in = |cache: &TokenCache<()>| {
            let token = cache.put(digest(), ActiveToken::default(), 0, start);
            let at = |seconds| start.after(Duration::from_secs(seconds));
            [4, 5, 24, 25].map(|seconds| cache.may_stand_in(&token, Duration::from_secs(5), at(seconds)))
        };
        assert_eq!(stands_in(&cache(100, 20)), [true, true, true, false]);
        assert_eq!(stands_in(&cache(100, 0)), [true, false, false, false]);
    }

    #[test]
    fn a_revoked_entry_is_unknown_and_an_answer_from_before_is_not_kept() {
        let cache = cache(100, 0);
        let now = NumericDate::now();
        let alice = || ActiveToken { subject: Some("alice".into()), ..ActiveToken::default() };
        let asked_in = cache.generation();
        cache.put(digest(), alice(), asked_in, now);
        assert_eq!(cache.revoke([Mark::Subject("alice".into())], now), 1);
        assert_eq!(state(&cache.get(&digest(), LONG, now)), "nothing");
        let late = cache.put(digest(), alice(), asked_in, now);
        assert!(!cache.stands(&late));
        assert_eq!(state(&cache.get(&digest(), LONG, now)), "nothing");
        cache.put(digest(), alice(), cache.generation(), now);
        assert_eq!(state(&cache.get(&digest(), LONG, now)), "active");
    }

    #[test]
    fn of_an_active_and_an_inactive_answer_the_later_counts() {
        let cache = cache(100, 0);
        let now = NumericDate::now();
        cache.put(digest(), ActiveToken::default(), cache.generation(), now);
        cache.put_inactive(digest(), Inactive::Denied);
        assert_eq!(state(&cache.get(&digest(), LONG, now)), "inactive");
        cache.put(digest(), ActiveToken::default(), cache.generation(), now);
        assert_eq!(state(&cache.get(&digest(), LONG, now)), "active");
    }

    #[test]
    fn the_dead_make_room_before_any_of_the_living() {
        let config = CacheConfig { max_entries: 2, ..CacheConfig::default() };
        let cache = TokenCache::<()>::new(&config, Duration::ZERO, Duration::ZERO, None, Counter::noop());
        let start = NumericDate::now();
        let later = start.after(Duration::from_secs(10));
        let put = |token, expires_at, now| {
            let active = ActiveToken { expires_at, ..ActiveToken::default() };
            cache.put(digest_of(token), active, cache.generation(), now);
        };
        put("dead", Some(later), start);
        put("living", None, start);
        put("new", None, later);
        let states = ["dead", "living", "new"].map(|token| state(&cache.get(&digest_of(token), LONG, later)));
        assert_eq!(states, ["nothing", "active", "active"]);
    }

    #[test]
    fn what_is_replaced_forgotten_or_over_is_not_counted() {
        let cache = cache(100, 0);
        let now = NumericDate::now();
        let put = |token, now| cache.put(digest_of(token), ActiveToken::default(), cache.generation(), now);
        put("over", NumericDate::from_seconds(now.seconds() - 100));
        put("forgotten", now);
        cache.forget(&digest_of("forgotten"));
        put("inactive", now);
        cache.put_inactive(digest_of("inactive"), Inactive::Denied);
        put("replaced", NumericDate::from_seconds(now.seconds() - 1));
        put("replaced", now);
        assert_eq!(cache.count(), (1, 1));
        assert_eq!(cache.active.len(), 1);
    }

    #[test]
    fn a_token_for_which_there_is_no_room_has_no_end_noted() {
        let config = CacheConfig { max_entries: 2, ..CacheConfig::default() };
        let cache = TokenCache::<()>::new(&config, Duration::ZERO, Duration::ZERO, None, Counter::noop());
        let now = NumericDate::now();
        let put = |token| cache.put(digest_of(token), ActiveToken::default(), cache.generation(), now);
        let get = |token| state(&cache.get(&digest_of(token), LONG, now));
        // The cache remembers B, which made room for C, and has no room for it again, as A and C are in use.
        put("A");
        get("A");
        put("B");
        put("C");
        get("C");
        put("B");
        assert_eq!(cache.count().0, cache.active.len() as u64);
        assert_eq!([get("A"), get("B")], ["active", "nothing"]);
    }

    /// What Linux says this process keeps in memory, in bytes.
    fn resident() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    #[test]
    fn a_million_distinct_tokens_stay_within_the_configured_bound() {
        const BOUND: u64 = 100_000;
        let config = CacheConfig { max_entries: BOUND, ..CacheConfig::default() };
        let cache = TokenCache::<()>::new(&config, Duration::from_secs(2), Duration::ZERO, None, Counter::noop());
        let digester = Digester::new("introspected", "https://login.example.com", "phantomgate");
        let now = NumericDate::now();
        let put = |number: u64| {
            let token = format!("opaque-token-{number:030}");
            let active = ActiveToken {
                subject: Some(format!("248289761001-{number:024}").into()),
                client_id: Some("3d9e1c3a-6c1b-4f0e-9f6e-2d6f5d9b7a11".into()),
                session_id: Some(format!("session-{number:028}")),
                scope: crate::ScopeSet::from_granted("mcp:read mcp:write"),
                audience: ["https://mcp.example.com/mcp".into()].into(),
                expires_at: Some(now.after(Duration::from_secs(3_600))),
                ..ActiveToken::default()
            };
            let digest = digester.digest(OpaqueToken::parse(&token).unwrap());
            cache.put(digest, active, cache.generation(), now);
            cache.put_inactive(digester.digest(OpaqueToken::parse(&format!("no-{token}")).unwrap()), Inactive::Denied);
        };

        let empty = resident();
        (0..BOUND).for_each(put);
        let full = resident();
        (BOUND..1_000_000).for_each(put);
        let (active, inactive) = cache.count();
        let after = resident();

        let per_entry = (full - empty) / BOUND;
        eprintln!("about {per_entry} bytes per active entry");
        // The active ones are kept in parts, of which each may have one more than its share.
        assert!(active <= BOUND + BOUND / 100 && inactive <= BOUND / 10, "{active} active, {inactive} inactive");
        assert_eq!(active, cache.active.len() as u64, "each has its end noted once");
        // Other tests allocate at the same time; a leak of a tenth of the entries would show all the same.
        assert!(after < full + full.saturating_sub(empty), "{empty} → {full} → {after}");
        assert!(per_entry < 4_096, "{per_entry} bytes per entry");
    }
}

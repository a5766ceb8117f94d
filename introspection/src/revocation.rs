//! Revocations: what must be forgotten, at once and for good.
//!
//! Instead of an index from every subject, client and session to its tokens, which each of a million entries would pay for,
//! the index is over the revocations, of which there are few. Each revocation gets the next *generation*. An entry carries
//! the generation of the moment its question was *asked*, and stands as long as no later revocation is about it. Thus
//!
//! - a revocation counts from the instant it is noted, whatever the size of the cache,
//! - an answer that was on its way at that instant is as dead as one in the cache,
//! - a hit costs one comparison of numbers while nothing was revoked, and one look-up per entry after something was.
//!
//! To forget an introspected token is enough, because the authorization server is asked again. A JWT that is verified here
//! would only be verified again. It stays refused if it was issued before the revocation, for as long as that is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::clock::NumericDate;
use crate::response::ActiveToken;
use crate::token::TokenDigest;

/// What is to be forgotten.
#[derive(Clone)]
pub enum Revocation {
    /// One token.
    Token(Arc<Zeroizing<String>>),
    /// The tokens with this digest, as records show it: 16 hexadecimal digits.
    TokenDigest(String),
    /// All tokens of a subject.
    Subject(String),
    /// All tokens of a client.
    Client(String),
    /// All tokens of a session (`sid`).
    Session(String),
}

/// What an entry can be revoked by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// The first 64 bits of its digest: what is shown of it.
    Digest(u64),
    Subject(Box<str>),
    Client(Box<str>),
    Session(Box<str>),
}

/// Counts revocations. An entry asked about in one generation is not touched by the revocations up to it.
pub(crate) type Generation = u64;

/// All revocations that may still concern an entry.
pub(crate) struct Ledger {
    generation: AtomicU64,
    revoked: RwLock<Revoked>,
    /// For how many seconds a revocation may concern anything.
    keep: AtomicU64,
    capacity: usize,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Revoked {
    marks: HashMap<Mark, (Generation, NumericDate)>,
    /// Nothing older than this stands: what was forgotten of the ledger is made up for by forgetting all tokens.
    floor: Generation,
    /// When that was.
    floor_at: Option<NumericDate>,
    prune_at: usize,
}

/// The most revocations that are kept. Beyond that all tokens are forgotten once, and counting begins anew.
const CAPACITY: usize = 100_000;

impl Ledger {
    /// Keeps each revocation for the span `keep`, which no answer is in use for longer than.
    pub(crate) fn new(keep: Duration) -> Self {
        Self::with_capacity(keep, CAPACITY)
    }

    fn with_capacity(keep: Duration, capacity: usize) -> Self {
        Self {
            generation: AtomicU64::new(0),
            revoked: RwLock::default(),
            keep: AtomicU64::new(seconds(keep)),
            capacity,
            changes: watch::Sender::new(()),
        }
    }

    /// Keeps each revocation for the span `keep` at least: somebody counts on it whose answers are in use for longer.
    pub(crate) fn keep_for(&self, keep: Duration) {
        self.keep.fetch_max(seconds(keep), Ordering::Relaxed);
    }

    /// Revokes all there is, at the time `now`.
    pub(crate) fn revoke_all(&self, now: NumericDate) {
        let mut revoked = self.revoked.write();
        let generation = self.generation.load(Ordering::Acquire) + 1;
        revoked.marks.clear();
        revoked.floor = generation;
        revoked.floor_at = Some(now);
        self.generation.store(generation, Ordering::Release);
        self.changes.send_replace(());
    }

    /// Tells of revocations from now on.
    pub(crate) fn revocations(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The generation for a question that is asked now.
    pub(crate) fn generation(&self) -> Generation {
        self.generation.load(Ordering::Acquire)
    }

    /// Revokes all that bears one of `marks`, at the time `now`.
    pub(crate) fn revoke(&self, marks: impl IntoIterator<Item = Mark>, now: NumericDate) {
        let mut revoked = self.revoked.write();
        let generation = self.generation.load(Ordering::Acquire) + 1;
        for mark in marks {
            revoked.marks.insert(mark, (generation, now));
        }
        if revoked.marks.len() > revoked.prune_at {
            let keep = Duration::from_secs(self.keep.load(Ordering::Relaxed));
            revoked.marks.retain(|_, (_, at)| now.since(*at) <= keep);
            if revoked.marks.len() > self.capacity {
                revoked.marks.clear();
                revoked.floor = generation;
                revoked.floor_at = Some(now);
            }
            revoked.prune_at = (revoked.marks.len() * 2).clamp(self.capacity.min(1_024), self.capacity);
        }
        // Within the lock: whoever sees the new generation finds its marks.
        self.generation.store(generation, Ordering::Release);
        self.changes.send_replace(());
    }

    /// Whether nothing was revoked that concerns this token since `asked_in`. Moves `asked_in` on, so that the next look is
    /// quick.
    pub(crate) fn stands(&self, digest: TokenDigest, token: &ActiveToken, asked_in: &AtomicU64) -> bool {
        let known = asked_in.load(Ordering::Relaxed);
        if known == self.generation.load(Ordering::Acquire) {
            return true;
        }
        let revoked = self.revoked.read();
        let is_later = |mark: &Mark| revoked.marks.get(mark).is_some_and(|(generation, _)| *generation > known);
        if revoked.floor > known || marks(digest, token).any(|mark| is_later(&mark)) {
            return false;
        }
        asked_in.store(self.generation.load(Ordering::Acquire), Ordering::Relaxed);
        true
    }

    /// Whether a JWT that verifies is refused all the same: it was issued in the second of a revocation that is about it,
    /// or before.
    pub(crate) fn denies(&self, digest: TokenDigest, token: &ActiveToken) -> bool {
        let revoked = self.revoked.read();
        let was_issued_by = |at: NumericDate| token.issued_at.is_none_or(|issued| issued <= at);
        let is_denied = |mark: Mark| match revoked.marks.get(&mark) {
            None => false,
            Some((_, at)) => matches!(mark, Mark::Digest(_)) || was_issued_by(*at),
        };
        revoked.floor_at.is_some_and(was_issued_by) || marks(digest, token).any(is_denied)
    }
}

fn marks(digest: TokenDigest, token: &ActiveToken) -> impl Iterator<Item = Mark> {
    let mark = |text: Option<&str>, of: fn(Box<str>) -> Mark| text.map(|text| of(text.into()));
    [
        Some(Mark::Digest(digest.prefix())),
        mark(token.subject.as_deref(), Mark::Subject),
        mark(token.client_id.as_deref(), Mark::Client),
        mark(token.session_id.as_deref(), Mark::Session),
    ]
    .into_iter()
    .flatten()
}

impl Revocation {
    /// The name of its kind, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::TokenDigest(_) => "token_digest",
            Self::Subject(_) => "subject",
            Self::Client(_) => "client",
            Self::Session(_) => "session",
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpaqueToken;
    use crate::token::Digester;

    const NOW: NumericDate = NumericDate::from_seconds(1_000);

    fn ledger() -> Ledger {
        Ledger::new(Duration::from_secs(300))
    }

    fn digest(token: &str) -> TokenDigest {
        Digester::new("introspected", "a", "b").digest(OpaqueToken::parse(token).unwrap())
    }

    fn token() -> ActiveToken {
        ActiveToken {
            subject: Some("alice".into()),
            client_id: Some("agent".into()),
            session_id: Some("s".into()),
            ..ActiveToken::default()
        }
    }

    #[test]
    fn what_was_asked_before_falls_and_what_was_asked_after_stands() {
        for mark in [
            Mark::Digest(digest("t").prefix()),
            Mark::Subject("alice".into()),
            Mark::Client("agent".into()),
            Mark::Session("s".into()),
        ] {
            let ledger = ledger();
            let before = AtomicU64::new(ledger.generation());
            ledger.revoke([mark.clone()], NOW);
            let after = AtomicU64::new(ledger.generation());
            assert!(!ledger.stands(digest("t"), &token(), &before), "{mark:?}");
            assert!(ledger.stands(digest("t"), &token(), &after), "{mark:?}");
        }
    }

    #[test]
    fn what_others_are_revoked_for_does_not_matter_then_or_later() {
        let ledger = ledger();
        let asked_in = AtomicU64::new(ledger.generation());
        let others = [Mark::Subject("bob".into()), Mark::Client("alice".into()), Mark::Digest(digest("u").prefix())];
        ledger.revoke(others, NOW);
        assert!(ledger.stands(digest("t"), &token(), &asked_in));
        ledger.revoke([Mark::Subject("alice".into())], NOW);
        assert!(!ledger.stands(digest("t"), &token(), &asked_in), "it was looked at in between");
    }

    #[test]
    fn a_jwt_from_before_stays_refused_and_a_newer_one_does_not() {
        let issued = |at| ActiveToken { issued_at: Some(NumericDate::from_seconds(at)), ..token() };
        let ledger = ledger();
        assert!(!ledger.denies(digest("t"), &issued(900)));
        ledger.revoke([Mark::Subject("alice".into())], NOW);
        assert!(ledger.denies(digest("t"), &issued(1_000)) && !ledger.denies(digest("t"), &issued(1_001)));
        assert!(ledger.denies(digest("t"), &token()), "nobody knows when it was issued");
        ledger.revoke([Mark::Digest(digest("t").prefix())], NOW);
        assert!(ledger.denies(digest("t"), &issued(1_001)) && !ledger.denies(digest("u"), &issued(1_001)));
    }

    #[test]
    fn revocations_are_kept_no_longer_than_they_can_matter() {
        let ledger = Ledger::with_capacity(Duration::from_secs(300), 10);
        for n in 0..1_000 {
            ledger.revoke([Mark::Subject(n.to_string().into())], NumericDate::from_seconds(n * 100));
        }
        let revoked = ledger.revoked.read();
        assert!(revoked.marks.len() <= 10, "{}", revoked.marks.len());
        assert_eq!(revoked.floor, 0, "nothing had to be forgotten");
    }

    #[test]
    fn when_there_are_too_many_all_tokens_fall_rather_than_one_stand() {
        let ledger = Ledger::with_capacity(Duration::from_secs(300), 10);
        let before = AtomicU64::new(ledger.generation());
        for n in 0..=10 {
            ledger.revoke([Mark::Subject(n.to_string().into())], NOW);
        }
        assert!(!ledger.stands(digest("t"), &token(), &before));
        let after = AtomicU64::new(ledger.generation());
        assert!(ledger.stands(digest("t"), &token(), &after));
        assert!(ledger.denies(digest("t"), &token()), "a JWT from before");
    }
}

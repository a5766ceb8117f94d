//! The credentials that were made from one token: each until it is due, and each made by one task at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::RwLock;
use phantomgate_introspection::NumericDate;
use smallvec::SmallVec;
use tokio::sync::watch;

use crate::rejection::Rejection;

/// Which credential of the configuration it is: the same for all tokens, so that what was made for one route is found
/// again. A credential that a later configuration changes gets another key: what was made before is not found any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialKey(u64);

impl CredentialKey {
    /// A key that nothing was kept under yet.
    pub fn unused() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A credential as it goes upstream.
#[derive(Debug, Clone)]
pub struct Made {
    /// The value of its header, marked sensitive.
    pub header: HeaderValue,
    /// Until when it is sent again. After that a new one is made, so that what arrives has life left.
    pub reusable_until: NumericDate,
    /// When it ends.
    pub expires_at: NumericDate,
}

/// What was made from a token for upstreams: it is kept with the token's cache entry, and ends with it. One for each
/// credential of the configuration, so never more than there are routes, and those of earlier configurations until they end.
#[derive(Debug, Default)]
pub struct DerivedCredentials(RwLock<All>);

/// Most tokens are for one upstream: its credential is kept in the entry itself, where it is found without another look into
/// memory.
type All = SmallVec<[(CredentialKey, State); 1]>;

#[derive(Debug)]
enum State {
    Made(Made),
    Making(Box<Making>),
}

#[derive(Debug)]
struct Making {
    landing: Landing,
    /// What was made before, while it lives: it stands in when the authorization server is away.
    before: Option<Made>,
}

type Outcome = Option<Result<HeaderValue, Rejection>>;

/// Tells what came of it to all who wait.
pub(super) type Departure = watch::Sender<Outcome>;

/// Where to wait for what comes of it.
pub(super) type Landing = watch::Receiver<Outcome>;

/// The making of a credential, from the view of a request.
pub(super) enum Flight {
    /// It is there already.
    Landed(HeaderValue),
    /// Somebody makes it.
    UnderWay(Landing),
    /// Nobody does: whoever gets this has to, and to tell [`DerivedCredentials::land`].
    ToStart(Departure, Landing),
}

impl Made {
    /// How long before its end a credential is made anew, at most.
    const MARGIN: Duration = Duration::from_secs(30);

    /// A credential made at the time `now` that ends at `expires_at`; with the token, where it does not say.
    pub fn new(header: HeaderValue, expires_at: Option<NumericDate>, now: NumericDate) -> Self {
        let expires_at = expires_at.unwrap_or(NumericDate::from_seconds(u64::MAX));
        let life = expires_at.since(now);
        let margin = Self::MARGIN.min(life / 4);
        Self { header: in_one_place(header), reusable_until: now.after(life.saturating_sub(margin)), expires_at }
    }
}

/// The same value, next to the count of those who share it: each request that takes it looks at one place in memory, not two.
fn in_one_place(value: HeaderValue) -> HeaderValue {
    let Some(text) = Inline::of(value.as_bytes()) else { return value };
    match HeaderValue::from_maybe_shared(Bytes::from_owner(text)) {
        Ok(mut moved) => {
            moved.set_sensitive(value.is_sensitive());
            moved
        }
        Err(_) => value,
    }
}

/// A text of about the length of most JWT access tokens.
struct Inline {
    length: usize,
    text: [u8; Self::LONGEST],
}

impl Inline {
    /// With its length and the count, what allocators give 640 bytes for.
    const LONGEST: usize = 616;

    /// None if it has no room, or if most of that would be empty.
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut text = [0; Self::LONGEST];
        text.get_mut(..bytes.len()).filter(|room| room.len() > Self::LONGEST / 2)?.copy_from_slice(bytes);
        Some(Self { length: bytes.len(), text })
    }
}

impl AsRef<[u8]> for Inline {
    fn as_ref(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

impl DerivedCredentials {
    /// The credential `key`, if there is one that can be sent at the time `now`.
    pub(super) fn reusable(&self, key: CredentialKey, now: NumericDate) -> Option<HeaderValue> {
        let all = self.0.read();
        match all.iter().find(|(own, _)| *own == key)? {
            (_, State::Made(made)) if now < made.reusable_until => Some(made.header.clone()),
            _ => None,
        }
    }

    /// Keeps the credential `key`, made at the time `now`.
    pub(super) fn put(&self, key: CredentialKey, made: Made, now: NumericDate) {
        let mut all = self.0.write();
        forget_ended(&mut all, now);
        set(&mut all, key, State::Made(made));
    }

    /// What becomes of a request for the credential `key` at the time `now`.
    pub(super) fn join(&self, key: CredentialKey, now: NumericDate) -> Flight {
        let mut all = self.0.write();
        forget_ended(&mut all, now);
        let before = match all.iter().find(|(own, _)| *own == key).map(|(_, state)| state) {
            Some(State::Made(made)) if now < made.reusable_until => return Flight::Landed(made.header.clone()),
            // Closed: the task that made it has ended without a word.
            Some(State::Making(making)) if making.landing.has_changed().is_ok() => {
                return Flight::UnderWay(making.landing.clone());
            }
            Some(State::Made(made)) => Some(made.clone()),
            Some(State::Making(making)) => making.before.clone(),
            None => None,
        };
        let (departure, landing) = watch::channel(None);
        let making = Making { landing: landing.clone(), before: before.filter(|made| now < made.expires_at) };
        set(&mut all, key, State::Making(Box::new(making)));
        Flight::ToStart(departure, landing)
    }

    /// Tells what came of making the credential `key`, at the time `now`.
    pub(super) fn land(
        &self,
        key: CredentialKey,
        departure: Departure,
        outcome: Result<Made, Rejection>,
        now: NumericDate,
    ) {
        let mut all = self.0.write();
        let position = all.iter().position(|(own, _)| *own == key);
        let before = match position.map(|position| all.swap_remove(position)) {
            Some((_, State::Making(making))) => making.before.filter(|made| now < made.expires_at),
            _ => None,
        };
        let outcome = match (outcome, before) {
            // A moment later it is tried again.
            (Err(Rejection::IntrospectionUnavailable(_)), Some(before)) => {
                let reusable_until = before.expires_at.min(now.after(Duration::from_secs(1)));
                Ok(Made { reusable_until, ..before })
            }
            (outcome, _) => outcome,
        };
        let told = outcome.as_ref().map(|made| made.header.clone()).map_err(Clone::clone);
        if let Ok(made) = outcome {
            all.push((key, State::Made(made)));
        }
        drop(all);
        // Nobody may be waiting any more.
        let _ = departure.send(Some(told));
    }
}

/// What has ended is of no use; and what an earlier configuration made nobody would replace.
fn forget_ended(all: &mut All, now: NumericDate) {
    all.retain(|(_, state)| !matches!(state, State::Made(made) if made.expires_at <= now));
}

fn set(all: &mut All, key: CredentialKey, state: State) {
    match all.iter_mut().find(|(own, _)| *own == key) {
        Some((_, old)) => *old = state,
        None => all.push((key, state)),
    }
}

#[cfg(test)]
mod tests {
    use phantomgate_introspection::{Inactive, Unavailable};

    use super::*;

    #[test]
    fn a_value_is_the_same_wherever_it_lies() {
        for length in [0, 1, Inline::LONGEST / 2, Inline::LONGEST / 2 + 1, Inline::LONGEST, Inline::LONGEST + 1] {
            let mut value = HeaderValue::try_from("a".repeat(length)).unwrap();
            value.set_sensitive(true);
            let moved = in_one_place(value.clone());
            assert_eq!((&moved, moved.is_sensitive()), (&value, true), "{length}");
        }
    }

    const A: CredentialKey = CredentialKey(0);
    const B: CredentialKey = CredentialKey(1);

    const fn at(seconds: u64) -> NumericDate {
        NumericDate::from_seconds(seconds)
    }

    fn made(text: &'static str, reusable_until: u64, expires_at: u64) -> Made {
        let header = HeaderValue::from_static(text);
        Made { header, reusable_until: at(reusable_until), expires_at: at(expires_at) }
    }

    fn start(derived: &DerivedCredentials, now: u64) -> (Departure, Landing) {
        match derived.join(A, at(now)) {
            Flight::ToStart(departure, landing) => (departure, landing),
            Flight::Landed(_) | Flight::UnderWay(_) => panic!("there is one"),
        }
    }

    fn told(landing: &Landing) -> Result<HeaderValue, Rejection> {
        landing.borrow().clone().unwrap()
    }

    fn away() -> Result<Made, Rejection> {
        Err(Rejection::IntrospectionUnavailable(Unavailable::Timeout(Duration::ZERO).into()))
    }

    #[test]
    fn a_credential_is_reused_until_it_is_due_and_replaced_then() {
        let derived = DerivedCredentials::default();
        derived.put(A, made("one", 100, 120), at(0));
        derived.put(B, made("other", 100, 120), at(0));
        assert_eq!(derived.reusable(A, at(99)).unwrap(), "one");
        assert!(derived.reusable(A, at(100)).is_none());
        derived.put(A, made("two", 200, 220), at(0));
        assert_eq!(derived.reusable(A, at(100)).unwrap(), "two");
        assert_eq!(derived.0.read().len(), 2);
    }

    #[test]
    fn a_credential_is_due_a_little_before_it_ends() {
        let due =
            |life: u64| Made::new(HeaderValue::from_static("a"), Some(at(1_000 + life)), at(1_000)).reusable_until;
        assert_eq!(due(3_600), at(4_570));
        assert_eq!(due(100), at(1_075));
        assert_eq!(due(0), at(1_000));
    }

    #[test]
    fn one_makes_it_and_the_others_wait_for_that() {
        let derived = DerivedCredentials::default();
        let (departure, landing) = start(&derived, 0);
        let Flight::UnderWay(other) = derived.join(A, at(0)) else { panic!("two make it") };
        assert!(derived.reusable(A, at(0)).is_none());
        derived.land(A, departure, Ok(made("one", 100, 120)), at(0));
        assert_eq!(told(&landing).unwrap(), "one");
        assert_eq!(told(&other).unwrap(), "one");
        assert!(matches!(derived.join(A, at(0)), Flight::Landed(_)));
    }

    #[test]
    fn a_failure_is_told_to_all_who_wait_and_not_kept() {
        let derived = DerivedCredentials::default();
        let (departure, landing) = start(&derived, 0);
        derived.land(A, departure, Err(Rejection::InactiveToken(Inactive::Denied)), at(0));
        assert!(told(&landing).is_err());
        assert!(derived.0.read().is_empty());
        start(&derived, 0);
    }

    #[test]
    fn a_task_that_ended_without_a_word_is_replaced() {
        let derived = DerivedCredentials::default();
        let (departure, _landing) = start(&derived, 0);
        drop(departure);
        start(&derived, 0);
    }

    #[test]
    fn while_the_server_is_away_a_credential_serves_until_its_very_end_and_no_longer() {
        let derived = DerivedCredentials::default();
        derived.put(A, made("one", 100, 120), at(0));
        let (departure, landing) = start(&derived, 100);
        derived.land(A, departure, away(), at(100));
        assert_eq!(told(&landing).unwrap(), "one");
        assert!(derived.reusable(A, at(101)).is_none(), "it is tried again");
        let (departure, landing) = start(&derived, 119);
        derived.land(A, departure, away(), at(120));
        assert!(told(&landing).is_err());
    }

    #[test]
    fn a_credential_does_not_stand_in_when_the_token_is_refused() {
        let derived = DerivedCredentials::default();
        derived.put(A, made("one", 100, 120), at(0));
        let (departure, landing) = start(&derived, 100);
        derived.land(A, departure, Err(Rejection::InactiveToken(Inactive::Denied)), at(100));
        assert!(told(&landing).is_err());
    }
}

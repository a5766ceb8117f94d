//! Sessions (`Mcp-Session-Id`, revisions up to 2025-11-25): whose they are, and when they end.
//!
//! The upstream makes a session's identifier and knows no users of ours. So an identifier belongs to the subject and client
//! that it was first seen with; not to a token, because tokens are refreshed while sessions go on. Nobody else learns that
//! it exists. A session whose time is over is remembered for as long as it could have lasted, so that its identifier is not
//! taken for a new one.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use phantomgate_introspection::NumericDate;
use phantomgate_upstreams::{EndpointUrl, Place};

use crate::config::SessionLimits;

/// The most sessions of an upstream that are known. Beyond that, the one that was not used for longest is forgotten.
const CAPACITY: u64 = 100_000;

/// The longest identifier.
const LONGEST_ID: usize = 1024;

/// Whose a session is; on a public route, everybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner<'a> {
    /// Who knows the subject and the client.
    pub issuer: &'a str,
    /// The subject of the token.
    pub subject: Option<&'a str>,
    /// The agent.
    pub client_id: Option<&'a str>,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    issuer: Box<str>,
    subject: Option<Box<str>>,
    client_id: Option<Box<str>>,
    /// Who has it, where that is known.
    pub place: Option<Place>,
    began: NumericDate,
    /// In seconds since the epoch.
    last_used: AtomicU64,
    /// Requests under way, open streams among them.
    requests: AtomicUsize,
    has_ended: AtomicBool,
    limits: SessionLimits,
}

/// A session in use by one request. While there is one, the session is not idle.
pub struct InUse {
    session: Arc<Session>,
    entered: NumericDate,
    since: Instant,
}

/// Why a request may not use a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionFault {
    /// It is somebody else's.
    Foreign,
    /// It has ended.
    Ended,
    /// What is there is no identifier.
    Malformed,
}

/// The sessions of one upstream. They take no memory before the first: there may be thousands of upstreams.
pub struct Sessions {
    known: OnceLock<Cache<Box<str>, Arc<Session>>>,
    capacity: u64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Sessions {
    fn with_capacity(capacity: u64) -> Self {
        Self { known: OnceLock::new(), capacity }
    }

    fn known(&self) -> &Cache<Box<str>, Arc<Session>> {
        self.known.get_or_init(|| {
            Cache::builder()
                .max_capacity(self.capacity)
                .eviction_policy(EvictionPolicy::lru())
                .expire_after(EndOfMemory)
                .build()
        })
    }

    /// The session `id`, for a request of `owner`. One that was never seen is theirs from now on.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub fn enter(
        &self,
        id: &str,
        owner: Owner<'_>,
        limits: SessionLimits,
        now: NumericDate,
    ) -> Result<InUse, SessionFault> {
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(SessionFault::Malformed);
        }
        let session = match self.known().get(id) {
            Some(session) => session,
            None => self.known().get_with(id.into(), || Session::new(owner, None, limits, now)),
        };
        if session.owner() != owner {
            return Err(SessionFault::Foreign);
        }
        session.enter(now)
    }

    /// Notes that the endpoint at `place` has begun the session `id` for `owner`. One that is known stays whose it is.
    pub fn begin(&self, id: &str, owner: Owner<'_>, place: Place, limits: SessionLimits, now: NumericDate) {
        if id.len() <= LONGEST_ID && self.known().get(id).is_none() {
            self.known().get_with(id.into(), || Session::new(owner, Some(place), limits, now));
        }
    }

    /// How many go on at each endpoint. Looks at all of them.
    pub fn by_endpoint(&self, now: NumericDate) -> HashMap<EndpointUrl, usize> {
        let mut counts = HashMap::new();
        for (_, session) in self.known() {
            if let Some(place) = session.place.as_ref().filter(|_| !session.is_over(now)) {
                *counts.entry(place.url().clone()).or_default() += 1;
            }
        }
        counts
    }

    /// How many are known.
    #[cfg(test)]
    fn count(&self) -> u64 {
        self.known().run_pending_tasks();
        self.known().entry_count()
    }
}

impl Session {
    fn new(owner: Owner<'_>, place: Option<Place>, limits: SessionLimits, now: NumericDate) -> Arc<Self> {
        Arc::new(Self {
            issuer: owner.issuer.into(),
            subject: owner.subject.map(Into::into),
            client_id: owner.client_id.map(Into::into),
            place,
            began: now,
            last_used: AtomicU64::new(now.seconds()),
            requests: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
            limits,
        })
    }

    fn owner(&self) -> Owner<'_> {
        Owner { issuer: &self.issuer, subject: self.subject.as_deref(), client_id: self.client_id.as_deref() }
    }

    fn enter(self: Arc<Self>, now: NumericDate) -> Result<InUse, SessionFault> {
        if self.is_over(now) {
            self.end();
            return Err(SessionFault::Ended);
        }
        self.requests.fetch_add(1, Ordering::AcqRel);
        Ok(InUse { session: self, entered: now, since: Instant::now() })
    }

    fn is_over(&self, now: NumericDate) -> bool {
        let idle = match self.requests.load(Ordering::Acquire) {
            0 => now.since(NumericDate::from_seconds(self.last_used.load(Ordering::Relaxed))),
            _ => Duration::ZERO,
        };
        let has_ended = self.has_ended.load(Ordering::Relaxed);
        has_ended || idle > self.limits.idle || now.since(self.began) > self.limits.max_life
    }

    /// When its longest life is over.
    pub fn life_ends(&self) -> NumericDate {
        self.began.after(self.limits.max_life)
    }

    /// Ends it: its identifier counts for nobody any more.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

impl Deref for InUse {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let left = self.entered.after(self.since.elapsed());
        self.session.last_used.fetch_max(left.seconds(), Ordering::Relaxed);
        self.session.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is remembered of a session is forgotten after twice its longest life.
struct EndOfMemory;

impl Expiry<Box<str>, Arc<Session>> for EndOfMemory {
    fn expire_after_create(&self, _: &Box<str>, session: &Arc<Session>, _: Instant) -> Option<Duration> {
        Some(session.limits.max_life.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SessionLimits = SessionLimits { idle: Duration::from_secs(60), max_life: Duration::from_secs(300) };

    fn owner(subject: &str) -> Owner<'_> {
        Owner { issuer: "i", subject: Some(subject), client_id: Some("c") }
    }

    fn at(seconds: u64) -> NumericDate {
        NumericDate::from_seconds(1_000 + seconds)
    }

    fn place(number: u8) -> Place {
        let url = format!("http://10.0.0.{number}:1");
        Place::new(Arc::new(url.parse().unwrap()), ([10, 0, 0, number], 1).into())
    }

    fn enter(sessions: &Sessions, subject: &str, seconds: u64) -> Result<Option<Place>, SessionFault> {
        sessions.enter("s", owner(subject), LIMITS, at(seconds)).map(|session| session.place.clone())
    }

    #[test]
    fn a_session_is_whose_it_was_first_and_stays_at_its_endpoint() {
        let sessions = Sessions::default();
        sessions.begin("s", owner("alice"), place(1), LIMITS, at(0));
        sessions.begin("s", owner("bob"), place(2), LIMITS, at(0));
        assert_eq!(enter(&sessions, "alice", 1), Ok(Some(place(1))));
        assert_eq!(enter(&sessions, "bob", 1), Err(SessionFault::Foreign));
        let other_client = Owner { client_id: Some("other"), ..owner("alice") };
        assert_eq!(sessions.enter("s", other_client, LIMITS, at(1)).err(), Some(SessionFault::Foreign));
    }

    #[test]
    fn one_that_was_never_seen_belongs_to_who_brings_it() {
        let sessions = Sessions::default();
        assert_eq!(enter(&sessions, "alice", 0), Ok(None));
        assert_eq!(enter(&sessions, "bob", 0), Err(SessionFault::Foreign));
    }

    #[test]
    fn it_ends_when_it_is_told_to_after_idle_time_and_after_its_longest_life() {
        let sessions = Sessions::default();
        for second in [0, 60, 120, 180, 240, 300] {
            assert_eq!(enter(&sessions, "alice", second), Ok(None), "{second}");
        }
        assert_eq!(enter(&sessions, "alice", 301), Err(SessionFault::Ended));

        let sessions = Sessions::default();
        assert_eq!(enter(&sessions, "alice", 0), Ok(None));
        assert_eq!(enter(&sessions, "alice", 61), Err(SessionFault::Ended));
        assert_eq!(enter(&sessions, "alice", 62), Err(SessionFault::Ended), "it does not begin anew");

        let sessions = Sessions::default();
        sessions.enter("s", owner("alice"), LIMITS, at(0)).unwrap().end();
        assert_eq!(enter(&sessions, "alice", 1), Err(SessionFault::Ended));
        assert_eq!(enter(&sessions, "bob", 1), Err(SessionFault::Foreign));
    }

    #[test]
    fn a_session_with_an_open_stream_is_not_idle() {
        let sessions = Sessions::default();
        let stream = sessions.enter("s", owner("alice"), LIMITS, at(0)).unwrap();
        assert_eq!(enter(&sessions, "alice", 200), Ok(None));
        drop(stream);
        assert_eq!(enter(&sessions, "alice", 261), Err(SessionFault::Ended));
    }

    #[test]
    fn those_that_go_on_are_counted_where_they_are() {
        let sessions = Sessions::default();
        for (id, number) in [("a", 1), ("b", 2), ("c", 2), ("d", 2)] {
            sessions.begin(id, owner("alice"), place(number), LIMITS, at(0));
        }
        sessions.enter("d", owner("alice"), LIMITS, at(0)).unwrap().end();
        let counts = sessions.by_endpoint(at(60));
        assert_eq!(counts.get(place(1).url()), Some(&1));
        assert_eq!(counts.get(place(2).url()), Some(&2));
        assert_eq!(sessions.by_endpoint(at(61)).len(), 0, "they were idle for too long");
    }

    #[test]
    fn an_identifier_has_a_length() {
        let sessions = Sessions::default();
        for id in [String::new(), "x".repeat(LONGEST_ID + 1)] {
            let outcome = sessions.enter(&id, owner("alice"), LIMITS, at(0));
            assert_eq!(outcome.err(), Some(SessionFault::Malformed));
        }
    }

    #[test]
    fn however_many_are_begun_so_many_are_kept_and_those_in_use_stay() {
        let sessions = Sessions::with_capacity(100);
        sessions.begin("s", owner("alice"), place(1), LIMITS, at(0));
        for number in 0..10_000 {
            sessions.begin(&format!("flood-{number}"), owner("mallory"), place(0), LIMITS, at(0));
            assert_eq!(enter(&sessions, "alice", 0), Ok(Some(place(1))), "after {number}");
        }
        assert!(sessions.count() <= 100);
    }
}

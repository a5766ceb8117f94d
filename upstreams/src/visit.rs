//! One request's way to an upstream: which address it goes to, what it finds there, and whether it may try again. Whatever
//! way the request ends, dropping this leaves no trace of it in the counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;

use crate::member::{Member, Place};
use crate::upstream::Upstream;

/// Why a request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// No endpoint has an address, or all are draining.
    #[error("no endpoint of the upstream takes requests")]
    Nowhere,
    /// As many requests are under way as there may be.
    #[error("too many requests to the upstream are under way")]
    Overloaded,
}

/// A request at an upstream.
#[derive(Debug)]
pub struct Visit {
    upstream: Arc<Upstream>,
    attempt: Option<Attempt>,
    /// Where it has been tried in vain.
    tried: Vec<Arc<Member>>,
    attempts: usize,
    began: Instant,
    has_answer: bool,
}

/// A request at an address.
#[derive(Debug)]
struct Attempt {
    upstream: Arc<Upstream>,
    member: Arc<Member>,
    began: Instant,
    /// Which idle connections it may have.
    group: u64,
    /// The address was known to fail when it was chosen.
    knowing: bool,
    /// Others wait for what this finds out.
    is_trial: bool,
}

impl Visit {
    /// `upstream` has counted it.
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, attempt: None, tried: Vec::new(), attempts: 0, began: Instant::now(), has_answer: false }
    }

    /// Where the request goes next. `key` is what consistent hashing goes by; `place` is where alone its session is.
    ///
    /// # Errors
    /// [`NoTarget`].
    pub fn next(&mut self, key: Option<&[u8]>, place: Option<&Place>) -> Result<(), NoTarget> {
        self.attempt = None;
        let now = if self.attempts == 0 { self.began } else { Instant::now() };
        let bound = place.and_then(|place| self.upstream.bound(place, !self.tried.is_empty()));
        let (member, is_trial) = match bound {
            Some(member) if self.upstream.has_room(&member) => (member, false),
            Some(_) => return Err(NoTarget::Overloaded),
            None => self.upstream.select(key, &self.tried, now)?,
        };
        self.attempts += 1;
        member.under_way.fetch_add(1, Ordering::Relaxed);
        member.endpoint().metrics.requests.increment();
        let knowing = is_trial || (member.is_suspect.load(Ordering::Relaxed) && member.ejection.lock().is_out());
        let group = self.upstream.group();
        self.attempt = Some(Attempt { upstream: self.upstream.clone(), member, began: now, group, knowing, is_trial });
        Ok(())
    }

    /// How a connection to where it is now is made; none before there is somewhere.
    pub fn peer(&self) -> Option<HttpPeer> {
        self.attempt.as_ref().map(|attempt| self.upstream.peer(&attempt.member))
    }

    /// A connection over HTTP/1.1 to where it is now, that was used before.
    pub fn idle_connection(&self) -> Option<Stream> {
        self.attempt.as_ref().and_then(|attempt| attempt.member.idle.take(attempt.group))
    }

    /// Keeps the connection over HTTP/1.1 that it had, for another request.
    pub fn keep_connection(&self, stream: Stream) {
        if let Some(attempt) = &self.attempt {
            attempt.member.idle.put(stream, attempt.group);
        }
    }

    /// The `Host` header that its server expects.
    pub fn authority(&self) -> Option<&Arc<str>> {
        self.attempt.as_ref().map(|attempt| attempt.member.endpoint().authority())
    }

    /// Where it is at the moment.
    pub fn place(&self) -> Option<Place> {
        self.attempt.as_ref().map(|attempt| attempt.member.place())
    }

    /// The address it is at.
    pub fn address(&self) -> Option<SocketAddr> {
        self.attempt.as_ref().map(|attempt| attempt.member.address())
    }

    /// Which upstream this is about.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// How many addresses it was sent to, or was to be.
    pub fn attempts(&self) -> usize {
        self.attempts
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Whether an answer has begun.
    pub fn has_answer(&self) -> bool {
        self.has_answer
    }

    /// Notes that a new connection stands.
    pub fn connected(&self) {
        if let Some(attempt) = &self.attempt {
            self.upstream.metrics.connected(attempt.began.elapsed());
        }
    }

    /// Notes that an answer has begun.
    pub fn answered(&mut self) {
        self.has_answer = true;
        let Some(attempt) = &mut self.attempt else { return };
        // The usual case: nothing was wrong.
        if attempt.member.is_suspect.load(Ordering::Relaxed) {
            attempt.is_trial = false;
            self.upstream.note_answer(&attempt.member, attempt.knowing);
        }
    }

    /// Notes that no connection could be made. Nothing has been sent: whatever the request is, it may be tried again if
    /// this gives true.
    pub fn failed_to_connect(&mut self) -> bool {
        if let Some(attempt) = &self.attempt {
            attempt.member.endpoint().metrics.connect_failures.increment();
        }
        self.fail();
        self.may_try_again()
    }

    /// Notes that the request was sent, in part at least, and no answer came. It may be tried again if this gives true and
    /// sending it twice does no harm.
    pub fn was_not_answered(&mut self, is_repeatable: bool) -> bool {
        if let Some(attempt) = &self.attempt {
            attempt.member.endpoint().metrics.answer_failures.increment();
        }
        self.fail();
        is_repeatable && self.may_try_again()
    }

    /// Notes that the server closed a connection that had been idle, as all do sometime: no failure of its. It may be tried
    /// again under the same conditions as above.
    pub fn lost_an_idle_connection(&mut self, is_repeatable: bool) -> bool {
        is_repeatable && self.may_try_again()
    }

    fn fail(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            let is_trial = std::mem::take(&mut attempt.is_trial);
            self.upstream.note_failure(&attempt.member, is_trial);
        }
    }

    fn may_try_again(&mut self) -> bool {
        let Some(attempt) = &self.attempt else { return false };
        if self.tried.len() >= self.upstream.retries() {
            return false;
        }
        self.tried.push(attempt.member.clone());
        self.upstream.spend_retry()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.upstream.leave();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.member.under_way.fetch_sub(1, Ordering::Relaxed);
        if self.is_trial {
            self.upstream.abandon_trial(&self.member);
        }
    }
}

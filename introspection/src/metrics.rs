//! What is counted of tokens and of authorization servers. The handles are looked up once, when an introspector is made, so
//! whoever wants to see the numbers installs a recorder before that.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram};
use metrics::{gauge, histogram};

use crate::error::Unavailable;
use crate::exchange::{ExchangeError, IssuedToken};
use crate::response::Introspection;
use crate::revocation::Revocation;

/// The numbers of one authorization server.
pub(crate) struct Metrics {
    name: String,
    pub(crate) lookups: Lookups,
    pub(crate) evictions: Counter,
    pub(crate) refreshes: Counter,
    pub(crate) entries: Gauge,
    pub(crate) inactive_entries: Gauge,
    introspections: Introspections,
    exchanges: Exchanges,
    circuit_open: Gauge,
    alarms: Alarms,
}

/// What came of requests with a token.
pub(crate) struct Lookups {
    /// Active, from the cache.
    pub(crate) hit: Tally,
    /// Asked for.
    pub(crate) miss: Tally,
    /// Waited for the answer to another request's question.
    pub(crate) coalesced: Tally,
    /// Inactive, from the cache.
    pub(crate) negative: Tally,
    /// Past its life in the cache, used because the authorization server failed.
    pub(crate) stale: Tally,
    /// Turned away: too many waited already.
    pub(crate) refused: Tally,
}

/// A counter that can be read here as well as by whoever collects metrics.
pub(crate) struct Tally {
    collected: Counter,
    count: AtomicU64,
}

/// How often requests with a token met which state of the cache, since the introspector was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookupCounts {
    /// Active, from the cache.
    pub hit: u64,
    /// Asked for.
    pub miss: u64,
    /// Waited for the answer to another request's question.
    pub coalesced: u64,
    /// Inactive, from the cache.
    pub negative: u64,
    /// Past its life in the cache, used because the authorization server failed.
    pub stale: u64,
    /// Turned away: too many waited already.
    pub refused: u64,
}

impl Tally {
    fn new(collected: Counter) -> Self {
        Self { collected, count: AtomicU64::new(0) }
    }

    pub(crate) fn increment(&self) {
        self.collected.increment(1);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Lookups {
    pub(crate) fn counts(&self) -> LookupCounts {
        let Self { hit, miss, coalesced, negative, stale, refused } = self;
        LookupCounts {
            hit: hit.count(),
            miss: miss.count(),
            coalesced: coalesced.count(),
            negative: negative.count(),
            stale: stale.count(),
            refused: refused.count(),
        }
    }
}

impl LookupCounts {
    /// Those that waited for nobody.
    pub fn answered_at_once(self) -> u64 {
        self.hit + self.negative
    }

    /// All of them. A stale one was first asked for, or waited.
    pub fn all(self) -> u64 {
        let Self { hit, miss, coalesced, negative, stale: _, refused } = self;
        hit + miss + coalesced + negative + refused
    }
}

struct Introspections {
    active: Counter,
    inactive: Counter,
    unavailable: Counter,
    seconds: Histogram,
}

struct Exchanges {
    issued: Counter,
    refused: Counter,
    unavailable: Counter,
    seconds: Histogram,
}

/// What an operator should be woken for, although each single answer could be right.
struct Alarms {
    client_refused: Gauge,
    all_inactive: Gauge,
    inactive_in_a_row: AtomicU32,
}

/// So many inactive answers with no active one among them, and it looks as if the fault were ours: some servers say nothing
/// else to a client that may not introspect.
const SUSPICIOUS: u32 = 100;

impl Metrics {
    pub(crate) fn new(name: &str) -> Self {
        describe();
        let lookup = |outcome: &'static str| {
            Tally::new(
                counter!("phantomgate_token_lookups_total", "authorization_server" => name.to_owned(), "outcome" => outcome),
            )
        };
        let introspection = |outcome: &'static str| counter!("phantomgate_introspections_total", "authorization_server" => name.to_owned(), "outcome" => outcome);
        let exchange = |outcome: &'static str| counter!("phantomgate_token_exchanges_total", "authorization_server" => name.to_owned(), "outcome" => outcome);
        let entries = |state: &'static str| gauge!("phantomgate_token_cache_entries", "authorization_server" => name.to_owned(), "state" => state);
        let alarm = |alarm: &'static str| {
            let gauge = gauge!(
                "phantomgate_authorization_server_alarm",
                "authorization_server" => name.to_owned(), "alarm" => alarm
            );
            gauge.set(0.0);
            gauge
        };
        let circuit_open =
            gauge!("phantomgate_authorization_server_circuit_open", "authorization_server" => name.to_owned());
        circuit_open.set(0.0);
        Self {
            name: name.to_owned(),
            lookups: Lookups {
                hit: lookup("hit"),
                miss: lookup("miss"),
                coalesced: lookup("coalesced"),
                negative: lookup("negative"),
                stale: lookup("stale"),
                refused: lookup("refused"),
            },
            evictions: counter!("phantomgate_token_cache_evictions_total", "authorization_server" => name.to_owned()),
            refreshes: counter!("phantomgate_token_refreshes_total", "authorization_server" => name.to_owned()),
            entries: entries("active"),
            inactive_entries: entries("inactive"),
            introspections: Introspections {
                active: introspection("active"),
                inactive: introspection("inactive"),
                unavailable: introspection("unavailable"),
                seconds: histogram!("phantomgate_introspection_seconds", "authorization_server" => name.to_owned()),
            },
            exchanges: Exchanges {
                issued: exchange("issued"),
                refused: exchange("refused"),
                unavailable: exchange("unavailable"),
                seconds: histogram!("phantomgate_token_exchange_seconds", "authorization_server" => name.to_owned()),
            },
            circuit_open,
            alarms: Alarms {
                client_refused: alarm("client_refused"),
                all_inactive: alarm("all_inactive"),
                inactive_in_a_row: AtomicU32::new(0),
            },
        }
    }

    /// Notes what a question to the authorization server came to.
    pub(crate) fn asked(&self, answer: &Result<Introspection, Unavailable>, took: Duration, circuit_open: bool) {
        let Introspections { active, inactive, unavailable, seconds } = &self.introspections;
        seconds.record(took);
        match answer {
            Ok(Introspection::Active(_)) => active.increment(1),
            Ok(Introspection::Inactive(_)) => inactive.increment(1),
            Err(_) => unavailable.increment(1),
        }
        self.circuit_open.set(if circuit_open { 1.0 } else { 0.0 });
        self.alarms.note(answer);
    }

    /// Notes what an exchange came to.
    pub(crate) fn exchanged(&self, outcome: &Result<IssuedToken, ExchangeError>, took: Duration) {
        let Exchanges { issued, refused, unavailable, seconds } = &self.exchanges;
        seconds.record(took);
        match outcome {
            Ok(_) => issued.increment(1),
            Err(ExchangeError::Unavailable(_)) => unavailable.increment(1),
            Err(
                ExchangeError::SubjectTokenInvalid | ExchangeError::InsufficientClaims(_) | ExchangeError::Refused(_),
            ) => refused.increment(1),
        }
    }

    pub(crate) fn revoked(&self, revocation: &Revocation) {
        let (name, by) = (self.name.clone(), revocation.kind());
        counter!("phantomgate_revocations_total", "authorization_server" => name, "by" => by).increment(1);
    }
}

impl Alarms {
    fn note(&self, answer: &Result<Introspection, Unavailable>) {
        match answer {
            Err(Unavailable::ClientRefused(_)) => self.client_refused.set(1.0),
            Err(_) => {}
            Ok(Introspection::Active(_)) => {
                self.client_refused.set(0.0);
                self.all_inactive.set(0.0);
                self.inactive_in_a_row.store(0, Ordering::Relaxed);
            }
            Ok(Introspection::Inactive(_)) => {
                self.client_refused.set(0.0);
                // Saturates in the end; by then the alarm has rung for a long time.
                let before = self
                    .inactive_in_a_row
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(1)));
                if before.unwrap_or_else(|count| count) + 1 >= SUSPICIOUS {
                    self.all_inactive.set(1.0);
                }
            }
        }
    }
}

fn describe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        describe_counter!("phantomgate_token_lookups_total", "Requests with a token, by how it was known");
        describe_counter!("phantomgate_token_cache_evictions_total", "Live entries that had to make room for others");
        describe_gauge!("phantomgate_token_cache_entries", "Tokens in the cache");
        describe_counter!("phantomgate_introspections_total", "Questions to the authorization server, by its answer");
        describe_histogram!(
            "phantomgate_introspection_seconds",
            Unit::Seconds,
            "How long the authorization server took to answer, or to fail"
        );
        describe_counter!("phantomgate_token_exchanges_total", "Tokens exchanged for one for an upstream, by outcome");
        describe_histogram!(
            "phantomgate_token_exchange_seconds",
            Unit::Seconds,
            "How long the authorization server took to exchange a token, or to fail"
        );
        describe_counter!("phantomgate_token_refreshes_total", "Questions asked before an entry in use was over");
        describe_counter!("phantomgate_revocations_total", "Revocations received, by what they name");
        describe_gauge!(
            "phantomgate_authorization_server_alarm",
            "1 while it refuses our client (client_refused), or has called no token active for long (all_inactive)"
        );
        describe_gauge!(
            "phantomgate_authorization_server_circuit_open",
            "1 while it is not asked, because it failed again and again"
        );
    });
}

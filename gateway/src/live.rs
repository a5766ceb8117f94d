//! How it goes at the moment: requests and how long they took, second by second, for whoever watches.
//!
//! A request costs two additions: it is counted in running totals. Once a second these are written down, and what lies between
//! two seconds is the difference of their totals.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use phantomgate_introspection::NumericDate;
use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::{AuditRecord, Decision, Latency};

/// How many seconds are kept.
const KEPT: usize = 300;

/// Durations are told apart in steps of a quarter of a power of two of microseconds: at most 25 % from one to the next, up
/// to an hour.
const BUCKETS: usize = 4 * 32;

/// Counts requests, and remembers the last minutes.
pub struct Live {
    decisions: [AtomicU64; 3],
    durations: [AtomicU64; BUCKETS],
    seconds: Mutex<VecDeque<Totals>>,
}

/// All that was counted up to a second.
struct Totals {
    at: NumericDate,
    decisions: [u64; 3],
    durations: Box<[u64; BUCKETS]>,
}

/// The requests that ended within a span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Span {
    /// Its end, in seconds since 1970-01-01T00:00:00Z.
    pub until: u64,
    /// Its length, in seconds.
    pub seconds: u64,
    /// Those that were passed on, or answered by ourselves.
    pub allow: u64,
    /// Those that were refused.
    pub deny: u64,
    /// Those that could not be decided or served.
    pub fail: u64,
    /// The time until the head of the answer, without waiting for what the client sends, that half of them stayed below, in
    /// microseconds; null when there were none.
    pub p50_us: Option<u64>,
    /// The same for 99 of 100, in microseconds; null when there were none.
    pub p99_us: Option<u64>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            decisions: [const { AtomicU64::new(0) }; 3],
            durations: [const { AtomicU64::new(0) }; BUCKETS],
            seconds: Mutex::default(),
        }
    }
}

impl Live {
    /// Counts the request that `record` is of.
    pub fn count(&self, record: &AuditRecord<'_>) {
        let Latency { introspection, message: _, credential, decision, upstream, total: _ } = record.latency;
        let until_answer = [introspection, credential, decision, upstream].into_iter().flatten().sum();
        self.add(record.decision, until_answer);
    }

    fn add(&self, decision: Decision, until_answer: Duration) {
        let add = |counter: Option<&AtomicU64>| counter.map(|counter| counter.fetch_add(1, Ordering::Relaxed));
        add(self.decisions.get(decision as usize));
        add(self.durations.get(bucket(until_answer)));
    }

    /// Writes the totals down each second; ends when dropped.
    pub async fn keep_time(&self) {
        let mut interval = tokio::time::interval(Duration::from_secs(1));
        loop {
            interval.tick().await;
            self.tick(NumericDate::now());
        }
    }

    fn tick(&self, now: NumericDate) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let totals = Totals {
            at: now,
            decisions: self.decisions.each_ref().map(read),
            durations: Box::new(self.durations.each_ref().map(read)),
        };
        let mut seconds = self.seconds.lock();
        match seconds.back_mut() {
            // Also when the clock was set back: time must go on.
            Some(last) if last.at >= now => *last = Totals { at: last.at, ..totals },
            _ => seconds.push_back(totals),
        }
        if seconds.len() > KEPT + 1 {
            seconds.pop_front();
        }
    }

    /// The seconds that ended after `since`, oldest first, as far as they are kept.
    pub fn since(&self, since: NumericDate) -> Vec<Span> {
        let seconds = self.seconds.lock();
        let pairs = seconds.iter().zip(seconds.iter().skip(1)).filter(|(_, to)| to.at > since);
        pairs.map(|(from, to)| Span::between(from, to)).collect()
    }

    /// The last `span` seconds as one, as far as they are kept; none in the first second.
    pub fn last(&self, span: usize) -> Option<Span> {
        let seconds = self.seconds.lock();
        let to = seconds.back()?;
        let from = seconds.iter().rev().take(span + 1).next_back()?;
        (from.at < to.at).then(|| Span::between(from, to))
    }
}

impl Span {
    fn between(from: &Totals, to: &Totals) -> Self {
        let mut durations = to.durations.clone();
        durations.iter_mut().zip(from.durations.iter()).for_each(|(to, from)| *to = to.saturating_sub(*from));
        let mut decisions = to.decisions;
        decisions.iter_mut().zip(from.decisions).for_each(|(to, from)| *to = to.saturating_sub(from));
        let [allow, deny, fail] = decisions;
        Self {
            until: to.at.seconds(),
            seconds: to.at.since(from.at).as_secs(),
            allow,
            deny,
            fail,
            p50_us: quantile(&durations[..], 50),
            p99_us: quantile(&durations[..], 99),
        }
    }
}

/// Where a duration is counted.
fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
    let power = micros.ilog2();
    let quarter = ((u128::from(micros) << 2) >> power) & 3;
    let bucket = power * 4 + u32::try_from(quarter).unwrap_or(3);
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The middle of what is counted in a bucket, in microseconds.
fn middle(bucket: usize) -> u64 {
    let lowest = |bucket: usize| (4 + (bucket as u128 & 3)) << (bucket / 4) >> 2;
    u64::try_from(u128::midpoint(lowest(bucket), lowest(bucket + 1))).unwrap_or(u64::MAX)
}

/// What so many of 100 stay below or at.
fn quantile(durations: &[u64], of_100: u64) -> Option<u64> {
    let wanted = (durations.iter().sum::<u64>() * of_100).div_ceil(100);
    let mut seen = 0;
    let is_reached = |count: &u64| {
        seen += count;
        wanted > 0 && seen >= wanted
    };
    durations.iter().position(is_reached).map(middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> NumericDate {
        NumericDate::from_seconds(seconds)
    }

    #[test]
    fn durations_are_told_to_an_eighth_of_themselves() {
        for micros in [1, 2, 3, 7, 10, 99, 1_000, 1_024, 123_456, 9_999_999, 3_600_000_000] {
            let told = middle(bucket(Duration::from_micros(micros)));
            assert!(told.abs_diff(micros) <= micros.div_ceil(8), "{micros} µs are told as {told}");
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_second_is_what_was_counted_in_it() {
        let live = Live::default();
        live.add(Decision::Allow, Duration::from_millis(1));
        live.tick(at(100));
        for _ in 0..98 {
            live.add(Decision::Allow, Duration::from_millis(2));
        }
        live.add(Decision::Deny, Duration::from_secs(1));
        live.add(Decision::Fail, Duration::from_secs(1));
        live.tick(at(101));
        live.tick(at(102));

        let seconds = live.since(at(0));
        assert_eq!(seconds.len(), 2);
        let Span { allow, deny, fail, p50_us, p99_us, .. } = seconds[0];
        assert_eq!((allow, deny, fail), (98, 1, 1));
        assert!(p50_us.unwrap().abs_diff(2_000) < 250 && p99_us.unwrap().abs_diff(1_000_000) < 125_000);
        let quiet = Span { until: 102, seconds: 1, allow: 0, deny: 0, fail: 0, p50_us: None, p99_us: None };
        assert_eq!(seconds[1], quiet);
        assert_eq!(live.since(at(101)), [quiet]);
    }

    #[test]
    fn the_last_minute_is_as_much_of_it_as_there_is() {
        let live = Live::default();
        assert_eq!(live.last(60), None);
        for second in 0..100 {
            live.tick(at(1_000 + second));
            assert_eq!(live.last(60).map_or(0, |span| span.seconds), second.min(60));
            live.add(Decision::Allow, Duration::ZERO);
        }
        assert_eq!(live.last(60).unwrap().allow, 60);
    }

    #[test]
    fn the_past_is_bounded_and_a_clock_that_is_set_back_does_no_harm() {
        let live = Live::default();
        for second in 0..1_000 {
            live.tick(at(second));
        }
        assert_eq!(live.since(at(0)).len(), KEPT);
        live.add(Decision::Allow, Duration::ZERO);
        live.tick(at(10));
        let seconds = live.since(at(0));
        assert_eq!((seconds.len(), seconds.last().unwrap().allow), (KEPT, 1));
    }
}

//! When an address whose requests fail is left alone, and when it is tried again. Pure: time is an argument.
//!
//! ```text
//! in use ──failures in a row──► out, until … ──one request──► tried ──answered──► in use
//!                                    ▲                          │
//!                                    └── twice as long ◄─failed─┘
//! ```

use std::time::{Duration, Instant};

use crate::config::Ejection as Rule;

/// The longest time out, in multiples of the first.
const LONGEST: u32 = 10;

/// What failures of one address have led to.
#[derive(Debug, Default)]
pub(crate) struct Ejection {
    failures: u32,
    /// How many times in a row it was ejected, with no good time between.
    times: u32,
    /// How long it was out last.
    span: Duration,
    recovered: Option<Instant>,
    out: Option<Out>,
}

#[derive(Debug)]
struct Out {
    until: Instant,
    /// A request is trying whether it works again.
    is_tried: bool,
}

impl Ejection {
    /// Whether it is left alone.
    pub(crate) fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// When it is to be tried again, if it is out and nobody is at it.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.out.as_ref().filter(|out| !out.is_tried).map(|out| out.until)
    }

    /// Whether a request may try it now; only one gets to hear this.
    pub(crate) fn try_now(&mut self, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if let Some(out) = self.out.as_mut().filter(|_| is_due) {
            out.is_tried = true;
        }
        is_due
    }

    /// Notes that the request that tried it ended without finding out.
    pub(crate) fn leave(&mut self) {
        if let Some(out) = &mut self.out {
            out.is_tried = false;
        }
    }

    /// Notes that a request failed; gives how long it is ejected for, if it is. `tried` says that this was the request that
    /// was to find out.
    pub(crate) fn failed(&mut self, tried: bool, rule: &Rule, now: Instant) -> Option<Duration> {
        if self.out.is_some() {
            // What else comes back while it is out was sent before, or for want of anything better.
            if !tried {
                return None;
            }
            self.times = self.times.saturating_add(1);
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures < rule.failures {
                return None;
            }
            let is_relapse =
                self.recovered.is_some_and(|recovered| now.saturating_duration_since(recovered) <= self.span);
            self.times = if is_relapse { self.times.saturating_add(1) } else { 1 };
        }
        let doubled = 1_u32.checked_shl(self.times.saturating_sub(1)).unwrap_or(LONGEST);
        self.span = rule.period.saturating_mul(doubled.clamp(1, LONGEST));
        self.failures = 0;
        self.out = Some(Out { until: now + self.span, is_tried: false });
        Some(self.span)
    }

    /// Notes that a request was answered. `knowing` says that it was sent although the address was out; then the address is
    /// in use again, and this gives true.
    pub(crate) fn answered(&mut self, knowing: bool, now: Instant) -> bool {
        self.failures = 0;
        if self.out.is_none() || !knowing {
            return false;
        }
        self.out = None;
        self.recovered = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { failures: 3, period: Duration::from_secs(10) };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_between_starts_anew() {
        let (mut ejection, now) = (Ejection::default(), Instant::now());
        assert_eq!(ejection.failed(false, &RULE, now), None);
        assert_eq!(ejection.failed(false, &RULE, now), None);
        assert!(!ejection.answered(false, now));
        assert_eq!(ejection.failed(false, &RULE, now), None);
        assert_eq!(ejection.failed(false, &RULE, now), None);
        assert_eq!(ejection.failed(false, &RULE, now), Some(seconds(10)));
        assert!(ejection.is_out());
    }

    #[test]
    fn one_request_tries_it_again_when_its_time_is_over() {
        let (mut ejection, now) = (ejected(Instant::now()), Instant::now());
        assert!(!ejection.try_now(now));
        let later = now + seconds(11);
        assert!(ejection.try_now(later));
        assert!(!ejection.try_now(later), "one is enough");
        ejection.leave();
        assert!(ejection.try_now(later), "that one did not find out");
        assert!(ejection.answered(true, later));
        assert!(!ejection.is_out());
    }

    #[test]
    fn each_time_is_twice_as_long_up_to_ten_times_the_first() {
        let mut now = Instant::now();
        let mut ejection = ejected(now);
        for span in [20, 40, 80, 100, 100, 100] {
            now += seconds(101);
            assert!(ejection.try_now(now));
            assert_eq!(ejection.failed(true, &RULE, now), Some(seconds(span)));
        }
    }

    #[test]
    fn a_relapse_is_longer_and_after_a_good_time_it_starts_anew() {
        let start = Instant::now();
        for (after, span) in [(10, 20), (11, 10)] {
            let mut ejection = ejected(start);
            assert!(ejection.answered(true, start));
            ejection.failed(false, &RULE, start);
            ejection.failed(false, &RULE, start);
            assert_eq!(ejection.failed(false, &RULE, start + seconds(after)), Some(seconds(span)), "{after}");
        }
    }

    #[test]
    fn what_was_on_its_way_before_changes_nothing() {
        let now = Instant::now();
        let mut ejection = ejected(now);
        assert_eq!(ejection.failed(false, &RULE, now), None);
        assert!(!ejection.answered(false, now));
        assert!(ejection.is_out());
        assert_eq!(ejection.due(), Some(now + seconds(10)));
    }

    fn ejected(now: Instant) -> Ejection {
        let mut ejection = Ejection::default();
        for _ in 0..RULE.failures {
            ejection.failed(false, &RULE, now);
        }
        assert!(ejection.is_out());
        ejection
    }
}

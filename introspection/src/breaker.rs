//! A circuit breaker: while an authorization server is away, requests are told so at once instead of waiting for it.
//!
//! Only what says that the server is away counts: no connection, no answer in time, a gateway's 502, 503 or 504. An error
//! that an attacker can cause with a strange token (400, 500, 429, garbage) proves that the server is there.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a request to the server says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It answers.
    Life,
    /// It does not.
    Outage,
}

/// The right to ask once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// As usual.
    Usual,
    /// To see whether the server is back.
    Probe,
}

#[derive(Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    /// Signs of an outage since the last sign of life.
    outages: u32,
    open: Option<Open>,
}

/// Nobody asks, but for one probe at the end of each pause.
#[derive(Clone, Copy)]
struct Open {
    until: Instant,
    pause: Duration,
}

/// This many in a row, and the circuit opens.
const OUTAGES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

impl Breaker {
    /// Whether the server may be asked at the time `now`; if not, how long to wait.
    pub(crate) fn admit(&self, now: Instant) -> Result<Admitted, Duration> {
        let mut state = self.0.lock();
        let Some(open) = &mut state.open else { return Ok(Admitted::Usual) };
        if now < open.until {
            return Err(open.until - now);
        }
        // If this probe is lost without a word, there is another after the pause.
        open.until = now + open.pause;
        Ok(Admitted::Probe)
    }

    /// Notes what a request found, at the time `now`.
    pub(crate) fn note(&self, admitted: Admitted, sign: Sign, now: Instant) {
        let mut state = self.0.lock();
        if sign == Sign::Life {
            *state = State::default();
            return;
        }
        state.outages = state.outages.saturating_add(1);
        let pause = match (state.open, admitted) {
            (None, _) if state.outages < OUTAGES => return,
            (None, _) => FIRST_PAUSE,
            // It was under way when the circuit opened, and tells nothing new.
            (Some(_), Admitted::Usual) => return,
            (Some(open), Admitted::Probe) => (open.pause * 2).min(LONGEST_PAUSE),
        };
        state.open = Some(Open { until: now + pause, pause });
    }

    /// Whether requests are turned away.
    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            let admitted = breaker.admit(now).unwrap();
            breaker.note(admitted, Sign::Outage, now);
        }
    }

    #[test]
    fn it_opens_after_outages_in_a_row_and_a_sign_of_life_in_between_starts_the_count_anew() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        fail(&breaker, OUTAGES - 1, now);
        breaker.note(Admitted::Usual, Sign::Life, now);
        fail(&breaker, OUTAGES - 1, now);
        assert!(!breaker.is_open());
        fail(&breaker, 1, now);
        assert!(breaker.is_open());
        assert_eq!(breaker.admit(now), Err(FIRST_PAUSE));
    }

    #[test]
    fn after_a_pause_one_probe_goes_and_the_pauses_grow_to_a_limit() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        fail(&breaker, OUTAGES, now);
        for pause in [1, 2, 4, 8, 8].map(Duration::from_secs) {
            assert_eq!(breaker.admit(now), Err(pause));
            now += pause;
            assert_eq!(breaker.admit(now), Ok(Admitted::Probe));
            assert!(breaker.admit(now).is_err(), "a second probe");
            breaker.note(Admitted::Probe, Sign::Outage, now);
        }
        now += LONGEST_PAUSE;
        let probe = breaker.admit(now).unwrap();
        breaker.note(probe, Sign::Life, now);
        assert_eq!(breaker.admit(now), Ok(Admitted::Usual));
    }

    #[test]
    fn failures_of_requests_that_were_under_way_do_not_lengthen_the_pause() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let late = breaker.admit(now).unwrap();
        fail(&breaker, OUTAGES, now);
        breaker.note(late, Sign::Outage, now);
        assert_eq!(breaker.admit(now + FIRST_PAUSE), Ok(Admitted::Probe));
    }
}

//! How many requests may come in which time: GCRA, which spreads what a period allows evenly and lets a burst through
//! after a pause.
//!
//! Keys are kept as hashes: no request allocates, and nothing of a token stays in memory.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use super::keys::Keys;
use crate::config::RateConfig;

/// One rate, for each key of its own.
pub struct Rate<C: Clock = MonotonicClock> {
    config: RateConfig,
    limiter: RateLimiter<u64, Keys, C, NoOpMiddleware<C::Instant>>,
    keys: Keys,
    hasher: RandomState,
}

impl Rate {
    /// A rate of which nothing has been used.
    pub fn new(config: RateConfig) -> Self {
        Self::with_clock(config, MonotonicClock)
    }
}

impl<C: Clock> Rate<C> {
    fn with_clock(config: RateConfig, clock: C) -> Self {
        let quota = Quota::with_period(interval(&config)).unwrap_or_else(|| Quota::per_second(config.requests));
        let keys = Keys::default();
        let limiter = RateLimiter::new(quota.allow_burst(config.burst), keys.clone(), clock);
        Self { config, limiter, keys, hasher: RandomState::new() }
    }

    /// What it was made from.
    pub fn config(&self) -> &RateConfig {
        &self.config
    }

    /// Counts so many requests for `key`: all of them or none.
    ///
    /// # Errors
    /// How long to wait until they would pass. More than a burst never pass; then it is the time that a burst takes.
    pub fn check(&self, key: impl Hash, requests: NonZeroU32) -> Result<(), Duration> {
        let checked = self.limiter.check_key_n(&self.hasher.hash_one(key), requests);
        if self.keys.take_due() {
            self.limiter.retain_recent();
        }
        match checked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.limiter.clock().now())),
            Err(_more_than_a_burst) => Err(interval(&self.config) * self.config.burst.get()),
        }
    }
}

/// The time that one request takes. Within the bounds of the configuration it is not zero, and no burst of it overflows.
fn interval(config: &RateConfig) -> Duration {
    (config.period / config.requests.get()).max(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::config::Per;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn rate(requests: u32, period: Duration, burst: u32) -> (Rate<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let (requests, burst) = (NonZeroU32::new(requests).unwrap(), NonZeroU32::new(burst).unwrap());
        let config = RateConfig { per: Per::Client, requests, period, burst };
        (Rate::with_clock(config, clock.clone()), clock)
    }

    #[test]
    fn a_burst_passes_and_then_one_request_each_interval() {
        let (rate, clock) = rate(10, Duration::from_secs(1), 3);
        for _ in 0..3 {
            rate.check("a", ONE).unwrap();
        }
        assert_eq!(rate.check("a", ONE), Err(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(99));
        assert_eq!(rate.check("a", ONE), Err(Duration::from_millis(1)));
        clock.advance(Duration::from_millis(1));
        rate.check("a", ONE).unwrap();
        rate.check("a", ONE).unwrap_err();
    }

    #[test]
    fn each_key_has_its_own() {
        let (rate, _) = rate(1, Duration::from_secs(1), 1);
        rate.check("a", ONE).unwrap();
        rate.check("b", ONE).unwrap();
        rate.check("a", ONE).unwrap_err();
    }

    #[test]
    fn of_several_requests_all_pass_or_none() {
        let (rate, clock) = rate(1, Duration::from_secs(1), 3);
        let (two, four) = (NonZeroU32::new(2).unwrap(), NonZeroU32::new(4).unwrap());
        rate.check("a", two).unwrap();
        assert_eq!(rate.check("a", two), Err(Duration::from_secs(1)));
        rate.check("a", ONE).unwrap();
        clock.advance(Duration::from_secs(60));
        assert_eq!(rate.check("a", four), Err(Duration::from_secs(3)), "more than a burst");
        rate.check("a", two).unwrap();
    }

    #[test]
    fn keys_that_are_not_used_are_forgotten() {
        let (rate, clock) = rate(1, Duration::from_secs(1), 1);
        for key in 0..1_000_000 {
            let _ = rate.check(key, ONE);
            clock.advance(Duration::from_millis(1));
        }
        // A thousand are in use at a time.
        assert!(rate.limiter.len() < 10_000, "{}", rate.limiter.len());
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_resets_none_in_use() {
        let (rate, clock) = rate(1, Duration::from_secs(3600), 1);
        rate.check("a", ONE).unwrap();
        let passed = (0..1_000_000).filter(|key| rate.check(key, ONE).is_ok()).count();
        assert!(rate.limiter.len() <= 100_000, "{}", rate.limiter.len());
        assert!(passed <= 100_000 + 16, "{passed}: what there is no room for shares its rate");
        rate.check("a", ONE).unwrap_err();
        // When those are over, there is room again.
        clock.advance(Duration::from_secs(7200));
        for key in 2_000_000..2_050_000 {
            let _ = rate.check(key, ONE);
        }
        rate.check("a", ONE).unwrap();
        rate.check("b", ONE).unwrap();
    }

    #[test]
    fn the_bounds_of_the_configuration_do_not_overflow() {
        for (requests, period) in [(1, Duration::from_secs(3600)), (1_000_000, Duration::from_millis(100))] {
            let (rate, _) = rate(requests, period, 1_000_000);
            rate.check("a", NonZeroU32::new(1_000_000).unwrap()).unwrap();
            rate.check("a", ONE).unwrap_err();
        }
    }
}

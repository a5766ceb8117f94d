//! How much may be tried again: a part of what is sent, so that an upstream that fails is not sent a multiple of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A request earns a fifth of a retry.
const EARNED: u64 = 1;
const PRICE: u64 = 5;

/// What there is at first, for upstreams with little traffic.
const AT_FIRST: u64 = 100 * PRICE;

/// The most that can be saved: enough for all requests that an endpoint takes down with it.
const MOST: u64 = 1_000 * PRICE;

/// The retries of one upstream.
#[derive(Debug)]
pub(crate) struct RetryBudget(AtomicU64);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU64::new(AT_FIRST))
    }
}

impl RetryBudget {
    /// Notes a request.
    pub(crate) fn earn(&self) {
        // Full is the usual case, and costs no write. Two at once may save a fifth too much.
        if self.0.load(Ordering::Relaxed) < MOST {
            self.0.fetch_add(EARNED, Ordering::Relaxed);
        }
    }

    /// Whether a request may be tried again.
    pub(crate) fn spend(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(PRICE)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_may_be_tried_again() {
        let budget = RetryBudget::default();
        let spend_all = || std::iter::repeat_with(|| budget.spend()).take_while(|spent| *spent).count();
        assert_eq!(spend_all(), 100);
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!(spend_all(), 200);
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!(spend_all(), 1_000);
    }
}

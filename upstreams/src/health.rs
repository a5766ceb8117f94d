//! What health checks have found of one address. Pure; [`check`](crate::check) asks.

use crate::config::HealthCheck;

/// What the last checks found. Well until proven otherwise: a start does not wait for checks.
#[derive(Debug)]
pub(crate) struct Health {
    is_well: bool,
    /// How many in a row have contradicted that.
    contradictions: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { is_well: true, contradictions: 0 }
    }
}

impl Health {
    /// Whether it gets requests.
    pub(crate) fn is_well(&self) -> bool {
        self.is_well
    }

    /// Notes what a check found; gives whether that changes anything.
    pub(crate) fn note(&mut self, passed: bool, check: &HealthCheck) -> bool {
        if passed == self.is_well {
            self.contradictions = 0;
            return false;
        }
        self.contradictions = self.contradictions.saturating_add(1);
        let enough = if passed { check.healthy_after } else { check.unhealthy_after };
        if self.contradictions < enough {
            return false;
        }
        *self = Self { is_well: passed, contradictions: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_takes_several_in_a_row_either_way() {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(1));
        let check = HealthCheck { path: None, interval, timeout, healthy_after: 2, unhealthy_after: 3 };
        let mut health = Health::default();
        let outcomes = [false, false, true, false, false, false, true, false, true, true];
        let changes: Vec<_> = outcomes.into_iter().map(|passed| health.note(passed, &check)).collect();
        assert_eq!(changes, [false, false, false, false, false, true, false, false, false, true]);
        assert!(health.is_well());
    }
}

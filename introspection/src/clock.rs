//! The wall clock. The only file of the workspace that reads it: everything else takes a [`NumericDate`] as an argument.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z, as JWTs and introspection responses count time (RFC 7519 §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NumericDate(u64);

impl NumericDate {
    /// The present moment by the system's clock, rounded down.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()))
    }

    /// The moment that many seconds after the epoch.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// This moment and `span` more; the fraction of a second is cut off, so that nothing lives longer than it may.
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// The time from now until this moment, to the fraction of a second; zero when it has passed already.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn from_now(self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(self.0).saturating_sub(now)
    }

    /// The time from `earlier` until this moment; zero when it has passed already.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// A moment in UTC, for records: finer than [`NumericDate`], and never compared with what somebody else says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The present moment by the system's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The moment that long after the epoch.
    pub const fn from_epoch(span: Duration) -> Self {
        Self(span)
    }

    /// This moment less `span`.
    pub const fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }

    /// The time since 1970-01-01T00:00:00Z.
    pub const fn since_epoch(self) -> Duration {
        self.0
    }
}

impl fmt::Display for NumericDate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_never_go_below_zero_nor_round_up() {
        let noon = NumericDate::from_seconds(1_000);
        assert_eq!(noon.since(NumericDate::from_seconds(1_500)), Duration::ZERO);
        assert_eq!(noon.after(Duration::from_millis(1_999)), NumericDate::from_seconds(1_001));
    }
}

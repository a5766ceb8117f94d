//! The time of day, which servers that issue tokens need and only a clock announces.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the epoch, as claims have them.
pub fn now() -> u64 {
    since_epoch().as_secs()
}

/// Waits for a point in time.
pub async fn until(numeric_date: u64) {
    tokio::time::sleep(Duration::from_secs(numeric_date).saturating_sub(since_epoch())).await;
}

#[allow(clippy::disallowed_methods, reason = "the authorization server of the tests issues tokens that expire")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

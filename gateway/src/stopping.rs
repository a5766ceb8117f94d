//! ① The end of the gateway, for answers that would outlast it.
//!
//! Requests under way get their time to finish. An event stream that nobody waits for the end of would take all of that
//! time, so it ends at once, and its client opens another where the gateway goes on. One that answers a request ends
//! shortly before the time is over, with an error for that request, so that its client knows.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long a connection that waits for a request stays open when its listener stops: a request may be on its way. Its
/// answer is the last one, and says so (`Connection: close`, RFC 9112 §9.6).
pub const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Resolves when a connection that waits for a request has waited long enough, after its listener has `stopped`.
pub async fn idle_is_over(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
    tokio::time::sleep(LAST_REQUESTS).await;
}

/// Tells that the gateway is stopping.
pub struct Stop(watch::Sender<Option<Instant>>);

/// Hears that the gateway is stopping.
#[derive(Clone)]
pub struct Stopping(watch::Receiver<Option<Instant>>);

impl Stop {
    /// Where it is told, and where it is heard.
    pub fn channel() -> (Self, Stopping) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), Stopping(receiver))
    }

    /// The gateway stops now, and what is under way may take `patience` to finish.
    pub fn begin(&self, patience: Duration) {
        // Time to tell everybody about it.
        let to_tell = (patience / 10).min(Duration::from_secs(1));
        self.0.send_replace(Some(Instant::now() + (patience - to_tell)));
    }
}

impl Stopping {
    /// Whether it is.
    pub fn has_begun(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves when the gateway begins to stop.
    pub async fn begun(mut self) {
        self.last_moment().await;
    }

    /// Resolves when an answer that is not finished by then will never be.
    pub async fn over(mut self) {
        let last_moment = self.last_moment().await;
        tokio::time::sleep_until(last_moment).await;
    }

    async fn last_moment(&mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await.map(|moment| *moment) {
            Ok(Some(moment)) => moment,
            // Nobody is left to tell: the gateway has ended otherwise.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

//! ① A new configuration while requests are under way: from the file, as a whole or not at all.
//!
//! The file is read again when it has changed, on SIGHUP, and when the operator asks for it at the admin listener. All three
//! ask the [server](crate::server), which alone changes what is at work, one configuration after the other. One with errors
//! changes nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::config::Report;
use crate::server::StartError;

/// How often the file is looked at. A change counts when nothing has changed since the look before: whoever writes it may
/// not be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What came of reading the configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reloaded {
    /// Whether anything had changed.
    pub changed: bool,
    /// The configuration at work now: they are counted from 1.
    pub generation: u64,
}

/// Why the configuration at work stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file has errors.
    #[error("{0}")]
    Configuration(#[from] Report),
    /// What it describes cannot be had.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The gateway is about to end.
    #[error("the gateway is stopping")]
    Stopping,
}

/// Asks for the configuration to be read again.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<Request>);

/// Somebody who asks. There is an answer for each.
pub struct Request(oneshot::Sender<Outcome>);

type Outcome = Result<Reloaded, ReloadError>;

impl Reloads {
    /// Where to ask, and where that is heard.
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        describe_counter!(
            "phantomgate_config_reloads_total",
            "Times the configuration was read again, by what came of it"
        );
        describe_gauge!(
            "phantomgate_config_generation",
            "Which configuration is at work, counted from 1 since the start"
        );
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), receiver)
    }

    /// Has the configuration read again; gives what came of it.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing has changed then.
    pub async fn reload(&self) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        self.0.send(Request(answer)).await.map_err(|_| ReloadError::Stopping)?;
        outcome.await.map_err(|_| ReloadError::Stopping)?
    }

    /// Asks whenever the file at `path` has changed, and on SIGHUP; ends when dropped.
    pub async fn keep(self, path: PathBuf) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::error!(%error, "cannot wait for SIGHUP; the configuration is not read again"),
        };
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut read = Appearance::of(&path);
        let mut before = read;
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                _ = look.tick() => {
                    let now = Appearance::of(&path);
                    let is_settled = now == before;
                    before = now;
                    if now.is_none() || now == read || !is_settled {
                        continue;
                    }
                }
            }
            // Looked at before it is read: a change in between is seen at the next look.
            read = Appearance::of(&path);
            if let Err(ReloadError::Stopping) = self.reload().await {
                return;
            }
        }
    }
}

impl Request {
    /// Tells what came of it: to the log, to the metrics, and to whom has asked.
    pub fn answer(self, outcome: Outcome) {
        let label = match &outcome {
            Ok(Reloaded { changed: true, .. }) => "applied",
            Ok(Reloaded { changed: false, .. }) => "unchanged",
            Err(_) => "refused",
        };
        counter!("phantomgate_config_reloads_total", "outcome" => label).increment(1);
        match &outcome {
            Ok(Reloaded { changed: true, generation }) => tracing::info!(generation, "a new configuration is at work"),
            Ok(Reloaded { changed: false, .. }) => tracing::info!("the configuration has not changed"),
            Err(error) => tracing::error!("the new configuration is refused, and the old one stays at work:\n{error}"),
        }
        // Nobody may be waiting any more.
        let _ = self.0.send(outcome);
    }
}

/// Shows which configuration is at work.
pub fn show_generation(generation: u64) {
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats, and nobody changes a configuration 2^52 times")]
    gauge!("phantomgate_config_generation").set(generation as f64);
}

/// What a file looks like from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Appearance {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl Appearance {
    /// None while there is no such file, as happens while it is replaced.
    fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self { modified: metadata.modified().ok()?, length: metadata.len(), inode: metadata.ino() })
    }
}

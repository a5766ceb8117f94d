//! Where records and traces go, as the program runs on it.

use std::path::PathBuf;

use http::HeaderName;
use phantomgate_introspection::Secret;
use url::Url;

use crate::delivery::WhenFull;

/// Where the records of requests go.
#[derive(Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// Whether they are lines of the log.
    pub log: bool,
    /// Where else.
    pub sinks: Vec<AuditSinkConfig>,
}

/// One place for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSinkConfig {
    /// Where it is.
    pub destination: AuditDestination,
    /// What to do when records come faster than they can be written.
    pub when_full: WhenFull,
    /// How many records may wait.
    pub queue: usize,
}

/// Where records may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditDestination {
    /// Standard output.
    Stdout,
    /// This file.
    File(PathBuf),
    /// This collector, as OpenTelemetry logs.
    Otlp(CollectorConfig),
}

/// An OpenTelemetry collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorConfig {
    /// The URL that the paths of OTLP/HTTP are below, with a slash at its end.
    pub endpoint: Url,
    /// What requests carry beside.
    pub headers: Vec<(HeaderName, Secret)>,
    /// What we are called there (`service.name`).
    pub service_name: String,
}

/// How requests are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracesConfig {
    /// Where traces go.
    pub collector: CollectorConfig,
    /// How many of the requests are traced whose client does not say.
    pub sample: SampleRatio,
    /// Whether a client's trace is continued.
    pub continues: bool,
}

/// A share of all traces, of which the same are chosen wherever the same share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio {
    /// In parts per million.
    millionths: u32,
}

impl AuditDestination {
    /// What it is called in metrics and in the log.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => "stdout".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Otlp(_) => "otlp".to_owned(),
        }
    }
}

impl SampleRatio {
    /// From a share of 0 to 1; none from anything else.
    pub fn new(share: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and a million")]
        (0.0..=1.0).contains(&share).then(|| Self { millionths: (share * 1e6).round() as u32 })
    }

    /// Whether the trace whose id ends with these bits is one of them.
    pub fn contains(self, id: u64) -> bool {
        // The last seven bytes are random (W3C Trace Context level 2), and all who sample decide by them.
        let place = u128::from(id & 0x00ff_ffff_ffff_ffff) * 1_000_000;
        place < u128::from(self.millionths) << 56
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_is_everything_and_none_is_nothing() {
        let ratio = |share| SampleRatio::new(share).unwrap();
        for id in [0, 1, u64::MAX, 0x00ff_ffff_ffff_ffff] {
            assert!(ratio(1.0).contains(id) && !ratio(0.0).contains(id));
        }
        let step = u64::MAX / 1_000;
        let chosen = (0..1_000).filter(|turn| ratio(0.25).contains((turn * step) << 3)).count();
        assert!((200..300).contains(&chosen), "{chosen}");
        assert!(SampleRatio::new(1.5).is_none() && SampleRatio::new(f64::NAN).is_none());
    }
}

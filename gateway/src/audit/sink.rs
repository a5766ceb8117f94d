//! Where records go, each place with its own queue and its own thread.

use std::io;

use super::JsonRecord;
use super::lines::Lines;
use crate::config::{AuditDestination, AuditSinkConfig};
use crate::delivery::{Delivery, Setup, Threads};
use crate::telemetry::logs::Logs;

/// One place.
pub(super) struct Sink {
    config: AuditSinkConfig,
    delivery: Delivery<JsonRecord>,
}

/// Why records cannot be kept where they should be.
#[derive(Debug, thiserror::Error)]
#[error("audit: {sink}: {error}")]
pub struct AuditError {
    sink: String,
    error: io::Error,
}

impl Sink {
    /// Opens what `config` says.
    pub(super) fn open(config: &AuditSinkConfig, threads: &Threads) -> Result<Self, AuditError> {
        let name = config.destination.name();
        let setup = Setup { kind: "audit", name: &name, capacity: config.queue, when_full: config.when_full };
        let delivery = match &config.destination {
            AuditDestination::Stdout => {
                Lines::to_stdout().and_then(|lines| Delivery::start(&setup, threads, move || lines))
            }
            AuditDestination::File(path) => {
                Lines::to_file(path).and_then(|lines| Delivery::start(&setup, threads, move || lines))
            }
            AuditDestination::Otlp(collector) => {
                let collector = collector.clone();
                Delivery::start(&setup, threads, move || Logs::new(&collector))
            }
        };
        match delivery {
            Ok(delivery) => Ok(Self { config: config.clone(), delivery }),
            Err(error) => Err(AuditError { sink: name, error }),
        }
    }

    pub(super) fn config(&self) -> &AuditSinkConfig {
        &self.config
    }

    pub(super) fn delivery(&self) -> &Delivery<JsonRecord> {
        &self.delivery
    }
}

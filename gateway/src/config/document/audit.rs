//! Where the records of requests go, as people write it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One place where the records of requests go. Each has a queue of its own.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditSink {
    /// `stdout`: standard output, one JSON object on each line. `log`: a line of the log, as without `audit`; written at
    /// once, by the request itself. `otlp`: the collector of `telemetry.otlp`. Either this or `file`.
    pub(crate) to: Option<AuditTo>,
    /// A file for one JSON object on each line, relative to the folder of this one. Made for its owner alone (0600) when it
    /// is not there, and anew when it was moved away.
    pub(crate) file: Option<PathBuf>,
    /// What to do when records come faster than they can be written, `block` when left out.
    pub(crate) when_full: Option<WhenFull>,
    /// How many records may wait to be written, 1 to 1000000, 10000 when left out. One takes about 1 kB.
    pub(crate) queue: Option<usize>,
}

/// Where records go that do not go into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuditTo {
    /// Standard output.
    Stdout,
    /// The log.
    Log,
    /// The collector of `telemetry.otlp`.
    Otlp,
}

/// What to do when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhenFull {
    /// No request without a record: new requests wait, and get 503 when there is still no room after ten seconds.
    Block,
    /// No request waits: records that there is no room for are dropped, and counted.
    Drop,
}

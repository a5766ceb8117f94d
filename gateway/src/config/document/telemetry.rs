//! OpenTelemetry, as people write it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// OpenTelemetry.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// The collector that traces go to, and records where `audit` says so.
    pub(crate) otlp: Otlp,
}

/// An OpenTelemetry collector, by OTLP over HTTP.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    /// `http://host:port` or `https://host:port`, perhaps with a path; `/v1/traces` and `/v1/logs` are below it.
    pub(crate) endpoint: String,
    /// What requests to it carry, by the names of headers.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Secret>,
    /// What we are called there (`service.name`).
    #[serde(default = "defaults::service_name")]
    pub(crate) service_name: String,
    /// Whether requests are traced. Upstreams then get `traceparent`.
    #[serde(default = "defaults::yes")]
    pub(crate) traces: bool,
    /// Which share of requests is traced, 0 to 1, of those whose client does not say.
    #[serde(default = "defaults::everything")]
    pub(crate) sample: f64,
    /// Whether a trace that a client began is continued, and its choice of whether to be traced followed. Otherwise each
    /// request begins a trace of its own.
    #[serde(default = "defaults::yes")]
    pub(crate) continue_traces: bool,
}

mod defaults {
    pub(super) fn service_name() -> String {
        "phantomgate".to_owned()
    }

    pub(super) fn yes() -> bool {
        true
    }

    pub(super) fn everything() -> f64 {
        1.0
    }
}

//! Audit records as OpenTelemetry logs: the fields are the attributes, under the names that they have in JSON.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::collector::{Collector, Reply, number, scope, text};
use super::context::TraceParent;
use super::otlp::{
    self, AnyValue, ExportLogsServiceRequest, ExportLogsServiceResponse, KeyValue, LogRecord, ResourceLogs, ScopeLogs,
    SeverityNumber,
};
use crate::audit::JsonRecord;
use crate::config::CollectorConfig;
use crate::delivery::Destination;

/// Sends records to a collector.
pub struct Logs(Collector);

impl Logs {
    /// To the collector that `config` names.
    pub fn new(config: &CollectorConfig) -> Self {
        Self(Collector::new(config, "v1/logs"))
    }
}

impl Destination<JsonRecord> for Logs {
    fn deliver(&mut self, batch: &[JsonRecord]) -> Result<usize, String> {
        let log_records = batch.iter().map(log_record).collect();
        let scope_logs = ScopeLogs { scope: Some(scope()), log_records };
        let resource = Some(self.0.resource());
        let resource_logs = ResourceLogs { resource, scope_logs: vec![scope_logs] };
        let request = ExportLogsServiceRequest { resource_logs: vec![resource_logs] };
        match self.0.send::<ExportLogsServiceResponse>(&request)? {
            Reply::Taken(answer) => {
                let rejected = answer.partial_success.map_or(0, |partial| partial.rejected);
                Ok(usize::try_from(rejected).unwrap_or(0).min(batch.len()))
            }
            Reply::Refused(status) => {
                tracing::error!(%status, "the collector refuses records");
                Ok(batch.len())
            }
        }
    }
}

fn log_record(record: &JsonRecord) -> LogRecord {
    // It is an object: we have written it.
    let fields: Map<String, Value> = serde_json::from_str(record.text()).unwrap_or_default();
    let word = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let count = |name| fields.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (severity_number, severity_text) = match word("decision") {
        "allow" => (SeverityNumber::Info, "INFO"),
        "deny" => (SeverityNumber::Warn, "WARN"),
        _ => (SeverityNumber::Error, "ERROR"),
    };
    let summary = format!("{} {} {} {}", word("method"), word("path"), count("status"), word("reason"));
    let arrived = humantime::parse_rfc3339(word("time")).unwrap_or(UNIX_EPOCH);
    let time = nanoseconds(arrived.duration_since(UNIX_EPOCH).unwrap_or_default());
    let trace = record.trace();
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time.saturating_add(nanoseconds(Duration::from_micros(count("total_us")))),
        severity_number: severity_number.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(otlp::Value::Text(summary)) }),
        attributes: fields.iter().filter_map(|(name, value)| attribute(name, value)).collect(),
        trace_id: trace.map(|trace| trace.trace_id.bytes()).unwrap_or_default(),
        span_id: trace.map(|trace| trace.span_id.bytes()).unwrap_or_default(),
        flags: trace.map_or(0, |TraceParent { is_sampled, .. }| u32::from(is_sampled)),
        event_name: "phantomgate.request".to_owned(),
    }
}

fn attribute(name: &str, value: &Value) -> Option<KeyValue> {
    // Those stand in fields of their own.
    if ["time", "trace_id"].contains(&name) {
        return None;
    }
    match value {
        Value::String(value) => Some(text(name, value.clone())),
        Value::Number(value) => value.as_i64().map(|value| number(name, value)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A span of time as OTLP counts it.
pub(super) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

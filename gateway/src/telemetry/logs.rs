//! Audit records as OpenTelemetry logs: the fields are the attributes, under the names that they have in JSON.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::collector::{Collector, Reply, number, scope, text};
use super::context::TraceParent;
use super::otlp::{
    self, AnyValue, ExportLogsServiceRequest, ExportLogsServiceResponse, KeyValue, LogRecord, ResourceLogs, ScopeLogs,
    SeverityNumber,
};
use crate::audit::{AuditRecord, Decision};
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

impl Destination<Arc<AuditRecord>> for Logs {
    fn deliver(&mut self, batch: &[Arc<AuditRecord>]) -> Result<usize, String> {
        let log_records = batch.iter().map(|record| log_record(record)).collect();
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

fn log_record(record: &AuditRecord) -> LogRecord {
    let (severity_number, severity_text) = match record.decision {
        Decision::Allow => (SeverityNumber::Info, "INFO"),
        Decision::Deny => (SeverityNumber::Warn, "WARN"),
        Decision::Fail => (SeverityNumber::Error, "ERROR"),
    };
    let summary = format!("{} {} {} {}", record.method, record.path, record.status, <&str>::from(record.reason));
    let fields = serde_json::to_value(record).unwrap_or_default();
    let attributes = fields.as_object().into_iter().flatten().filter_map(|(name, value)| attribute(name, value));
    let time = nanoseconds(record.time.since_epoch());
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time.saturating_add(nanoseconds(record.latency.total)),
        severity_number: severity_number.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(otlp::Value::Text(summary)) }),
        attributes: attributes.collect(),
        trace_id: record.trace.map(|trace| trace.trace_id.bytes()).unwrap_or_default(),
        span_id: record.trace.map(|trace| trace.span_id.bytes()).unwrap_or_default(),
        flags: record.trace.map_or(0, |TraceParent { is_sampled, .. }| u32::from(is_sampled)),
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

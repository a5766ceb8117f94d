//! Where records and traces go.

use http::HeaderName;
use url::Url;

use super::{Resolver, all_or_nothing, below};
use crate::config::document::{self, AuditSink, AuditTo, Document, Otlp};
use crate::config::telemetry::{
    AuditConfig, AuditDestination, AuditSinkConfig, CollectorConfig, SampleRatio, TracesConfig,
};
use crate::config::tree::Step;
use crate::delivery::WhenFull;

/// How many records may wait where it is not said.
const QUEUE: usize = 10_000;

/// How many may be said to wait.
const LONGEST_QUEUE: usize = 1_000_000;

impl Resolver<'_> {
    /// The audit, and how requests are traced, if they are.
    pub(super) fn observability(&mut self, document: &Document) -> Option<(AuditConfig, Option<TracesConfig>)> {
        let otlp = document.telemetry.as_ref().map(|telemetry| &telemetry.otlp);
        let traces = otlp.map(|otlp| self.telemetry(otlp));
        let collector = traces.as_ref().map(|traces| traces.as_ref().map(|traces| &traces.collector));
        let audit = document.audit.as_ref().map(|sinks| self.audit(sinks, collector));
        let audit = all_or_nothing(audit)?.unwrap_or(AuditConfig { log: true, sinks: Vec::new() });
        let traces = all_or_nothing(traces)?.filter(|_| otlp.is_some_and(|otlp| otlp.traces));
        Some((audit, traces))
    }

    /// `collector` is that of `telemetry`: none where there is no such section, none within where it has errors.
    fn audit(&mut self, sinks: &[AuditSink], collector: Option<Option<&CollectorConfig>>) -> Option<AuditConfig> {
        if sinks.is_empty() && !self.tree.was_removed(&path!["audit"]) {
            return self.fault(&path!["audit"], "is empty: no record would be kept; leave it out for lines of the log");
        }
        let mut config = AuditConfig { log: false, sinks: Vec::new() };
        for (index, sink) in sinks.iter().enumerate() {
            let path = path!["audit", index];
            let destination = match (sink.to, &sink.file) {
                (Some(AuditTo::Log), None) => {
                    if config.log {
                        self.fault::<()>(&path, "the log is named twice; leave one of them out");
                    }
                    if sink.when_full.is_some() || sink.queue.is_some() {
                        let reason = "the log has no queue; leave out `when_full` and `queue`";
                        self.fault::<()>(&path, reason);
                    }
                    config.log = true;
                    None
                }
                (Some(AuditTo::Stdout), None) => Some(AuditDestination::Stdout),
                (Some(AuditTo::Otlp), None) => match collector {
                    Some(collector) => collector.cloned().map(AuditDestination::Otlp),
                    None if self.tree.was_removed(&path!["telemetry"]) => None,
                    None => self.fault(&below(&path, "to"), "there is no collector; add `telemetry.otlp`"),
                },
                (None, Some(file)) => self.record_file(&below(&path, "file"), file).map(AuditDestination::File),
                _ if self.tree.was_removed(&below(&path, "to")) || self.tree.was_removed(&below(&path, "file")) => None,
                _ => self.fault(&path, "give either `to` or `file`, where the records go"),
            };
            let queue = sink.queue.unwrap_or(QUEUE);
            if !(1..=LONGEST_QUEUE).contains(&queue) {
                let reason = format!("{queue} is out of range; choose from 1 to {LONGEST_QUEUE}");
                self.fault::<()>(&below(&path, "queue"), reason);
            }
            let Some(destination) = destination else { continue };
            if config.sinks.iter().any(|other: &AuditSinkConfig| other.destination == destination) {
                let reason = format!("{} is named twice; leave one of them out", destination.name());
                self.fault::<()>(&path, reason);
                continue;
            }
            let when_full = match sink.when_full {
                Some(document::WhenFull::Drop) => WhenFull::Drop,
                Some(document::WhenFull::Block) | None => WhenFull::Block,
            };
            config.sinks.push(AuditSinkConfig { destination, when_full, queue });
        }
        Some(config)
    }

    /// It is opened when serving begins; what can be told before is told here.
    fn record_file(&mut self, path: &[Step], file: &std::path::Path) -> Option<std::path::PathBuf> {
        let file = self.folder.join(file);
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if file.is_dir() || file.file_name().is_none() {
            return self.fault(path, format!("{} is a folder; name a file in it", file.display()));
        }
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return self.fault(path, format!("there is no folder {}; make it first", folder.display()));
        }
        Some(file)
    }

    fn telemetry(&mut self, otlp: &Otlp) -> Option<TracesConfig> {
        let path = path!["telemetry", "otlp"];
        let endpoint = self.collector_url(&below(&path, "endpoint"), otlp);
        let service_name = self.present(&below(&path, "service_name"), &otlp.service_name);
        let mut headers = Vec::new();
        for (name, secret) in &otlp.headers {
            let path = [&path[..], &path!["headers", name.as_str()]].concat();
            let secret = self.secret(&path, secret);
            match name.parse::<HeaderName>() {
                Ok(name) => headers.extend(secret.map(|secret| (name, secret))),
                Err(_) => {
                    self.fault::<()>(&path, format!("{name:?} is no name of a header; write one such as X-Api-Key"));
                }
            }
        }
        let sample = match SampleRatio::new(otlp.sample) {
            Some(sample) => Some(sample),
            None => self.fault(&below(&path, "sample"), format!("{} is no share; choose from 0 to 1", otlp.sample)),
        };
        let collector = CollectorConfig { endpoint: endpoint?, headers, service_name: service_name? };
        Some(TracesConfig { collector, sample: sample?, continues: otlp.continue_traces })
    }

    fn collector_url(&mut self, path: &[Step], otlp: &Otlp) -> Option<Url> {
        let text = &otlp.endpoint;
        let with_slash = if text.ends_with('/') { text.clone() } else { format!("{text}/") };
        let Some(url) = Url::parse(&with_slash).ok().filter(|url| ["http", "https"].contains(&url.scheme())) else {
            return self
                .fault(path, format!("{text:?} is no http or https URL; write one such as http://127.0.0.1:4318"));
        };
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return self.fault(path, "must have scheme, host, port and path only; put secrets into `headers`");
        }
        if !otlp.headers.is_empty() && !phantomgate_introspection::config::is_confidential(&url) {
            return self
                .fault(path, "must be an https URL, because `headers` has secrets (http is possible on loopback)");
        }
        Some(url)
    }
}

//! What is counted, and how it is shown to Prometheus.
//!
//! Handles are looked up once and kept where they are used: counting costs one addition. What is counted of each request is
//! in [`requests`].

mod process;
mod requests;

use std::time::Duration;

use metrics::{Key, Label, Unit, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{LabelSet, PrometheusBuilder, PrometheusHandle};

pub use requests::{OpenStream, RequestCounters};

/// Bounds of histograms, in seconds: from a neighbour's answer to the longest timeout.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// All that was counted, for `/metrics`.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// How often observations are summed up. Between that they take memory.
    const SUM_UP_EVERY: Duration = Duration::from_secs(5);

    /// Begins to count, in the whole process. To be called before anything is set up that counts; none when somebody else
    /// counts already.
    pub fn install() -> Option<Self> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?;
        let recorder = builder.build_recorder();
        let exposition = Self(recorder.handle());
        metrics::set_global_recorder(recorder).ok()?;
        describe();
        process::describe();
        gauge!("phantomgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Some(exposition)
    }

    /// The text format of Prometheus, while so many requests are under way.
    pub fn render(&self, in_flight: usize) -> String {
        let cpu_seconds = process::report();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats, and there are never 2^52 requests")]
        gauge!("phantomgate_requests_in_flight").set(in_flight as f64);
        let mut text = self.0.render();
        if let Some(cpu_seconds) = cpu_seconds {
            process::write(&mut text, cpu_seconds);
        }
        requests::write(&mut text);
        text
    }

    /// Sums up again and again; ends when dropped.
    pub async fn keep_summed_up(&self) {
        let mut interval = tokio::time::interval(Self::SUM_UP_EVERY);
        loop {
            interval.tick().await;
            self.0.run_upkeep();
        }
    }
}

fn describe() {
    describe_gauge!("phantomgate_requests_in_flight", "Requests under way, open event streams included");
    describe_gauge!("phantomgate_event_streams_open", "Answers under way that are event streams");
    describe_counter!("phantomgate_audit_records_total", "Audit records that were written");
    describe_counter!("phantomgate_audit_dropped_total", "Audit records that were lost");
    describe_gauge!("phantomgate_audit_queue_records", "Audit records that wait to be written");
    describe_gauge!("phantomgate_audit_failing", "1 while audit records cannot be written");
    describe_counter!("phantomgate_traces_total", "Requests whose spans were sent");
    describe_counter!("phantomgate_traces_dropped_total", "Requests whose spans were lost");
    describe_gauge!("phantomgate_trace_queue_requests", "Requests whose spans wait to be sent");
    describe_gauge!("phantomgate_traces_failing", "1 while spans cannot be sent");
    describe_gauge!(
        "phantomgate_certificate_expiry_timestamp_seconds",
        Unit::Seconds,
        "When the certificate of this name expires, in Unix time; never, where it is not in use any more"
    );
    describe_gauge!("phantomgate_build_info", "1, with the version as a label");
}

fn labels(labels: &[(&'static str, &str)]) -> LabelSet {
    let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    LabelSet::from_key_and_global(&Key::from_parts("", labels), &Default::default())
}

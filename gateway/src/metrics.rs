//! What is counted, and how it is shown to Prometheus.
//!
//! Handles are looked up once and kept where they are used: counting a request costs one addition.

mod process;

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use strum::VariantArray as _;

use crate::audit::{Decision, Latency, Reason};

/// Bounds of histograms, in seconds: from a neighbour's answer to the longest timeout.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The label of requests that no route is for.
const NO_ROUTE: &str = "none";

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

    /// The text format of Prometheus.
    pub fn render(&self) -> String {
        process::report();
        self.0.render()
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
    describe_counter!("phantomgate_requests_total", "Requests, by what became of them and why");
    describe_counter!(
        "phantomgate_responses_total",
        "Answers, by class of their status; none where there was no answer"
    );
    describe_histogram!("phantomgate_request_seconds", Unit::Seconds, "From a request to the end of its answer");
    describe_histogram!(
        "phantomgate_upstream_seconds",
        Unit::Seconds,
        "From a request's decision to the head of the upstream's answer, or to its failure"
    );
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
    describe_gauge!("phantomgate_build_info", "1, with the version as a label");
}

/// The gauge of requests under way.
pub fn requests_in_flight() -> Gauge {
    gauge!("phantomgate_requests_in_flight")
}

/// The requests of one route, by what became of them. What never occurs is not shown.
pub struct RequestCounters {
    route: String,
    /// By the first digit of the status; 0 where there was no answer.
    responses: [OnceLock<Counter>; CLASSES.len()],
    timings: OnceLock<Timings>,
    streams: OnceLock<Gauge>,
    /// By reason, which determines the decision, except where a client went away: those that were granted come last.
    counters: [OnceLock<Counter>; Reason::VARIANTS.len() + 1],
}

/// What an answer is counted under.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

struct Timings {
    request: Histogram,
    upstream: Histogram,
}

/// Counts as an open event stream until it is dropped.
pub struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl RequestCounters {
    /// The counters of the route of this name.
    pub fn new(route: &str) -> Self {
        Self {
            route: route.to_owned(),
            responses: Default::default(),
            timings: OnceLock::new(),
            streams: OnceLock::new(),
            counters: [const { OnceLock::new() }; Reason::VARIANTS.len() + 1],
        }
    }

    /// The counters of requests that no route is for.
    pub fn without_route() -> &'static Self {
        static COUNTERS: LazyLock<RequestCounters> = LazyLock::new(|| RequestCounters::new(NO_ROUTE));
        &COUNTERS
    }

    /// Counts a request.
    pub fn count(&self, decision: Decision, reason: Reason) {
        let position = match (decision, reason) {
            (Decision::Allow, Reason::ClientDisconnected) => Reason::VARIANTS.len(),
            (_, reason) => reason as usize,
        };
        let Some(counter) = self.counters.get(position) else { return };
        let counter = counter.get_or_init(|| {
            let (decision, reason) = (<&str>::from(decision), <&str>::from(reason));
            counter!(
                "phantomgate_requests_total",
                "route" => self.route.clone(), "decision" => decision, "reason" => reason
            )
        });
        counter.increment(1);
    }

    /// Counts the answer to a request, with this `status` (0 where there was none), and the time it took.
    pub fn answered(&self, status: u16, latency: &Latency) {
        let class = usize::from(status / 100);
        if let (Some(counter), Some(class)) = (self.responses.get(class), CLASSES.get(class)) {
            let route = || self.route.clone();
            let counter =
                counter.get_or_init(|| counter!("phantomgate_responses_total", "route" => route(), "class" => *class));
            counter.increment(1);
        }
        let timings = self.timings.get_or_init(|| Timings {
            request: histogram!("phantomgate_request_seconds", "route" => self.route.clone()),
            upstream: histogram!("phantomgate_upstream_seconds", "route" => self.route.clone()),
        });
        timings.request.record(latency.total);
        if let Some(upstream) = latency.upstream {
            timings.upstream.record(upstream);
        }
    }

    /// An event stream begins.
    pub fn open_stream(&self) -> OpenStream {
        let gauge =
            self.streams.get_or_init(|| gauge!("phantomgate_event_streams_open", "route" => self.route.clone()));
        gauge.increment(1.0);
        OpenStream(gauge.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_decision_and_reason() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let counters = RequestCounters::new("mcp");
            counters.count(Decision::Allow, Reason::Granted);
            counters.count(Decision::Allow, Reason::Granted);
            counters.count(Decision::Allow, Reason::ClientDisconnected);
            counters.count(Decision::Fail, Reason::ClientDisconnected);
        });
        let text = handle.render();
        assert!(!text.contains("no_route"), "{text}");
        for line in [
            r#"phantomgate_requests_total{route="mcp",decision="allow",reason="granted"} 2"#,
            r#"phantomgate_requests_total{route="mcp",decision="allow",reason="client_disconnected"} 1"#,
            r#"phantomgate_requests_total{route="mcp",decision="fail",reason="client_disconnected"} 1"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn answers_are_counted_by_class_and_a_status_that_is_none_is_not_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let counters = RequestCounters::new("mcp");
            for status in [200, 204, 404, 0, 999] {
                counters.answered(status, &Latency::default());
            }
            let stream = counters.open_stream();
            drop(counters.open_stream());
            std::mem::forget(stream);
        });
        let text = handle.render();
        for line in [
            r#"phantomgate_responses_total{route="mcp",class="2xx"} 2"#,
            r#"phantomgate_responses_total{route="mcp",class="none"} 1"#,
            r#"phantomgate_event_streams_open{route="mcp"} 1"#,
            r#"phantomgate_request_seconds_count{route="mcp"} 5"#,
            r#"phantomgate_upstream_seconds_count{route="mcp"} 0"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}

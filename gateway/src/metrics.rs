//! What is counted, and how it is shown to Prometheus.
//!
//! Handles are looked up once and kept where they are used: counting a request costs one addition.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use strum::VariantArray as _;

use crate::audit::{Decision, Reason};

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
        describe_counter!("phantomgate_requests_total", "Requests, by what became of them and why");
        describe_gauge!("phantomgate_build_info", "1, with the version as a label");
        gauge!("phantomgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Some(exposition)
    }

    /// The text format of Prometheus.
    pub fn render(&self) -> String {
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

/// The requests of one route, by what became of them.
pub struct RequestCounters {
    route: String,
    /// By reason, which determines the decision, except where a client went away: those that were granted come last.
    counters: [OnceLock<Counter>; Reason::VARIANTS.len() + 1],
}

impl RequestCounters {
    /// The counters of the route of this name. A reason that never occurs is not shown.
    pub fn new(route: &str) -> Self {
        Self { route: route.to_owned(), counters: [const { OnceLock::new() }; Reason::VARIANTS.len() + 1] }
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
        for line in [
            r#"phantomgate_requests_total{route="mcp",decision="allow",reason="granted"} 2"#,
            r#"phantomgate_requests_total{route="mcp",decision="allow",reason="client_disconnected"} 1"#,
            r#"phantomgate_requests_total{route="mcp",decision="fail",reason="client_disconnected"} 1"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("no_route"), "{text}");
    }
}

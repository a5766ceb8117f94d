//! What is counted of upstreams. Labels are names and URLs of the configuration, which bounds them. The handles are looked up
//! once; whoever wants to see the numbers installs a recorder before that.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram};
use metrics::{gauge, histogram};
use strum::VariantArray as _;

use crate::endpoint::EndpointUrl;
use crate::state::{Counts, State};

/// The numbers of one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamMetrics {
    retries: Counter,
    retries_refused: Counter,
    panic: Gauge,
    connect: Histogram,
}

impl UpstreamMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        describe();
        let retries = |outcome: &'static str| counter!("phantomgate_upstream_retries_total", "upstream" => upstream.to_owned(), "outcome" => outcome);
        Self {
            retries: retries("sent"),
            retries_refused: retries("over_budget"),
            panic: gauge!("phantomgate_upstream_panic", "upstream" => upstream.to_owned()),
            connect: histogram!("phantomgate_upstream_connect_seconds", "upstream" => upstream.to_owned()),
        }
    }

    pub(crate) fn retry(&self, is_allowed: bool) {
        if is_allowed { &self.retries } else { &self.retries_refused }.increment(1);
    }

    pub(crate) fn panic(&self, is_panic: bool) {
        self.panic.set(if is_panic { 1.0 } else { 0.0 });
    }

    pub(crate) fn connected(&self, after: Duration) {
        self.connect.record(after);
    }
}

/// A number that we show ourselves, too.
#[derive(Debug)]
pub(crate) struct Count {
    counter: Counter,
    total: AtomicU64,
}

impl Count {
    fn new(counter: Counter) -> Self {
        Self { counter, total: AtomicU64::new(0) }
    }

    pub(crate) fn increment(&self) {
        self.counter.increment(1);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// The numbers of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointMetrics {
    pub(crate) requests: Count,
    pub(crate) connect_failures: Count,
    pub(crate) answer_failures: Count,
    pub(crate) ejections: Count,
    pub(crate) checks_passed: Count,
    pub(crate) checks_failed: Count,
    /// One for each [`State`].
    states: Vec<Gauge>,
}

impl EndpointMetrics {
    pub(crate) fn new(upstream: &str, url: &EndpointUrl) -> Self {
        let (upstream, url) = (upstream.to_owned(), url.to_string());
        let count =
            |name: &'static str| Count::new(counter!(name, "upstream" => upstream.clone(), "endpoint" => url.clone()));
        let labelled = |name: &'static str, label: &'static str, value: &'static str| {
            Count::new(counter!(name, "upstream" => upstream.clone(), "endpoint" => url.clone(), label => value))
        };
        let state = |state: &State| {
            gauge!(
                "phantomgate_upstream_endpoint_state",
                "upstream" => upstream.clone(), "endpoint" => url.clone(), "state" => <&str>::from(state)
            )
        };
        Self {
            requests: count("phantomgate_upstream_requests_total"),
            connect_failures: labelled("phantomgate_upstream_failures_total", "kind", "connect"),
            answer_failures: labelled("phantomgate_upstream_failures_total", "kind", "answer"),
            ejections: count("phantomgate_upstream_ejections_total"),
            checks_passed: labelled("phantomgate_upstream_health_checks_total", "result", "passed"),
            checks_failed: labelled("phantomgate_upstream_health_checks_total", "result", "failed"),
            states: State::VARIANTS.iter().map(state).collect(),
        }
    }

    /// Shows the state it is in; none when it is gone.
    pub(crate) fn state(&self, current: Option<State>) {
        for (state, gauge) in State::VARIANTS.iter().zip(&self.states) {
            gauge.set(if current == Some(*state) { 1.0 } else { 0.0 });
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            requests: self.requests.total(),
            connect_failures: self.connect_failures.total(),
            answer_failures: self.answer_failures.total(),
            ejections: self.ejections.total(),
            checks_passed: self.checks_passed.total(),
            checks_failed: self.checks_failed.total(),
        }
    }
}

impl Drop for EndpointMetrics {
    /// An endpoint that is configured no more is in no state.
    fn drop(&mut self) {
        self.state(None);
    }
}

fn describe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        describe_counter!("phantomgate_upstream_requests_total", "Attempts to send a request to an endpoint");
        describe_counter!(
            "phantomgate_upstream_failures_total",
            "Attempts that found no connection (connect), or lost it before an answer (answer)"
        );
        describe_counter!("phantomgate_upstream_retries_total", "Requests tried again, and those that were too many");
        describe_counter!(
            "phantomgate_upstream_ejections_total",
            "How often an address was left alone for its failures"
        );
        describe_counter!("phantomgate_upstream_health_checks_total", "Health checks, by what they found");
        describe_gauge!("phantomgate_upstream_endpoint_state", "1 for the state an endpoint is in");
        describe_gauge!("phantomgate_upstream_panic", "1 while no endpoint is well, and all get requests");
        describe_histogram!(
            "phantomgate_upstream_connect_seconds",
            Unit::Seconds,
            "Time until a new connection stood, TLS included"
        );
    });
}

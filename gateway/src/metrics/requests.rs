//! The requests of each route, how they ended and how long they took.
//!
//! Each request is counted in several places, so they are integers that lie together, and are put into the text only when
//! somebody asks for it. The library's own histograms keep every single observation, with its time, until they are summed up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use metrics::{Gauge, gauge};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};
use parking_lot::Mutex;
use strum::VariantArray as _;

use super::{BUCKETS, labels};
use crate::audit::{Decision, Latency, Reason};

/// The label of requests that no route is for.
const NO_ROUTE: &str = "none";

/// What an answer is counted under: the first digit of its status.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The requests of one route. What never occurs is not shown.
pub struct RequestCounters {
    requests: Arc<Requests>,
    route: String,
    streams: OnceLock<Gauge>,
}

/// Those of all routes there ever were, by name: a route that comes back goes on counting.
static ALL: LazyLock<Mutex<BTreeMap<String, Arc<Requests>>>> = LazyLock::new(Mutex::default);

/// What is counted of a route's requests.
///
/// Where there are many routes, hardly any of this is near the processor when one of them is asked: what a request that is let
/// through touches lies in three lines of 64 bytes, of which two come together.
#[repr(C, align(128))]
#[derive(Default)]
struct Requests {
    /// By class; 0 where there was no answer.
    responses: [AtomicU64; CLASSES.len()],
    durations: Durations,
    outcomes: Outcomes,
}

/// Two histograms, side by side.
#[repr(C)]
#[derive(Default)]
struct Durations {
    micros: Pair,
    /// How many were no longer than each of [`BUCKETS`], and longer than the one before; the last is for those beyond.
    counts: [Pair; BUCKETS.len() + 1],
}

#[repr(C)]
#[derive(Default)]
struct Pair {
    request: AtomicU64,
    upstream: AtomicU64,
}

/// Of which of the two.
#[derive(Clone, Copy)]
enum Which {
    Request,
    Upstream,
}

/// By reason, and by decision for each.
struct Outcomes([[AtomicU64; Decision::VARIANTS.len()]; Reason::VARIANTS.len()]);

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
        let requests = ALL.lock().entry(route.to_owned()).or_default().clone();
        Self { requests, route: route.to_owned(), streams: OnceLock::new() }
    }

    /// The counters of requests that no route is for.
    pub fn without_route() -> &'static Self {
        static COUNTERS: LazyLock<RequestCounters> = LazyLock::new(|| RequestCounters::new(NO_ROUTE));
        &COUNTERS
    }

    /// Counts a request that is over: what became of it, the status of its answer (0 where there was none), and the time it
    /// took.
    pub fn count(&self, decision: Decision, reason: Reason, status: u16, latency: &Latency) {
        self.requests.count(decision, reason, status, latency);
    }

    /// An event stream begins.
    pub fn open_stream(&self) -> OpenStream {
        let gauge =
            self.streams.get_or_init(|| gauge!("phantomgate_event_streams_open", "route" => self.route.clone()));
        gauge.increment(1.0);
        OpenStream(gauge.clone())
    }
}

impl Requests {
    fn count(&self, decision: Decision, reason: Reason, status: u16, latency: &Latency) {
        if let Some(outcome) = self.outcomes.0.get(reason as usize).and_then(|of| of.get(decision as usize)) {
            add(outcome, 1);
        }
        if let Some(class) = self.responses.get(usize::from(status / 100)) {
            add(class, 1);
        }
        self.durations.record(Which::Request, latency.total);
        if let Some(upstream) = latency.upstream {
            self.durations.record(Which::Upstream, upstream);
        }
    }
}

impl Durations {
    fn record(&self, which: Which, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let place = BUCKETS.iter().take_while(|bound| seconds > **bound).count();
        if let Some(pair) = self.counts.get(place) {
            add(pair.of(which), 1);
        }
        add(self.micros.of(which), u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    fn write(&self, which: Which, text: &mut String, name: &str, labels: &LabelSet) {
        let mut total = 0;
        if self.counts.iter().all(|pair| get(pair.of(which)) == 0) {
            return;
        }
        for (place, pair) in self.counts.iter().enumerate() {
            total += get(pair.of(which));
            let bound = BUCKETS.get(place).map_or("+Inf".to_owned(), f64::to_string);
            write_metric_line(text, name, Some("bucket"), labels, Some(("le", bound)), total, None);
        }
        let seconds = Duration::from_micros(get(self.micros.of(which))).as_secs_f64();
        write_metric_line::<&str, _>(text, name, Some("sum"), labels, None, seconds, None);
        write_metric_line::<&str, _>(text, name, Some("count"), labels, None, total, None);
    }
}

impl Pair {
    const fn of(&self, which: Which) -> &AtomicU64 {
        match which {
            Which::Request => &self.request,
            Which::Upstream => &self.upstream,
        }
    }
}

impl Default for Outcomes {
    fn default() -> Self {
        Self([const { [const { AtomicU64::new(0) }; Decision::VARIANTS.len()] }; Reason::VARIANTS.len()])
    }
}

impl Outcomes {
    /// Those that there were, and how many of each.
    fn iter(&self) -> impl Iterator<Item = (Decision, Reason, u64)> {
        let reasons = Reason::VARIANTS.iter().zip(&self.0);
        let all = reasons.flat_map(|(reason, counts)| {
            Decision::VARIANTS.iter().zip(counts).map(|(decision, count)| (*decision, *reason, get(count)))
        });
        all.filter(|(_, _, count)| *count > 0)
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Adds what was counted of all routes to the text.
pub(super) fn write(text: &mut String) {
    write_these(text, &ALL.lock());
}

fn write_these(text: &mut String, all: &BTreeMap<String, Arc<Requests>>) {
    let used: Vec<_> = all.iter().filter(|(_, requests)| requests.outcomes.iter().next().is_some()).collect();
    let begin = |text: &mut String, name, kind, description| {
        text.push('\n');
        write_help_line(text, name, None, None, description);
        write_type_line(text, name, None, None, kind);
    };
    let name = "phantomgate_requests_total";
    begin(text, name, "counter", "Requests, by what became of them and why");
    for (route, requests) in &used {
        for (decision, reason, count) in requests.outcomes.iter() {
            let labels = labels(&[("route", route), ("decision", decision.into()), ("reason", reason.into())]);
            write_metric_line::<&str, _>(text, name, None, &labels, None, count, None);
        }
    }
    let name = "phantomgate_responses_total";
    begin(text, name, "counter", "Answers, by class of their status; none where there was no answer");
    for (route, requests) in &used {
        let counts = requests.responses.iter().map(get).zip(CLASSES).filter(|(count, _)| *count > 0);
        for (count, class) in counts {
            let labels = labels(&[("route", route), ("class", class)]);
            write_metric_line::<&str, _>(text, name, None, &labels, None, count, None);
        }
    }
    let name = "phantomgate_request_seconds";
    begin(text, name, "histogram", "From a request to the end of its answer");
    for (route, requests) in &used {
        requests.durations.write(Which::Request, text, name, &labels(&[("route", route)]));
    }
    let name = "phantomgate_upstream_seconds";
    let description = "From a request's decision to the head of the upstream's answer, or to its failure";
    begin(text, name, "histogram", description);
    for (route, requests) in &used {
        requests.durations.write(Which::Upstream, text, name, &labels(&[("route", route)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(requests: Requests) -> String {
        let mut text = String::new();
        write_these(
            &mut text,
            &BTreeMap::from([("mcp".to_owned(), Arc::new(requests)), ("idle".to_owned(), Arc::default())]),
        );
        text
    }

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|own| own == *line), "{line} is not in {text}");
        }
    }

    #[test]
    fn requests_are_counted_by_route_decision_and_reason() {
        let requests = Requests::default();
        let count = |decision, reason| requests.count(decision, reason, 200, &Latency::default());
        count(Decision::Allow, Reason::Granted);
        count(Decision::Allow, Reason::Granted);
        count(Decision::Allow, Reason::ClientDisconnected);
        count(Decision::Fail, Reason::ClientDisconnected);
        let text = text(requests);
        assert!(!text.contains("no_route") && !text.contains("idle"), "{text}");
        assert_lines(
            &text,
            &[
                "# TYPE phantomgate_requests_total counter",
                r#"phantomgate_requests_total{route="mcp",decision="allow",reason="granted"} 2"#,
                r#"phantomgate_requests_total{route="mcp",decision="allow",reason="client_disconnected"} 1"#,
                r#"phantomgate_requests_total{route="mcp",decision="fail",reason="client_disconnected"} 1"#,
            ],
        );
    }

    #[test]
    fn answers_are_counted_by_class_and_a_status_that_is_none_is_not_counted() {
        let requests = Requests::default();
        for status in [200, 204, 404, 0, 999] {
            requests.count(Decision::Allow, Reason::Granted, status, &Latency::default());
        }
        let text = text(requests);
        assert_lines(
            &text,
            &[
                r#"phantomgate_responses_total{route="mcp",class="none"} 1"#,
                r#"phantomgate_responses_total{route="mcp",class="2xx"} 2"#,
                r#"phantomgate_responses_total{route="mcp",class="4xx"} 1"#,
            ],
        );
        assert!(!text.contains("5xx"), "{text}");
    }

    #[test]
    fn a_time_is_in_all_buckets_that_are_no_shorter_than_it() {
        let requests = Requests::default();
        for (total, upstream) in [(1_000, None), (1_001, Some(Duration::from_millis(4))), (61_000_000, None)] {
            let latency = Latency { total: Duration::from_micros(total), upstream, ..Latency::default() };
            requests.count(Decision::Allow, Reason::Granted, 200, &latency);
        }
        assert_lines(
            &text(requests),
            &[
                "# TYPE phantomgate_request_seconds histogram",
                r#"phantomgate_request_seconds_bucket{route="mcp",le="0.001"} 1"#,
                r#"phantomgate_request_seconds_bucket{route="mcp",le="0.0025"} 2"#,
                r#"phantomgate_request_seconds_bucket{route="mcp",le="60"} 2"#,
                r#"phantomgate_request_seconds_bucket{route="mcp",le="+Inf"} 3"#,
                r#"phantomgate_request_seconds_sum{route="mcp"} 61.002001"#,
                r#"phantomgate_request_seconds_count{route="mcp"} 3"#,
                r#"phantomgate_upstream_seconds_bucket{route="mcp",le="0.005"} 1"#,
                r#"phantomgate_upstream_seconds_count{route="mcp"} 1"#,
            ],
        );
    }

    #[test]
    fn a_route_that_comes_back_goes_on_counting() {
        let name = "a route that comes back";
        for _ in 0..2 {
            RequestCounters::new(name).count(Decision::Allow, Reason::Granted, 200, &Latency::default());
        }
        let mut all = String::new();
        write(&mut all);
        let line = format!(r#"phantomgate_responses_total{{route="{name}",class="2xx"}} 2"#);
        assert_lines(&all, &[&line]);
    }
}

//! A long run of everything at once: does what the gateway holds grow?
//!
//! The load stops twice, after the first part of the time and at its end. Each time what the gateway holds at rest is looked
//! at; the second time it must be what it was the first time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use e2e::Endpoint;
use procfs::process::Process;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authorization_server::token;
use crate::document::{Findings, aligned, bytes, circumstances, grouped, row};
use crate::event_streams::{EventSource, EventStream};
use crate::machine::Watch;
use crate::process::Usage;
use crate::requests::{Client, get, post};
use crate::streams::raise_descriptors;
use crate::world::{Gateway, World, mcp_route, route};

#[derive(Args)]
pub(crate) struct Arguments {
    /// For how many minutes
    #[arg(long, default_value_t = 20, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// The share of the time after which the load stops for the first time.
const FIRST_PART: f64 = 0.25;

/// How much more memory may be held at the end than after the first part: a tenth, because the allocator does not give back
/// the same pages each time, and a few mebibytes, for what comes once and seldom, such as a bigger hash table.
const MORE_MEMORY: f64 = 1.1;
const MEMORY_ALLOWANCE: u64 = 4 * 1024 * 1024;

/// Connections to upstreams are kept for other requests, as many as were needed at once: a few more or less each time.
const DESCRIPTOR_ALLOWANCE: usize = 32;

/// How long the authorization server's answers are believed, and how many are kept: both are reached in the first part.
const MAX_TTL: &str = "10s";
const MAX_ENTRIES: usize = 500;

/// Known tokens, which requests take turns with.
const KNOWN: usize = 100;

/// From one look at the gateway to the next; there are as many rows in the table as fit a page.
const SAMPLING: Duration = Duration::from_secs(5);
const ROWS: usize = 12;

/// From one change of the configuration to the next.
const RELOADING: Duration = Duration::from_secs(7);
/// How long an endpoint is away, and how long it is there.
const DYING: Duration = Duration::from_secs(5);
/// The audit file is taken away that often, as by logrotate; the next record begins another.
const ROTATION: Duration = Duration::from_secs(30);

/// A kind of request, and which answers are right.
struct Kind {
    label: &'static str,
    right: &'static [u16],
    /// In a second, all clients together.
    rate: u32,
    clients: u32,
}

const HITS: Kind = Kind { label: "known tokens", right: &[200], rate: 300, clients: 16 };
const COLD: Kind = Kind { label: "unknown tokens", right: &[200], rate: 60, clients: 8 };
const CALLS: Kind = Kind { label: "`tools/call`, allowed", right: &[200], rate: 60, clients: 4 };
const DENIED: Kind = Kind { label: "`tools/call`, denied", right: &[403], rate: 20, clients: 2 };
const INACTIVE: Kind = Kind { label: "inactive tokens", right: &[401], rate: 20, clients: 2 };
const WITHOUT: Kind = Kind { label: "no token", right: &[401], rate: 20, clients: 2 };
const STREAMS: Kind = Kind { label: "event streams", right: &[200], rate: 20, clients: 40 };

/// What the gateway holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    usage: Usage,
    threads: i64,
    /// Requests under way, streams among them.
    requests: f64,
    connections: f64,
    cached: f64,
}

impl Sample {
    /// For whoever watches it run.
    fn line(&self) -> String {
        let Usage { memory, descriptors, .. } = self.usage;
        let (at, memory) = (minutes(self.at), bytes(as_figure(memory)));
        format!("{at}: {memory}, {descriptors} descriptors, {} threads, {} requests", self.threads, self.requests)
    }
}

/// Statuses of answers, by kind.
type Counts = Arc<std::sync::Mutex<BTreeMap<&'static str, BTreeMap<u16, usize>>>>;

pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    raise_descriptors();
    let time = Duration::from_secs(arguments.minutes * 60);
    let mut soak = Soak::start(time).await;
    let mut watch = Watch::new();
    let watching = watch.begin(&[soak.gateway.processes(), soak.world.upstream.processes()]);
    soak.load(time.mul_f64(FIRST_PART)).await;
    let first = soak.at_rest().await;
    soak.load(time.mul_f64(1.0 - FIRST_PART)).await;
    let last = soak.at_rest().await;

    let counts = soak.counts.lock().unwrap().clone();
    let mut failures = grown(&first, &last);
    failures.extend(wrong_answers(&counts));
    let output = soak.gateway.output();
    // That an endpoint dies and comes back is worth a warning, and so is nothing else.
    failures
        .extend(output.lines().filter(|line| line.contains("ERROR")).map(|line| format!("the gateway said: {line}")));
    let how = match arguments.minutes {
        1 => "One minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    };
    let text = format!(
        "{}\n{}\n{}",
        samples_table(&soak.samples, first, last),
        answers_table(&counts),
        circumstances(&how, watching.end())
    );
    Findings { name: "soak", text, failures }.conclude(arguments.write)
}

/// Everything at once for so long, of which nothing is said.
pub(crate) async fn exercise(time: Duration) {
    Soak::start(time).await.load(time).await;
}

struct Soak {
    gateway: Gateway,
    world: World,
    configuration: Value,
    audit: std::path::PathBuf,
    /// Where event streams come from.
    _source: EventSource,
    /// The one that dies and comes back.
    endpoint: Endpoint,
    counts: Counts,
    /// The number of the next token that nobody has seen.
    next: Arc<AtomicUsize>,
    started: Instant,
    samples: Vec<Sample>,
}

impl Soak {
    /// A gateway, and all it needs for so long.
    async fn start(time: Duration) -> Self {
        // What is sent with a token of its own, and as much again for a clock that is not exact.
        let cold = usize::try_from(2 * time.as_secs() * u64::from(COLD.rate + INACTIVE.rate)).unwrap();
        let world = World::start(KNOWN + cold, 1).await;
        let (source, endpoint) = (EventSource::start(Some(Duration::from_millis(500))), Endpoint::start().await);
        let configuration = configuration(&world, &source, &endpoint);
        Self {
            gateway: world.gateway("gateway", &configuration).await,
            configuration,
            audit: world.directory().join("gateway/audit.jsonl"),
            world,
            _source: source,
            endpoint,
            counts: Counts::default(),
            next: Arc::new(AtomicUsize::new(KNOWN)),
            started: Instant::now(),
            samples: Vec::new(),
        }
    }

    /// Everything at once, for so long. When this returns, no request is under way and all connections of ours are closed.
    async fn load(&mut self, time: Duration) {
        let (stop, stopped) = watch::channel(false);
        let mut clients = self.clients(&stopped);
        let ends = tokio::time::Instant::now() + time;
        let ticks = |period| tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        let (mut sampling, mut reloading) = (ticks(SAMPLING), ticks(RELOADING));
        let (mut dying, mut rotation) = (ticks(DYING), ticks(ROTATION));
        let (mut is_there, mut changes) = (true, 0_u32);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(ends) => break,
                _ = sampling.tick() => {
                    let sample = self.sample().await;
                    eprintln!("{}", sample.line());
                    self.samples.push(sample);
                }
                _ = reloading.tick() => {
                    changes += 1;
                    self.gateway.reload(&changed(&self.configuration, changes)).await;
                }
                _ = dying.tick() => {
                    if is_there { self.endpoint.die().await } else { self.endpoint.come_back() }
                    is_there = !is_there;
                }
                _ = rotation.tick() => { let _ = std::fs::remove_file(&self.audit); }
            }
        }
        stop.send_replace(true);
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        if !is_there {
            self.endpoint.come_back();
        }
    }

    fn clients(&self, stopped: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        let address = self.gateway.address();
        let mut requests = |kind: &'static Kind, request: fn(SocketAddr, &str) -> Vec<u8>, is_cold: bool| {
            for place in 0..kind.clients {
                let (counts, next, mut pace) =
                    (Arc::clone(&self.counts), Arc::clone(&self.next), Pace::new(kind, place, stopped));
                let mut number = place as usize;
                clients.spawn(async move {
                    let mut client = Client::new(address);
                    while pace.next().await {
                        number += 1;
                        let own = if is_cold { next.fetch_add(1, Ordering::Relaxed) } else { number % KNOWN };
                        let status = client.status(&request(address, &token(&format!("{own:07}")))).await;
                        note(&counts, kind, status);
                    }
                });
            }
        };
        requests(&HITS, |address, token| get(address, "/", token), false);
        requests(&COLD, |address, token| get(address, "/", token), true);
        requests(&CALLS, |address, token| post(address, "/mcp", token, &call("fetch-users")), false);
        requests(&DENIED, |address, token| post(address, "/mcp", token, &call("delete-users")), false);
        requests(&INACTIVE, |address, token| get(address, "/", &format!("in{token}")), true);
        requests(&WITHOUT, |address, _| format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes(), false);
        for place in 0..STREAMS.clients {
            let (counts, mut pace) = (Arc::clone(&self.counts), Pace::new(&STREAMS, place, stopped));
            let (mut number, open_for) = (place as usize, Duration::from_millis(200 + 40 * u64::from(place)));
            clients.spawn(async move {
                while pace.next().await {
                    number += 1;
                    let token = token(&format!("{:07}", number % KNOWN));
                    match EventStream::open(Ipv4Addr::new(127, 0, 0, 2), address, "/streams", &token).await {
                        Ok(stream) => {
                            tokio::time::sleep(open_for).await;
                            note(&counts, &STREAMS, if stream.has_ended() { 0 } else { 200 });
                        }
                        Err(_) => note(&counts, &STREAMS, 0),
                    }
                }
            });
        }
        clients
    }

    /// After the load, when it has come to rest and what was kept for a while has ended.
    async fn at_rest(&mut self) -> Sample {
        for metric in ["phantomgate_event_streams_open", "phantomgate_requests_in_flight", "phantomgate_connections"] {
            self.gateway.metric_ends(metric).await;
        }
        let usage = self.gateway.at_rest().await;
        Sample { usage, ..self.sample().await }
    }

    async fn sample(&self) -> Sample {
        let process = Process::new(self.gateway.processes().ids()[0]).unwrap();
        Sample {
            at: self.started.elapsed(),
            usage: self.gateway.processes().usage(),
            threads: process.stat().unwrap().num_threads,
            requests: self.gateway.metric("phantomgate_requests_in_flight").await,
            connections: self.gateway.metric("phantomgate_connections").await,
            cached: self.gateway.metric("phantomgate_token_cache_entries").await,
        }
    }
}

/// One client's share of the rate.
struct Pace {
    interval: tokio::time::Interval,
    stopped: watch::Receiver<bool>,
}

impl Pace {
    fn new(kind: &Kind, place: u32, stopped: &watch::Receiver<bool>) -> Self {
        let period = Duration::from_secs(1) * kind.clients / kind.rate;
        let start = tokio::time::Instant::now() + period * place / kind.clients;
        let mut interval = tokio::time::interval_at(start, period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { interval, stopped: stopped.clone() }
    }

    /// Waits until it is time for the next request. There is none any more when the load is stopped.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => false,
            _ = self.interval.tick() => true,
        }
    }
}

fn note(counts: &Counts, kind: &Kind, status: u16) {
    *counts.lock().unwrap().entry(kind.label).or_default().entry(status).or_default() += 1;
}

fn call(tool: &str) -> String {
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    call.to_string()
}

fn configuration(world: &World, source: &EventSource, endpoint: &Endpoint) -> Value {
    let mut configuration = world.configuration();
    let upstream = world.upstream.endpoints().remove(0);
    configuration["audit"] = json!([{ "file": "audit.jsonl" }]);
    configuration["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": MAX_TTL, "max_entries": MAX_ENTRIES });
    configuration["signing"]["lifetime"] = json!("10s");
    // Timers are kept for as long as the longest silence; the default of 15 minutes is more than the first part.
    let timeouts = json!({ "idle_stream": "10s" });
    configuration["upstreams"] = json!({
        "api": { "endpoints": [upstream, endpoint.url()], "ejection": { "for": "1s" }, "timeouts": timeouts },
        "mcp": { "endpoints": [upstream], "timeouts": timeouts },
        "streams": { "endpoints": [source.url()], "timeouts": timeouts },
    });
    configuration["routes"] = json!([
        route("api", "/", "api"),
        mcp_route("mcp", "/mcp", "mcp", json!({ "fetch-*": "allow" })),
        mcp_route("streams", "/streams", "streams", json!({})),
    ]);
    configuration
}

/// With another route and another rule each time.
fn changed(configuration: &Value, changes: u32) -> Value {
    let mut changed = configuration.clone();
    changed["routes"][1]["mcp"]["tools"][format!("tool-{}", changes % 10)] = json!("allow");
    let routes = changed["routes"].as_array_mut().unwrap();
    routes.push(route("changing", &format!("/changing/{}", changes % 100), "api"));
    changed
}

/// What is held at the end that was not held after the first part.
fn grown(first: &Sample, last: &Sample) -> Vec<String> {
    let mut failures = Vec::new();
    let bound = (as_figure(first.usage.memory) * MORE_MEMORY) + as_figure(MEMORY_ALLOWANCE);
    if as_figure(last.usage.memory) > bound {
        let (now, before) = (bytes(as_figure(last.usage.memory)), bytes(as_figure(first.usage.memory)));
        failures
            .push(format!("{now} of memory at the end, {before} after the first part; {} would pass", bytes(bound)));
    }
    let bound = first.usage.descriptors + DESCRIPTOR_ALLOWANCE;
    if last.usage.descriptors > bound {
        let (now, before) = (last.usage.descriptors, first.usage.descriptors);
        failures.push(format!("{now} descriptors at the end, {before} after the first part; {bound} would pass"));
    }
    if last.threads > first.threads {
        failures.push(format!("{} threads at the end, {} after the first part", last.threads, first.threads));
    }
    failures
}

fn wrong_answers(counts: &BTreeMap<&'static str, BTreeMap<u16, usize>>) -> Vec<String> {
    let mut failures = Vec::new();
    for kind in [HITS, COLD, CALLS, DENIED, INACTIVE, WITHOUT, STREAMS] {
        let Some(statuses) = counts.get(kind.label) else {
            failures.push(format!("{}: none", kind.label));
            continue;
        };
        for (status, count) in statuses.iter().filter(|(status, _)| !kind.right.contains(status)) {
            failures.push(format!("{}: {count} × {status}", kind.label));
        }
    }
    failures
}

fn samples_table(samples: &[Sample], first: Sample, last: Sample) -> String {
    let mut rows =
        vec![row(["", "memory", "descriptors", "threads", "requests under way", "connections", "tokens known"])];
    let mut add = |label: String, sample: &Sample| {
        let Usage { memory, descriptors, .. } = sample.usage;
        rows.push(row([
            &label,
            &bytes(as_figure(memory)),
            &descriptors.to_string(),
            &sample.threads.to_string(),
            &grouped(sample.requests),
            &grouped(sample.connections),
            &grouped(sample.cached),
        ]));
    };
    let (mut is_noted, step) = (false, samples.len().div_ceil(ROWS).max(1));
    for sample in samples.iter().step_by(step) {
        if !is_noted && sample.at > first.at {
            add(format!("{}, **at rest**", minutes(first.at)), &first);
            is_noted = true;
        }
        add(minutes(sample.at), sample);
    }
    add(format!("{}, **at rest**", minutes(last.at)), &last);
    aligned(&rows)
}

fn answers_table(counts: &BTreeMap<&'static str, BTreeMap<u16, usize>>) -> String {
    let mut rows = vec![row(["requests", "answers"])];
    for (label, statuses) in counts {
        let statuses = statuses.iter().map(|(status, count)| match status {
            0 => format!("{count} × broken off"),
            _ => format!("{count} × {status}"),
        });
        rows.push(row([label, &statuses.collect::<Vec<_>>().join(", ")]));
    }
    aligned(&rows)
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
fn as_figure(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, mebibytes: u64, descriptors: usize, threads: i64) -> Sample {
        Sample {
            at: Duration::from_secs(seconds),
            usage: Usage { memory: mebibytes * 1024 * 1024, descriptors, ..Usage::default() },
            threads,
            requests: 0.0,
            connections: 0.0,
            cached: 500.0,
        }
    }

    #[test]
    fn what_has_grown_is_named() {
        let first = sample(300, 40, 60, 8);
        assert_eq!(grown(&first, &sample(1200, 48, 92, 8)), Vec::<String>::new());
        assert_eq!(
            grown(&first, &sample(1200, 49, 93, 9)),
            [
                "49.0 MiB of memory at the end, 40.0 MiB after the first part; 48.0 MiB would pass",
                "93 descriptors at the end, 60 after the first part; 92 would pass",
                "9 threads at the end, 8 after the first part",
            ]
        );
    }

    #[test]
    fn the_table_has_both_rests() {
        let samples: Vec<_> = (1..=240).map(|place| sample(place * 5, 50, 100, 8)).collect();
        let table = samples_table(&samples, sample(300, 40, 60, 8), sample(1203, 41, 61, 8));
        assert_eq!(table.lines().count(), 2 + ROWS + 2, "{table}");
        assert!(table.contains("| 5:00, **at rest** "), "{table}");
        assert!(table.contains("| 20:03, **at rest** "), "{table}");
    }

    #[test]
    fn an_answer_that_is_not_right_is_a_failure() {
        let right = [HITS, COLD, CALLS, DENIED, INACTIVE, WITHOUT, STREAMS]
            .map(|kind| (kind.label, BTreeMap::from([(kind.right[0], 10)])));
        let mut counts = BTreeMap::from(right);
        assert_eq!(wrong_answers(&counts), Vec::<String>::new());
        counts.get_mut(HITS.label).unwrap().insert(502, 3);
        counts.remove(COLD.label);
        assert_eq!(wrong_answers(&counts), ["known tokens: 3 × 502", "unknown tokens: none"]);
    }
}

//! What event streams take while they say nothing: thousands of them, opened, left alone and closed, twice.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use procfs::{Current as _, Meminfo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::authorization_server::token;
use crate::document::{Findings, aligned, bytes, circumstances, grouped, row};
use crate::event_streams::{EventSource, EventStream};
use crate::machine::{Disturbance, Watch};
use crate::process::Usage;
use crate::world::{Gateway, World, mcp_route, route};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many are open at once; fewer where the operating system allows fewer descriptors
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// For how many seconds they say nothing
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What a stream may take of the gateway's memory, in bytes.
const BAR: f64 = 40.0 * 1024.0;

/// How much of it may be left when all are closed. The allocator does not give back every page.
const LEFT: f64 = 0.25;
/// And how many times as much as the first time the second time may take.
const AGAIN: f64 = 1.1;

/// Descriptors that are needed for other things, by the gateway or by this program.
const OTHER_DESCRIPTORS: u64 = 300;

/// Streams that are opened and closed before memory is looked at.
const FEW: u32 = 200;

/// Tokens that streams take turns with.
const TOKENS: usize = 100;
/// Addresses that they come from.
const SOURCES: u32 = 8;
/// How many are being opened at once.
const OPENING: usize = 100;

/// What is held at one moment, and what the kernel holds for all connections of the machine.
#[derive(Clone, Copy)]
struct Held {
    usage: Usage,
    kernel: f64,
}

/// One kind of route.
struct Course {
    label: &'static str,
    before: Held,
    open: Held,
    closed: Held,
    again: Held,
}

pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    let allowed = allowed_streams(raise_descriptors());
    let count = arguments.streams.min(allowed);
    if count < arguments.streams {
        eprintln!("{count} streams: more descriptors are not allowed (ulimit -Hn)");
    }
    let world = World::start(TOKENS, 1).await;
    let source = EventSource::start(None);
    let mut watch = Watch::new();
    let (mut courses, mut worst) = (Vec::new(), Disturbance::default());
    for (label, is_mcp) in [("route without `mcp`", false), ("MCP endpoint", true)] {
        let gateway = world.gateway("gateway", &configuration(&world, &source, is_mcp)).await;
        let watching = watch.begin(&[gateway.processes(), world.upstream.processes()]);
        courses.push(course(label, &gateway, count, Duration::from_secs(arguments.seconds)).await);
        worst = worst.worst(watching.end());
        assert_eq!(gateway.output(), "");
    }
    let failures = courses.iter().flat_map(|course| course.failures(count)).collect();
    let mut text = table(&courses, count);
    let reached = if courses.iter().all(|course| course.each(count) <= BAR) { "reached" } else { "**not reached**" };
    let how = format!("{} streams, idle for {} s", grouped(count.into()), arguments.seconds);
    text += &format!("\nAt most {}: {reached}.\n{}", bytes(BAR), circumstances(&how, worst));
    Findings { name: "streams", text, failures }.conclude(arguments.write)
}

/// Opens, waits, closes; and once more.
async fn course(label: &'static str, gateway: &Gateway, count: u32, idle: Duration) -> Course {
    let before = closed(gateway).await;
    let opened = Opened { streams: open(gateway, count).await, idle };
    let open_now = opened.held(gateway).await;
    drop(opened);
    let closed = closed(gateway).await;
    let opened = Opened { streams: open(gateway, count).await, idle };
    let again = opened.held(gateway).await;
    Course { label, before, open: open_now, closed, again }
}

struct Opened {
    streams: Vec<EventStream>,
    idle: Duration,
}

impl Opened {
    /// After they have said nothing for a while.
    async fn held(&self, gateway: &Gateway) -> Held {
        tokio::time::sleep(self.idle).await;
        let ended = self.streams.iter().filter(|stream| stream.has_ended()).count();
        assert_eq!(ended, 0, "streams have ended; the gateway said:\n{}", gateway.output());
        Held { usage: gateway.processes().usage(), kernel: kernel_memory() }
    }
}

/// When all are closed, and after a few others: what connections and threads take at first is there then, and the allocator,
/// which gives memory back as it is asked for some, has been asked.
async fn closed(gateway: &Gateway) -> Held {
    all_closed(gateway).await;
    drop(open(gateway, FEW).await);
    all_closed(gateway).await;
    Held { usage: gateway.at_rest().await, kernel: kernel_memory() }
}

async fn all_closed(gateway: &Gateway) {
    for metric in ["phantomgate_event_streams_open", "phantomgate_requests_in_flight", "phantomgate_connections"] {
        gateway.metric_ends(metric).await;
    }
}

/// Opens so many, some at a time, from several addresses.
async fn open(gateway: &Gateway, count: u32) -> Vec<EventStream> {
    let (address, room, mut opening) = (gateway.address(), Arc::new(Semaphore::new(OPENING)), JoinSet::new());
    for number in 0..count {
        let place = Arc::clone(&room).acquire_owned().await.unwrap();
        opening.spawn(async move {
            let opened = open_one(address, number).await;
            drop(place);
            opened
        });
    }
    let mut streams = Vec::new();
    while let Some(opened) = opening.join_next().await {
        let opened = opened.unwrap();
        streams.push(opened.unwrap_or_else(|error| panic!("{error}; the gateway said:\n{}", gateway.output())));
    }
    streams
}

async fn open_one(gateway: SocketAddr, number: u32) -> Result<EventStream, String> {
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + number % SOURCES);
    let token = token(&format!("{:07}", number as usize % TOKENS));
    EventStream::open(source, gateway, "/streams", &token).await
}

fn configuration(world: &World, source: &EventSource, is_mcp: bool) -> Value {
    let mut configuration = world.configuration();
    configuration["upstreams"]["streams"] = json!({ "endpoints": [source.url()] });
    let route = if is_mcp {
        mcp_route("streams", "/streams", "streams", json!({ "*": "allow" }))
    } else {
        route("streams", "/streams", "streams")
    };
    configuration["routes"] = json!([route]);
    configuration
}

impl Course {
    fn added(&self, held: Held) -> f64 {
        as_figure(held.usage.memory) - as_figure(self.before.usage.memory)
    }

    /// The memory of one stream.
    fn each(&self, count: u32) -> f64 {
        self.added(self.open) / f64::from(count)
    }

    fn failures(&self, count: u32) -> Vec<String> {
        let mut failures = Vec::new();
        let mut fail = |text: String| failures.push(format!("{}: {text}", self.label));
        if self.each(count) > BAR {
            fail(format!("a stream takes {}, where {} is the most", bytes(self.each(count)), bytes(BAR)));
        }
        if self.added(self.closed) > LEFT * self.added(self.open) {
            fail(format!("{} of {} is left", bytes(self.added(self.closed)), bytes(self.added(self.open))));
        }
        if self.added(self.again) > AGAIN * self.added(self.open) {
            fail(format!(
                "{}, where the first time took {}",
                bytes(self.added(self.again)),
                bytes(self.added(self.open))
            ));
        }
        if self.closed.usage.descriptors > self.before.usage.descriptors {
            let (closed, before) = (self.closed.usage.descriptors, self.before.usage.descriptors);
            fail(format!("{closed} descriptors are open when all streams are closed, where {before} were before"));
        }
        failures
    }
}

fn table(courses: &[Course], count: u32) -> String {
    let mut rows = vec![row(["", "memory of each", "and in the kernel", "memory", "descriptors"])];
    for course in courses {
        let each = |held: Held| bytes(course.added(held) / f64::from(count));
        let kernel = |held: Held| bytes((held.kernel - course.before.kernel) / f64::from(count));
        let mut add = |what: String, each: String, kernel: String, held: Held| {
            let Usage { memory, descriptors, .. } = held.usage;
            rows.push(row([&what, &each, &kernel, &bytes(as_figure(memory)), &descriptors.to_string()]));
        };
        let none = || "–".to_owned();
        add(format!("{}, before", course.label), none(), none(), course.before);
        add("… open".to_owned(), each(course.open), kernel(course.open), course.open);
        add("… closed".to_owned(), none(), none(), course.closed);
        add("… open once more".to_owned(), each(course.again), kernel(course.again), course.again);
    }
    aligned(&rows)
}

#[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
fn as_figure(count: u64) -> f64 {
    count as f64
}

/// What the kernel holds of its own: its objects (sockets and files among them), and buffers of TCP. Of the whole machine.
fn kernel_memory() -> f64 {
    let sockets = std::fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    as_figure(Meminfo::current().unwrap().slab + buffer_pages(&sockets) * procfs::page_size())
}

/// Pages of memory in buffers of TCP: `TCP: inuse 27 orphan 0 tw 0 alloc 30 mem 3`.
fn buffer_pages(sockets: &str) -> u64 {
    let line = sockets.lines().find_map(|line| line.strip_prefix("TCP:"));
    line.and_then(|line| line.rsplit_once(" mem ")?.1.trim().parse().ok()).unwrap_or_default()
}

/// Raises the bound on descriptors as far as it goes, for this program and all that it starts from now on.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

/// A stream takes two of the gateway's: to the client and to the upstream. Both of their other ends are here.
fn allowed_streams(descriptors: u64) -> u32 {
    (descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(mebibytes: u64, descriptors: usize) -> Held {
        Held { usage: Usage { memory: mebibytes * 1024 * 1024, descriptors, ..Usage::default() }, kernel: 0.0 }
    }

    #[test]
    fn what_does_not_come_back_is_a_failure() {
        let good = Course {
            label: "route",
            before: held(20, 30),
            open: held(320, 20_030),
            closed: held(60, 30),
            again: held(325, 20_030),
        };
        assert_eq!(good.each(10_000), 31_457.28);
        assert_eq!(good.failures(10_000), Vec::<String>::new());
        let bad = Course { open: held(520, 20_030), closed: held(170, 31), again: held(900, 40_000), ..good };
        assert_eq!(
            bad.failures(10_000),
            [
                "route: a stream takes 51.2 KiB, where 40.0 KiB is the most",
                "route: 150.0 MiB of 500.0 MiB is left",
                "route: 880.0 MiB, where the first time took 500.0 MiB",
                "route: 31 descriptors are open when all streams are closed, where 30 were before",
            ]
        );
    }

    #[test]
    fn buffers_of_tcp_are_found() {
        assert_eq!(
            buffer_pages("sockets: used 7\nTCP: inuse 6 orphan 0 tw 2 alloc 9 mem 21\nUDP: inuse 0 mem 5\n"),
            21
        );
        assert_eq!(buffer_pages(""), 0);
    }

    #[test]
    fn a_stream_takes_two_descriptors() {
        assert_eq!(allowed_streams(20_000), 9_850);
        assert_eq!(allowed_streams(100), 0);
        assert_eq!(allowed_streams(u64::MAX), u32::MAX);
    }
}

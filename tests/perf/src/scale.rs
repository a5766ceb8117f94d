//! What a request costs as things become many: routes, tokens, rules for tools, endpoints of an upstream.
//!
//! A gateway for each size runs from the beginning to the end, and in each round all of them are measured, one after the
//! other; the next round begins with another of them.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use e2e::AnswerExt as _;
use serde_json::{Map, Value, json};

use crate::authorization_server::token;
use crate::document::{Findings, aligned, bytes, circumstances, grouped, rounds, row};
use crate::load::{NUMBER, Turns};
use crate::machine::{Disturbance, Watch};
use crate::requests::each;
use crate::statistics::{median, ratio, spread};
use crate::upstream::RECEIVED;
use crate::world::{Gateway, World, mcp_route, route};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How often each size is measured
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// For how many seconds each time
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// Look at these alone
    #[arg(long, value_name = "DIMENSION,...", value_delimiter = ',', conflicts_with = "write")]
    only: Vec<Dimension>,
    /// Leave out what is more than this
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true, value_name = "COUNT", conflicts_with = "write")]
    most: usize,
    /// Put the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What becomes many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dimension {
    /// Routes; requests take turns with all of them
    Routes,
    /// Tokens that are known; requests take turns with all of them
    Tokens,
    /// Rules for tools, a tenth of them patterns; calls take turns with all of them
    Tools,
    /// Endpoints that take turns
    RoundRobin,
    /// Endpoints of which the one with the fewest requests under way is chosen
    LeastConnections,
}

impl Dimension {
    const ALL: [Self; 5] = [Self::Routes, Self::Tokens, Self::Tools, Self::RoundRobin, Self::LeastConnections];

    fn label(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Tokens => "tokens",
            Self::Tools => "rules for tools",
            Self::RoundRobin => "endpoints, `round_robin`",
            Self::LeastConnections => "endpoints, `least_connections`",
        }
    }

    fn sizes(self) -> &'static [usize] {
        match self {
            Self::Routes => &[10, 100, 1_000, 10_000],
            Self::Tokens => &[1, 1_000, 100_000, 1_000_000],
            Self::Tools => &[10, 100, 1_000],
            Self::RoundRobin | Self::LeastConnections => &[1, 10, 100, 500],
        }
    }

    /// How many times as much as with the fewest a request may cost with the most.
    fn bar(self) -> Option<f64> {
        match self {
            Self::Routes => Some(1.1),
            Self::Tokens => Some(1.3),
            Self::Tools | Self::RoundRobin | Self::LeastConnections => None,
        }
    }
}

/// What a known token may take, in bytes, the JWT that is kept with it included.
const TOKEN_BAR: f64 = 2048.0;

/// Requests that all is there after which tokens do not take: connections, threads, their buffers.
const FEW: usize = 1_000;

/// Load before the measurement: connections and their buffers are there.
const WARM_UP: Duration = Duration::from_secs(1);

/// Counts the connections to upstreams.
const CONNECTIONS: &str = "phantomgate_upstream_connect_seconds_count";

/// A gateway with so many of something.
struct Case {
    size: usize,
    gateway: Gateway,
    load: Turns,
    /// Where the next load goes on.
    first: usize,
    rounds: Vec<Measurement>,
}

struct Measurement {
    /// Microseconds of processor time for one request.
    cpu: f64,
    requests_per_second: f64,
    /// Connections to the upstream that were made for one request.
    connections: f64,
    disturbance: Disturbance,
}

impl Case {
    fn median(&self, figure: fn(&Measurement) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    /// How many times as much a request costs as with `other`.
    fn ratio_to(&self, other: &Self) -> f64 {
        let cpu = |case: &Self| case.rounds.iter().map(|round| round.cpu).collect::<Vec<_>>();
        ratio(cpu(self), cpu(other))
    }
}

pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    let wanted = |dimension: &Dimension| arguments.only.is_empty() || arguments.only.contains(dimension);
    let mut findings = Findings { name: "scale", text: String::new(), failures: Vec::new() };
    for dimension in Dimension::ALL.into_iter().filter(wanted) {
        measure(dimension, arguments, &mut findings).await;
    }
    findings.conclude(arguments.write)
}

/// All sizes of one thing.
async fn measure(dimension: Dimension, arguments: &Arguments, findings: &mut Findings) {
    let sizes: Vec<usize> = dimension.sizes().iter().copied().filter(|size| *size <= arguments.most).collect();
    let Some(&most) = sizes.last() else { return };
    let is_endpoints = matches!(dimension, Dimension::RoundRobin | Dimension::LeastConnections);
    let tokens = if dimension == Dimension::Tokens { most } else { 1 };
    let world = World::start(tokens, if is_endpoints { most } else { 1 }).await;
    let mut watch = Watch::new();
    let (mut cases, mut memory) = (Vec::new(), None);
    for &size in &sizes {
        let gateway = world.gateway(&format!("{size}"), &configuration(&world, dimension, size)).await;
        let load = load(&gateway, dimension, size);
        let taken = warm_up(&world, &gateway, &load).await;
        if dimension == Dimension::Tokens && size > FEW {
            memory = Some(Taken { size, each: taken, credential: credential(&gateway).await });
        }
        cases.push(Case { size, gateway, load, first: 0, rounds: Vec::new() });
    }
    world.authorization_server.take_introspections();
    for round in 0..arguments.rounds {
        let first = usize::try_from(round).unwrap() % cases.len();
        for place in (first..cases.len()).chain(0..first) {
            let case = &mut cases[place];
            let measurement = once(&world, case, Duration::from_secs(arguments.seconds), &mut watch).await;
            eprintln!(
                "round {}: {} {}: {:.1} µs, {:.0} requests/s",
                round + 1,
                case.size,
                dimension.label(),
                measurement.cpu,
                measurement.requests_per_second
            );
            case.rounds.push(measurement);
        }
    }
    let asked = world.authorization_server.take_introspections();
    if asked > 0 {
        findings.failures.push(format!("{}: known tokens were asked about {asked} times", dimension.label()));
    }
    note(dimension, &cases, arguments, findings);
    if let Some(taken) = memory {
        note_memory(&taken, findings);
    }
}

/// Asks for each number once, so that everything is known, and gives how much memory each took, in bytes. Then lets a little
/// of the load run.
#[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
async fn warm_up(world: &World, gateway: &Gateway, load: &Turns) -> f64 {
    let (address, requests) = (gateway.address(), load.clone());
    let request = move |number| requests.request(number);
    let few = load.count.min(FEW);
    let mut answers = each(address, 64, 0..few, request.clone()).await;
    let before = gateway.at_rest().await.memory;
    if few < load.count {
        eprintln!("{} tokens are learnt", load.count);
        answers.add(each(address, 64, few..load.count, request).await);
    }
    assert_eq!(answers.other_than(200), None, "{}", gateway.output());
    let after = gateway.at_rest().await.memory;
    let report = load.run(0, WARM_UP, world.directory(), &world.launch()).await;
    assert_eq!(report.failures, Vec::<String>::new(), "{}", gateway.output());
    (after as f64 - before as f64) / (load.count - few).max(1) as f64
}

async fn once(world: &World, case: &mut Case, duration: Duration, watch: &mut Watch) -> Measurement {
    let processes = case.gateway.processes();
    let watching = watch.begin(&[processes, world.upstream.processes()]);
    let connections = case.gateway.metric(CONNECTIONS).await;
    let before = processes.cpu();
    let launch = |program: &Path| world.placement.other(program);
    let report = case.load.run(case.first, duration, world.directory(), &launch).await;
    let cpu = processes.cpu() - before;
    let disturbance = watching.end();
    let connections = case.gateway.metric(CONNECTIONS).await - connections;
    assert_eq!(report.failures, Vec::<String>::new(), "{}", case.gateway.output());
    case.first = case.load.after(case.first, usize::try_from(report.requests).unwrap());
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
    let requests = report.requests as f64;
    Measurement {
        cpu: cpu.as_secs_f64() * 1e6 / requests,
        requests_per_second: report.per_second(),
        connections: connections / requests,
        disturbance,
    }
}

fn note(dimension: Dimension, cases: &[Case], arguments: &Arguments, findings: &mut Findings) {
    let (smallest, largest) = (cases.first().unwrap(), cases.last().unwrap());
    let mut rows =
        vec![row([dimension.label(), "CPU per request", "of the fewest", "connections per request", "requests/s"])];
    rows.extend(cases.iter().map(|case| {
        #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
        let size = grouped(case.size as f64);
        row([
            &size,
            &format!("{:.1} µs", case.median(|round| round.cpu)),
            &format!("× {:.2}", case.ratio_to(smallest)),
            &format!("{:.3}", case.median(|round| round.connections)),
            &grouped(case.median(|round| round.requests_per_second)),
        ])
    }));
    let verdict = dimension.bar().filter(|_| largest.size == *dimension.sizes().last().unwrap()).map(|bar| {
        let ratio = largest.ratio_to(smallest);
        let reached = ratio <= bar;
        if !reached {
            findings.failures.push(format!("{}: × {ratio:.2}, where × {bar} is the most", dimension.label()));
        }
        format!("At most × {bar}: {}.\n", if reached { "reached" } else { "**not reached**" })
    });
    let widest = cases.iter().map(|case| spread(case.rounds.iter().map(|round| round.cpu))).fold(0.0, f64::max);
    let how = format!("{} of {} s, up to {:.0} % apart", rounds(arguments.rounds), arguments.seconds, widest * 100.0);
    let disturbance = cases.iter().flat_map(|case| &case.rounds).map(|round| round.disturbance);
    let worst = disturbance.fold(Disturbance::default(), Disturbance::worst);
    let text = format!("{}\n{}{}\n", aligned(&rows), verdict.unwrap_or_default(), circumstances(&how, worst));
    findings.text.push_str(&text);
}

/// What known tokens take.
struct Taken {
    size: usize,
    /// In bytes.
    each: f64,
    /// How long the `Authorization` is that the upstream gets for one.
    credential: usize,
}

async fn credential(gateway: &Gateway) -> usize {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let received = client.get(gateway.url(RECEIVED)).bearer_auth(token(&format!("{:07}", 0))).answer().await;
    let received = &received.assert_status(200).body;
    assert!(received.starts_with("Bearer ey"), "no JWT was sent upstream: {received}");
    received.len()
}

fn note_memory(taken: &Taken, findings: &mut Findings) {
    let Taken { size, each, credential } = taken;
    let reached = *each <= TOKEN_BAR;
    if !reached {
        findings.failures.push(format!("a token takes {}, where {} is the most", bytes(*each), bytes(TOKEN_BAR)));
    }
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
    let size = grouped(*size as f64);
    findings.text.push_str(&format!(
        "Of {size} tokens each took {} of memory, with its JWT (`Authorization` has {credential} bytes). At most {}: {}.\n\n",
        bytes(*each),
        bytes(TOKEN_BAR),
        if reached { "reached" } else { "**not reached**" }
    ));
}

fn configuration(world: &World, dimension: Dimension, size: usize) -> Value {
    let mut configuration = world.configuration();
    match dimension {
        Dimension::Tokens => {
            // Its parts are filled by chance, and one that is full forgets tokens though others have room.
            let room = size + size / 10 + 100;
            configuration["authorization_servers"]["main"]["cache"]["max_entries"] = json!(room);
        }
        Dimension::Routes => {
            configuration["routes"] =
                (0..size).map(|number| route(&format!("r{number}"), &path(number), "api")).collect();
        }
        Dimension::Tools => {
            configuration["routes"] = json!([mcp_route("mcp", "/mcp", "api", rules(size).into())]);
        }
        Dimension::RoundRobin | Dimension::LeastConnections => {
            let selection = if dimension == Dimension::RoundRobin { "round_robin" } else { "least_connections" };
            let endpoints: Vec<_> = world.upstream.endpoints().into_iter().take(size).collect();
            configuration["upstreams"]["api"] = json!({ "endpoints": endpoints, "selection": selection });
        }
    }
    configuration
}

/// The path of a route.
fn path(number: usize) -> String {
    format!("/services/{number:07}")
}

/// One rule for each number; each tenth is a pattern.
fn rules(size: usize) -> Map<String, Value> {
    let name = |number| if number % 10 == 9 { format!("tool-{number:07}-*") } else { format!("tool-{number:07}-call") };
    (0..size).map(|number| (name(number), json!("allow"))).collect()
}

fn load(gateway: &Gateway, dimension: Dimension, size: usize) -> Turns {
    let only = token(&format!("{:07}", 0));
    let get = |path: &str, token: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n", gateway.address())
    };
    let (request, count) = match dimension {
        Dimension::Routes => (get(&format!("/services/{NUMBER}"), &only), size),
        Dimension::Tokens => (get("/", &token(NUMBER)), size),
        Dimension::Tools => (call(gateway, &only), size),
        Dimension::RoundRobin | Dimension::LeastConnections => (get("/", &only), 1),
    };
    Turns { url: gateway.url("/"), request, count }
}

/// A call of a tool, and of an ordinary size.
fn call(gateway: &Gateway, token: &str) -> String {
    let message = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"tool-{NUMBER}-call","arguments":{{"query":"everybody whose account was made since the beginning of the year","limit":50}}}}}}"#
    );
    let length = message.len() - NUMBER.len() + 7;
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nAccept: \
         application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\nContent-Length: {length}\r\n\r\n\
         {message}",
        gateway.address()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_begin_with_the_fewest() {
        for dimension in Dimension::ALL {
            assert!(dimension.sizes().is_sorted(), "{dimension:?}");
        }
    }

    #[test]
    fn every_rule_fits_one_call() {
        let rules = rules(100);
        assert_eq!((rules.len(), rules.keys().filter(|name| name.ends_with('*')).count()), (100, 10));
        assert!(rules.contains_key("tool-0000000-call") && rules.contains_key("tool-0000099-*"));
    }
}

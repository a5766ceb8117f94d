//! phantomgate and its peers on the same work.
//!
//! In each round every peer is started anew, shown to do the work, warmed up and then measured, one after the other; the
//! next round begins with another of them. What a machine does meanwhile meets all of them alike, and each is
//! compared with phantomgate in the same round.

mod chart;
mod document;
mod peer;
mod results;
mod scenario;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum as _};
use e2e::{AnswerExt as _, decode_jwt};
use http::{StatusCode, Version};

use self::chart::chart;
use self::document::with_tables;
use self::peer::{Peer, Running, Surroundings};
use self::results::{Measurement, PeerResult, Results, ScenarioResult};
use self::scenario::{Scenario, TOKENS};
use self::table::table;
use crate::authorization_server::subject;
use crate::document::today;
use crate::load::{Load, instructions_can_be_counted};
use crate::machine::{Disturbance, Machine, Watch};
use crate::programs::Program;
use crate::upstream;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How often each peer is measured
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// For how many seconds each time
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// Measure these alone
    #[arg(long, value_name = "PEER,...", value_delimiter = ',')]
    only: Vec<Peer>,
    /// The work they are given
    #[arg(long, value_name = "SCENARIO,...", value_delimiter = ',', default_value = "one-token")]
    scenario: Vec<Scenario>,
    /// All scenarios
    #[arg(long, conflicts_with = "scenario")]
    all: bool,
    /// Put the results into docs/performance.json, and table and chart beside it
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// Load before the measurement: caches are filled, connections and their buffers are there. As often as it takes until
/// each thread has seen each token, or nearly so.
const WARM_UP: Duration = Duration::from_secs(1);
/// And no more often than this.
const WARM_UPS: usize = 20;

/// The token that peers are tried with before they are measured with others, which no cache knows then.
const VERIFIED: usize = TOKENS;

/// How long a peer may take to find its routes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    let scenarios = if arguments.all { Scenario::ALL.to_vec() } else { arguments.scenario.clone() };
    let (surroundings, mut watch) = (Surroundings::start().await, Watch::new());
    let counting = instructions_can_be_counted();
    let mut results = Results::default();
    for scenario in scenarios {
        let result = measure(scenario, arguments, &surroundings, &mut watch, counting).await;
        println!("\n{}: {}\n\n{}", scenario.name(), scenario.title(), table(&result));
        results.put(result);
    }
    save(results, arguments.write);
    ExitCode::SUCCESS
}

/// Has `program` do the work of each scenario, a little of it, and measures nothing.
pub(crate) async fn exercise(program: Program) {
    let only = Peer::value_variants().iter().copied().filter(|peer| peer.program() == program).collect();
    let arguments = Arguments { rounds: 1, seconds: 1, only, scenario: Vec::new(), all: true, write: false };
    let (surroundings, mut watch) = (Surroundings::start().await, Watch::new());
    for scenario in Scenario::ALL {
        measure(scenario, &arguments, &surroundings, &mut watch, false).await;
    }
}

/// All rounds of a scenario.
async fn measure(
    scenario: Scenario,
    arguments: &Arguments,
    surroundings: &Surroundings,
    watch: &mut Watch,
    counting: bool,
) -> ScenarioResult {
    let wanted = |peer: &&Peer| arguments.only.is_empty() || arguments.only.contains(peer);
    let peers: Vec<Peer> = scenario.peers().iter().filter(wanted).copied().collect();
    let mut rounds: BTreeMap<Peer, Vec<Measurement>> = BTreeMap::new();
    for round in 0..arguments.rounds {
        let first = usize::try_from(round).unwrap() % peers.len().max(1);
        for &peer in peers[first..].iter().chain(&peers[..first]) {
            let measurement = Attempt { scenario, peer, arguments, surroundings }.measure(watch, counting).await;
            eprintln!(
                "{} round {}: {peer:?}: {:.0} requests/s, {:.1} µs of CPU each",
                scenario.name(),
                round + 1,
                measurement.requests_per_second,
                measurement.cpu
            );
            rounds.entry(peer).or_default().push(measurement);
        }
    }
    let disturbances = rounds.values().flatten().map(|measurement| measurement.disturbance);
    let phantomgate = rounds.get(&Peer::Phantomgate);
    ScenarioResult {
        scenario,
        measured: today(),
        machine: Machine::this(),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        disturbance: disturbances.fold(Disturbance::default(), Disturbance::worst),
        peers: peers
            .iter()
            .map(|&peer| PeerResult::of(peer, peer.version(), &rounds[&peer], phantomgate.map(Vec::as_slice)))
            .collect(),
    }
}

/// One peer in one round.
struct Attempt<'a> {
    scenario: Scenario,
    peer: Peer,
    arguments: &'a Arguments,
    surroundings: &'a Surroundings,
}

impl Attempt<'_> {
    async fn measure(&self, watch: &mut Watch, counting: bool) -> Measurement {
        let Self { scenario, peer, arguments, surroundings } = *self;
        let directory = surroundings.directory.path();
        let proxy = Running::start(peer, scenario.is_tls(), surroundings).await;
        self.verify(&proxy).await;

        let tokens = (0..scenario.tokens()).map(|number| surroundings.authorization_server.token(number)).collect();
        let url = proxy.url(scenario.path(peer));
        let mut load = Load { url, rate: scenario.rate(), body: scenario.body(), headers: scenario.headers(), tokens };
        let launch = |program: &Path| surroundings.placement.other(program);
        surroundings.authorization_server.take_introspections();
        let mut seen = 0;
        for _ in 0..WARM_UPS {
            let requests = load.run(WARM_UP, None, directory, &launch).await.requests;
            seen += usize::try_from(requests).unwrap();
            if seen >= 5 * scenario.tokens() {
                break;
            }
            // The next one goes on where this one has ended.
            load.tokens.rotate_left(usize::try_from(requests).unwrap() % scenario.tokens());
        }

        let processes = proxy.processes();
        let watching = watch.begin(&[processes, surroundings.upstream.processes()]);
        let before = processes.cpu();
        let duration = Duration::from_secs(arguments.seconds);
        let report = load.run(duration, counting.then_some(processes), directory, &launch).await;
        let usage = processes.usage();
        let disturbance = watching.end();

        assert_eq!(report.failures, Vec::<String>::new(), "{peer:?} said:\n{}", proxy.output());
        let (requests, introspections, memory) = (
            report.requests as f64,
            surroundings.authorization_server.take_introspections() as f64,
            usage.memory as f64,
        );
        Measurement {
            requests_per_second: requests / report.seconds,
            p50: report.latency.p50,
            p99: report.latency.p99,
            p999: report.latency.p999,
            cpu: (usage.cpu - before).as_secs_f64() * 1e6 / requests,
            instructions: report.instructions.map(|count| count / requests),
            introspections,
            memory,
            disturbance,
        }
    }

    /// That it does the work it is measured at: the upstream gets the JWT and never the token, whoever has no good token
    /// gets nothing, and the answer is the upstream's.
    async fn verify(&self, proxy: &Running) {
        let Self { scenario, peer, .. } = *self;
        let token = self.surroundings.authorization_server.token(VERIFIED);
        let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
        let received = self.received(&client, proxy, &token).await;
        let credential = received.strip_prefix("Bearer ").unwrap_or_else(|| panic!("{peer:?}: {received:?}"));
        if peer.swaps() {
            assert_eq!(decode_jwt(credential).1["sub"], subject(VERIFIED), "{peer:?} sent {credential}");
            assert!((400..1000).contains(&credential.len()), "{peer:?} sent {} bytes", credential.len());
            self.request(&client, proxy, &format!("{token}x")).answer().await.assert_status_in(&[401, 403]);
        } else {
            assert_eq!(credential, token, "{peer:?}");
        }
        let response = self.request(&client, proxy, &token).send().await.unwrap();
        let version = if scenario.is_tls() { Version::HTTP_2 } else { Version::HTTP_11 };
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version), "{peer:?}: {response:?}");
        let body = response.bytes().await.unwrap();
        assert!(body.len() >= scenario.answer_length(), "{peer:?} answered {} bytes", body.len());
    }

    /// The `Authorization` that the upstream gets for this token, as soon as there is an answer: Traefik listens before it
    /// knows its routes and certificates.
    async fn received(&self, client: &reqwest::Client, proxy: &Running, token: &str) -> String {
        let started = Instant::now();
        loop {
            let answer = client.get(proxy.url(upstream::RECEIVED)).bearer_auth(token).send().await;
            let failure = match answer {
                Ok(answer) if answer.status() == StatusCode::OK => return answer.text().await.unwrap(),
                Ok(answer) => format!("{answer:?}"),
                Err(error) => format!("{error:?}"),
            };
            assert!(started.elapsed() < PATIENCE, "{:?}: {failure}; it said:\n{}", self.peer, proxy.output());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// One of the requests that it is measured with.
    fn request(&self, client: &reqwest::Client, proxy: &Running, token: &str) -> reqwest::RequestBuilder {
        let url = proxy.url(self.scenario.path(self.peer));
        let request = match self.scenario.body() {
            Some(body) => client.post(url).body(body),
            None => client.get(url),
        };
        let headers = self.scenario.headers().into_iter();
        headers.fold(request, |request, (name, value)| request.header(name, value)).bearer_auth(token)
    }
}

/// Writes results and chart under target/perf, or into the document.
fn save(new: Results, write: bool) {
    let directory = Path::new(if write { "docs" } else { "target/perf" });
    let file = directory.join("performance.json");
    // In the document, what was not measured this time stays.
    let mut results = if write { Results::read(&file) } else { Results::default() };
    new.0.into_iter().for_each(|result| results.put(result));
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(&file, results.to_json()).unwrap();
    std::fs::write(directory.join("performance.svg"), chart(&results)).unwrap();
    if write {
        let document = directory.join("performance.md");
        let text = std::fs::read_to_string(&document).unwrap();
        std::fs::write(document, with_tables(&text, &results)).unwrap();
    }
    println!("The results and a chart of them: {0}/performance.json, {0}/performance.svg", directory.display());
}

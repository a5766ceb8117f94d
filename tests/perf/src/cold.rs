//! Tokens that nobody has seen yet: many requests with the same one, many of them at once, and what becomes of them, and of
//! all others, while the authorization server fails.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::authorization_server::{Behaviour, token};
use crate::document::{Findings, aligned, circumstances, grouped, milliseconds, rounds, row};
use crate::load::{Load, Report};
use crate::machine::{Disturbance, Watch};
use crate::requests::{Answers, at_once, at_rate, each, get};
use crate::statistics::median;
use crate::upstream::SMALL;
use crate::world::{Gateway, World};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How often the traffic of known tokens is measured beside each kind of failure
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// For how many seconds each time
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// Put the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// How long the authorization server thinks about each token.
const LATENCY: Duration = Duration::from_millis(20);

/// Requests with one token that nobody has seen.
const AT_ONCE: usize = 1_000;
/// Tokens that nobody has seen.
const DISTINCT: usize = 10_000;
/// Connections that these come over.
const CONNECTIONS: usize = 1_000;

/// Tokens that are known when the authorization server begins to fail.
const KNOWN: usize = 1_000;
/// Requests per second with tokens that are not.
const COLD_RATE: u32 = 200;

/// The least share that must be left of the traffic of known tokens when others cannot be asked about. A machine that is
/// not quiet takes a third away by itself; a collapse takes more.
const LEAST_SHARE: f64 = 0.5;
/// And how many times as long one in a hundred of its requests may take.
const MOST_TIMES: f64 = 3.0;

/// What stands beside the traffic of known tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Answered,
    Failing,
    Refusing,
    Hanging,
}

impl Beside {
    const ALL: [Self; 5] = [Self::Nothing, Self::Answered, Self::Failing, Self::Refusing, Self::Hanging];

    fn label(self) -> &'static str {
        match self {
            Self::Nothing => "no unknown tokens",
            Self::Answered => "unknown tokens, answered",
            Self::Failing => "… answered with 500",
            Self::Refusing => "… connections refused",
            Self::Hanging => "… not answered at all",
        }
    }

    fn fails(self) -> bool {
        matches!(self, Self::Failing | Self::Refusing | Self::Hanging)
    }
}

/// The traffic of known tokens beside something, and what became of unknown ones.
struct Round {
    known: Report,
    unknown: Answers,
    disturbance: Disturbance,
}

pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    let rounds_in_all = usize::try_from(arguments.rounds).unwrap();
    let cold_in_all = usize::try_from(arguments.seconds + 1).unwrap() * usize::try_from(COLD_RATE).unwrap();
    let tokens = 1 + DISTINCT + rounds_in_all * Beside::ALL.len() * (KNOWN + cold_in_all);
    let mut command = Cold { world: World::start(tokens, 1).await, watch: Watch::new(), next: 0, failures: Vec::new() };
    command.world.authorization_server.take_time(LATENCY);
    let flights = command.flights().await;
    let failures = command.beside_failures(arguments).await;
    Findings { name: "cold", text: format!("{flights}\n{failures}"), failures: command.failures }
        .conclude(arguments.write)
}

struct Cold {
    world: World,
    watch: Watch,
    /// The number of the next token that nobody has seen.
    next: usize,
    failures: Vec<String>,
}

impl Cold {
    /// One token at once, and many.
    async fn flights(&mut self) -> String {
        let gateway = self.world.gateway("gateway", &self.world.configuration()).await;
        let (address, server) = (gateway.address(), &self.world.authorization_server);
        let watching = self.watch.begin(&[gateway.processes(), self.world.upstream.processes()]);

        let mut rows =
            vec![row(["", "answers", "introspections", "connections to ask on", "requests/s", "p50", "p99"])];
        let mut note = |label: &str, answers: &Answers| {
            let (introspections, connections) = (server.take_introspections(), server.take_most_connections());
            rows.push(row([
                label,
                &answers.statuses(),
                &introspections.to_string(),
                &connections.to_string(),
                &grouped(answers.per_second()),
                &milliseconds(answers.quantile(0.5)),
                &milliseconds(answers.quantile(0.99)),
            ]));
            introspections
        };
        let same = at_once(address, AT_ONCE, get(address, SMALL, &server.token(0))).await;
        let introspections = note("1 000 requests at once, one token", &same);
        let distinct =
            each(address, CONNECTIONS, 1..1 + DISTINCT, move |number| get(address, SMALL, &of(number))).await;
        let distinct_introspections = note("10 000 tokens, on 1 000 connections", &distinct);
        self.next = 1 + DISTINCT;

        self.failures.extend(same.other_than(200).map(|other| format!("one token: {other}")));
        self.failures.extend(distinct.other_than(200).map(|other| format!("10 000 tokens: {other}")));
        if introspections != 1 {
            self.failures.push(format!("one token was asked about {introspections} times"));
        }
        if distinct_introspections != 10_000 {
            self.failures.push(format!("10 000 tokens were asked about {distinct_introspections} times"));
        }
        self.said(&gateway);
        let how = format!("Once; introspection takes {} ms", LATENCY.as_millis());
        format!("{}\n{}", aligned(&rows), circumstances(&how, watching.end()))
    }

    /// Known tokens, beside others that cannot be asked about.
    async fn beside_failures(&mut self, arguments: &Arguments) -> String {
        let mut all: Vec<(Beside, Vec<Round>)> = Beside::ALL.map(|beside| (beside, Vec::new())).into();
        for round in 0..arguments.rounds {
            let first = usize::try_from(round).unwrap() % all.len();
            for place in (first..all.len()).chain(0..first) {
                let measured = self.beside(all[place].0, Duration::from_secs(arguments.seconds)).await;
                eprintln!(
                    "round {}, {}: {:.0} requests/s, p99 {:.0} µs; unknown tokens: {}",
                    round + 1,
                    all[place].0.label(),
                    measured.known.per_second(),
                    measured.known.latency.p99,
                    measured.unknown.statuses()
                );
                all[place].1.push(measured);
            }
        }

        let head = [
            "beside known tokens",
            "requests/s of these",
            "of undisturbed",
            "p50",
            "p99",
            "unknown tokens",
            "p50",
            "p99",
        ];
        let mut rows = vec![row(head)];
        let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.known.per_second()));
        let slow = |rounds: &[Round]| median(rounds.iter().map(|round| round.known.latency.p99));
        let undisturbed = rate(&all[0].1);
        let (answered, answered_slow) = (rate(&all[1].1), slow(&all[1].1));
        for (beside, rounds) in &all {
            let mut unknown = Answers::default();
            rounds.iter().for_each(|round| unknown.add(round.unknown.clone()));
            let statuses = unknown.statuses();
            let time =
                |share| if *beside == Beside::Nothing { "–".into() } else { milliseconds(unknown.quantile(share)) };
            rows.push(row([
                beside.label(),
                &grouped(rate(rounds)),
                &format!("× {:.2}", rate(rounds) / undisturbed),
                &milliseconds(median(rounds.iter().map(|round| round.known.latency.p50))),
                &milliseconds(slow(rounds)),
                if *beside == Beside::Nothing { "–" } else { &statuses },
                &time(0.5),
                &time(0.99),
            ]));
            let expected = if beside.fails() { 503 } else { 200 };
            let wrong = unknown.other_than(expected);
            self.failures.extend(wrong.map(|wrong| format!("{}: {wrong}", beside.label())));
            for round in rounds {
                let broken = &round.known.failures;
                self.failures.extend(broken.iter().map(|broken| format!("{}, known tokens: {broken}", beside.label())));
            }
            if rate(rounds) < LEAST_SHARE * answered || slow(rounds) > MOST_TIMES * answered_slow {
                self.failures.push(format!(
                    "{}: {} requests/s of known tokens and a p99 of {}, where {} and {} were had beside healthy questions",
                    beside.label(),
                    grouped(rate(rounds)),
                    milliseconds(slow(rounds)),
                    grouped(answered),
                    milliseconds(answered_slow)
                ));
            }
        }
        let disturbance = all.iter().flat_map(|(_, rounds)| rounds).map(|round| round.disturbance);
        let how =
            format!("{} of {} s; {COLD_RATE} unknown tokens a second", rounds(arguments.rounds), arguments.seconds);
        let worst = disturbance.fold(Disturbance::default(), Disturbance::worst);
        format!("{}\n{}", aligned(&rows), circumstances(&how, worst))
    }

    /// One measurement, with a gateway of its own.
    async fn beside(&mut self, beside: Beside, duration: Duration) -> Round {
        let gateway = self.world.gateway("gateway", &self.world.configuration()).await;
        let address = gateway.address();
        let known = self.next..self.next + KNOWN;
        self.next = known.end;
        let tokens = known.clone().map(of).collect();
        let learnt = each(address, 64, known, move |number| get(address, SMALL, &of(number))).await;
        assert_eq!(learnt.other_than(200), None, "{}", gateway.output());

        match beside {
            Beside::Nothing | Beside::Answered => {}
            Beside::Failing => self.world.authorization_server.be(Behaviour::Fail),
            Beside::Refusing => self.world.authorization_server.go_away().await,
            Beside::Hanging => self.world.authorization_server.be(Behaviour::Hang),
        }
        let load = Load { url: gateway.url(SMALL), rate: None, body: None, headers: Vec::new(), tokens };
        let (directory, launch, first) = (self.world.directory(), self.world.launch(), self.next);
        let unknown = async {
            match beside {
                Beside::Nothing => Answers::default(),
                _ => at_rate(address, COLD_RATE, duration, first, move |number| get(address, SMALL, &of(number))).await,
            }
        };
        let watching = self.watch.begin(&[gateway.processes(), self.world.upstream.processes()]);
        let (known, unknown) = tokio::join!(load.run(duration, None, directory, &launch), unknown);
        let disturbance = watching.end();
        drop(launch);
        self.next += unknown.statuses.values().sum::<usize>();
        match beside {
            Beside::Refusing => self.world.authorization_server.come_back(),
            _ => self.world.authorization_server.be(Behaviour::Answer),
        }
        if !beside.fails() {
            self.said(&gateway);
        }
        Round { known, unknown, disturbance }
    }

    /// It says nothing while all is well.
    fn said(&mut self, gateway: &Gateway) {
        let output = gateway.output();
        if !output.is_empty() {
            self.failures.push(format!("the gateway said:\n{output}"));
        }
    }
}

fn of(number: usize) -> String {
    token(&format!("{number:07}"))
}

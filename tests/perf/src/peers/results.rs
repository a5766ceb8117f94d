//! What was measured, as it is kept: `docs/performance.json` is this, and table and chart are made from it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::scenario::Scenario;
use crate::machine::{Disturbance, Machine};
use crate::statistics::{median, ratio, spread};

/// The results of some scenarios, each with the machine and the time it was measured on and at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results(pub(crate) Vec<ScenarioResult>);

/// One scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ScenarioResult {
    pub(crate) scenario: Scenario,
    /// The day.
    pub(crate) measured: String,
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    /// Of each measurement.
    pub(crate) seconds: u64,
    /// What disturbed it most, in any measurement.
    pub(crate) disturbance: Disturbance,
    pub(crate) peers: Vec<PeerResult>,
}

/// One proxy: medians over the rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PeerResult {
    pub(crate) peer: Peer,
    pub(crate) version: String,
    pub(crate) requests_per_second: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
    /// Microseconds.
    pub(crate) p999: f64,
    /// Microseconds of processor time, user and system, of all its processes, for one request.
    pub(crate) cpu: f64,
    /// How many times as much processor time that is as phantomgate's in the same rounds; nothing where that was not measured.
    pub(crate) of_phantomgates: Option<f64>,
    /// Outside of the kernel, for one request; nothing where the machine does not count them.
    pub(crate) instructions: Option<f64>,
    /// From its start to the end of the load.
    pub(crate) introspections: f64,
    /// Bytes, at the end of the load.
    pub(crate) memory: f64,
    /// How far apart `cpu` was in the rounds, as a share of it.
    pub(crate) spread: f64,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) requests_per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) cpu: f64,
    pub(crate) instructions: Option<f64>,
    pub(crate) introspections: f64,
    pub(crate) memory: f64,
    pub(crate) disturbance: Disturbance,
}

impl PeerResult {
    /// What the rounds come to, beside those of `phantomgate`.
    pub(crate) fn of(peer: Peer, version: String, rounds: &[Measurement], phantomgate: Option<&[Measurement]>) -> Self {
        let cpu = |rounds: &[Measurement]| rounds.iter().map(|round| round.cpu).collect::<Vec<_>>();
        let of = |figure: fn(&Measurement) -> f64| round(median(rounds.iter().map(figure)));
        let instructions: Vec<f64> = rounds.iter().filter_map(|round| round.instructions).collect();
        Self {
            peer,
            version,
            requests_per_second: of(|round| round.requests_per_second),
            p50: of(|round| round.p50),
            p99: of(|round| round.p99),
            p999: of(|round| round.p999),
            cpu: of(|round| round.cpu),
            of_phantomgates: phantomgate.map(|phantomgate| round(ratio(cpu(rounds), cpu(phantomgate)))),
            instructions: (!instructions.is_empty()).then(|| round(median(instructions))),
            introspections: of(|round| round.introspections),
            memory: of(|round| round.memory),
            spread: round(spread(rounds.iter().map(|round| round.cpu))),
        }
    }
}

/// What is kept of a figure: more would be noise.
fn round(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// How far apart rounds may be before the figures are called doubtful.
const SPREAD: f64 = 0.15;

impl ScenarioResult {
    /// Why these figures are not to be trusted. Empty on a quiet machine.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = self.disturbance.doubts();
        let widest = self.peers.iter().max_by(|one, other| one.spread.total_cmp(&other.spread));
        if let Some(peer) = widest.filter(|peer| peer.spread > SPREAD) {
            let (name, _) = peer.peer.label();
            doubts.push(format!("rounds were up to {:.0} % apart ({name})", peer.spread * 100.0));
        }
        doubts
    }
}

impl Results {
    /// Those in a file, or none where there is no file.
    pub(crate) fn read(file: &Path) -> Self {
        match std::fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())),
            Err(_) => Self::default(),
        }
    }

    /// Puts a scenario in its place; what was there of it before is gone.
    pub(crate) fn put(&mut self, result: ScenarioResult) {
        self.0.retain(|other| other.scenario != result.scenario);
        self.0.push(result);
        self.0.sort_by_key(|result| result.scenario);
    }

    /// As it stands in the file.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn result(scenario: Scenario, cpu: &[(Peer, f64)]) -> ScenarioResult {
        let phantomgate = cpu.iter().find(|(peer, _)| *peer == Peer::Phantomgate).map(|(_, cpu)| *cpu);
        let peer = |&(peer, cpu): &(Peer, f64)| PeerResult {
            peer,
            version: "1.2.3".to_owned(),
            requests_per_second: 1e6 / cpu,
            p50: 1500.4,
            p99: 3200.0,
            p999: 12_000.0,
            cpu,
            of_phantomgates: phantomgate.map(|phantomgate| cpu / phantomgate),
            instructions: None,
            introspections: 12_345.0,
            memory: 20.0 * 1024.0 * 1024.0,
            spread: 0.01,
        };
        ScenarioResult {
            scenario,
            measured: "2026-01-02".to_owned(),
            machine: Machine { processor: "A processor".to_owned(), processors: 2, kernel: "Linux 6.1".to_owned() },
            rounds: 5,
            seconds: 5,
            disturbance: Disturbance::default(),
            peers: cpu.iter().map(peer).collect(),
        }
    }

    #[test]
    fn a_quiet_machine_leaves_no_doubt() {
        let mut result = result(Scenario::OneToken, &[(Peer::Phantomgate, 40.0), (Peer::Nginx, 15.0)]);
        assert_eq!(result.doubts(), Vec::<String>::new());

        result.disturbance = Disturbance { steal: 0.03, others: 0.2, slowdown: 0.5 };
        result.peers[1].spread = 0.4;
        assert_eq!(
            result.doubts(),
            [
                "up to 3 % of the time went to other virtual machines",
                "other processes took up to 20 % of the time",
                "a calibrating loop was up to 50 % slower than at its best",
                "rounds were up to 40 % apart (nginx)",
            ]
        );
    }

    #[test]
    fn a_scenario_that_is_measured_again_takes_its_place() {
        let mut results = Results::default();
        results.put(result(Scenario::ManyTokens, &[]));
        results.put(result(Scenario::OneToken, &[(Peer::Nginx, 1.0)]));
        results.put(result(Scenario::ManyTokens, &[(Peer::Nginx, 2.0)]));
        let kept: Vec<_> = results.0.iter().map(|result| (result.scenario, result.peers.len())).collect();
        assert_eq!(kept, [(Scenario::OneToken, 1), (Scenario::ManyTokens, 1)]);
        let read: Results = serde_json::from_str(&results.to_json()).unwrap();
        assert_eq!(read.to_json(), results.to_json());
    }
}

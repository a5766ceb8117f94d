//! How many instructions each scenario takes, counted by callgrind and compared with what `instructions.txt` has.
//!
//! One process under callgrind goes through all scenarios, and calls what each has prepared again and again; callgrind
//! writes down the cost of each call by itself. The median of the calls counts, because now and then one of them does
//! housekeeping for all. What other threads do is not counted.
//!
//! `UPDATE_EXPECT=1` writes `instructions.txt` anew.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use divan::black_box;

use crate::signatures;

/// The argument of the process that is under callgrind.
pub(crate) const UNDER_CALLGRIND: &str = "under-callgrind";

/// From so many per cent more on it is a regression, and from so many less on to be noted in the file.
const TOLERANCE: f64 = 10.0;

/// Until everything that is made once is there.
const WARM_UP: usize = 10;
const CALLS: usize = 15;

/// Another architecture has other instructions.
const ARCHITECTURE: &str = "x86_64";

const HEADER: &str = "\
# Instructions on x86_64, in the release profile: what `./tests/run bench` compares with. More by 10 % fails.
# UPDATE_EXPECT=1 ./tests/run bench writes it anew.
";

/// Something that is done with each request, or with many.
pub(crate) struct Scenario {
    name: &'static str,
    prepare: Box<dyn Fn() -> Work>,
}

type Work = Box<dyn FnMut()>;

/// What `prepare` gives, done again and again.
pub(crate) fn scenario<O, W: FnMut() -> O + 'static>(
    name: &'static str,
    prepare: impl Fn() -> W + 'static,
) -> Scenario {
    let prepare = Box::new(move || {
        let mut work = prepare();
        Box::new(move || drop(black_box(work()))) as Work
    });
    Scenario { name, prepare }
}

/// Goes through all `scenarios`, under callgrind.
pub(crate) fn run(scenarios: &[Scenario]) -> ExitCode {
    for scenario in scenarios {
        let mut work = (scenario.prepare)();
        (0..WARM_UP).for_each(|_| work());
        (0..CALLS).for_each(|_| told_by_callgrind(&mut work));
    }
    ExitCode::SUCCESS
}

/// Callgrind writes down what was counted whenever this is left. By its name: it takes one pattern for one purpose.
#[inline(never)]
fn told_by_callgrind(work: &mut Work) {
    counted_by_callgrind(work);
    black_box(()); // no tail call: this would have been left before the work begins
}

#[inline(never)]
fn counted_by_callgrind(work: &mut Work) {
    work();
    black_box(());
}

/// Counts the instructions of all `scenarios`, and says what has changed; fails where they have become more.
pub(crate) fn compare(scenarios: &[Scenario]) -> ExitCode {
    let counts = count(scenarios);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/micro/instructions.txt");
    if env::var_os("UPDATE_EXPECT").is_some() {
        let mut file = HEADER.to_owned();
        for Count { name, median, .. } in &counts {
            writeln!(file, "{median:>10}  {name}").expect("text");
        }
        fs::write(&path, file).expect("instructions.txt can be written");
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    let mut expected: BTreeMap<&str, u64> = file.lines().filter_map(entry).collect();
    if env::consts::ARCH != ARCHITECTURE {
        println!("instructions.txt is about {ARCHITECTURE}, and this is {}: nothing is compared", env::consts::ARCH);
        expected.clear();
    }

    println!("{:>10} {:>10} {:>8}  {:>7}  instructions", "expected", "got", "change", "spread");
    let (mut more, mut fewer, mut differs) = (0, 0, false);
    for Count { name, median, spread } in counts {
        let Some(before) = expected.remove(name) else {
            println!("{:>10} {median:>10} {:>8}  {spread:>5.1} %  {name}", "-", "-");
            differs |= env::consts::ARCH == ARCHITECTURE;
            continue;
        };
        let change = percent(before, median);
        let verdict = if change > TOLERANCE {
            more += 1;
            "  <-- FAILED: more"
        } else if change < -TOLERANCE {
            fewer += 1;
            "  <-- fewer"
        } else {
            ""
        };
        println!("{before:>10} {median:>10} {change:>+6.1} %  {spread:>5.1} %  {name}{verdict}");
    }
    for (name, before) in &expected {
        println!("{before:>10} {:>10} {:>8}  {:>7}  {name}", "-", "-", "-");
    }
    differs |= !expected.is_empty();
    if fewer > 0 {
        println!("{fewer} with more than {TOLERANCE} % fewer instructions: UPDATE_EXPECT=1 keeps it so");
    }
    if differs {
        println!("instructions.txt is about other scenarios: UPDATE_EXPECT=1 writes it anew");
    }
    if more > 0 {
        println!(
            "{more} with more than {TOLERANCE} % more instructions: mend it, or say with UPDATE_EXPECT=1 that it must be so"
        );
    }
    if more > 0 || differs { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Count {
    name: &'static str,
    median: u64,
    /// Between the middle half of the calls, in per cent.
    spread: f64,
}

/// A process under callgrind for all of them: to start one takes longer than what is counted.
fn count(scenarios: &[Scenario]) -> Vec<Count> {
    for algorithm in signatures::ALGORITHMS {
        signatures::credential(algorithm); // here, because making an RSA key under callgrind takes a minute
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("calls");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--collect-atstart=no"]);
    valgrind.args(["--toggle-collect=*counted_by_callgrind*", "--dump-after=*told_by_callgrind*"]);
    valgrind.arg(format!("--callgrind-out-file={}", output.display()));
    valgrind.arg(env::current_exe().expect("this program")).arg(UNDER_CALLGRIND);
    let status = valgrind.status().unwrap_or_else(|error| panic!("valgrind: {error}"));
    assert!(status.success(), "valgrind: {status}");

    // One file for each call, counted from 1.
    let cost = |call: usize| {
        let path = output.with_extension(call.to_string());
        let file = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let total = file.lines().find_map(|line| line.strip_prefix("totals: ")).and_then(|total| total.parse().ok());
        total.unwrap_or_else(|| panic!("{} has no cost:\n{file}", path.display()))
    };
    let of_scenario = |(number, scenario): (usize, &Scenario)| {
        let mut costs: Vec<u64> = (1..=CALLS).map(|call| cost(number * CALLS + call)).collect();
        costs.sort_unstable();
        let spread = percent(costs[CALLS / 4], costs[CALLS * 3 / 4]);
        Count { name: scenario.name, median: costs[CALLS / 2], spread }
    };
    scenarios.iter().enumerate().map(of_scenario).collect()
}

/// A line of the file: a number, and what it is of.
fn entry(line: &str) -> Option<(&str, u64)> {
    let (count, name) = line.trim_start().split_once("  ")?;
    Some((name, count.parse().ok()?))
}

#[expect(clippy::cast_precision_loss, reason = "nothing here takes 2^52 instructions")]
fn percent(before: u64, after: u64) -> f64 {
    (after as f64 - before as f64) / before as f64 * 100.0
}

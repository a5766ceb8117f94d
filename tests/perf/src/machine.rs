//! The machine that was measured on, and how quiet it was.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use procfs::process::Process;
use procfs::{CpuInfo, Current, CurrentSI, KernelStats};
use serde::{Deserialize, Serialize};

use crate::process::ProcessTree;

/// What the figures depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The model of the processors, as they say themselves.
    pub(crate) processor: String,
    /// How many of them may be used.
    pub(crate) processors: usize,
    /// The kernel.
    pub(crate) kernel: String,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Self {
        let processors = CpuInfo::current().unwrap();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        Self {
            processor: processors.model_name(0).unwrap_or("an unnamed processor").to_owned(),
            processors: allowed_processors().len(),
            kernel: format!("Linux {}", kernel.trim()),
        }
    }
}

/// Which processors the proxy under load has, and which all others. With two or fewer, they share them.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    proxy: Option<String>,
    others: Option<String>,
}

impl Placement {
    /// On this machine: the proxy has two processors and, from four on, the others have the rest.
    pub(crate) fn here() -> Self {
        Self::on(&allowed_processors())
    }

    fn on(processors: &[u32]) -> Self {
        let list = |processors: &[u32]| processors.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        match processors {
            [first, second, _, ..] => Self {
                proxy: Some(list(&[*first, *second])),
                others: (processors.len() >= 4).then(|| list(&processors[2..])),
            },
            _ => Self { proxy: None, others: None },
        }
    }

    /// A command that starts a proxy.
    pub(crate) fn proxy(&self, program: &Path) -> Command {
        placed(self.proxy.as_deref(), program)
    }

    /// A command that starts something else.
    pub(crate) fn other(&self, program: &Path) -> Command {
        placed(self.others.as_deref(), program)
    }
}

fn placed(processors: Option<&str>, program: &Path) -> Command {
    let Some(processors) = processors else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["-c", processors]).arg(program);
    command
}

fn allowed_processors() -> Vec<u32> {
    let status = Process::myself().and_then(|this| this.status()).unwrap();
    let ranges = status.cpus_allowed_list.unwrap();
    ranges.into_iter().flat_map(|(first, last)| first..=last).collect()
}

/// What disturbed a measurement, or several: the worst of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Disturbance {
    /// The share of the machine's time that went to other virtual machines.
    pub(crate) steal: f64,
    /// The share that processes took which have no part in this.
    pub(crate) others: f64,
    /// How much longer a loop took than in the best of times: 0.1 for a tenth.
    pub(crate) slowdown: f64,
}

/// The shares above which a measurement is called disturbed.
const LIMITS: Disturbance = Disturbance { steal: 0.02, others: 0.05, slowdown: 0.15 };

impl Disturbance {
    /// Why figures are not to be trusted. Empty on a quiet machine.
    pub(crate) fn doubts(self) -> Vec<String> {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let Self { steal, others, slowdown } = self;
        let mut doubts = Vec::new();
        if steal > LIMITS.steal {
            doubts.push(format!("up to {} of the time went to other virtual machines", percent(steal)));
        }
        if others > LIMITS.others {
            doubts.push(format!("other processes took up to {} of the time", percent(others)));
        }
        if slowdown > LIMITS.slowdown {
            doubts.push(format!("a calibrating loop was up to {} slower than at its best", percent(slowdown)));
        }
        doubts
    }

    /// The worse of both, in each respect.
    pub(crate) fn worst(self, other: Self) -> Self {
        Self {
            steal: self.steal.max(other.steal),
            others: self.others.max(other.others),
            slowdown: self.slowdown.max(other.slowdown),
        }
    }
}

/// Says how quiet the machine is.
#[derive(Debug)]
pub(crate) struct Watch {
    best: Duration,
}

impl Watch {
    /// Finds out how long the loop takes here.
    pub(crate) fn new() -> Self {
        Self { best: (0..20).map(|_| calibrate()).min().unwrap() }
    }

    /// Begins to watch. `parts` are the processes that take part, beside this one and those that it waits for.
    pub(crate) fn begin(&mut self, parts: &[ProcessTree]) -> Watching {
        // The least of three: one may be interrupted on the quietest of machines.
        let time = (0..3).map(|_| calibrate()).min().unwrap();
        self.best = self.best.min(time);
        let slowdown = time.as_secs_f64() / self.best.as_secs_f64() - 1.0;
        Watching { slowdown, parts: parts.to_vec(), started: Instant::now(), machine: Times::now(), ours: ours(parts) }
    }
}

/// One measurement that is being watched.
pub(crate) struct Watching {
    slowdown: f64,
    parts: Vec<ProcessTree>,
    started: Instant,
    machine: Times,
    ours: Duration,
}

impl Watching {
    /// What disturbed it.
    pub(crate) fn end(self) -> Disturbance {
        let now = Times::now();
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let all = self.started.elapsed().as_secs_f64() * processors;
        let busy = now.busy.saturating_sub(self.machine.busy);
        let others = busy.saturating_sub(ours(&self.parts).saturating_sub(self.ours));
        let steal = now.steal.saturating_sub(self.machine.steal);
        Disturbance { steal: steal.as_secs_f64() / all, others: others.as_secs_f64() / all, slowdown: self.slowdown }
    }
}

fn ours(parts: &[ProcessTree]) -> Duration {
    // Generators have ended by then; this process has waited for them and has their time.
    let this = Process::myself().and_then(|this| this.stat()).unwrap();
    let waited = u64::try_from(this.cutime + this.cstime).unwrap_or_default();
    ticks(this.utime + this.stime + waited) + parts.iter().map(|part| part.cpu()).sum::<Duration>()
}

/// What all processors have done since the machine started.
struct Times {
    busy: Duration,
    steal: Duration,
}

impl Times {
    fn now() -> Self {
        let total = KernelStats::current().unwrap().total;
        let handling = total.irq.unwrap_or_default() + total.softirq.unwrap_or_default();
        Self {
            busy: ticks(total.user + total.nice + total.system + handling),
            steal: ticks(total.steal.unwrap_or_default()),
        }
    }
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs(count) / u32::try_from(procfs::ticks_per_second()).unwrap()
}

/// The same work each time, about 10 ms: how long it takes.
fn calibrate() -> Duration {
    let started = Instant::now();
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..5_000_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    started.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_two_processors_wherever_there_are_more() {
        let placement = |processors: &[u32]| {
            let Placement { proxy, others } = Placement::on(processors);
            (proxy.unwrap_or_default(), others.unwrap_or_default())
        };
        assert_eq!(placement(&[0, 1]), (String::new(), String::new()));
        assert_eq!(placement(&[0, 1, 2]), ("0,1".to_owned(), String::new()));
        assert_eq!(placement(&[4, 5, 6, 7]), ("4,5".to_owned(), "6,7".to_owned()));
    }
}

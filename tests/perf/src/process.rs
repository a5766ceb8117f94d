//! What a program uses, as the operating system counts it.

use std::time::Duration;

use procfs::process::{Process, Stat, all_processes};

/// A program, and all processes that it has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessTree(i32);

/// What the processes of a program have used or hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time, user and system, since they started.
    pub(crate) cpu: Duration,
    /// Memory in bytes. What several of them share counts once (PSS).
    pub(crate) memory: u64,
    /// Open file descriptors.
    pub(crate) descriptors: usize,
}

impl ProcessTree {
    /// That of the process with this id.
    pub(crate) fn of(root: u32) -> Self {
        Self(root.try_into().unwrap())
    }

    /// Their ids.
    pub(crate) fn ids(self) -> Vec<i32> {
        self.stats().iter().map(|(process, _)| process.pid).collect()
    }

    /// Their processor time.
    pub(crate) fn cpu(self) -> Duration {
        self.stats().iter().map(|(_, stat)| cpu(stat)).sum()
    }

    /// All that they use.
    pub(crate) fn usage(self) -> Usage {
        self.stats().iter().fold(Usage::default(), |sum, (process, stat)| Usage {
            cpu: sum.cpu + cpu(stat),
            memory: sum.memory + memory(process),
            descriptors: sum.descriptors + process.fd_count().unwrap_or_default(),
        })
    }

    fn stats(self) -> Vec<(Process, Stat)> {
        // One may end while they are listed.
        let all = all_processes().unwrap().filter_map(Result::ok);
        let mut others: Vec<_> = all.filter_map(|process| Some((process.stat().ok()?, process))).collect();
        let mut tree: Vec<(Process, Stat)> = Vec::new();
        loop {
            let belongs = |stat: &Stat| stat.pid == self.0 || tree.iter().any(|(process, _)| process.pid == stat.ppid);
            let found: Vec<_> = others.extract_if(.., |(stat, _)| belongs(stat)).collect();
            if found.is_empty() {
                return tree;
            }
            tree.extend(found.into_iter().map(|(stat, process)| (process, stat)));
        }
    }
}

/// With that of children that have ended: a worker may be replaced.
fn cpu(stat: &Stat) -> Duration {
    let ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
    let ticks = stat.utime + stat.stime + ended;
    Duration::from_secs(ticks) / u32::try_from(procfs::ticks_per_second()).unwrap()
}

fn memory(process: &Process) -> u64 {
    let Ok(rollup) = process.smaps_rollup() else { return 0 };
    rollup.memory_map_rollup.iter().filter_map(|map| map.extension.map.get("Pss")).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_process_is_charged_for_what_it_does() {
        let this = ProcessTree::of(std::process::id());
        let before = this.usage();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) && this.cpu() - before.cpu < Duration::from_millis(50) {}
        assert!(this.cpu() - before.cpu >= Duration::from_millis(50));
        assert!(before.memory > 100_000, "{before:?}");
        assert!(before.descriptors >= 3, "{before:?}");
    }

    #[test]
    fn children_belong_to_their_program() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let ids = ProcessTree::of(std::process::id()).ids();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ids.contains(&i32::try_from(child.id()).unwrap()), "{ids:?}");
    }
}

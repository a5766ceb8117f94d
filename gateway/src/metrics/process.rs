//! The process itself, under the names that Prometheus' own client libraries have for it. Read from `/proc` when somebody
//! asks, and nothing is shown where there is none.

use std::fs;

use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

/// How many ticks of the kernel's clock a second has, for programs: the same on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn describe() {
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory in use");
    describe_gauge!("process_virtual_memory_bytes", Unit::Bytes, "Addresses in use");
    describe_gauge!("process_open_fds", "File descriptors in use: connections, mostly");
    describe_gauge!("process_max_fds", "File descriptors that may be in use");
    describe_gauge!("process_threads", "Threads");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "When the process began, in Unix time");
}

/// Brings them up to date; gives the processor time in seconds.
pub(super) fn report() -> Option<f64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let stat = Stat::parse(&read("/proc/self/stat"));
    if let Some(stat) = &stat {
        gauge!("process_threads").set(stat.threads);
        gauge!("process_virtual_memory_bytes").set(stat.virtual_bytes);
        if let Some(booted) = value(&read("/proc/stat"), "btime ") {
            gauge!("process_start_time_seconds").set(booted + stat.start_ticks / TICKS_PER_SECOND);
        }
    }
    if let Some(kibibytes) = value(&read("/proc/self/status"), "VmRSS:") {
        gauge!("process_resident_memory_bytes").set(kibibytes * 1024.0);
    }
    if let Some(most) = value(&read("/proc/self/limits"), "Max open files") {
        gauge!("process_max_fds").set(most);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats, and no process has 2^52 files open")]
        gauge!("process_open_fds").set(open.count() as f64);
    }
    Some(stat?.cpu_ticks / TICKS_PER_SECOND)
}

/// Adds the processor time to the text. It is a counter, and the library's own have no fractions.
pub(super) fn write(text: &mut String, cpu_seconds: f64) {
    let name = "process_cpu_seconds_total";
    text.push('\n');
    write_help_line(text, name, None, None, "User and system time spent, in seconds");
    write_type_line(text, name, None, None, "counter");
    write_metric_line::<&str, _>(text, name, None, &super::labels(&[]), None, cpu_seconds, None);
}

/// What is taken from `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program, in parentheses, can have anything in it. The third field comes after.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

/// The first number after `name`, at the beginning of a line.
fn value(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_does_not_matter() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 9 0 4200 123456 300 1844";
        let stat = Stat { cpu_ticks: 300.0, threads: 9.0, start_ticks: 4_200.0, virtual_bytes: 123_456.0 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (x) S 1"), None);
    }

    #[test]
    fn a_number_is_found_by_its_name() {
        assert_eq!(value("VmPeak:  1 kB\nVmRSS:\t  5120 kB\n", "VmRSS:"), Some(5_120.0));
        assert_eq!(value("Max open files            unlimited  unlimited  files\n", "Max open files"), None);
    }
}

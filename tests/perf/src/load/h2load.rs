//! h2load: HTTP/2, over TLS; or at a rate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::Process;

use super::{CONNECTIONS, Latency, Load, Report, output};
use crate::statistics::quantile;

pub(super) async fn run(load: &Load, duration: Duration, directory: &Path, launch: impl Fn(&str) -> Command) -> Report {
    let [token] = &load.tokens[..] else { panic!("h2load cannot take turns with tokens") };
    let log = directory.join("h2load.log");
    let _ = std::fs::remove_file(&log); // it would be appended to
    let mut command = launch("h2load");
    command.args(["-t1", "-m1", &format!("-c{CONNECTIONS}"), &format!("-D{}", duration.as_secs())]);
    command.args(load.rate.map(|rate| format!("--rps={rate}")));
    if !load.is_tls() {
        command.arg("--h1");
    }
    command.arg("-H").arg(format!("authorization: Bearer {token}"));
    for (name, value) in &load.headers {
        command.arg("-H").arg(format!("{name}: {value}"));
    }
    if let Some(body) = &load.body {
        let file = directory.join("h2load.body");
        std::fs::write(&file, body).unwrap();
        command.arg("-d").arg(file);
    }
    command.arg("--log-file").arg(&log).arg(&load.url);
    let output = output(Process::spawn("h2load", command)).await;
    assert_eq!(output.contains("Application protocol: h2"), load.is_tls(), "{output}");
    report_of(&std::fs::read_to_string(&log).unwrap(), duration)
}

/// Each line of the log is a request: when it began, in microseconds; its status, or -1; how many microseconds it took.
fn report_of(log: &str, duration: Duration) -> Report {
    let (mut times, mut failures) = (Vec::new(), 0_u64);
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1).map(|field| field.parse::<i32>().unwrap());
        match (fields.next().unwrap(), fields.next().unwrap()) {
            (200..300, time) => times.push(f64::from(time)),
            _ => failures += 1,
        }
    }
    times.sort_by(f64::total_cmp);
    Report {
        requests: times.len().try_into().unwrap(),
        seconds: duration.as_secs_f64(),
        latency: Latency { p50: quantile(&times, 0.5), p99: quantile(&times, 0.99), p999: quantile(&times, 0.999) },
        failures: (failures > 0).then(|| format!("status {failures}")).into_iter().collect(),
        instructions: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_from_the_log() {
        let report =
            report_of("1700000000\t200\t120\n1700000001\t200\t80\n1700000002\t401\t50\n", Duration::from_secs(2));
        assert_eq!((report.requests, report.latency.p50, report.latency.p999), (2, 80.0, 120.0));
        assert_eq!(report.failures, ["status 1"]);
    }
}

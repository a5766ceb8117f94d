//! wrk: HTTP/1.1, in the clear.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::Process;
use serde_json::Value;

use super::{CONNECTIONS, Latency, Load, Report, output};

const REPORT: &str = include_str!("report.lua");

pub(super) async fn run(load: &Load, duration: Duration, directory: &Path, launch: impl Fn(&str) -> Command) -> Report {
    let script = parameters(load) + include_str!("wrk.lua");
    execute(&script, &load.url, duration, directory, launch).await
}

/// Runs it with a script that says what is sent.
pub(super) async fn execute(
    script: &str,
    url: &str,
    duration: Duration,
    directory: &Path,
    launch: impl Fn(&str) -> Command,
) -> Report {
    let file = directory.join("wrk.lua");
    std::fs::write(&file, format!("{script}\n{REPORT}")).unwrap();
    let mut command = launch("wrk");
    command.args(["-t1", "--timeout", "10s", &format!("-c{CONNECTIONS}"), &format!("-d{}s", duration.as_secs()), "-s"]);
    command.arg(file).arg(url);
    let output = output(Process::spawn("wrk", command)).await;
    let report = output.lines().find_map(|line| line.strip_prefix("REPORT ")).unwrap_or_else(|| panic!("{output}"));
    report_of(&serde_json::from_str(report).unwrap())
}

fn report_of(report: &Value) -> Report {
    let number = |name: &str| report[name].as_f64().unwrap();
    let errors = report["errors"].as_object().unwrap();
    let status = errors["status"].as_u64().unwrap();
    Report {
        requests: report["requests"].as_u64().unwrap() - status,
        seconds: number("microseconds") / 1e6,
        latency: Latency { p50: number("p50"), p99: number("p99"), p999: number("p999") },
        failures: errors
            .iter()
            .filter(|(_, count)| **count != 0)
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect(),
        instructions: None,
    }
}

/// As Lua has them. A thread of wrk runs the script anew, so they cannot be arguments.
fn parameters(load: &Load) -> String {
    let mut lua = format!("local METHOD, BODY = {}, ", quoted(load.method()));
    lua += &load.body.as_ref().map_or("nil".to_owned(), |body| quoted(body));
    lua += "\nlocal HEADERS = {";
    for (name, value) in &load.headers {
        write!(lua, "[{}] = {}, ", quoted(name), quoted(value)).unwrap();
    }
    lua += "}\nlocal TOKENS = {";
    for token in &load.tokens {
        write!(lua, "{}, ", quoted(token)).unwrap();
    }
    lua + "}\n"
}

/// Lua and Rust agree on how plain text is quoted.
fn quoted(text: &str) -> String {
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{text:?}");
    format!("{text:?}")
}

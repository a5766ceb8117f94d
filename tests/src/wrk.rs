//! wrk, the load generator: many requests over connections that are used again and again.

use std::process::Command;
use std::time::Duration;

use crate::{Process, within};

/// Load that goes on until its time is over.
pub struct Wrk(Process);

/// What wrk says at its end.
#[derive(Debug)]
pub struct WrkReport {
    /// Requests that were answered.
    pub requests: u64,
    /// What went wrong, in wrk's own words: broken connections, and answers that are not 2xx or 3xx.
    pub failures: Vec<String>,
}

impl Wrk {
    /// Begins to send GET requests with `token` over 16 connections.
    pub fn start(url: &str, token: &str, duration: Duration) -> Self {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c16", "--timeout", "30s", "-H"]).arg(format!("Authorization: Bearer {token}"));
        command.arg(format!("-d{}s", duration.as_secs())).arg(url);
        Self(Process::spawn("wrk", command))
    }

    /// Waits for its end.
    pub async fn report(mut self) -> WrkReport {
        let status = within("the end of the load", self.0.leaves()).await;
        self.0.find_in_output("its result", |line| line.contains("requests in").then_some(())).await;
        self.0.exit().await;
        let output = self.0.output();
        assert!(status.success(), "{output}");
        let count = |line: &str| line.trim().split_once(" requests in").and_then(|(count, _)| count.parse().ok());
        let is_failure = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
        WrkReport {
            requests: output.lines().find_map(count).unwrap_or_else(|| panic!("no count in {output}")),
            failures: output.lines().filter(is_failure).map(|line| line.trim().to_owned()).collect(),
        }
    }
}

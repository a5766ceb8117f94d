//! Load: requests over connections that are used again and again, from wrk or, where HTTP/2 or a rate is wanted, h2load.

mod h2load;
mod turns;
mod wrk;

pub(crate) use turns::{NUMBER, Turns};

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Process, within};
use tokio::net::TcpStream;

use crate::process::ProcessTree;

/// Connections of every load, each with one request at a time.
pub(crate) const CONNECTIONS: u32 = 64;

/// What is asked of a proxy, over and over.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Where to. Over TLS HTTP/2 is spoken, in the clear HTTP/1.1.
    pub(crate) url: String,
    /// How many requests each connection sends in a second, answered soon or not; as many as are answered, if nothing is
    /// said. wrk has no rates.
    pub(crate) rate: Option<u32>,
    /// POST when there is a body.
    pub(crate) body: Option<String>,
    /// Beside `Authorization`.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    /// Requests take turns with these. Only wrk can do with more than one.
    pub(crate) tokens: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Requests that were answered with 2xx.
    pub(crate) requests: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// How long one in two, one in a hundred and one in a thousand requests took at least, in microseconds.
    pub(crate) latency: Latency,
    /// What went wrong, in the words of the generator.
    pub(crate) failures: Vec<String>,
    /// Instructions that the proxy ran outside of the kernel, where the processor lets them be counted.
    pub(crate) instructions: Option<f64>,
}

impl Report {
    /// Requests in a second.
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// Microseconds until the answer was whole, by quantile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Load {
    /// Sends requests for so long (whole seconds; under a minute, see [`Process`]), and counts instructions of `proxy`.
    /// `launch` makes the command that starts a program; `directory` is for files.
    pub(crate) async fn run(
        &self,
        duration: Duration,
        proxy: Option<ProcessTree>,
        directory: &Path,
        launch: &impl Fn(&Path) -> Command,
    ) -> Report {
        let counted = directory.join("instructions");
        let launch = |program: &str| match proxy {
            None => launch(Path::new(program)),
            Some(proxy) => {
                let ids: Vec<_> = proxy.ids().iter().map(i32::to_string).collect();
                let mut command = launch(Path::new("perf"));
                command.args(["stat", "-x,", "-e", INSTRUCTIONS, "-p", &ids.join(","), "-o"]).arg(&counted);
                command.args(["--", program]);
                command
            }
        };
        let report = if self.is_tls() || self.rate.is_some() {
            h2load::run(self, duration, directory, launch).await
        } else {
            wrk::run(self, duration, directory, launch).await
        };
        Report { instructions: proxy.and_then(|_| counted_instructions(&counted)), ..report }
    }

    fn is_tls(&self) -> bool {
        self.url.starts_with("https:")
    }

    fn method(&self) -> &'static str {
        if self.body.is_some() { "POST" } else { "GET" }
    }
}

const INSTRUCTIONS: &str = "instructions:u";

/// Whether this machine counts instructions; many virtual ones do not.
pub(crate) fn instructions_can_be_counted() -> bool {
    let counted = Command::new("perf").args(["stat", "-x,", "-e", INSTRUCTIONS, "--", "true"]).output();
    counted.is_ok_and(|output| first_count(&String::from_utf8_lossy(&output.stderr)).is_some())
}

fn counted_instructions(file: &Path) -> Option<f64> {
    first_count(&std::fs::read_to_string(file).ok()?)
}

/// `perf stat -x,` has the count first on its line, or `<not supported>`.
fn first_count(report: &str) -> Option<f64> {
    report.lines().find_map(|line| line.split(',').next()?.parse().ok())
}

/// Waits until somebody listens there.
pub(crate) async fn listening(address: SocketAddr) {
    let mut interval = tokio::time::interval(Duration::from_millis(10));
    within("a server to listen", async {
        while TcpStream::connect(address).await.is_err() {
            interval.tick().await;
        }
    })
    .await;
}

/// Waits for the end of a generator; what it said.
async fn output(mut process: Process) -> String {
    let status = process.exit().await;
    let output = process.output();
    assert!(status.success(), "{status}:\n{output}");
    output
}

#[cfg(test)]
mod tests {
    use super::first_count;

    #[test]
    fn counts_are_read_where_there_are_any() {
        assert_eq!(first_count("# started on\n\n1234567,,instructions:u,1000,100.00,,\n"), Some(1_234_567.0));
        assert_eq!(first_count("<not supported>,,instructions:u,0,100.00,,\n"), None);
    }
}

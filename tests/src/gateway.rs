//! The real `phantomgate` binary, started as an operator starts it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::{Hosts, Process, within};

/// A free port that stays ours: bound for the test's whole life, never listening, and shared with the gateway by
/// `SO_REUSEADDR`. The port is part of `resource`, so it must be known before the configuration is written.
pub struct ReservedPort {
    address: SocketAddr,
    _socket: Socket,
}

impl ReservedPort {
    /// A port that the operating system chose.
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        Self { address: socket.local_addr().unwrap().as_socket().unwrap(), _socket: socket }
    }

    /// Where the gateway will listen; until then, connections are refused.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        Self::new()
    }
}

/// A running gateway.
pub struct Gateway {
    process: Process,
    port: ReservedPort,
    config: PathBuf,
    log_level: &'static str,
    hosts: Option<Hosts>,
    earlier_log: String,
}

impl Gateway {
    /// Starts `phantomgate run` and waits until it says that it listens. Names are looked up in `hosts`, if there are any.
    pub async fn start(port: ReservedPort, config: &Path, log_level: &'static str, hosts: Option<Hosts>) -> Self {
        let process = serve(port.address(), config, log_level, hosts.as_ref()).await;
        Self { process, port, config: config.to_owned(), log_level, hosts, earlier_log: String::new() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// An absolute URL on its listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// All it has logged so far.
    pub fn log(&self) -> String {
        self.earlier_log.clone() + &self.process.output()
    }

    /// The first line of its log that contains all `parts`, now or later.
    pub async fn logged(&self, parts: &[&str]) -> String {
        let matches = |line: &str| parts.iter().all(|part| line.contains(part)).then(|| line.to_owned());
        self.process.find_in_output(&format!("it logged {parts:?}"), matches).await
    }

    /// The memory it has in use, in bytes.
    pub fn resident_memory(&self) -> usize {
        self.process.resident_memory()
    }

    /// Asks it to drain and end.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Has it read its configuration again.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Asks it to start the program anew and hand over to that.
    pub fn ask_to_hand_over(&self) {
        self.process.signal(Signal::USR2);
    }

    /// Waits until it has handed over to another process and ended; gives how.
    pub async fn hands_over(&mut self) -> (Successor, ExitStatus) {
        (self.successor().await, self.process.leaves().await)
    }

    /// Waits until it has handed over to another process; it may have something left to do.
    pub async fn successor(&self) -> Successor {
        let line = self.logged(&["handed over", "process="]).await;
        let process = line.rsplit_once("process=").and_then(|(_, id)| id.trim().parse().ok()).and_then(Pid::from_raw);
        Successor(process.unwrap_or_else(|| panic!("no process in {line}")))
    }

    /// Waits until it no longer takes connections.
    pub async fn refuses_connections(&self) {
        let refused = async { while TcpStream::connect(self.address()).await.is_ok() {} };
        within("the gateway to stop listening", refused).await;
    }

    /// Ends it in order and starts it anew, on the same port and configuration.
    pub async fn restart(&mut self) {
        self.terminate();
        self.exit().await;
        self.earlier_log.push_str(&self.process.output());
        self.process = serve(self.port.address(), &self.config, self.log_level, self.hosts.as_ref()).await;
    }

    /// Waits until it has ended.
    pub async fn exit(&mut self) -> ExitStatus {
        self.process.exit().await
    }
}

/// The process that a gateway has handed over to. Dropping it ends it.
pub struct Successor(Pid);

impl Successor {
    /// The program that it is a child of.
    pub fn parent(&self) -> String {
        let read = |id: &str, file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap();
        let status = read(&self.0.as_raw_nonzero().to_string(), "status");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        read(parent.trim(), "comm").trim().to_owned()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::TERM);
    }
}

async fn serve(address: SocketAddr, config: &Path, log_level: &str, hosts: Option<&Hosts>) -> Process {
    let mut command = phantomgate();
    command.args(["run", "--log-level", log_level, "-c"]).arg(config);
    if let Some(hosts) = hosts {
        command = hosts.around(&command);
    }
    let process = Process::spawn("phantomgate", command);
    if log_level == "warn" {
        // It does not say then that it listens.
        within("the gateway to listen", async { while TcpStream::connect(address).await.is_err() {} }).await;
        return process;
    }
    let ready = format!("address={address}");
    process
        .find_in_output("it listened", |line| (line.contains("listening") && line.contains(&ready)).then_some(()))
        .await;
    process
}

/// The command line of the gateway, for tests that run it to its end.
pub struct CommandLine {
    output: Output,
}

impl CommandLine {
    /// Runs `phantomgate` with `arguments` in `directory`.
    pub fn run(directory: &Path, arguments: &[&str]) -> Self {
        let output = phantomgate().current_dir(directory).args(arguments).output().unwrap();
        Self { output }
    }

    /// Its exit code.
    pub fn code(&self) -> i32 {
        self.output.status.code().expect("it ended by itself")
    }

    /// What it wrote to standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    /// Its standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout()).unwrap_or_else(|error| panic!("{error} in: {}", self.stdout()))
    }
}

/// The binary under test, built in the same target directory and profile as this test.
pub fn phantomgate() -> Command {
    let binary = std::env::var_os("PHANTOMGATE_BIN").map_or_else(beside_this_test, PathBuf::from);
    Command::new(binary)
}

fn beside_this_test() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).expect("a test lives in target/PROFILE/deps");
    profile.join("phantomgate")
}

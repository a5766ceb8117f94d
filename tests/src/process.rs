//! A child process whose output is read line by line, and which is ended by its own id.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;
use tokio::sync::watch;

use crate::within;

/// How long a process may take to leave after it was asked to, before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running program. Dropping it ends it: SIGTERM, then, when it stays, SIGKILL.
pub struct Process {
    name: String,
    child: Child,
    /// Both output streams, as they came. The senders are dropped when the process closes them.
    output: watch::Receiver<Vec<String>>,
    closed: std::sync::mpsc::Receiver<()>,
}

impl Process {
    /// Starts `command`.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(
                |error| {
                    panic!(
                        "{name} ({}): {error}; ./tests/run builds and installs what the tests start",
                        command.get_program().display()
                    )
                },
            );
        let (lines, output) = watch::channel(Vec::new());
        let (closing, closed) = std::sync::mpsc::channel();
        let lines = Arc::new(lines);
        for stream in
            [Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>, Box::new(child.stderr.take().unwrap())]
        {
            let (lines, closing) = (Arc::clone(&lines), closing.clone());
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    lines.send_modify(|all| all.push(String::from_utf8_lossy(&line).into_owned()));
                }
                drop(closing);
            });
        }
        Self { name: name.to_owned(), child, output, closed }
    }

    /// The first thing `find` finds in a line of the output, now or later.
    pub async fn find_in_output<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let mut output = self.output.clone();
        let lines = within(what, output.wait_for(|lines| lines.iter().any(|line| find(line).is_some()))).await;
        match lines {
            Ok(lines) => lines.iter().find_map(|line| find(line)).unwrap(),
            Err(_) => panic!("{} ended before {what}; it said:\n{}", self.name, self.output()),
        }
    }

    /// The JSON object that a fixture prints when it is ready.
    pub async fn ready(&self) -> Value {
        self.find_in_output("it was ready", |line| serde_json::from_str(line).ok().filter(Value::is_object)).await
    }

    /// All it has written so far, to both streams.
    pub fn output(&self) -> String {
        self.output.borrow().join("\n")
    }

    /// Its id, for whoever looks it up in /proc.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory it has in use, in bytes.
    pub fn resident_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        kibibytes.and_then(|number| number.parse::<usize>().ok()).expect("VmRSS, in kB") * 1024
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: Signal) {
        // It may be gone already, which is what the caller wants anyway.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits until it has ended. Its output may go on: somebody else may have inherited it.
    pub async fn leaves(&mut self) -> ExitStatus {
        let process = Pid::from_child(&self.child);
        let ended = tokio::task::spawn_blocking(move || {
            waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        });
        within("the end of a process", ended).await.unwrap().unwrap();
        self.child.wait().unwrap()
    }

    /// Waits until it has closed its output and ended: as long as it takes, if it keeps on saying something.
    pub async fn exit(&mut self) -> ExitStatus {
        let mut output = self.output.clone();
        while within("the end of a process", output.changed()).await.is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.terminate();
        // Nothing is ever sent: the channel tells when the process has closed its output, that is, has ended.
        let _ = self.closed.recv_timeout(PATIENCE);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Names that stand for what a test says, and for something else while the gateway runs.
//!
//! The system's resolver reads `/etc/hosts` on every look-up. A gateway with [`Hosts`] runs in a mount namespace of its own, in
//! which that file is one of the test's: nobody else on the machine sees it, and it ends with the process.

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The `/etc/hosts` of one gateway.
#[derive(Clone)]
pub struct Hosts {
    file: PathBuf,
    /// How a mount namespace is made here.
    unshare: &'static [&'static str],
}

impl Hosts {
    /// One that knows no name yet. Fails where the system permits no mount namespace, neither to root nor to users.
    pub fn new(directory: &Path) -> Self {
        let file = directory.join("hosts");
        File::create(&file).unwrap();
        let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
        let mut refusals = String::new();
        for unshare in ways {
            let hosts = Self { file: file.clone(), unshare };
            match hosts.around(&Command::new("true")).output() {
                Ok(output) if output.status.success() => return hosts,
                Ok(output) => refusals.push_str(&String::from_utf8_lossy(&output.stderr)),
                Err(error) => refusals.push_str(&format!("unshare: {error}\n")),
            }
        }
        panic!("this test needs a mount namespace: root with CAP_SYS_ADMIN, or user namespaces\n{refusals}");
    }

    /// Has `name` stand for `address`, and nothing else.
    pub fn set(&self, name: &str, address: IpAddr) {
        // In one piece and of one length, because somebody may be reading it.
        let line = format!("{address:<40} {name}\n");
        File::options().write(true).open(&self.file).unwrap().write_all_at(line.as_bytes(), 0).unwrap();
    }

    /// `command`, as a process that sees this file. It keeps its process id.
    pub fn around(&self, command: &Command) -> Command {
        let mut around = Command::new("unshare");
        around.args(self.unshare).args(["sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]);
        around.arg(&self.file).arg(command.get_program()).args(command.get_args());
        around
    }
}

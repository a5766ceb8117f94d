//! The upstream of every proxy under load: nginx with one worker, which answers at once and writes no log.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Process, ReservedPort};

use crate::load::listening;
use crate::process::ProcessTree;
use crate::programs::Program;
use crate::template::fill;

/// A few bytes.
pub(crate) const SMALL: &str = "/";
/// 1 KiB.
pub(crate) const KIBIBYTE: &str = "/1k";
/// 64 KiB.
pub(crate) const KIBIBYTES_64: &str = "/64k";
/// What it says to a `tools/call`.
pub(crate) const TOOL: &str = "/tools";
/// The same, where it is an MCP endpoint.
pub(crate) const MCP: &str = "/mcp";
/// The `Authorization` that it received.
pub(crate) const RECEIVED: &str = "/received";

/// A running one.
pub(crate) struct Upstream {
    port: ReservedPort,
    process: Process,
}

impl Upstream {
    /// Starts one whose files are in `directory`, on the processors of `launch`.
    pub(crate) async fn start(directory: &Path, launch: impl Fn(&Path) -> Command) -> Self {
        let (port, directory) = (ReservedPort::new(), new_folder(directory, "upstream"));
        let config = directory.join("nginx.conf");
        let text = fill(
            include_str!("../peers/upstream.conf"),
            &[
                ("LISTEN", &port.address().to_string()),
                ("DIRECTORY", &directory.display().to_string()),
                ("USER", nginx_user()),
                ("KIBIBYTE", &"x".repeat(1024)),
                ("KIBIBYTES_64", &"$kibibyte".repeat(64)),
            ],
        );
        std::fs::write(&config, text).unwrap();
        let process = Process::spawn("the upstream", nginx(launch(&Program::Nginx.path()), &config));
        let upstream = Self { port, process };
        listening(upstream.port.address()).await;
        upstream
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> ProcessTree {
        ProcessTree::of(self.process.id())
    }
}

/// The command line of an nginx with this configuration.
pub(crate) fn nginx(mut command: Command, config: &Path) -> Command {
    command.args(["-e", "stderr", "-c"]).arg(config);
    command
}

/// nginx as root would have workers of another user, who may not read the folder of a test.
pub(crate) fn nginx_user() -> &'static str {
    if procfs::process::Process::myself().and_then(|this| this.uid()).is_ok_and(|uid| uid == 0) {
        "user root;"
    } else {
        ""
    }
}

/// A folder of this name that is there and empty.
pub(crate) fn new_folder(parent: &Path, name: &str) -> PathBuf {
    let folder = parent.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

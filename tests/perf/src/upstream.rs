//! The upstream of every proxy under load: nginx with one worker, which answers at once and writes no log.

use std::net::{Ipv4Addr, SocketAddr};
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
    addresses: usize,
    process: Process,
}

impl Upstream {
    /// Starts one whose files are in `directory`, on the processors of `launch`.
    pub(crate) async fn start(directory: &Path, launch: impl Fn(&Path) -> Command) -> Self {
        Self::start_at(1, directory, launch).await
    }

    /// The same, at so many loopback addresses, all with the same port. On the others it is as free as on the first: who
    /// has it there has not got it from the system, which gives each to one.
    pub(crate) async fn start_at(addresses: usize, directory: &Path, launch: impl Fn(&Path) -> Command) -> Self {
        let (port, directory) = (ReservedPort::new(), new_folder(directory, "upstream"));
        let listen = (0..addresses).map(|number| format!("listen {} backlog=1024;", beside(port.address(), number)));
        let config = directory.join("nginx.conf");
        let text = fill(
            include_str!("../peers/upstream.conf"),
            &[
                ("LISTEN", &listen.collect::<Vec<_>>().join(" ")),
                ("DIRECTORY", &directory.display().to_string()),
                ("USER", nginx_user()),
                ("KIBIBYTE", &"x".repeat(1024)),
                ("KIBIBYTES_64", &"$kibibyte".repeat(64)),
            ],
        );
        std::fs::write(&config, text).unwrap();
        let process = Process::spawn("the upstream", nginx(launch(&Program::Nginx.path()), &config));
        let upstream = Self { port, addresses, process };
        listening(upstream.port.address()).await;
        upstream
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Everywhere it listens, as endpoints of a configuration.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        (0..self.addresses).map(|number| format!("http://{}", beside(self.address(), number))).collect()
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> ProcessTree {
        ProcessTree::of(self.process.id())
    }
}

/// The loopback address so many places after this one, with the same port.
fn beside(address: SocketAddr, places: usize) -> SocketAddr {
    let first = u32::from(Ipv4Addr::LOCALHOST);
    (Ipv4Addr::from(first + u32::try_from(places).unwrap()), address.port()).into()
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

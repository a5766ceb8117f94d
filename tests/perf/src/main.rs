//! What phantomgate costs, measured: one command each, all started by `tests/perf/run`.
//!
//! | module | |
//! |---|---|
//! | [`peers`] | phantomgate and the proxies it is compared with, on the same work |
//! | [`authorization_server`], [`upstream`] | what stands around a proxy under load |
//! | [`load`] | wrk and h2load |
//! | [`process`], [`machine`] | CPU, memory and descriptors as the operating system counts them; how quiet it was |
//! | [`programs`] | where programs are that `tests/perf/run` has built and installed |
//! | [`statistics`] | medians and spreads |
//!
//! Whatever is started here ends with it, also after ctrl-C: servers are processes that end when they are dropped, and all
//! files lie in a folder that is removed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program: it fails by panicking, and prints"
)]

mod authorization_server;
mod load;
mod machine;
mod peers;
mod process;
mod programs;
mod statistics;
mod template;
mod upstream;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measure what phantomgate costs.
///
/// Without a command: phantomgate and its peers on the same work, in one table.
#[derive(Parser)]
#[command(name = "perf", bin_name = "tests/perf/run", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    peers: peers::Arguments,
}

#[derive(Subcommand)]
enum Command {
    /// Phantomgate and its peers on the same work, in one table; what happens without a command
    Peers(PeersCommand),
}

#[derive(Args)]
struct PeersCommand {
    #[command(flatten)]
    arguments: peers::Arguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    // What does not win is dropped, and ends the processes it has started.
    tokio::select! {
        code = run(arguments) => code,
        _ = interrupted.recv() => ExitCode::from(130),
        _ = terminated.recv() => ExitCode::from(143),
    }
}

async fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        None => peers::run(&arguments.peers).await,
        Some(Command::Peers(command)) => peers::run(&command.arguments).await,
    }
}

//! What phantomgate costs, measured: one command each, all started by `tests/perf/run`.
//!
//! | module | |
//! |---|---|
//! | [`peers`] | phantomgate and the proxies it is compared with, on the same work |
//! | [`cold`] | tokens that nobody has seen, and an authorization server that fails |
//! | [`scale`] | many routes, tokens, rules and endpoints |
//! | [`streams`] | event streams that say nothing |
//! | [`soak`] | everything at once, for long |
//! | [`train`] | all of it for a moment, for a build that is laid out by what it sees |
//! | [`authorization_server`], [`upstream`], [`event_streams`] | what stands around a proxy under load |
//! | [`world`] | phantomgate among them, for the commands that look at it alone |
//! | [`load`], [`requests`] | wrk and h2load; what they cannot send |
//! | [`process`], [`machine`] | CPU, memory and descriptors as the operating system counts them; how quiet it was |
//! | [`programs`] | where programs are that `tests/perf/run` has built and installed |
//! | [`statistics`], [`document`] | medians and spreads; tables, and where they stand |
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
mod cold;
mod document;
mod event_streams;
mod load;
mod machine;
mod peers;
mod process;
mod programs;
mod requests;
mod scale;
mod soak;
mod statistics;
mod streams;
mod template;
mod train;
mod upstream;
mod world;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measure what phantomgate costs.
///
/// Without a command: phantomgate and its peers on the same work, in one table.
#[derive(Parser)]
#[command(name = "perf", bin_name = "tests/perf/run", args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    peers: peers::Arguments,
}

#[derive(Subcommand)]
enum Command {
    /// Phantomgate and its peers on the same work, in one table; what happens without a command
    Peers(PeersCommand),
    /// Tokens that nobody has seen: how often they are asked about, and what happens while nobody answers
    Cold(cold::Arguments),
    /// What a request costs with many routes, tokens, rules and endpoints
    Scale(scale::Arguments),
    /// What event streams take while they say nothing
    Streams(streams::Arguments),
    /// Whether what is held grows in a long run of everything at once
    Soak(soak::Arguments),
    /// Have a program do its work for two minutes and measure nothing: for packaging/build
    Train(train::Arguments),
}

#[derive(Args)]
struct PeersCommand {
    #[command(flatten)]
    arguments: peers::Arguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    // What does not win is dropped, and ends the processes it has started.
    tokio::select! {
        code = run(arguments) => code,
        _ = interrupted.recv() => ExitCode::from(130),
        _ = terminated.recv() => ExitCode::from(143),
    }
}

async fn run(arguments: CommandLine) -> ExitCode {
    match arguments.command {
        None => peers::run(&arguments.peers).await,
        Some(Command::Peers(command)) => peers::run(&command.arguments).await,
        Some(Command::Cold(arguments)) => cold::run(&arguments).await,
        Some(Command::Scale(arguments)) => scale::run(&arguments).await,
        Some(Command::Streams(arguments)) => streams::run(&arguments).await,
        Some(Command::Soak(arguments)) => soak::run(&arguments).await,
        Some(Command::Train(arguments)) => train::run(&arguments).await,
    }
}

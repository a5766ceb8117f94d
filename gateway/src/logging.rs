//! The log: lines on standard error.
//!
//! Libraries are held at warnings whatever level is asked for: at finer ones they print requests, and tokens with them.

use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; in colours on a terminal.
    #[default]
    Text,
    /// For programs: one JSON object on each line.
    Json,
}

/// Starts logging at `level`, in this `format`.
pub fn start(level: Level, format: Format) {
    let filter = Targets::new()
        .with_default(Level::WARN)
        // What a client or an upstream does wrong is an error to Pingora and rustls, in words that may quote the request, and
        // anybody could fill the log with it. The audit record says as much. A pooled connection that has ended meanwhile is an error to it too; nobody is harmed.
        .with_target("pingora_proxy", LevelFilter::OFF)
        .with_target("pingora_core::protocols", LevelFilter::OFF)
        .with_target("pingora_core::connectors", LevelFilter::OFF)
        .with_target("rustls", LevelFilter::OFF)
        .with_targets(
            ["phantomgate", "phantomgate_files", "phantomgate_introspection", "phantomgate_upstreams", "audit"]
                .map(|own| (own, level)),
        );
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    // An error means that somebody else has set up logging, and their set-up stands.
    let _ = match format {
        Format::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter)).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
}

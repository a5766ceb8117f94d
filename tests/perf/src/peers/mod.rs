//! phantomgate and its peers on the same work.

use std::process::ExitCode;

use clap::Args;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How often each of them is measured
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

pub(crate) async fn run(_: &Arguments) -> ExitCode {
    ExitCode::SUCCESS
}

//! Checks the authorization of any MCP server, by its address: `mcp-authorization https://server.example/mcp`.
//!
//! Prints one line for each check of [`e2e::mcp_checks`]. Ends with 0 when none failed, with 1 when one did, and with 2 when
//! the arguments are of no use.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use e2e::mcp_checks::{Target, Verdict, run};
use url::Url;

/// Check the authorization of an MCP server, from outside and by its address alone.
///
/// Sends initialize, server/discover, ping and lists, with and without tokens; nothing that changes anything there. Ends with
/// 0 when no check failed, with 1 when one did, and with 2 when the arguments are of no use.
#[derive(Parser)]
#[command(name = "mcp-authorization", version)]
struct Arguments {
    /// The URL of the MCP endpoint, as its clients have it
    #[arg(value_name = "URL", value_parser = server_url)]
    url: Url,
    /// A file with an access token that the server takes; without it, some checks are skipped
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with an access token for the server that has too few scopes
    #[arg(long, value_name = "FILE")]
    insufficient_token_file: Option<PathBuf>,
    /// The longest to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    patience: u64,
}

fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.fragment().is_none() && url.username().is_empty() && url.password().is_none() => {
            Ok(url)
        }
        "http" | "https" => Err("it must have no user information and no fragment".to_owned()),
        _ => Err("it must begin with https:// or http://".to_owned()),
    }
}

/// The token in a file. Errors name the file and never quote it.
fn token(file: Option<&PathBuf>) -> Result<Option<String>, String> {
    let Some(file) = file else { return Ok(None) };
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let token = text.trim();
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!("{}: must hold one token, in visible ASCII", file.display()));
    }
    Ok(Some(token.to_owned()))
}

fn target(arguments: &Arguments) -> Result<Target, String> {
    Ok(Target {
        token: token(arguments.token_file.as_ref())?,
        insufficient_token: token(arguments.insufficient_token_file.as_ref())?,
        patience: Duration::from_secs(arguments.patience),
        ..Target::new(arguments.url.clone())
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let target = match target(&Arguments::parse()) {
        Ok(target) => target,
        Err(error) => {
            eprintln!("mcp-authorization: {error}");
            return ExitCode::from(2);
        }
    };
    println!("{}\n", target.url);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for outcome in run(&target).await {
        println!("{outcome}");
        match outcome.verdict {
            Verdict::Passed => passed += 1,
            Verdict::Failed(_) => failed += 1,
            Verdict::Skipped(_) => skipped += 1,
        }
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

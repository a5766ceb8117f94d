//! The demo's command line. The story is in `walk_through`, the world it takes place in is in `world`.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Parser;
use demo::console::Console;
use demo::walk_through::{self, Agreement};
use demo::{World, agent};
use tracing::Level;

const EXAMPLES: &str = "\
Examples:
  demo             the story; then everything stays up to be tried, until Ctrl-C
  demo --once      the story; the exit code is 0 only if every step held
  demo --log info  the story, with one line for each decision of phantomgate in between

Set NO_COLOR=1 for plain text.";

/// Watch an AI agent with an opaque token reach an API through phantomgate.
///
/// Starts a whole world on 127.0.0.1, on free ports: an authorization server, phantomgate, an MCP server built on rmcp,
/// and an API that accepts only JWTs made for it. Then plays an agent that logs in and calls a tool, and tells each step
/// in plain words: what was sent, who saw which token, what is refused.
///
/// Nothing is downloaded, nothing else has to be installed, nothing is left behind.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// End after the story: exit code 0 if every step held, 1 if not
    #[arg(long)]
    once: bool,

    /// What phantomgate logs to standard error: error, warn, info (one line per decision) or debug
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    log: Level,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    phantomgate::install_crypto_provider();
    phantomgate::logging::start(arguments.log, phantomgate::logging::Format::Text);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let world = World::start().await.context("cannot start the demo's world")?;
    let told = tokio::select! {
        told = tell(&world, arguments) => told,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) if arguments.once => Err(anyhow!("interrupted before the story was over")),
            interrupted => interrupted.context("cannot wait for Ctrl-C"),
        },
    };
    let ended = world.shut_down().await.context("cannot end the demo's world");
    told.and(ended)
}

/// The story; then, unless it is told once, an invitation that stands until somebody interrupts.
async fn tell(world: &World, arguments: &Arguments) -> anyhow::Result<()> {
    let mut console = Console::stdout();
    let agreement = walk_through::play(world, &mut console).await?;
    if arguments.once {
        return Ok(());
    }
    invite(world, &agreement, &mut console).await?;
    std::future::pending().await
}

/// Says what can be tried while everything is up.
async fn invite(world: &World, agreement: &Agreement, console: &mut Console) -> anyhow::Result<()> {
    let Agreement { agent, server, client_id, scope } = agreement;
    let token = agent.log_in(server, client_id, "jane", scope).await.context("Jane cannot log in")?;
    let urls = world.urls();
    console.title("Try it: all of this stays up until Ctrl-C")?;
    console.table([
        ("agents come here", &urls.resource),
        ("about the resource", &format!("{}/.well-known/oauth-protected-resource/mcp", urls.gateway)),
        ("phantomgate's keys", &format!("{}/.well-known/jwks.json", urls.gateway)),
        ("authorization server", &format!("{}/.well-known/oauth-authorization-server", urls.authorization_server)),
        ("MCP server (refuses)", &urls.mcp_server),
        ("users API (refuses)", &urls.users_api),
        ("Jane Doe's token", &format!("{token} (good for an hour)")),
    ])?;
    let headers = format!(
        "-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \
         -H 'Accept: application/json, text/event-stream'"
    );
    let call = agent::tool_call();
    console.title("A call, by hand:")?;
    console.command(&format!("curl -i {headers} -d '{call}' {}", urls.resource))?;
    console.title("With the MCP Inspector (needs Node 22.19 or later), with that token:")?;
    console.command(&format!(
        "npx @modelcontextprotocol/inspector@latest --cli {} --transport http --method tools/call --tool-name {} \
         --header \"Authorization: Bearer {token}\"",
        urls.resource,
        demo::mcp_server::TOOL,
    ))?;
    console.title("Under load (the demo's servers are part of what is measured):")?;
    console.command(&format!("oha -z 10s -c 50 -m POST {headers} -d '{call}' {}", urls.resource))?;
    Ok(())
}

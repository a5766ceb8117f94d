//! The command line: arguments in, exit codes out.

mod commands;
mod packaging;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use phantomgate::hand_over;
use phantomgate::logging::Format;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Agents hold opaque tokens; upstreams get JWTs.
///
/// phantomgate stands in front of MCP servers and APIs. It introspects the opaque token an agent sends, decides, swaps it
/// for a JWT made for that one upstream, and forwards the request.
///
/// To begin: edit conf/minimal.yaml, see what `phantomgate check -c conf/minimal.yaml` says, then `phantomgate run -c
/// conf/minimal.yaml`.
#[derive(Parser)]
#[command(version, after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 64 the configuration has errors.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM, then finish the requests under way
    ///
    /// A changed configuration file is put to work at once, without losing a request; SIGHUP has it read again, too. One
    /// with errors is refused with all of them, and the old one goes on. SIGUSR2 starts the program that lies in its place
    /// now, a newer version perhaps, and hands over to it. SIGINT ends at once.
    Run {
        #[command(flatten)]
        config: ConfigArgument,
        /// How much to log: error, warn, info (one line per request), debug, trace
        #[arg(long, default_value = "info", value_name = "LEVEL")]
        log_level: tracing::Level,
        /// How to write it: text for people, in colours on a terminal; json for programs, one object on each line
        #[arg(long, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
        log_format: Format,
        /// Take over the sockets of the process that starts this one: see SIGUSR2
        #[arg(long, hide = true)]
        upgrade: bool,
        /// Start the process that does so, and end
        #[arg(long, hide = true, requires = "upgrade")]
        detach: bool,
    },
    /// Tell everything that is wrong with a configuration, without running it
    ///
    /// One line per error: file:line:column: key: what is wrong and how to mend it.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Print the JSON Schema of the configuration, or its reference
    ///
    /// Editors complete and check with the schema: begin the YAML with `# yaml-language-server:
    /// $schema=gateway.schema.json`.
    Schema {
        /// For programs, or for people
        #[arg(long, default_value = "json")]
        format: SchemaFormat,
    },
    /// Look after the signing keys
    ///
    /// A new key is published at once and signs ten minutes later, when everybody has seen it; the old one stays
    /// published until the last JWT it signed is dead. A running gateway sees changes within half a minute.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Write the manual pages of all commands, for packages
    Manual {
        /// Where to: a folder, made when it is not there
        #[arg(value_name = "FOLDER")]
        directory: PathBuf,
    },
    /// Print what a shell completes the command line with
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaFormat {
    /// JSON Schema (draft 2020-12)
    Json,
    /// A page with every key, its type and its default
    Markdown,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a key
    New(ConfigArgument),
    /// List the keys and what each is for
    List(ConfigArgument),
    /// Make a key and remove those that nobody needs any more
    Rotate(ConfigArgument),
}

#[derive(clap::Args)]
struct ConfigArgument {
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    path: PathBuf,
}

fn main() -> ExitCode {
    phantomgate::install_crypto_provider();
    let result = match Arguments::parse().command {
        Command::Run { detach: true, .. } => hand_over::detach().map_err(Into::into),
        Command::Run { config, log_level, log_format, upgrade, detach: false } => {
            commands::run(&config.path, log_level, log_format, upgrade)
        }
        Command::Check { config } => commands::check(&config.path),
        Command::Schema { format: SchemaFormat::Json } => commands::schema(),
        Command::Schema { format: SchemaFormat::Markdown } => commands::reference(),
        Command::Keys(KeysCommand::New(config)) => commands::new_key(&config.path),
        Command::Keys(KeysCommand::List(config)) => commands::list_keys(&config.path),
        Command::Keys(KeysCommand::Rotate(config)) => commands::rotate_keys(&config.path),
        Command::Manual { directory } => packaging::manual(Arguments::command(), &directory).map_err(Into::into),
        Command::Completions { shell } => packaging::completions(Arguments::command(), shell).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

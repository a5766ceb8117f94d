//! What the commands do. Results go to standard output, everything else to standard error.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use phantomgate::config::{self, Config, Report, SigningConfig};
use phantomgate::hand_over::Sockets;
use phantomgate::logging;
use phantomgate::metrics::Exposition;
use phantomgate::server::{Server, Shutdown, StartError};
use phantomgate::signing::{KeyError, KeyFolder, KeyState, SigningKey};
use phantomgate_introspection::NumericDate;
use tokio::signal::unix::{SignalKind, signal};

/// `EX_USAGE` of sysexits.h: what was written is wrong, not the machine.
const BAD_CONFIGURATION: u8 = 64;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Configuration(#[from] Report),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Keys(#[from] KeyError),
    #[error("the configuration has no section `signing`, so there are no keys")]
    NoSigning,
    #[error("standard input is not a gateway that hands over ({0}); send SIGUSR2 to the one that runs instead")]
    NoPredecessor(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// Tells it, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let _ = writeln!(io::stderr(), "{self}");
        match self {
            Self::Configuration(report) => {
                let errors = if report.count() == 1 { "error" } else { "errors" };
                let _ = writeln!(io::stderr(), "{} {errors}", report.count());
                ExitCode::from(BAD_CONFIGURATION)
            }
            Self::NoSigning => ExitCode::from(BAD_CONFIGURATION),
            Self::Start(_) | Self::Keys(_) | Self::NoPredecessor(_) | Self::Io(_) => ExitCode::FAILURE,
        }
    }
}

pub(crate) fn run(
    path: &Path,
    log_level: tracing::Level,
    log_format: logging::Format,
    upgrade: bool,
) -> Result<(), Failure> {
    let config = config::load(path)?;
    logging::start(log_level, log_format);
    let (sockets, predecessor) = if upgrade {
        let (sockets, predecessor) = Sockets::receive().map_err(Failure::NoPredecessor)?;
        (sockets, Some(predecessor))
    } else {
        (Sockets::default(), None)
    };
    let exposition = Exposition::install();
    let server = Server::with_sockets(config, sockets)?.exposing(exposition).from_file(path).relieving(predecessor);
    Ok(server.run(stop_signal())?)
}

/// SIGTERM asks for a graceful end, SIGINT (Ctrl-C) for one at once.
async fn stop_signal() -> Shutdown {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot wait for signals");
        return Shutdown::Immediate;
    };
    tokio::select! {
        _ = terminate.recv() => Shutdown::Graceful,
        _ = interrupt.recv() => Shutdown::Immediate,
    }
}

pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    let Config { routes, upstreams, authorization_servers, .. } = &config;
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    say(&format!(
        "{}: no errors; {}, {}, {}",
        path.display(),
        count(routes.len(), "route"),
        count(upstreams.len(), "upstream"),
        count(authorization_servers.len(), "authorization server"),
    ))
}

pub(crate) fn schema() -> Result<(), Failure> {
    say(&format!("{:#}", config::schema()))
}

pub(crate) fn reference() -> Result<(), Failure> {
    Ok(write!(io::stdout(), "{}", config::reference())?)
}

pub(crate) fn new_key(path: &Path) -> Result<(), Failure> {
    let (signing, folder) = key_folder(path)?;
    let key = folder.create(signing.algorithm, NumericDate::now())?;
    say(&format!("made {}", key.kid()))
}

pub(crate) fn rotate_keys(path: &Path) -> Result<(), Failure> {
    new_key(path)?;
    let (_, folder) = key_folder(path)?;
    let keys = folder.load()?;
    for key in folder.remove_dead(keys, NumericDate::now())? {
        say(&format!("removed {}", key.kid()))?;
    }
    list_keys(path)
}

pub(crate) fn list_keys(path: &Path) -> Result<(), Failure> {
    let (_, folder) = key_folder(path)?;
    let keys = folder.load()?;
    if keys.is_empty() {
        return say("there are no keys yet; `phantomgate run` makes the first one");
    }
    say(&format!("{:43}  {:9}  {:20}  state", "key id", "algorithm", "made"))?;
    for (key, state) in keys.iter().zip(folder.states(&keys, NumericDate::now())) {
        say(&line(key, state))?;
    }
    Ok(())
}

fn line(key: &SigningKey, state: KeyState) -> String {
    let state = match state {
        KeyState::SignsFrom(moment) => format!("published, signs from {}", date(moment)),
        KeyState::Signs => "signs".to_owned(),
        KeyState::PublishedUntil(moment) => format!("published until {}", date(moment)),
        KeyState::Dead => "not needed any more; `keys rotate` removes it".to_owned(),
    };
    let algorithm = key.algorithm().to_string();
    format!("{:43}  {algorithm:9}  {:20}  {state}", key.kid(), date(key.made_at()))
}

fn date(moment: NumericDate) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(moment.seconds())).to_string()
}

fn key_folder(path: &Path) -> Result<(SigningConfig, KeyFolder), Failure> {
    let signing = config::load(path)?.signing.ok_or(Failure::NoSigning)?;
    let folder = KeyFolder::new(&signing.keys, signing.lifetime);
    Ok((signing, folder))
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

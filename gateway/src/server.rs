//! ① Threads, signals, and the two ends of the gateway's life; what lies between them is in `serving`.
//!
//! To stop, listening ends first, idle connections are closed, and requests under way get their time to finish.

mod background;
mod serving;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use phantomgate_introspection::NumericDate;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::serving::Serving;
use crate::config::{AdminConfig, Config, ListenerConfig};
use crate::gateway::{Current, Gateway, GatewayError};
use crate::hand_over::{self, HandOverError, Predecessor, Purpose, Sockets};
use crate::listener::{ListenError, Listener};
use crate::metrics::Exposition;
use crate::reload::Reloads;
use crate::service_manager;
use crate::workers::{Crew, Workers};

/// How long requests that were not finished have to be given up.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);

/// Threads that accept connections, serve the operator, and look after upstreams.
const OTHER_THREADS: usize = 2;

/// A gateway whose sockets are bound.
pub struct Server {
    gateway: Gateway,
    listeners: Vec<(ListenerConfig, Listener)>,
    admin: Option<(AdminConfig, TcpListener)>,
    exposition: Option<Exposition>,
    /// Where the configuration came from.
    file: Option<PathBuf>,
    predecessor: Option<Predecessor>,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// After the requests under way, or the configured time.
    Graceful,
    /// At once.
    Immediate,
}

/// Why the gateway cannot start, or not go on with another configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin listener's cannot.
    #[error("cannot listen on {address}: {error}")]
    Admin {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The configuration cannot be put to work.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

impl Server {
    /// Binds the addresses that `config` names.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::with_sockets(config, Sockets::default())
    }

    /// Binds the addresses that `config` names, but for those that there are sockets for.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn with_sockets(config: Config, mut sockets: Sockets) -> Result<Self, StartError> {
        let mut listeners = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            let bound = match sockets.take(Purpose::Listener(listener.address)) {
                Some(socket) => Listener::with_socket(listener, socket)?,
                None => Listener::bind(listener)?,
            };
            listeners.push((listener.clone(), bound));
        }
        Self::build(config, listeners, sockets)
    }

    /// Uses sockets that are bound already, in place of the addresses for agents that `config` names, in its order.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn with_listeners(config: Config, sockets: Vec<TcpListener>) -> Result<Self, StartError> {
        let listeners = config.listeners.iter().zip(sockets);
        let listener = |(config, socket): (&ListenerConfig, _)| {
            Ok::<_, StartError>((config.clone(), Listener::with_socket(config, socket)?))
        };
        let listeners = listeners.map(listener).collect::<Result<_, _>>()?;
        Self::build(config, listeners, Sockets::default())
    }

    fn build(
        config: Config,
        listeners: Vec<(ListenerConfig, Listener)>,
        mut sockets: Sockets,
    ) -> Result<Self, StartError> {
        let admin = match &config.admin {
            Some(admin) => {
                let socket = match sockets.take(Purpose::Admin(admin.address)) {
                    Some(socket) => socket,
                    None => bind_admin(admin)?,
                };
                Some((admin.clone(), socket))
            }
            None => None,
        };
        let gateway = Gateway::build(config, NumericDate::now())?;
        Ok(Self { gateway, listeners, admin, exposition: None, file: None, predecessor: None })
    }

    /// Shows on the admin listener what was counted.
    #[must_use]
    pub fn exposing(self, exposition: Option<Exposition>) -> Self {
        Self { exposition, ..self }
    }

    /// Reads the configuration again from `file`, where it came from: when that changes, on SIGHUP, and when the operator
    /// asks for it. Also starts the program anew on SIGUSR2, and hands over to it.
    #[must_use]
    pub fn from_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    /// Takes the place of another process, as soon as it serves.
    #[must_use]
    pub fn relieving(self, predecessor: Option<Predecessor>) -> Self {
        Self { predecessor, ..self }
    }

    /// Serves until `shutdown` says how to stop. Blocks; must not be called on a thread of an async runtime.
    ///
    /// # Errors
    /// When the system gives no threads, or no signals.
    pub fn run(self, shutdown: impl Future<Output = Shutdown>) -> io::Result<()> {
        let workers = Workers::start()?;
        // For all but the connections of clients.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(OTHER_THREADS).thread_name("gateway").enable_all().build()?;
        let current = runtime.block_on(self.serve(workers.crew(), shutdown))?;
        // Requests that are cut off leave a record too.
        workers.end_within(ABORT_PATIENCE);
        runtime.shutdown_timeout(ABORT_PATIENCE);
        current.get().finish();
        Ok(())
    }

    /// Runs on a thread of its own, which serves nobody: it may block.
    async fn serve(mut self, crew: Crew, shutdown: impl Future<Output = Shutdown>) -> io::Result<Current> {
        let file = self.file.take();
        let predecessor = self.predecessor.take();
        let (reloads, mut requested) = Reloads::channel();
        let mut upgrade = signal(SignalKind::user_defined2())?;
        let (handed_over, mut successor) = mpsc::channel(1);
        let mut shutdown = pin!(shutdown);
        let mut serving = {
            let mut started = pin!(Serving::start(self, crew, file.is_some().then(|| reloads.clone())));
            // Both from the beginning: whoever is told that we listen may ask us to stop at once.
            let mut asked = None;
            let serving = loop {
                tokio::select! {
                    biased;
                    how = &mut shutdown, if asked.is_none() => asked = Some(how),
                    serving = &mut started => break serving,
                }
            };
            if let Some(how) = asked {
                return Ok(serving.stop(how).await);
            }
            serving
        };
        // Before the process ends that it knows.
        service_manager::serving();
        if let Some(predecessor) = predecessor {
            predecessor.relieve();
        }
        if let Some(file) = file.clone() {
            serving.also(reloads.keep(file));
        }
        let mut handing_over: Option<JoinHandle<()>> = None;
        let how = loop {
            tokio::select! {
                biased; // who has handed over ends, and does nothing else any more
                how = &mut shutdown => break how,
                Some(()) = successor.recv() => break Shutdown::Graceful,
                Some(request) = requested.recv(), if file.is_some() => {
                    let file = file.as_deref().unwrap_or(Path::new(""));
                    request.answer(serving.reload(file).await);
                }
                _ = upgrade.recv(), if file.is_some() => {
                    // Two that both took over would both stay.
                    if handing_over.as_ref().is_some_and(|under_way| !under_way.is_finished()) {
                        tracing::warn!("another process is being started already");
                        continue;
                    }
                    tracing::info!("starting another process to hand over to");
                    let sockets = serving.sockets();
                    let handed_over = handed_over.clone();
                    handing_over = Some(tokio::task::spawn_blocking(move || {
                        let sockets = sockets.map_err(HandOverError::from);
                        match sockets.and_then(|sockets| hand_over::hand_over(&sockets)) {
                            Ok(process) => {
                                tracing::info!(process, "handed over");
                                // Nobody listens where the end has begun already.
                                let _ = handed_over.blocking_send(());
                            }
                            Err(error) => tracing::error!(%error, "not handed over; this process goes on"),
                        }
                    }));
                }
            }
        };
        Ok(serving.stop(how).await)
    }
}

fn bind_admin(config: &AdminConfig) -> Result<TcpListener, StartError> {
    let address = config.address;
    TcpListener::bind(address).map_err(|error| StartError::Admin { address, error })
}

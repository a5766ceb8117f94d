//! ① Sockets, threads, and the two ends of the gateway's life.
//!
//! To stop, listening ends first, idle connections are closed, and requests under way get their time to finish.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use phantomgate_introspection::NumericDate;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::{Admin, Subject};
use crate::config::{AdminConfig, Config};
use crate::connection::Connections;
use crate::context::InFlight;
use crate::gateway::{Current, Gateway, GatewayError};
use crate::limits::connections::ConnectionLimits;
use crate::listener::{ListenError, Listener, Running};
use crate::metrics::Exposition;
use crate::proxy::Proxy;

/// How long names are looked up before serving begins without them.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last requests of the operator are waited for.
const ADMIN_PATIENCE: Duration = Duration::from_secs(1);

/// A gateway whose sockets are bound.
pub struct Server {
    current: Current,
    listeners: Vec<Listener>,
    admin: Option<(SocketAddr, Admin)>,
    exposition: Option<Exposition>,
    drain_timeout: Duration,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// After the requests under way, or the configured time.
    Graceful,
    /// At once.
    Immediate,
}

/// Why the gateway cannot start.
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
        let listeners = config.listeners.iter().map(Listener::bind).collect::<Result<_, _>>()?;
        Self::build(config, listeners)
    }

    /// Uses sockets that are bound already, in place of the addresses for agents that `config` names, in its order.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn with_listeners(config: Config, sockets: Vec<TcpListener>) -> Result<Self, StartError> {
        let listeners = config.listeners.iter().zip(sockets);
        let listeners =
            listeners.map(|(config, socket)| Listener::with_socket(config, socket)).collect::<Result<_, _>>()?;
        Self::build(config, listeners)
    }

    fn build(config: Config, listeners: Vec<Listener>) -> Result<Self, StartError> {
        let admin = config.admin.as_ref().map(bind_admin).transpose()?;
        let drain_timeout = config.drain_timeout;
        let current = Current::new(Gateway::build(config, NumericDate::now())?);
        Ok(Self { current, listeners, admin, exposition: None, drain_timeout })
    }

    /// Shows on the admin listener what was counted.
    #[must_use]
    pub fn exposing(self, exposition: Option<Exposition>) -> Self {
        Self { exposition, ..self }
    }

    /// Serves until `shutdown` says how to stop. Blocks; must not be called on a thread of an async runtime.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn run(self, shutdown: impl Future<Output = Shutdown>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("gateway").enable_all().build()?;
        runtime.block_on(self.serve(shutdown));
        runtime.shutdown_background();
        Ok(())
    }

    async fn serve(self, shutdown: impl Future<Output = Shutdown>) {
        let in_flight = InFlight::default();
        let (stop, stopping) = watch::channel(false);
        let (end_admin, admin_ended) = watch::channel(false);
        let drain_timeout = self.drain_timeout;
        let mut server = self;
        let admin = server.start_admin(&in_flight, stopping, admin_ended);
        // Both from the beginning: whoever is told that we listen may ask us to stop at once.
        let (how, (mut listeners, _background)) = tokio::join!(shutdown, server.start(&in_flight));
        if how == Shutdown::Graceful {
            tracing::info!(requests = in_flight.count(), "stopping: finishing the requests under way");
            stop.send_replace(true);
            listeners.iter().for_each(Running::stop);
            let drained = tokio::time::timeout(drain_timeout, async {
                for listener in &mut listeners {
                    listener.stopped().await;
                }
                in_flight.idle().await;
            });
            if drained.await.is_err() {
                tracing::warn!(requests = in_flight.count(), "stopped before these requests were finished");
            }
            // To the last moment it tells that we are stopping.
            let _ = end_admin.send(true);
            if let Some(admin) = admin {
                let _ = tokio::time::timeout(ADMIN_PATIENCE, admin).await;
            }
        }
    }

    /// Before all else: it tells what the rest waits for.
    fn start_admin(
        &mut self,
        in_flight: &InFlight,
        stopping: watch::Receiver<bool>,
        ended: watch::Receiver<bool>,
    ) -> Option<JoinHandle<()>> {
        let (address, admin) = self.admin.take()?;
        tracing::info!(%address, "admin listening");
        let (current, exposition) = (self.current.clone(), self.exposition.clone());
        Some(tokio::spawn(admin.serve(Subject { current, exposition, in_flight: in_flight.clone(), stopping }, ended)))
    }

    /// Listens.
    async fn start(self, in_flight: &InFlight) -> (Vec<Running>, JoinSet<()>) {
        let background = self.background().await;
        let conf = Arc::new(ServerConf { max_retries: 3, ..ServerConf::default() });
        let proxy = Proxy { current: self.current.clone(), in_flight: in_flight.clone() };
        let proxy = Arc::new(http_proxy(&conf, proxy));
        let connections = Arc::new(Connections { proxy, current: self.current, limits: ConnectionLimits::default() });
        let mut running = Vec::new();
        for listener in self.listeners {
            let address = listener.address();
            match listener.start(connections.clone()) {
                Ok(listener) => running.push(listener),
                Err(error) => tracing::error!(%address, %error, "cannot listen"),
            }
        }
        (running, background)
    }

    /// Starts what goes on beside requests; it ends when the returned set is dropped.
    async fn background(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let mut first_look_ups = JoinSet::new();
        let gateway = self.current.get();
        for upstream in &gateway.upstreams {
            let upstream = upstream.clone();
            first_look_ups.spawn({
                let upstream = upstream.clone();
                async move { upstream.resolve().await }
            });
            tasks.spawn(async move { upstream.keep_resolved().await });
        }
        if let Some(exposition) = self.exposition.clone() {
            tasks.spawn(async move { exposition.keep_summed_up().await });
        }
        if let Some(signer) = gateway.signer.clone() {
            tasks.spawn(async move { signer.keep_fresh().await });
        }
        let _ = tokio::time::timeout(RESOLVE_PATIENCE, first_look_ups.join_all()).await;
        tasks
    }
}

fn bind_admin(config: &AdminConfig) -> Result<(SocketAddr, Admin), StartError> {
    let address = config.address;
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, Admin { listener, token: config.token.clone() }))
    };
    bind().map_err(|error| StartError::Admin { address, error })
}

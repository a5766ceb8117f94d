//! A gateway at work: what it runs on, and how that is exchanged while it serves.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use phantomgate_introspection::NumericDate;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::background::Background;
use super::{Server, Shutdown, StartError, bind_admin};
use crate::admin::{Admin, Subject};
use crate::config::{self, AdminConfig, Config, ListenerConfig};
use crate::connection::Connections;
use crate::context::InFlight;
use crate::gateway::{Current, Gateway};
use crate::hand_over::Purpose;
use crate::limits::connections::ConnectionLimits;
use crate::listener::{Listener, Running};
use crate::proxy::Proxy;
use crate::reload::{ReloadError, Reloaded, Reloads, show_generation};
use crate::stopping::{LAST_REQUESTS, Stop};
use crate::workers::Crew;

/// How long names are looked up before serving begins without them.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a listener that ends may go on accepting those who have connected already.
const LISTENER_PATIENCE: Duration = Duration::from_secs(1);

/// How long the last requests of the operator are waited for.
const ADMIN_PATIENCE: Duration = Duration::from_secs(1);

/// A gateway at work.
pub(super) struct Serving {
    current: Current,
    connections: Arc<Connections>,
    listeners: Vec<(ListenerConfig, Running)>,
    admin: Option<RunningAdmin>,
    subject: Subject,
    background: Background,
    in_flight: InFlight,
    stop: Stop,
}

struct RunningAdmin {
    config: AdminConfig,
    socket: TcpListener,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A listener of the next configuration.
enum NextListener {
    /// The one at this position goes on.
    Kept(usize),
    /// A new one, perhaps with the socket of one that ends.
    New(ListenerConfig, Listener),
}

impl Serving {
    /// Puts `server` to work. The admin listener goes first: it tells what the rest waits for.
    pub(super) async fn start(server: Server, crew: Crew, reloads: Option<Reloads>) -> Self {
        let Server { gateway, listeners, admin, exposition, .. } = server;
        let (stop, stopping) = Stop::channel();
        let current = Current::new(gateway);
        let gateway = current.get();
        show_generation(gateway.generation);
        let mut background = Background::default();
        if let Some(exposition) = exposition.clone() {
            background.add(async move { exposition.keep_summed_up().await });
        }
        let in_flight = InFlight::default();
        let subject = Subject {
            current: current.clone(),
            exposition,
            in_flight: in_flight.clone(),
            reloads,
            stopping: stopping.clone(),
            started_at: NumericDate::now(),
        };
        let admin = admin.and_then(|(config, socket)| start_admin(&subject, config, socket));
        resolve(&gateway, |_| true).await;
        background.adopt(&gateway);

        let connections = Arc::new(Connections {
            proxy: Arc::new(Proxy::new(current.clone(), in_flight.clone(), stopping)),
            current: current.clone(),
            crew,
            limits: ConnectionLimits::default(),
            open: InFlight::default(),
        });
        let mut serving =
            Self { current, connections, listeners: Vec::new(), admin, subject, background, in_flight, stop };
        for (config, listener) in listeners {
            serving.listen(config, listener);
        }
        serving
    }

    /// Keeps `task` going to the end.
    pub(super) fn also(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.background.add(task);
    }

    /// All sockets, for another process.
    pub(super) fn sockets(&self) -> io::Result<Vec<(Purpose, OwnedFd)>> {
        let mut sockets = Vec::new();
        for (config, running) in &self.listeners {
            sockets.push((Purpose::Listener(config.address), running.socket()?));
        }
        if let Some(admin) = &self.admin {
            sockets.push((Purpose::Admin(admin.config.address), admin.socket.try_clone()?.into()));
        }
        Ok(sockets)
    }

    /// Reads `file`, and works on with what is written there. All that can fail is done before anything changes.
    pub(super) async fn reload(&mut self, file: &Path) -> Result<Reloaded, ReloadError> {
        let config = config::load(file)?;
        let previous = self.current.get();
        previous.audit.reopen();
        if config == previous.config {
            return Ok(Reloaded { changed: false, generation: previous.generation });
        }
        let listeners = self.next_listeners(&config)?;
        let admin = self.next_admin(&config)?;
        let next = previous.succeed(config, NumericDate::now()).map_err(StartError::from)?;
        let is_new = |upstream: &_| !previous.upstreams.iter().any(|known| Arc::ptr_eq(known, upstream));
        resolve(&next, is_new).await;

        let generation = next.generation;
        self.background.adopt(&next);
        self.current.replace(next);
        // Now that nobody begins with the previous one any more.
        previous.retire(&self.current.get());
        show_generation(generation);
        let mut running: Vec<_> = mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for next in listeners {
            match next {
                NextListener::Kept(position) => {
                    self.listeners.extend(running.get_mut(position).and_then(Option::take));
                }
                NextListener::New(config, listener) => self.listen(config, listener),
            }
        }
        // Once it is told that the new configuration is at work, nobody gets in by the rules of an old one.
        for (_, mut ended) in running.into_iter().flatten() {
            ended.stop();
            let _ = tokio::time::timeout(LISTENER_PATIENCE, ended.stopped()).await;
        }
        if let Some((config, socket)) = admin {
            self.end_admin();
            self.admin = start_admin(&self.subject, config, socket);
        } else if self.current.get().config.admin.is_none() {
            self.end_admin();
        }
        Ok(Reloaded { changed: true, generation })
    }

    /// What listens to whom next: whatever does not change goes on.
    fn next_listeners(&self, config: &Config) -> Result<Vec<NextListener>, StartError> {
        let mut is_taken = vec![false; self.listeners.len()];
        let mut take = |is_fit: &dyn Fn(&ListenerConfig) -> bool| {
            let mut running = self.listeners.iter().zip(&mut is_taken).enumerate();
            let (position, (_, is_taken)) = running.find(|(_, ((own, _), taken))| !**taken && is_fit(own))?;
            *is_taken = true;
            Some(position)
        };
        let mut next = Vec::new();
        for listener in &config.listeners {
            next.push((listener, take(&|own| own == listener)));
        }
        let next = next.into_iter().map(|(listener, kept)| {
            if let Some(position) = kept {
                return Ok(NextListener::Kept(position));
            }
            let same_address = take(&|own| own.address == listener.address);
            let socket = same_address.and_then(|position| self.listeners.get(position)?.1.socket().ok());
            let bound = match socket {
                Some(socket) => Listener::with_socket(listener, socket.into())?,
                None => Listener::bind(listener)?,
            };
            Ok(NextListener::New(listener.clone(), bound))
        });
        next.collect()
    }

    /// The admin listener that is to begin, if it is not the one at work.
    fn next_admin(&self, config: &Config) -> Result<Option<(AdminConfig, TcpListener)>, StartError> {
        let Some(next) = &config.admin else { return Ok(None) };
        let socket = match &self.admin {
            Some(admin) if admin.config == *next => return Ok(None),
            Some(admin) if admin.config.address == next.address => admin.socket.try_clone().ok(),
            _ => None,
        };
        let socket = socket.map_or_else(|| bind_admin(next), Ok)?;
        Ok(Some((next.clone(), socket)))
    }

    fn listen(&mut self, config: ListenerConfig, listener: Listener) {
        let address = listener.address();
        match listener.start(self.connections.clone()) {
            Ok(running) => self.listeners.push((config, running)),
            Err(error) => tracing::error!(%address, %error, "cannot listen"),
        }
    }

    fn end_admin(&mut self) {
        if let Some(admin) = self.admin.take() {
            admin.end.send_replace(true);
        }
    }

    /// Ends. Gives what was at work to the end.
    pub(super) async fn stop(mut self, how: Shutdown) -> Current {
        let current = self.current.clone();
        if how == Shutdown::Immediate {
            return current;
        }
        let patience = self.current.get().config.drain_timeout;
        tracing::info!(requests = self.in_flight.count(), "stopping: finishing the requests under way");
        self.stop.begin(patience);
        for (_, listener) in &self.listeners {
            listener.stop();
        }
        let drained = tokio::time::timeout(patience, async {
            for (_, listener) in &mut self.listeners {
                listener.stopped().await;
            }
            // Until the connections that wait for a request have had their time.
            let _ = tokio::time::timeout(LAST_REQUESTS * 2, self.connections.open.idle()).await;
            self.in_flight.idle().await;
        });
        if drained.await.is_err() {
            tracing::warn!(requests = self.in_flight.count(), "stopped before these requests were finished");
        }
        // To the last moment it tells that we are stopping.
        if let Some(admin) = self.admin.take() {
            admin.end.send_replace(true);
            let _ = tokio::time::timeout(ADMIN_PATIENCE, admin.task).await;
        }
        current
    }
}

fn start_admin(subject: &Subject, config: AdminConfig, socket: TcpListener) -> Option<RunningAdmin> {
    let prepare = || {
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>((socket.local_addr()?, socket.try_clone()?))
    };
    let (address, listener) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::error!(address = %config.address, %error, "cannot serve the admin listener");
            return None;
        }
    };
    tracing::info!(%address, "admin listening");
    let (end, ended) = watch::channel(false);
    let admin = Admin { listener, token: config.token.clone() };
    let task = tokio::spawn(admin.serve(subject.clone(), ended));
    Some(RunningAdmin { config, socket, end, task })
}

/// Looks up the names of the upstreams that are `wanted`, for a while.
async fn resolve(gateway: &Gateway, wanted: impl Fn(&Arc<phantomgate_upstreams::Upstream>) -> bool) {
    let mut look_ups = JoinSet::new();
    for upstream in gateway.upstreams.iter().filter(|upstream| wanted(upstream)) {
        let upstream = upstream.clone();
        look_ups.spawn(async move { upstream.resolve().await });
    }
    let _ = tokio::time::timeout(RESOLVE_PATIENCE, look_ups.join_all()).await;
}

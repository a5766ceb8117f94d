//! ① Listening: an address, and its connections until it is known what each speaks.
//!
//! Connections are accepted here and not by a service of Pingora's: that one binds late and panics when it cannot, keeps
//! the TLS it began with, and gives a client a minute for its handshake. Each listener is started and stopped by itself,
//! so that some may come and go while others serve.
//!
//! Sockets are bound before anything else: an address that is in use is an error at once, not a retry in the background.

mod certificates;
mod client_certificate;
mod socket;
mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::counter;
use pingora::protocols::Stream;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::client_certificate::ClientCertificate;
use self::socket::Socket;
use self::tls::Tls;
use crate::config::ListenerConfig;
use crate::connection::Connections;
use crate::limits::connections::Entered;
use crate::stopping::idle_is_over;

/// How many connections the system keeps for us until they are accepted.
const BACKLOG: u32 = 65535;

/// How often files are looked at where nobody connects, so that metrics tell when certificates in use expire.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long nothing is accepted after the system had no descriptor or memory for a connection.
const RECOVERY: Duration = Duration::from_millis(250);

/// A listener whose socket is bound. Connections wait in it until it is started.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Box<Tls>>,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error("cannot use the given socket: {0}")]
    Socket(io::Error),
    /// The files that TLS needs cannot be used.
    #[error("cannot speak TLS on {address}: {reason}")]
    Tls {
        /// Where.
        address: SocketAddr,
        /// Which of them, and why.
        reason: String,
    },
}

/// A listener at work. Dropping it stops it.
pub struct Running {
    address: SocketAddr,
    socket: Weak<tokio::net::TcpListener>,
    stop: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
}

impl Listener {
    /// Binds the address that `config` names.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(config: &ListenerConfig) -> Result<Self, ListenError> {
        let address = config.address;
        let socket = TcpListener::bind(address).map_err(|error| ListenError::Bind { address, error })?;
        Self::with_socket(config, socket)
    }

    /// Takes a socket that is bound already in place of the address that `config` names.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn with_socket(config: &ListenerConfig, socket: TcpListener) -> Result<Self, ListenError> {
        socket.set_nonblocking(true).map_err(ListenError::Socket)?;
        let address = socket.local_addr().map_err(ListenError::Socket)?;
        Ok(Self { socket, address, tls: tls(config)? })
    }

    /// Where it listens: the port that the system chose, where the configuration leaves that to it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections, which `connections` serves. Must be called within an async runtime.
    ///
    /// # Errors
    /// When the runtime cannot use the socket.
    pub fn start(self, connections: Arc<Connections>) -> io::Result<Running> {
        let Self { socket, address, tls } = self;
        // Listened on once more, because the standard library lets few connections wait.
        let socket = TcpSocket::from_std_stream(TcpStream::from(OwnedFd::from(socket))).listen(BACKLOG)?;
        let socket = Arc::new(socket);
        let (stop, stopped) = watch::channel(false);
        let weak = Arc::downgrade(&socket);
        tracing::info!(%address, tls = tls.is_some(), "listening");
        let service = Service { address, tls, connections, stopped };
        let accepting = tokio::spawn(Arc::new(service).accept(socket));
        Ok(Running { address, socket: weak, stop, accepting: Some(accepting) })
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its socket once more, for a process that goes on where this one ends.
    ///
    /// # Errors
    /// When it has stopped, or the system has no descriptor to give.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        let socket = self.socket.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        socket.as_fd().try_clone_to_owned()
    }

    /// Accepts nothing more, and closes connections as soon as no request is under way on them.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until nothing is accepted any more and the socket is closed. Requests may still be under way.
    pub async fn stopped(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tls(config: &ListenerConfig) -> Result<Option<Box<Tls>>, ListenError> {
    let refused = |reason| ListenError::Tls { address: config.address, reason };
    config.tls.as_ref().map(|tls| Tls::new(tls).map(Box::new).map_err(refused)).transpose()
}

/// What each connection of a listener needs.
struct Service {
    address: SocketAddr,
    tls: Option<Box<Tls>>,
    connections: Arc<Connections>,
    stopped: watch::Receiver<bool>,
}

impl Service {
    async fn accept(self: Arc<Self>, socket: Arc<tokio::net::TcpListener>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let stop = self.stop();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased; // who has connected already would lose the connection with the socket
                accepted = socket.accept() => accepted,
                () = &mut stop => return,
                _ = look.tick() => {
                    if let Some(tls) = &self.tls {
                        tls.refresh();
                    }
                    continue;
                }
            };
            match accepted {
                Ok((stream, client)) => {
                    // One too many is closed at once.
                    if let Some(entered) = self.connections.enter(client) {
                        let service = self.clone();
                        // From here on it belongs to another runtime.
                        let Ok(stream) = stream.into_std() else { continue };
                        self.connections.crew.give(|given| async move {
                            let _given = given;
                            if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                                service.serve(Socket::new(stream, client), client, entered).await;
                            }
                        });
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) if *self.stopped.borrow() => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(RECOVERY).await;
                }
            }
        }
    }

    /// One connection, from its first byte to its last.
    async fn serve(&self, socket: Socket, client: SocketAddr, entered: Entered) {
        let _open = self.connections.open.enter();
        let stream = tokio::select! {
            biased; // a request that is here already is served, whatever else is the matter
            stream = self.begin(socket, client, &entered) => stream,
            () = idle_is_over(self.stopped.clone()) => return,
        };
        if let Some(stream) = stream {
            self.connections.serve(stream, entered, &self.stopped).await;
        }
    }

    /// Waits until it can be told how the client speaks HTTP. None: it does not.
    async fn begin(&self, mut socket: Socket, client: SocketAddr, entered: &Entered) -> Option<Stream> {
        let Some(tls) = &self.tls else {
            let began = entered.in_time(socket.first_bytes()).await;
            return matches!(began, Some(Ok(true))).then(|| Box::new(socket) as Stream);
        };
        let reason = match entered.in_time(Box::pin(tls.handshake(socket))).await {
            Some(Ok(stream)) => return Some(Box::new(stream)),
            Some(Err(error)) => error.to_string(),
            None => "it took too long".to_owned(),
        };
        // Whoever scans ports can cause as many of these as they like.
        tracing::debug!(listener = %self.address, %client, reason, "no TLS came about");
        counter!("phantomgate_tls_handshake_failures_total", "listener" => self.address.to_string()).increment(1);
        None
    }

    /// Resolves when the listener stops.
    fn stop(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.stopped.clone();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    }
}

/// Whether accepting failed because of the connection that would have been accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

//! An endpoint of an upstream that can be unwell, hang, hang up and die.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{ReservedPort, load::Connection, within};

/// What an endpoint does with a request, once it has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It answers with its address.
    Answer,
    /// It says nothing, until it is told to do something else.
    Hang,
    /// It closes the connection.
    HangUp,
    /// It answers in part, and says nothing more.
    Begin,
}

/// A running endpoint. It answers `/healthz` too; these requests are not counted.
pub struct Endpoint {
    port: ReservedPort,
    script: Arc<Script>,
    serving: Option<JoinHandle<()>>,
}

struct Script {
    address: SocketAddr,
    behaviour: watch::Sender<Behaviour>,
    is_well: watch::Sender<bool>,
    requests: watch::Sender<usize>,
    checks: AtomicUsize,
}

impl Endpoint {
    /// Starts one that is well and answers.
    pub async fn start() -> Self {
        let port = ReservedPort::new();
        let script = Script {
            address: port.address(),
            behaviour: watch::Sender::new(Behaviour::Answer),
            is_well: watch::Sender::new(true),
            requests: watch::Sender::new(0),
            checks: AtomicUsize::new(0),
        };
        let mut endpoint = Self { port, script: Arc::new(script), serving: None };
        endpoint.come_back();
        endpoint
    }

    /// Its URL, as an endpoint of the configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// What it answers.
    pub fn name(&self) -> String {
        self.port.address().to_string()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.address().port()
    }

    /// How many requests arrived.
    pub fn requests(&self) -> usize {
        *self.script.requests.borrow()
    }

    /// How many health checks arrived.
    pub fn checks(&self) -> usize {
        self.script.checks.load(Ordering::Relaxed)
    }

    /// Waits for this many requests.
    pub async fn receives(&self, count: usize) {
        let mut requests = self.script.requests.subscribe();
        within("a request at the endpoint", requests.wait_for(|requests| *requests >= count)).await.unwrap();
    }

    /// What it does with requests from now on; those that hang, too.
    pub fn be(&self, behaviour: Behaviour) {
        self.script.behaviour.send_replace(behaviour);
    }

    /// What it says to health checks from now on.
    pub fn be_well(&self, is_well: bool) {
        self.script.is_well.send_replace(is_well);
    }

    /// Stops listening and breaks off all connections, as when its process is killed.
    pub async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = within("an endpoint to die", serving).await;
        }
    }

    /// Listens again.
    pub fn come_back(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.port.address()).unwrap();
        let listener = socket.listen(1024).unwrap();
        self.serving = Some(tokio::spawn(listen(listener, Arc::clone(&self.script))));
    }
}

async fn listen(listener: TcpListener, script: Arc<Script>) {
    // They end with this.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&script)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, script: Arc<Script>) {
    let mut connection = Connection::new(stream);
    while let Ok(message) = connection.message().await {
        let (status, content) = if message.start_line().starts_with("GET /healthz ") {
            script.checks.fetch_add(1, Ordering::Relaxed);
            (if *script.is_well.borrow() { "200 OK" } else { "500 Internal Server Error" }, String::new())
        } else {
            script.requests.send_modify(|requests| *requests += 1);
            let mut behaviour = script.behaviour.subscribe();
            let behaviour = *behaviour.wait_for(|behaviour| *behaviour != Behaviour::Hang).await.unwrap();
            match behaviour {
                Behaviour::HangUp => return,
                Behaviour::Begin => {
                    let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\nthe beginning\r\n";
                    let _ = connection.stream.write_all(begin.as_bytes()).await;
                    return std::future::pending().await;
                }
                Behaviour::Answer | Behaviour::Hang => ("200 OK", script.address.to_string()),
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{content}", content.len());
        if connection.stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

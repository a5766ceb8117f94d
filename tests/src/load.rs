//! Many requests for little CPU: a client and an upstream that know just enough HTTP/1.1 for each other.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What came of a load.
#[derive(Debug)]
pub struct Load {
    /// How many answers had which status. 0 stands for a connection that broke off.
    pub answers: BTreeMap<u16, usize>,
    /// How long all of it took.
    pub duration: Duration,
    /// The longest time to one answer.
    pub slowest: Duration,
}

impl Load {
    /// Sends `requests` GET requests for `path` on each of `connections` connections, taking turns with `tokens`. Each
    /// connection begins elsewhere among them, so that at any time many are in use and some by several at once.
    pub async fn run(address: SocketAddr, path: &str, connections: usize, requests: usize, tokens: &[String]) -> Self {
        let started = Instant::now();
        let tokens: Arc<[Vec<u8>]> = tokens.iter().map(|token| request(address, path, token)).collect();
        let clients = (0..connections).map(|number| {
            let first = number * tokens.len() / connections / 2;
            tokio::spawn(client(address, Arc::clone(&tokens), first, requests))
        });
        let mut load = Self { answers: BTreeMap::new(), duration: Duration::ZERO, slowest: Duration::ZERO };
        for client in join_all(clients).await {
            let (answers, slowest) = client.unwrap();
            for (status, count) in answers {
                *load.answers.entry(status).or_default() += count;
            }
            load.slowest = load.slowest.max(slowest);
        }
        load.duration = started.elapsed();
        load
    }
}

fn request(address: SocketAddr, path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

async fn client(
    address: SocketAddr,
    requests: Arc<[Vec<u8>]>,
    first: usize,
    count: usize,
) -> (BTreeMap<u16, usize>, Duration) {
    let (mut answers, mut slowest) = (BTreeMap::new(), Duration::ZERO);
    let mut connection = None;
    for number in first..first + count {
        let started = Instant::now();
        let status = match ask(&mut connection, address, &requests[number % requests.len()]).await {
            Ok(status) => status,
            Err(_) => {
                connection = None;
                0
            }
        };
        slowest = slowest.max(started.elapsed());
        *answers.entry(status).or_default() += 1;
    }
    (answers, slowest)
}

async fn ask(connection: &mut Option<Connection>, address: SocketAddr, request: &[u8]) -> std::io::Result<u16> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(Connection::new(TcpStream::connect(address).await?)),
    };
    connection.stream.write_all(request).await?;
    let message = connection.message().await?;
    let status = message.start_line().split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("not a status line"))
}

/// An upstream that answers every request with the same few bytes, and counts.
pub struct QuietUpstream {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    unswapped: AtomicUsize,
}

impl QuietUpstream {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let own = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self { address, counts }
    }

    /// Its URL, as an endpoint of the configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests arrived.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// How many of them came without a JWT in the place of the agent's token.
    pub fn unswapped(&self) -> usize {
        self.counts.unswapped.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, counts: Arc<Counts>) {
    let mut connection = Connection::new(stream);
    while let Ok(message) = connection.message().await {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        if !message.head.to_ascii_lowercase().contains("\r\nauthorization: bearer eyj") {
            counts.unswapped.fetch_add(1, Ordering::Relaxed);
        }
        if connection.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// A connection with what was read of the next message.
pub struct Connection {
    /// To write to.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message whose content is not of interest.
pub struct Message {
    head: String,
}

impl Message {
    /// Its first line.
    pub fn start_line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }
}

impl Connection {
    /// One that nothing was read from yet.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// The next message; its content, of the length that its head says, is read and dropped.
    ///
    /// # Errors
    /// It broke off.
    pub async fn message(&mut self) -> std::io::Result<Message> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let length = end + content_length(&head);
        while self.buffer.len() < length {
            self.read().await?;
        }
        self.buffer.drain(..length);
        Ok(Message { head })
    }

    async fn read(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn content_length(head: &str) -> usize {
    let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map_or(0, |(_, value)| value.trim().parse().unwrap())
}

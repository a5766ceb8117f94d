//! Requests that wrk cannot send: all at once, each once, or at a rate that does not follow the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::Connection;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::statistics::quantile;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the request of a number.
pub(crate) trait Request: Fn(usize) -> Vec<u8> + Send + Sync + 'static {}
impl<F: Fn(usize) -> Vec<u8> + Send + Sync + 'static> Request for F {}

/// GET with a token.
pub(crate) fn get(address: SocketAddr, path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// POST of a message with a token.
pub(crate) fn post(address: SocketAddr, path: &str, token: &str, message: &str) -> Vec<u8> {
    let length = message.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n\
         Content-Length: {length}\r\n\r\n{message}"
    )
    .into_bytes()
}

/// What came of requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// How many had which status. 0 stands for a connection that could not be made or broke off, and for no answer in time.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// How long each took until it was whole, in microseconds, from the quickest to the slowest.
    times: Vec<f64>,
    /// How long all of it took.
    pub(crate) seconds: f64,
}

impl Answers {
    /// The time that this share of the answers did not exceed, in microseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        quantile(&self.times, share)
    }

    /// How many there are in a second.
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52")]
    pub(crate) fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }

    /// What is wrong when not all of them have this status.
    pub(crate) fn other_than(&self, status: u16) -> Option<String> {
        self.statuses.keys().any(|own| *own != status).then(|| format!("answered {}", self.statuses()))
    }

    /// Statuses and how many had them, as a table has them.
    pub(crate) fn statuses(&self) -> String {
        let texts = self.statuses.iter().map(|(status, count)| match status {
            0 => format!("{count} × none"),
            _ => format!("{count} × {status}"),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.times.extend(other.times);
        self.times.sort_by(f64::total_cmp);
        self.seconds += other.seconds;
    }

    fn note(&mut self, status: u16, started: Instant) {
        *self.statuses.entry(status).or_default() += 1;
        self.times.push(started.elapsed().as_secs_f64() * 1e6);
    }
}

/// A client with one connection, which is made anew when it broke off.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<Connection>,
}

impl Client {
    /// One that will connect with its first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Connects now.
    async fn connected(address: SocketAddr) -> Self {
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        Self { address, connection: stream.ok().and_then(Result::ok).map(Connection::new) }
    }

    /// The status of the answer, or 0.
    pub(crate) async fn status(&mut self, request: &[u8]) -> u16 {
        match tokio::time::timeout(PATIENCE, self.ask(request)).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) | Err(_) => {
                self.connection = None;
                0
            }
        }
    }

    async fn ask(&mut self, request: &[u8]) -> std::io::Result<u16> {
        use tokio::io::AsyncWriteExt as _;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::new(TcpStream::connect(self.address).await?)),
        };
        connection.stream.write_all(request).await?;
        let message = connection.message().await?;
        Ok(message.start_line().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default())
    }
}

/// Sends the request of each number once, over so many connections with one at a time each.
pub(crate) async fn each(
    address: SocketAddr,
    connections: usize,
    numbers: Range<usize>,
    request: impl Request,
) -> Answers {
    let (next, request, started) = (Arc::new(AtomicUsize::new(numbers.start)), Arc::new(request), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (next, request) = (Arc::clone(&next), Arc::clone(&request));
        clients.spawn(async move {
            let (mut client, mut answers) = (Client::new(address), Answers::default());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return answers;
                }
                let (request, started) = (request(number), Instant::now());
                answers.note(client.status(&request).await, started);
            }
        });
    }
    gathered(clients, started).await
}

/// Sends the same request on so many connections, all at the same moment.
pub(crate) async fn at_once(address: SocketAddr, count: usize, request: Vec<u8>) -> Answers {
    let (request, barrier) = (Arc::new(request), Arc::new(Barrier::new(count + 1)));
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (request, barrier) = (Arc::clone(&request), Arc::clone(&barrier));
        clients.spawn(async move {
            let (mut client, mut answers) = (Client::connected(address).await, Answers::default());
            barrier.wait().await;
            let started = Instant::now();
            answers.note(client.status(&request).await, started);
            answers
        });
    }
    barrier.wait().await;
    gathered(clients, Instant::now()).await
}

/// Sends the requests of the numbers from `first` on, so many each second for so long, each on a connection of its own and
/// whether others are answered or not.
pub(crate) async fn at_rate(
    address: SocketAddr,
    rate: u32,
    duration: Duration,
    first: usize,
    request: impl Request,
) -> Answers {
    let (started, mut clients) = (Instant::now(), JoinSet::new());
    let mut interval = tokio::time::interval(Duration::from_secs(1) / rate);
    for number in first.. {
        interval.tick().await;
        if started.elapsed() >= duration {
            break;
        }
        let request = request(number);
        clients.spawn(async move {
            let (started, mut answers) = (Instant::now(), Answers::default());
            answers.note(Client::new(address).status(&request).await, started);
            answers
        });
    }
    gathered(clients, started).await
}

async fn gathered(mut clients: JoinSet<Answers>, started: Instant) -> Answers {
    let mut all = Answers::default();
    while let Some(answers) = clients.join_next().await {
        let answers = answers.unwrap();
        answers.statuses.into_iter().for_each(|(status, count)| *all.statuses.entry(status).or_default() += count);
        all.times.extend(answers.times);
    }
    all.times.sort_by(f64::total_cmp);
    all.seconds = started.elapsed().as_secs_f64();
    all
}

#[cfg(test)]
mod tests {
    use e2e::QuietUpstream;

    use super::*;

    #[tokio::test]
    async fn each_number_is_asked_for_once() {
        let server = QuietUpstream::start().await;
        let address = server.url().strip_prefix("http://").unwrap().parse().unwrap();
        let answers = each(address, 7, 10..110, move |number| get(address, "/", &number.to_string())).await;
        assert_eq!((answers.statuses(), server.requests()), ("100 × 200".to_owned(), 100));
        assert_eq!(answers.other_than(200), None);
        assert!(answers.quantile(0.5) <= answers.quantile(1.0));

        let answers = at_once(address, 20, get(address, "/", "a")).await;
        assert_eq!((answers.statuses(), server.requests()), ("20 × 200".to_owned(), 120));
    }

    #[tokio::test]
    async fn who_is_not_there_gives_no_answer() {
        let nobody = e2e::ReservedPort::new();
        let address = nobody.address();
        let answers = each(address, 2, 0..3, move |_| get(address, "/", "a")).await;
        assert_eq!(answers.other_than(200).as_deref(), Some("answered 3 × none"));
    }
}

//! Connections to an address that wait for another request.
//!
//! No task watches over each of them: whoever takes one looks whether its server has closed it, and those that have waited
//! too long are closed now and then. That spares every request what it costs to begin such a task and to end it.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt as _;
use tokio::task::unconstrained;

/// How long an idle connection is used again. Node.js and uvicorn close theirs after five seconds: a request that is on its
/// way at that moment is lost, and if it is not idempotent it cannot be sent again.
pub(crate) const REUSE: Duration = Duration::from_secs(4);

/// How many are kept for each thread; of more, those that wait longest are closed.
const MOST: usize = 4096;

/// How many threads there are that serve requests, one for each processor.
static THREADS: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, usize::from));

thread_local! {
    /// Which of them this is.
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// The idle connections to one address. Each thread has its own: their events come to the thread that made them. Of those, the
/// one that waits longest comes first.
#[derive(Debug)]
pub(crate) struct IdleConnections(Box<[OfThread]>);

/// Far enough apart that no two threads write to the same line of the processors' caches.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OfThread(Mutex<VecDeque<Idle>>);

#[derive(Debug)]
struct Idle {
    stream: Stream,
    /// What it was made with: [`Material::group`](crate::tls::Material::group).
    group: u64,
    since: Instant,
}

impl Default for IdleConnections {
    fn default() -> Self {
        Self((0..*THREADS).map(|_| OfThread::default()).collect())
    }
}

impl IdleConnections {
    fn of_this_thread(&self) -> Option<&Mutex<VecDeque<Idle>>> {
        let thread = THREAD.with(|thread| thread % self.0.len());
        self.0.get(thread).map(|OfThread(idle)| idle)
    }

    /// Keeps a connection over HTTP/1.1 whose last answer is whole.
    pub(crate) fn put(&self, stream: Stream, group: u64) {
        let Some(idle) = self.of_this_thread() else { return };
        let mut idle = idle.lock();
        let oldest = if idle.len() < MOST { None } else { idle.pop_front() };
        idle.push_back(Idle { stream, group, since: Instant::now() });
        drop(idle);
        drop(oldest); // closed once the others can go on
    }

    /// The one that waits least, of those that were made with the same.
    pub(crate) fn take(&self, group: u64) -> Option<Stream> {
        loop {
            let mut idle = self.of_this_thread()?.lock().pop_back()?;
            if idle.group == group && idle.is_good() {
                return Some(idle.stream);
            }
        }
    }

    /// Closes those that have waited too long.
    pub(crate) fn sweep(&self) {
        for OfThread(idle) in &self.0 {
            let mut idle = idle.lock();
            let fresh = idle.partition_point(|idle| idle.since.elapsed() >= REUSE);
            let old: Vec<_> = idle.drain(..fresh).collect();
            drop(idle);
            drop(old); // closed once the others can go on
        }
    }
}

impl Idle {
    /// Whether nothing has come since, neither its end nor anything that nobody has asked for.
    fn is_good(&mut self) -> bool {
        self.since.elapsed() < REUSE && unconstrained(self.stream.read(&mut [0])).now_or_never().is_none()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn connection() -> (Stream, DuplexStream) {
        let (ours, server) = duplex(64);
        (Box::new(ours), server)
    }

    #[tokio::test]
    async fn the_latest_of_the_same_kind_is_taken() {
        let idle = IdleConnections::default();
        let (first, mut first_server) = connection();
        let (second, mut second_server) = connection();
        let (foreign, _foreign_server) = connection();
        idle.put(first, 1);
        idle.put(second, 1);
        idle.put(foreign, 2);
        for server in [&mut second_server, &mut first_server] {
            idle.take(1).unwrap().write_all(b"x").await.unwrap();
            assert_eq!(server.read(&mut [0; 8]).now_or_never().unwrap().unwrap(), 1);
        }
        assert!(idle.take(1).is_none());
        assert!(idle.take(2).is_none(), "what was made with something else is closed when it is come upon");
    }

    #[tokio::test]
    async fn one_that_was_closed_or_that_speaks_unasked_is_not_taken() {
        let idle = IdleConnections::default();
        let (closed, server) = connection();
        idle.put(closed, 1);
        drop(server);
        let (talkative, mut server) = connection();
        idle.put(talkative, 1);
        server.write_all(b"HTTP/1.1 408 Request Timeout\r\n").await.unwrap();
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn what_has_waited_too_long_is_closed() {
        let idle = IdleConnections::default();
        let (old, mut old_server) = connection();
        let (fresh, mut fresh_server) = connection();
        idle.put(old, 1);
        idle.put(fresh, 1);
        idle.of_this_thread().unwrap().lock()[0].since -= REUSE;
        idle.sweep();
        assert_eq!(old_server.read(&mut [0; 8]).await.unwrap(), 0);
        idle.take(1).unwrap().write_all(b"x").await.unwrap();
        assert_eq!(fresh_server.read(&mut [0; 8]).await.unwrap(), 1);
        let (forgotten, _server) = connection();
        idle.put(forgotten, 1);
        idle.of_this_thread().unwrap().lock()[0].since -= REUSE;
        assert!(idle.take(1).is_none(), "nor is it used before that is noticed");
    }

    #[tokio::test]
    async fn there_are_never_more_than_there_may_be() {
        let idle = IdleConnections::default();
        let (oldest, mut server) = connection();
        idle.put(oldest, 1);
        for _ in 0..MOST {
            idle.put(connection().0, 1);
        }
        assert_eq!(idle.of_this_thread().unwrap().lock().len(), MOST);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "the oldest was closed");
    }
}

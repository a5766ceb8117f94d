//! ① The threads that serve connections, as many as there are processors.
//!
//! Each has an event loop of its own, and a connection stays with the one it was given to: with it stays what the processor
//! has in its cache, and nobody wakes another thread for it. A runtime that hands work from thread to thread makes better use
//! of them when few connections have all the work, such as one over HTTP/2, and takes a fifth more processor time when many
//! have a little each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// The threads, until this is dropped.
pub struct Workers {
    crew: Crew,
    end: watch::Sender<bool>,
    /// Disconnected when all have ended.
    ended: Receiver<()>,
}

/// Where connections are given to the threads.
#[derive(Clone)]
pub struct Crew(Arc<[Worker]>);

struct Worker {
    runtime: Handle,
    connections: AtomicUsize,
}

/// A connection that a thread has, until this is dropped.
pub struct Given {
    crew: Crew,
    to: usize,
}

impl Workers {
    /// Starts a thread for each processor.
    ///
    /// # Errors
    /// The system gives none, or nothing to wait for events with.
    pub fn start() -> io::Result<Self> {
        let (end, ending) = watch::channel(false);
        let (alive, ended) = channel();
        let workers = (0..available_parallelism()?.get()).map(|_| work(ending.clone(), alive.clone()));
        Ok(Self { crew: Crew(workers.collect::<io::Result<_>>()?), end, ended })
    }

    /// Where connections are given to them.
    pub fn crew(&self) -> Crew {
        self.crew.clone()
    }

    /// Gives up what is still being served, and waits for the threads to end.
    pub fn end_within(self, patience: Duration) {
        self.end.send_replace(true);
        let _ = self.ended.recv_timeout(patience); // nothing is ever sent
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end.send_replace(true);
    }
}

fn work(mut ending: watch::Receiver<bool>, alive: Sender<()>) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("worker".into()).spawn(move || {
        let _ = runtime.block_on(ending.wait_for(|ending| *ending));
        drop(runtime); // and all that it still serves
        drop(alive);
    })?;
    Ok(Worker { runtime: handle, connections: AtomicUsize::new(0) })
}

impl Crew {
    /// Gives a connection to the thread that has the fewest. What `serve` makes is its way to the end, and keeps what it gets.
    pub fn give<F: Future<Output = ()> + Send + 'static>(&self, serve: impl FnOnce(Given) -> F) {
        let least = self.0.iter().enumerate().min_by_key(|(_, worker)| worker.connections.load(Ordering::Relaxed));
        let Some((to, worker)) = least else { return };
        worker.connections.fetch_add(1, Ordering::Relaxed);
        worker.runtime.spawn(serve(Given { crew: self.clone(), to }));
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(worker) = self.crew.0.get(self.to) {
            worker.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::mpsc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn connections_are_shared_out_evenly_and_stay_where_they_are() {
        let workers = Workers::start().unwrap();
        let threads = available_parallelism().unwrap().get();
        let (seen, sees) = mpsc::channel();
        let goes_on = Arc::new(Semaphore::new(0));
        for _ in 0..threads * 3 {
            let (seen, goes_on) = (seen.clone(), goes_on.clone());
            workers.crew().give(|given| async move {
                let first = thread::current().id();
                goes_on.acquire().await.unwrap().forget();
                assert_eq!(thread::current().id(), first);
                seen.send(first).unwrap();
                drop(given);
            });
        }
        goes_on.add_permits(threads * 3);
        drop(seen);
        let mut counts = HashMap::new();
        for thread in sees {
            *counts.entry(thread).or_insert(0) += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), vec![3; threads]);
    }

    #[test]
    fn what_is_still_served_at_the_end_is_dropped() {
        struct Served(mpsc::Sender<()>);
        impl Drop for Served {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let workers = Workers::start().unwrap();
        let (dropped, drops) = mpsc::channel();
        let served = Served(dropped);
        workers.crew().give(|given| async move {
            let _served = (served, given);
            std::future::pending().await
        });
        workers.end_within(Duration::from_secs(60));
        assert_eq!(drops.try_recv(), Ok(()));
    }
}

//! What is handed to somebody outside, a disk or a collector, without a request waiting for it: a bounded queue, and a
//! thread of its own that empties it.
//!
//! A request that is over cannot wait: its context is dropped. So who must lose nothing asks for room *before* the request
//! does anything ([`Delivery::has_room`]), and what the request leaves at its end is always taken. A queue is thus never
//! longer than its capacity and the requests under way.

mod queue;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::{Condvar, Mutex};

use self::queue::Queue;

/// How long a delivery lets items gather before the next one.
const GATHER: Duration = Duration::from_millis(10);

/// How long a failed delivery is left alone before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What to do when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Whoever brings something waits, before it does anything else.
    Block,
    /// What is brought is dropped, and counted.
    Drop,
}

/// Somewhere to deliver to.
pub trait Destination<T>: Send + 'static {
    /// Delivers all of `batch`, in order; tells how many of it are not wanted there and never will be.
    ///
    /// # Errors
    /// What is in the way. The same batch may be brought again.
    fn deliver(&mut self, batch: &[T]) -> Result<usize, String>;

    /// The batch that failed is given up; another one comes next.
    fn give_up(&mut self) {}

    /// A moment at which what is written to may be opened anew, because the operator asked for it.
    fn reopen(&mut self) {}
}

/// One queue with its thread. When it is dropped, what is in the queue is still delivered; [`Threads`] waits for that.
pub struct Delivery<T> {
    queue: Arc<Queue<T>>,
    when_full: WhenFull,
    numbers: Numbers,
}

/// What is counted of a delivery.
#[derive(Clone)]
struct Numbers {
    delivered: Counter,
    dropped: Counter,
    waiting: Gauge,
    failing: Gauge,
}

/// How a delivery is to be set up.
pub struct Setup<'a> {
    /// What it is called in metrics (`kind`), in the log and among threads: `audit`, `trace`.
    pub kind: &'static str,
    /// What its destination is called.
    pub name: &'a str,
    /// How many may wait.
    pub capacity: usize,
    /// What happens to more.
    pub when_full: WhenFull,
}

impl<T: Send + 'static> Delivery<T> {
    /// Begins to deliver to what `open` gives, which is called on the thread that delivers.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<D: Destination<T>>(
        setup: &Setup<'_>,
        threads: &Threads,
        open: impl FnOnce() -> D + Send + 'static,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(setup.capacity));
        let numbers = Numbers::new(setup);
        let worker = Worker {
            queue: queue.clone(),
            numbers: numbers.clone(),
            when_full: setup.when_full,
            kind: setup.kind,
            name: setup.name.to_owned(),
            running: threads.enter(),
        };
        thread::Builder::new().name(setup.kind.to_owned()).spawn(move || worker.run(open()))?;
        Ok(Self { queue, when_full: setup.when_full, numbers })
    }

    /// Takes what `make` gives, unless there is no room and it may be dropped: then it is not even made.
    pub fn push_with(&self, make: impl FnOnce() -> T) {
        if self.when_full == WhenFull::Drop && self.queue.is_full() {
            self.numbers.dropped.increment(1);
        } else {
            self.push(make());
        }
    }

    /// Takes `item`, unless there is no room and it may be dropped.
    pub fn push(&self, item: T) {
        let taken = match self.when_full {
            WhenFull::Block => self.queue.push(item),
            WhenFull::Drop => self.queue.push_if_room(item),
        };
        if !taken {
            self.numbers.dropped.increment(1);
        }
    }

    /// Resolves when there is room; at once where nobody waits for it.
    pub async fn has_room(&self) {
        if self.when_full == WhenFull::Block {
            self.queue.room().await;
        }
    }

    /// Whether [`Self::has_room`] would wait.
    pub fn must_wait(&self) -> bool {
        self.when_full == WhenFull::Block && self.queue.is_full()
    }

    /// Has the destination opened anew.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Takes nothing more; what is there is still delivered.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Brings the gauge of the queue up to date.
    pub fn report(&self) {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats, and no queue has 2^52 items")]
        self.numbers.waiting.set(self.queue.len() as f64);
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Numbers {
    fn new(setup: &Setup<'_>) -> Self {
        let sink = setup.name.to_owned();
        match setup.kind {
            "audit" => Self {
                delivered: counter!("phantomgate_audit_records_total", "sink" => sink.clone()),
                dropped: counter!("phantomgate_audit_dropped_total", "sink" => sink.clone()),
                waiting: gauge!("phantomgate_audit_queue_records", "sink" => sink.clone()),
                failing: gauge!("phantomgate_audit_failing", "sink" => sink),
            },
            _ => Self {
                delivered: counter!("phantomgate_traces_total"),
                dropped: counter!("phantomgate_traces_dropped_total"),
                waiting: gauge!("phantomgate_trace_queue_requests"),
                failing: gauge!("phantomgate_traces_failing"),
            },
        }
        .begin()
    }

    /// Shows them from the beginning, so that what has not happened yet can be told from what is not counted.
    fn begin(self) -> Self {
        self.delivered.increment(0);
        self.dropped.increment(0);
        self.waiting.set(0.0);
        self.failing.set(0.0);
        self
    }
}

/// What the thread of a delivery works with.
struct Worker<T> {
    queue: Arc<Queue<T>>,
    numbers: Numbers,
    when_full: WhenFull,
    kind: &'static str,
    name: String,
    running: Running,
}

impl<T> Worker<T> {
    fn run(self, mut destination: impl Destination<T>) {
        let mut batch = Vec::with_capacity(Queue::<T>::MANY);
        loop {
            let next = self.queue.take(&mut batch);
            if next.reopen {
                destination.reopen();
            }
            if !batch.is_empty() {
                self.deliver(&mut destination, &batch);
                batch.clear();
                self.queue.gather(GATHER);
            } else if next.is_last {
                break;
            }
        }
        drop(self.running);
    }

    fn deliver(&self, destination: &mut impl Destination<T>, batch: &[T]) {
        let mut is_failing = false;
        loop {
            match destination.deliver(batch) {
                Ok(unwanted) => {
                    self.numbers.delivered.increment((batch.len() - unwanted) as u64);
                    self.numbers.dropped.increment(unwanted as u64);
                    if unwanted > 0 {
                        tracing::error!(kind = self.kind, sink = self.name, count = unwanted, "not wanted there");
                    }
                    self.numbers.failing.set(0.0);
                    if is_failing {
                        tracing::info!(kind = self.kind, sink = self.name, "delivery works again");
                    }
                    return;
                }
                Err(error) => {
                    if !is_failing {
                        tracing::error!(kind = self.kind, sink = self.name, error, "cannot deliver");
                        self.numbers.failing.set(1.0);
                        is_failing = true;
                    }
                }
            }
            // Who may drop does not keep what is new waiting for what cannot be delivered; the last try is not the first.
            if self.when_full == WhenFull::Drop && (self.queue.is_full() || self.queue.is_closed()) {
                destination.give_up();
                self.numbers.dropped.increment(batch.len() as u64);
                return;
            }
            if self.queue.pause(PAUSE) {
                destination.reopen();
            }
        }
    }
}

/// The threads of all deliveries, also of those that are no longer used: the last thing that is waited for.
#[derive(Clone, Default)]
pub struct Threads(Arc<Count>);

#[derive(Default)]
struct Count {
    running: Mutex<usize>,
    ended: Condvar,
}

struct Running(Arc<Count>);

impl Threads {
    fn enter(&self) -> Running {
        *self.0.running.lock() += 1;
        Running(self.0.clone())
    }

    /// Waits until all of them have ended, but no longer than `patience`; tells whether they have. Blocks.
    pub fn end_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut running = self.0.running.lock();
        while *running > 0 {
            if self.0.ended.wait_until(&mut running, deadline).timed_out() {
                return *running == 0;
            }
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands on each batch; fails as long as the other end says so.
    struct Scripted {
        delivered: mpsc::Sender<Vec<u32>>,
        failures: usize,
    }

    impl Destination<u32> for Scripted {
        fn deliver(&mut self, batch: &[u32]) -> Result<usize, String> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err("not yet".to_owned());
            }
            let _ = self.delivered.send(batch.to_vec());
            Ok(0)
        }
    }

    fn start(failures: usize, when_full: WhenFull) -> (Delivery<u32>, mpsc::Receiver<Vec<u32>>, Threads) {
        let (sender, receiver) = mpsc::channel();
        let threads = Threads::default();
        let setup = Setup { kind: "audit", name: "test", capacity: 2, when_full };
        let delivery = Delivery::start(&setup, &threads, move || Scripted { delivered: sender, failures }).unwrap();
        (delivery, receiver, threads)
    }

    #[test]
    fn what_is_in_the_queue_is_delivered_after_its_end_in_order() {
        let (delivery, delivered, threads) = start(0, WhenFull::Block);
        for item in 0..100 {
            delivery.push(item);
        }
        drop(delivery);
        assert!(threads.end_within(Duration::from_secs(60)));
        assert_eq!(delivered.iter().flatten().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_must_not_be_lost_is_brought_again_until_it_is_taken() {
        let (delivery, delivered, threads) = start(1, WhenFull::Block);
        delivery.push(7);
        drop(delivery);
        assert!(threads.end_within(Duration::from_secs(60)));
        assert_eq!(delivered.iter().flatten().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn what_there_is_no_room_for_is_not_made() {
        let (delivery, _delivered, threads) = start(usize::MAX, WhenFull::Drop);
        // What fails is held until the queue is full, and then given up; so it is full again and again.
        let was_not_made = (0..1_000_000).any(|_| {
            let mut is_made = false;
            delivery.push_with(|| {
                is_made = true;
                7
            });
            !is_made
        });
        assert!(was_not_made);
        drop(delivery);
        assert!(threads.end_within(Duration::from_secs(60)));
    }

    #[test]
    fn what_may_be_lost_does_not_hold_up_the_end() {
        let (delivery, delivered, threads) = start(usize::MAX, WhenFull::Drop);
        delivery.push(7);
        drop(delivery);
        assert!(threads.end_within(Duration::from_secs(60)));
        assert!(delivered.try_recv().is_err());
    }
}

//! A queue between requests, which are asynchronous and never wait here for long, and one thread that blocks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// The queue. Its capacity is what [`Queue::push_if_room`] and [`Queue::room`] go by.
pub(super) struct Queue<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    /// There is something for the thread that takes, which waited for anything.
    changed: Condvar,
    /// There is something for it while it does not mind a few more items.
    urgent: Condvar,
    /// There is room again.
    room: Notify,
    /// How many there are, so that requests need not lock anything to know that there is room.
    length: AtomicUsize,
}

struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
    reopen: bool,
}

/// What [`Queue::take`] found beside items.
pub(super) struct Taken {
    /// The operator has asked for what is written to to be opened anew.
    pub(super) reopen: bool,
    /// Nothing will ever be in the queue again.
    pub(super) is_last: bool,
}

impl<T> Queue<T> {
    /// As many as are worth being taken at once.
    pub(super) const MANY: usize = 512;

    pub(super) fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::new(), is_closed: false, reopen: false };
        Self {
            capacity,
            state: Mutex::new(state),
            changed: Condvar::new(),
            urgent: Condvar::new(),
            room: Notify::new(),
            length: AtomicUsize::new(0),
        }
    }

    /// Adds `item`, whether there is room or not; tells whether it was taken: not when the queue is closed.
    pub(super) fn push(&self, item: T) -> bool {
        self.push_below(usize::MAX, item)
    }

    /// Adds `item`, if there is room; tells whether there was.
    pub(super) fn push_if_room(&self, item: T) -> bool {
        self.push_below(self.capacity, item)
    }

    fn push_below(&self, bound: usize, item: T) -> bool {
        let mut state = self.state.lock();
        if state.is_closed || state.items.len() >= bound {
            return false;
        }
        state.items.push_back(item);
        self.length.store(state.items.len(), Ordering::Release);
        let length = state.items.len();
        drop(state);
        if length == 1 {
            self.changed.notify_one();
        }
        if length == self.capacity.min(Self::MANY) {
            self.urgent.notify_one();
        }
        true
    }

    /// Waits until there are [many](Self::MANY) items, but no longer than `span`, nor where there is something else to do. To
    /// wake a thread for each item would cost more than the item.
    pub(super) fn gather(&self, span: Duration) {
        let mut state = self.state.lock();
        if state.items.len() < self.capacity.min(Self::MANY) && !state.is_closed && !state.reopen {
            self.urgent.wait_for(&mut state, span);
        }
    }

    /// Waits for items and moves up to [many](Self::MANY) of them to `batch`, which is empty. None when the queue is closed, or
    /// there is something else to do.
    pub(super) fn take(&self, batch: &mut Vec<T>) -> Taken {
        let mut state = self.state.lock();
        while state.items.is_empty() && !state.is_closed && !state.reopen {
            self.changed.wait(&mut state);
        }
        let count = state.items.len().min(Self::MANY);
        batch.extend(state.items.drain(..count));
        self.length.store(state.items.len(), Ordering::Release);
        let taken =
            Taken { reopen: std::mem::take(&mut state.reopen), is_last: state.is_closed && state.items.is_empty() };
        let has_room = state.items.len() < self.capacity;
        drop(state);
        if has_room {
            self.room.notify_waiters();
        }
        taken
    }

    /// Waits for `span`, or until there is something to do other than taking; tells whether that is to open anew.
    pub(super) fn pause(&self, span: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.reopen {
            self.changed.wait_for(&mut state, span);
        }
        std::mem::take(&mut state.reopen)
    }

    /// Resolves when there is room, or nothing is taken any more.
    pub(super) async fn room(&self) {
        while self.is_full() {
            let room = self.room.notified();
            // Between the first look and being told.
            if !self.is_full() {
                return;
            }
            room.await;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    pub(super) fn reopen(&self) {
        self.state.lock().reopen = true;
        self.changed.notify_one();
        self.urgent.notify_one();
    }

    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
        self.urgent.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn taken(queue: &Queue<usize>) -> Vec<usize> {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        batch
    }

    #[test]
    fn what_may_be_dropped_finds_no_room_and_what_may_not_is_taken() {
        let queue = Queue::new(1);
        assert!(queue.push_if_room(1) && queue.is_full());
        assert!(!queue.push_if_room(2));
        assert!(queue.push(3));
        assert_eq!(taken(&queue), [1, 3]);
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_something_is_taken() {
        let queue = Arc::new(Queue::new(1));
        queue.push(1);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(taken(&queue), [1]);
        waiting.await.unwrap();
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_gives_what_it_has() {
        let queue = Queue::new(9);
        for item in 0..Queue::<usize>::MANY + 1 {
            queue.push(item);
        }
        queue.close();
        assert!(!queue.push(4));
        assert_eq!((taken(&queue).len(), taken(&queue)), (Queue::<usize>::MANY, vec![Queue::<usize>::MANY]));
        assert!(queue.take(&mut Vec::new()).is_last);
    }

    #[test]
    fn items_are_gathered_until_the_queue_is_full_or_closed_or_time_is_up() {
        let began = Instant::now();
        let queue = Arc::new(Queue::new(2));
        queue.push(1);
        queue.gather(Duration::from_millis(1));
        let gathering = |queue: &Arc<Queue<usize>>| {
            let queue = queue.clone();
            thread::spawn(move || queue.gather(LONG))
        };
        let waiting = gathering(&queue);
        queue.push(2);
        waiting.join().unwrap();
        taken(&queue);
        let waiting = gathering(&queue);
        queue.close();
        waiting.join().unwrap();
        assert!(began.elapsed() < LONG);
    }
}

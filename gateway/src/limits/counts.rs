//! How many there are at once. Who enters gets a value, and has left when that is dropped: on whatever way out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How many there are.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicUsize>);

/// One of them.
pub struct Counted(Arc<AtomicUsize>);

impl Count {
    /// Enters, where fewer than `most` are in.
    pub fn enter(&self, most: usize) -> Option<Counted> {
        // Dropped when it is one too many.
        let counted = (self.0.fetch_add(1, Ordering::AcqRel), Counted(self.0.clone()));
        Some(counted).filter(|(before, _)| *before < most).map(|(_, counted)| counted)
    }

    /// How many are in.
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How many there are by a key, which is kept as a hash. Only those who are in take memory.
#[derive(Clone, Default)]
pub struct CountByKey(Arc<ByKey>);

#[derive(Default)]
struct ByKey {
    counts: Mutex<HashMap<u64, usize>>,
    hasher: RandomState,
}

/// One of those with a key.
pub struct CountedByKey {
    all: Arc<ByKey>,
    key: u64,
}

impl CountByKey {
    /// Enters, where fewer than `most` are in with this key.
    pub fn enter(&self, key: impl Hash, most: usize) -> Option<CountedByKey> {
        let key = self.0.hasher.hash_one(key);
        let mut counts = self.0.counts.lock();
        let count = counts.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(CountedByKey { all: self.0.clone(), key })
    }

    /// Whether `most` are in with this key.
    pub fn is_full(&self, key: impl Hash, most: usize) -> bool {
        let key = self.0.hasher.hash_one(key);
        self.0.counts.lock().get(&key).is_some_and(|count| *count >= most)
    }
}

impl Drop for CountedByKey {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.all.counts.lock().entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room() {
        let count = Count::default();
        let first = count.enter(2).unwrap();
        let _second = count.enter(2).unwrap();
        assert!(count.enter(2).is_none());
        assert_eq!(count.now(), 2, "who was refused is not counted");
        drop(first);
        assert!(count.enter(2).is_some());
    }

    #[test]
    fn each_key_is_counted_by_itself_and_forgotten_when_nobody_is_in() {
        let counts = CountByKey::default();
        let first = counts.enter("a", 1).unwrap();
        assert!(counts.enter("a", 1).is_none() && counts.is_full("a", 1) && !counts.is_full("b", 1));
        let second = counts.enter("b", 1).unwrap();
        drop(first);
        assert!(counts.enter("a", 1).is_some());
        drop(second);
        assert!(counts.0.counts.lock().is_empty());
    }
}

//! What is kept of each key of a rate: one number, for so many keys and no more.
//!
//! A key that has not been used for as long as its burst takes to be had again is like one that never was, and is
//! forgotten: when there are twice as many keys as were in use the last time, so that it costs each new key a constant.
//! Who makes up keys (addresses of a large network, say) can fill the store all the same. Then new keys share one state
//! among them until there is room again. To forget used ones instead would let whoever floods begin anew each time.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use parking_lot::Mutex;

/// Requests with different keys seldom wait for each other.
const SHARDS: usize = 16;

/// The most keys of a shard: 100 000 in all, which take about 3 MB.
const MOST: usize = 100_000 / SHARDS;

/// With fewer keys than this nothing is forgotten.
const FEW: usize = 64;

/// How many requests with keys that there is no room for make it worth to look for some again.
const MISSES: u32 = 1024;

/// The state of each key. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Keys(Arc<Store>);

#[derive(Default)]
struct Store {
    shards: [Mutex<Shard>; SHARDS],
    is_due: AtomicBool,
}

struct Shard {
    states: HashMap<u64, Nanos, BuildHasherDefault<AsItIs>>,
    /// That of all keys that there is no room for.
    others: Option<Nanos>,
    misses: u32,
    /// With so many keys it is time to forget.
    watermark: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { states: HashMap::default(), others: None, misses: 0, watermark: FEW }
    }
}

impl Keys {
    /// Whether it is time to forget what is not in use; true once.
    pub(super) fn take_due(&self) -> bool {
        self.0.is_due.load(Ordering::Relaxed) && self.0.is_due.swap(false, Ordering::Relaxed)
    }

    fn shard(&self, key: u64) -> Option<&Mutex<Shard>> {
        self.0.shards.get(key as usize % SHARDS)
    }
}

impl StateStore for Keys {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(shard) = self.shard(*key) else { return measure(None).map(|(outcome, _)| outcome) };
        let mut shard = shard.lock();
        if let Some(state) = shard.states.get_mut(key) {
            let (outcome, next) = measure(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        if shard.states.len() < MOST {
            let (outcome, next) = measure(None)?;
            shard.states.insert(*key, next);
            if shard.states.len() >= shard.watermark {
                self.0.is_due.store(true, Ordering::Relaxed);
            }
            return Ok(outcome);
        }
        shard.misses += 1;
        if shard.misses >= MISSES {
            shard.misses = 0;
            self.0.is_due.store(true, Ordering::Relaxed);
        }
        let (outcome, next) = measure(shard.others)?;
        shard.others = Some(next);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<u64> for Keys {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.0.shards {
            let mut shard = shard.lock();
            shard.states.retain(|_, state| *state > drop_below);
            shard.watermark = (shard.states.len() * 2).clamp(FEW, MOST);
            let room = shard.watermark;
            shard.states.shrink_to(room);
        }
    }

    fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().states.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys are hashes, made with a secret, and need not be hashed again.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        // The shard was chosen by the lowest bits, and the map looks at the lowest first.
        self.0 = key.rotate_right(SHARDS.ilog2());
    }
}

//! The last records, for whoever looks at the gateway at the moment. Those that must last are a sink's.

use std::collections::VecDeque;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{AuditRecord, JsonRecord};

/// A ring of the last [`Recent::CAPACITY`] records, each with a number.
#[derive(Default)]
pub struct Recent(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    records: VecDeque<JsonRecord>,
    /// The number of the last one.
    last: u64,
}

/// A record and its number.
#[derive(Debug, Clone, JsonSchema)]
pub struct Entry {
    /// One more than that of the record before; the first since the gateway was started has 1.
    pub sequence: u64,
    /// The record.
    #[schemars(flatten, with = "AuditRecord<'static>")]
    pub record: JsonRecord,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.record.text().trim_start_matches('{');
        let object = format!("{{\"sequence\":{},{fields}", self.sequence);
        RawValue::from_string(object).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl Recent {
    /// How many records are kept. Few take more than 1 kB, and none more than about 10: texts are bounded, but each character of
    /// them may have to be escaped.
    pub const CAPACITY: usize = 1_000;

    /// Keeps `record`, in place of the oldest one if there is no room.
    pub fn push(&self, record: JsonRecord) {
        let mut ring = self.0.lock();
        ring.last += 1;
        let oldest = if ring.records.len() < Self::CAPACITY { None } else { ring.records.pop_front() };
        ring.records.push_back(record);
        drop(ring);
        drop(oldest); // not while others wait
    }

    /// The records that are kept of those after number `sequence`, oldest first; with 0, all. Where the first of them is not
    /// the next in number, those between are gone.
    pub fn since(&self, sequence: u64) -> Vec<Entry> {
        let ring = self.0.lock();
        let first = ring.last + 1 - ring.records.len() as u64;
        let skipped = usize::try_from(sequence.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        let records = ring.records.iter().zip(first..).skip(skipped);
        records.map(|(record, sequence)| Entry { sequence, record: record.clone() }).collect()
    }

    /// The number of the last record; 0 when there has been none.
    pub fn last(&self) -> u64 {
        self.0.lock().last
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn numbers(recent: &Recent, since: u64) -> Vec<u64> {
        recent.since(since).iter().map(|entry| entry.sequence).collect()
    }

    #[test]
    fn records_are_numbered_and_asked_for_by_number() {
        let recent = Recent::default();
        assert!(numbers(&recent, 0).is_empty());
        for _ in 0..3 {
            recent.push(JsonRecord::from(&record()));
        }
        assert_eq!(numbers(&recent, 0), [1, 2, 3]);
        assert_eq!(numbers(&recent, 2), [3]);
        assert!(numbers(&recent, 3).is_empty() && numbers(&recent, u64::MAX).is_empty());
    }

    #[test]
    fn the_oldest_make_room() {
        let recent = Recent::default();
        for _ in 0..Recent::CAPACITY + 5 {
            recent.push(JsonRecord::from(&record()));
        }
        let numbers = numbers(&recent, 0);
        assert_eq!((numbers.len(), numbers.first(), recent.last()), (Recent::CAPACITY, Some(&6), 1_005));
    }

    #[test]
    fn an_entry_is_the_record_with_its_number() {
        let recent = Recent::default();
        recent.push(JsonRecord::from(&record()));
        let entry = serde_json::to_value(&recent.since(0)[0]).unwrap();
        assert_eq!((&entry["sequence"], &entry["subject"]), (&1.into(), &"alice".into()));
    }
}

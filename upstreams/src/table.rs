//! Whose turn it is. A table is made anew whenever an address comes, goes, fails or recovers, which is rare; selecting from
//! one takes no lock and does not look at who is out.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora_ketama::{Bucket, Continuum};

use crate::config::Selection;
use crate::member::{Member, Place};

/// The addresses of an upstream at one moment.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Those that get requests.
    members: Vec<Entry>,
    /// The order in which they take turns: positions in `members`, each as often as its weight says, well mixed.
    turns: Box<[u32]>,
    selection: Selection,
    ring: Option<Ring>,
    /// All of them, those that get no requests too, by address.
    all: Box<[Arc<Member>]>,
    /// None of the addresses is well; `members` are all that are not draining.
    pub(crate) is_panic: bool,
}

/// An address that gets requests.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) member: Arc<Member>,
    pub(crate) weight: u32,
}

/// Why no address is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// There is none.
    Empty,
    /// None of them may be selected.
    Barred,
}

impl Table {
    /// A table of these addresses. Those that are draining get no requests, nor, with one that is well among them, those
    /// that are not.
    pub(crate) fn new(selection: Selection, entries: Vec<Entry>, is_well: impl Fn(&Member) -> bool) -> Self {
        let mut all: Box<[_]> = entries.iter().map(|entry| entry.member.clone()).collect();
        all.sort_unstable_by_key(|member| member.address());
        let open = entries.into_iter().filter(|entry| !entry.member.endpoint().is_draining());
        let (well, rest): (Vec<_>, Vec<_>) = open.partition(|entry| is_well(&entry.member));
        let is_panic = well.is_empty() && !rest.is_empty();
        let members = if is_panic { rest } else { well };
        let weights: Vec<_> = members.iter().map(|entry| entry.weight).collect();
        let ring = (selection == Selection::ConsistentHash).then(|| Ring::new(&members));
        Self { turns: turns(&weights), members, selection, ring, all, is_panic }
    }

    /// The member at this place, whether it gets requests or not.
    pub(crate) fn at(&self, place: &Place) -> Option<&Arc<Member>> {
        let first = self.all.partition_point(|member| member.address() < place.address());
        let of_this_address = self.all.get(first..)?.iter().take_while(|member| member.address() == place.address());
        of_this_address.into_iter().find(|member| member.endpoint().url() == place.url())
    }

    /// An address that `may` be selected. `turn` is one higher each time; `key` is what consistent hashing goes by.
    pub(crate) fn select(
        &self,
        turn: usize,
        key: Option<&[u8]>,
        may: impl Fn(&Arc<Member>) -> bool,
    ) -> Result<&Arc<Member>, Nothing> {
        if self.members.is_empty() {
            return Err(Nothing::Empty);
        }
        let selected = match (self.selection, &self.ring, key) {
            (Selection::ConsistentHash, Some(ring), Some(key)) => ring.select(key, &self.members, &may),
            (Selection::LeastConnections, ..) => self.least(turn, &may),
            (Selection::ConsistentHash | Selection::RoundRobin, ..) => self.next(turn, &may),
        };
        selected.ok_or(Nothing::Barred)
    }

    fn next(&self, turn: usize, may: impl Fn(&Arc<Member>) -> bool) -> Option<&Arc<Member>> {
        let first = turn.checked_rem(self.turns.len())?;
        let (before, after) = self.turns.split_at_checked(first)?;
        let in_turn = after.iter().chain(before).filter_map(|position| self.members.get(*position as usize));
        in_turn.map(|entry| &entry.member).find(|member| may(member))
    }

    /// The fewest requests under way in proportion to the weight; of several, whose turn it is.
    fn least(&self, turn: usize, may: impl Fn(&Arc<Member>) -> bool) -> Option<&Arc<Member>> {
        let (before, after) = self.members.split_at_checked(turn.checked_rem(self.members.len())?)?;
        let mut least: Option<(&Entry, u64)> = None;
        for entry in after.iter().chain(before) {
            // With this request, so that weights count among the idle too.
            let requests = entry.member.requests() as u64 + 1;
            let is_less = least
                .is_none_or(|(other, others)| requests * u64::from(other.weight) < others * u64::from(entry.weight));
            if is_less && may(&entry.member) {
                least = Some((entry, requests));
            }
        }
        least.map(|(entry, _)| &entry.member)
    }
}

/// The order of turns for these weights: the k-th turn of a weight w is at (k + ½) / w of the way around. Each gets its
/// share of every stretch of it, as with the smooth weighted round robin of nginx, but nothing has to be kept in step.
fn turns(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().fold(0, |divisor, weight| greatest_common_divisor(divisor, *weight)).max(1);
    let mut turns = Vec::new();
    for (position, weight) in (0_u32..).zip(weights) {
        let weight = weight / divisor;
        turns.extend((0..weight).map(|k| ((2 * k + 1, 2 * weight), position)));
    }
    turns.sort_by(|((a, of_a), position_a), ((b, of_b), position_b)| {
        let (a, b) = (u64::from(*a) * u64::from(*of_b), u64::from(*b) * u64::from(*of_a));
        a.cmp(&b).then(position_a.cmp(position_b))
    });
    turns.into_iter().map(|(_, position)| position).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Consistent hashing as nginx and memcached have it (ketama), by Pingora's own crate: its nodes are addresses, as our
/// members are.
struct Ring {
    continuum: Continuum,
    /// Sorted by address.
    positions: Vec<(SocketAddr, usize)>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    fn new(members: &[Entry]) -> Self {
        let mut positions: Vec<_> = members.iter().map(|entry| entry.member.address()).zip(0..).collect();
        positions.sort_unstable();
        positions.dedup_by_key(|(address, _)| *address);
        let weight = |position: usize| members.get(position).map_or(1, |entry| entry.weight.max(1));
        let buckets: Vec<_> =
            positions.iter().map(|(address, position)| Bucket::new(*address, weight(*position))).collect();
        Self { continuum: Continuum::new(&buckets), positions }
    }

    /// The first on the way around from the place of `key`. What it had goes to many others when it is gone.
    fn select<'a>(
        &self,
        key: &[u8],
        members: &'a [Entry],
        may: impl Fn(&Arc<Member>) -> bool,
    ) -> Option<&'a Arc<Member>> {
        let mut seen = Vec::new();
        for address in self.continuum.node_iter(key) {
            if seen.contains(address) {
                continue;
            }
            let found = self.positions.binary_search_by_key(address, |(address, _)| *address).ok();
            let (_, position) = found.and_then(|found| self.positions.get(found))?;
            let member = &members.get(*position)?.member;
            if may(member) {
                return Some(member);
            }
            seen.push(*address);
            if seen.len() == self.positions.len() {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::endpoint::Endpoint;

    fn entries(weights: &[u32]) -> Vec<Entry> {
        let entry = |(position, weight): (usize, &u32)| {
            let address: SocketAddr = format!("10.0.{}.{}:1", position / 250, position % 250 + 1).parse().unwrap();
            let url = format!("http://{address}").parse().unwrap();
            let endpoint = Arc::new(Endpoint::new("u", url, false));
            Entry { member: Arc::new(Member::new(endpoint, address)), weight: *weight }
        };
        weights.iter().enumerate().map(entry).collect()
    }

    fn selected(table: &Table, turns: usize, key: Option<&[u8]>) -> Vec<String> {
        (0..turns).map(|turn| table.select(turn, key, |_| true).unwrap().address().ip().to_string()).collect()
    }

    #[test]
    fn turns_are_in_proportion_to_weights_and_well_mixed() {
        assert_eq!(*turns(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(*turns(&[50, 50]), [0, 1]);
        assert_eq!(*turns(&[5, 1, 1]), [0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(*turns(&[2, 4]), [1, 0, 1]);
        assert!(turns(&[]).is_empty());
        for stretch in turns(&[3, 1]).repeat(2).windows(4) {
            assert_eq!(stretch.iter().filter(|position| **position == 0).count(), 3, "{stretch:?}");
        }
    }

    #[test]
    fn who_is_not_well_is_left_out_unless_all_are_not() {
        let all = entries(&[1, 1, 1]);
        let sick = all[0].member.address();
        let table = Table::new(Selection::RoundRobin, all.clone(), |member| member.address() != sick);
        assert_eq!(selected(&table, 4, None), ["10.0.0.2", "10.0.0.3", "10.0.0.2", "10.0.0.3"]);
        assert!(!table.is_panic);
        let table = Table::new(Selection::RoundRobin, all, |_| false);
        assert_eq!(selected(&table, 3, None), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert!(table.is_panic);
        let table = Table::new(Selection::RoundRobin, vec![], |_| true);
        assert_eq!(table.select(0, None, |_| true).err(), Some(Nothing::Empty));
        assert!(!table.is_panic);
    }

    #[test]
    fn who_may_not_be_selected_is_passed_over_in_each_way() {
        for selection in [Selection::RoundRobin, Selection::LeastConnections, Selection::ConsistentHash] {
            let all = entries(&[1, 1, 1]);
            let only = all[1].member.address();
            let table = Table::new(selection, all, |_| true);
            for turn in 0..3 {
                let member = table.select(turn, Some(b"key"), |member| member.address() == only).unwrap();
                assert_eq!(member.address(), only, "{selection}");
            }
            assert_eq!(table.select(0, Some(b"key"), |_| false).err(), Some(Nothing::Barred), "{selection}");
        }
    }

    #[test]
    fn the_fewest_requests_in_proportion_to_the_weight_are_least() {
        let all = entries(&[1, 3]);
        let table = Table::new(Selection::LeastConnections, all.clone(), |_| true);
        let mut counts = [0; 2];
        for turn in 0..8 {
            let member = table.select(turn, None, |_| true).unwrap();
            member.under_way.fetch_add(1, Ordering::Relaxed);
            counts[usize::from(member.address() == all[1].member.address())] += 1;
        }
        assert_eq!(counts, [2, 6]);
    }

    #[test]
    fn a_key_stays_where_it_is_and_when_an_address_goes_only_its_keys_move() {
        let all = entries(&[1; 10]);
        let gone = all[3].member.address();
        let before = Table::new(Selection::ConsistentHash, all.clone(), |_| true);
        let after = Table::new(Selection::ConsistentHash, all, |member| member.address() != gone);
        let mut shares: HashMap<SocketAddr, usize> = HashMap::new();
        for number in 0..10_000_usize {
            let key = format!("subject-{number}");
            let place = |table: &Table, turn| table.select(turn, Some(key.as_bytes()), |_| true).unwrap().address();
            let was = place(&before, number);
            assert_eq!(was, place(&before, number + 1), "the turn does not matter");
            if was != gone {
                assert_eq!(was, place(&after, 0));
            }
            *shares.entry(was).or_default() += 1;
        }
        assert_eq!(shares.len(), 10);
        assert!(shares.values().all(|share| (500..2_000).contains(share)), "{shares:?}");
    }

    #[test]
    fn without_a_key_consistent_hashing_takes_turns() {
        let table = Table::new(Selection::ConsistentHash, entries(&[1, 1]), |_| true);
        assert_eq!(selected(&table, 2, None), ["10.0.0.1", "10.0.0.2"]);
    }
}

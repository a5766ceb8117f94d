//! Flights: of several requests for the same unknown token one asks, and its answer is everybody's.
//!
//! A flight is a task of its own, so that a client that goes away does not end it for the others. It outlives the client that
//! caused it; the number of flights is bounded, because clients that ask and leave would otherwise fill the memory, each
//! with a token of its own.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::token::{BuildDigestHasher, TokenDigest};

/// The flights of one introspector, each to an outcome `T`.
pub(crate) struct Flights<T> {
    under_way: Arc<Mutex<UnderWay<T>>>,
    capacity: usize,
}

type UnderWay<T> = HashMap<TokenDigest, watch::Receiver<Option<T>>, BuildDigestHasher>;

/// How a request came to its flight.
pub(crate) enum Boarding<T> {
    /// It waits for the answer to somebody else's question.
    Joined(Flight<T>),
    /// It caused the question.
    Started(Flight<T>),
    /// What it wants to know is known by now.
    Known(T),
    /// There is no room for another flight.
    Full,
}

/// A question under way.
pub(crate) struct Flight<T>(watch::Receiver<Option<T>>);

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// With room for `capacity` flights.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { under_way: Arc::default(), capacity }
    }

    /// The flight for `digest`: the one under way; else, unless `known` has an outcome already, one that does `ask`.
    pub(crate) fn board<F>(
        &self,
        digest: TokenDigest,
        known: impl FnOnce() -> Option<T>,
        ask: impl FnOnce() -> F,
    ) -> Boarding<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(&digest) {
            return Boarding::Joined(Flight(flight.clone()));
        }
        // A flight may have landed between the request's own look and this one; from here on there is none.
        if let Some(known) = known() {
            return Boarding::Known(known);
        }
        if under_way.len() >= self.capacity {
            return Boarding::Full;
        }
        let (arrival, flight) = watch::channel(None);
        under_way.insert(digest, flight.clone());
        let landing = Landing { under_way: self.under_way.clone(), digest };
        let ask = ask();
        tokio::spawn(async move {
            let outcome = ask.await;
            drop(landing);
            let _ = arrival.send(Some(outcome));
        });
        Boarding::Started(Flight(flight))
    }
}

impl<T: Clone> Flight<T> {
    /// The outcome; none when the flight was lost, because the process is ending.
    pub(crate) async fn outcome(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Takes a flight off the list, however it ends.
struct Landing<T> {
    under_way: Arc<Mutex<UnderWay<T>>>,
    digest: TokenDigest,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpaqueToken;
    use crate::token::Digester;

    fn digest(token: &str) -> TokenDigest {
        Digester::new("introspected", "a", "b").digest(OpaqueToken::parse(token).unwrap())
    }

    #[tokio::test]
    async fn who_comes_while_it_is_under_way_joins_and_who_comes_later_finds_what_is_known() {
        let flights = Flights::new(8);
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let ask = || async {
            let _ = released.await;
            7
        };
        let Boarding::Started(first) = flights.board(digest("t"), || None, ask) else { panic!() };
        let Boarding::Joined(second) = flights.board(digest("t"), || None, || async { 8 }) else { panic!() };
        release.send(()).unwrap();
        assert_eq!((first.outcome().await, second.outcome().await), (Some(7), Some(7)));
        let later = flights.board(digest("t"), || Some(7), || async { 9 });
        assert!(matches!(later, Boarding::Known(7)));
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_an_ended_one_makes_room() {
        let flights = Flights::new(1);
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let ask = || async { drop(released.await) };
        let Boarding::Started(flight) = flights.board(digest("t"), || None, ask) else { panic!() };
        assert!(matches!(flights.board(digest("u"), || None, || async {}), Boarding::Full));
        release.send(()).unwrap();
        flight.outcome().await.unwrap();
        assert!(matches!(flights.board(digest("u"), || None, || async {}), Boarding::Started(_)));
    }

    #[tokio::test]
    async fn a_flight_that_crashes_is_lost_for_all_who_wait_and_leaves_no_trace() {
        let flights = Flights::<u8>::new(1);
        let Boarding::Started(flight) = flights.board(digest("t"), || None, || async { panic!("on purpose") }) else {
            panic!()
        };
        assert_eq!(flight.outcome().await, None);
        assert!(flights.under_way.lock().is_empty());
    }
}

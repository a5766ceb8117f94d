//! Documents of an authorization server, kept: its metadata and its keys.
//!
//! Fetched when first needed and again when old, one request at a time; whoever else wants the document waits for that
//! one. A fetch outlives the request that caused it, so that callers who leave cannot make us start over and over. While
//! the server is away, what was fetched before stays in use.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::error::Unavailable;

/// How long a failed first fetch is not tried again.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// How long a document that is at hand is not fetched again, even if it lacks what is looked for. Who signs tokens with
/// keys that nobody knows could otherwise make us ask without end.
const REFETCH_COOL_DOWN: Duration = Duration::from_secs(10);

/// How old a document may get while the server is away. A key that was withdrawn for cause must not count for ever because
/// somebody keeps us from hearing of it.
const TOO_OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a newer document is waited for while an old one is at hand.
const PATIENCE: Duration = Duration::from_millis(500);

/// A document that is fetched. Cheap to clone; clones share it.
pub(crate) struct Remote<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// What it is called in the log.
    name: &'static str,
    max_age: Duration,
    known: ArcSwapOption<Known<T>>,
    /// Held while fetching.
    last: Arc<Mutex<Option<Attempt>>>,
}

struct Known<T> {
    document: Arc<T>,
    at: Instant,
}

struct Attempt {
    at: Instant,
    failure: Option<Unavailable>,
}

impl<T> Clone for Remote<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> Remote<T> {
    /// A document that is as good as new until it is `max_age` old.
    pub(crate) fn new(name: &'static str, max_age: Duration) -> Self {
        Self(Arc::new(Inner { name, max_age, known: ArcSwapOption::empty(), last: Arc::default() }))
    }

    /// The document.
    ///
    /// # Errors
    /// That of `fetch`, when there is no older document that will do either.
    pub(crate) async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<T>, Unavailable>
    where
        F: Future<Output = Result<T, Unavailable>> + Send + 'static,
    {
        let Some(known) = self.0.known.load_full() else {
            return self.newer(None, COOL_DOWN, fetch).await;
        };
        if known.at.elapsed() < self.0.max_age {
            return Ok(known.document.clone());
        }
        let newer = self.newer(Some(&known.document), REFETCH_COOL_DOWN, fetch);
        if known.at.elapsed() >= TOO_OLD {
            return newer.await;
        }
        match tokio::time::timeout(PATIENCE, newer).await {
            Ok(Ok(document)) => Ok(document),
            Ok(Err(_)) | Err(_) => Ok(known.document.clone()),
        }
    }

    /// A document newer than `old`, which lacks something; or `old` when it is too soon to ask again.
    ///
    /// # Errors
    /// That of `fetch`, now or a moment ago.
    pub(crate) async fn after<F>(&self, old: &Arc<T>, fetch: impl FnOnce() -> F) -> Result<Arc<T>, Unavailable>
    where
        F: Future<Output = Result<T, Unavailable>> + Send + 'static,
    {
        self.newer(Some(old), REFETCH_COOL_DOWN, fetch).await
    }

    async fn newer<F>(
        &self,
        old: Option<&Arc<T>>,
        cool_down: Duration,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Unavailable>
    where
        F: Future<Output = Result<T, Unavailable>> + Send + 'static,
    {
        let mut last = self.0.last.clone().lock_owned().await;
        if let Some(known) = self.0.known.load_full()
            && !old.is_some_and(|old| Arc::ptr_eq(old, &known.document))
        {
            return Ok(known.document.clone());
        }
        if let Some(attempt) = last.as_ref().filter(|attempt| attempt.at.elapsed() < cool_down) {
            return match (&attempt.failure, old) {
                (Some(failure), _) => Err(failure.clone()),
                (None, Some(old)) => Ok(old.clone()),
                (None, None) => Err(Unavailable::Abandoned),
            };
        }
        let remote = self.0.clone();
        let fetching = fetch();
        let fetched = tokio::spawn(async move {
            let fetched = fetching.await.map(Arc::new);
            let at = Instant::now();
            match &fetched {
                Ok(document) => remote.known.store(Some(Arc::new(Known { document: document.clone(), at }))),
                Err(error) if remote.known.load().is_some() => {
                    tracing::warn!(%error, "cannot fetch {} again; what was fetched before stays in use", remote.name);
                }
                Err(_told_to_the_caller) => {}
            }
            *last = Some(Attempt { at, failure: fetched.as_ref().err().cloned() });
            fetched
        });
        fetched.await.map_err(|_ended| Unavailable::Abandoned)?
    }
}

#[cfg(test)]
impl<T> Remote<T> {
    /// Lets time go by.
    async fn age(&self, span: Duration) {
        if let Some(attempt) = self.0.last.lock().await.as_mut() {
            attempt.at -= span;
        }
        if let Some(known) = self.0.known.load_full() {
            let document = known.document.clone();
            self.0.known.store(Some(Arc::new(Known { document, at: known.at - span })));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(600);

    /// A server that counts, and gives the count for a document.
    #[derive(Clone, Default)]
    struct Server(Arc<AtomicU32>);

    impl Server {
        async fn up(self) -> Result<u32, Unavailable> {
            tokio::task::yield_now().await;
            Ok(self.0.fetch_add(1, Ordering::Relaxed) + 1)
        }

        async fn down(self) -> Result<u32, Unavailable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(Unavailable::Status { status: 502, retry_after: None })
        }

        async fn hangs(self) -> Result<u32, Unavailable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }

        fn asked(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn it_is_fetched_once_for_all_who_want_it_until_it_is_old() {
        let (server, remote) = (Server::default(), Remote::new("it", MAX_AGE));
        let (one, two) = tokio::join!(remote.get(|| server.clone().up()), remote.get(|| server.clone().up()));
        assert_eq!((*one.unwrap(), *two.unwrap()), (1, 1));
        remote.age(MAX_AGE / 2).await;
        assert_eq!(*remote.get(|| server.clone().up()).await.unwrap(), 1);
        remote.age(MAX_AGE / 2).await;
        assert_eq!(*remote.get(|| server.clone().up()).await.unwrap(), 2);
        assert_eq!(server.asked(), 2);
    }

    #[tokio::test]
    async fn a_first_failure_is_everybodys_for_a_moment() {
        let (server, remote) = (Server::default(), Remote::new("it", MAX_AGE));
        for _ in 0..3 {
            assert!(matches!(remote.get(|| server.clone().down()).await, Err(Unavailable::Status { status: 502, .. })));
        }
        assert_eq!(server.asked(), 1);
        remote.age(COOL_DOWN).await;
        assert_eq!(*remote.get(|| server.clone().up()).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn while_the_server_is_away_the_old_one_stays_in_use_for_a_day() {
        let (server, remote) = (Server::default(), Remote::new("it", MAX_AGE));
        remote.get(|| server.clone().up()).await.unwrap();
        remote.age(MAX_AGE).await;
        for _ in 0..3 {
            assert_eq!(*remote.get(|| server.clone().down()).await.unwrap(), 1);
        }
        assert_eq!(server.asked(), 2, "and it is not asked by everybody");
        remote.age(TOO_OLD).await;
        assert!(remote.get(|| server.clone().down()).await.is_err());
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_not_waited_for_while_there_is_an_old_one() {
        let (server, remote) = (Server::default(), Remote::new("it", MAX_AGE));
        remote.get(|| server.clone().up()).await.unwrap();
        remote.age(MAX_AGE).await;
        assert_eq!(*remote.get(|| server.clone().hangs()).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_lack_makes_it_be_fetched_again_but_not_more_often_than_may_be() {
        let (server, remote) = (Server::default(), Remote::new("it", MAX_AGE));
        let first = remote.get(|| server.clone().up()).await.unwrap();
        assert_eq!(*remote.after(&first, || server.clone().up()).await.unwrap(), 1, "too soon");
        remote.age(REFETCH_COOL_DOWN).await;
        let (one, two) =
            tokio::join!(remote.after(&first, || server.clone().up()), remote.after(&first, || server.clone().up()));
        assert_eq!((*one.unwrap(), *two.unwrap()), (2, 2));
        assert_eq!(server.asked(), 2);
    }

    #[tokio::test]
    async fn a_fetch_outlives_who_caused_it() {
        let (server, remote) = (Server::default(), Remote::new("it", MAX_AGE));
        let mut caller = Box::pin(remote.get(|| server.clone().up()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(caller.as_mut().poll(&mut context).is_pending());
        drop(caller);
        assert_eq!(*remote.get(|| server.clone().up()).await.unwrap(), 1);
        assert_eq!(server.asked(), 1);
    }
}

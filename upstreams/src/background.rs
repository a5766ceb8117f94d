//! What goes on beside requests: names are looked up again, and addresses are asked whether they are well.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;

use crate::check::Checker;
use crate::config::HealthCheck;
use crate::endpoint::Endpoint;
use crate::member::Member;
use crate::upstream::Upstream;

/// How often names are looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// How often idle connections are looked at that have waited too long. Servers that close theirs after five seconds are to find
/// ours closed.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// How many names are looked up at once, and how many addresses are asked.
const RESOLVE_AT_ONCE: usize = 16;
const CHECK_AT_ONCE: usize = 256;

impl Upstream {
    /// Keeps addresses, health and idle connections current; never ends, and is to be dropped with the upstream.
    pub async fn run(&self) {
        let keep_checked = async {
            if let Some(check) = &self.config.health {
                self.keep_checked(check).await;
            }
        };
        tokio::join!(self.keep_resolved(), self.keep_swept(), keep_checked);
    }

    /// Looks all names up once. A name that cannot be resolved keeps the addresses it had, is logged and tried again later.
    pub async fn resolve(&self) {
        let endpoints = self.endpoints.lock().iter().map(|(endpoint, _)| endpoint.clone()).collect::<Vec<_>>();
        let names = endpoints.into_iter().filter(|endpoint| endpoint.literal().is_none());
        iter(names).for_each_concurrent(RESOLVE_AT_ONCE, |endpoint| self.resolve_one(endpoint)).await;
    }

    async fn resolve_one(&self, endpoint: Arc<Endpoint>) {
        match endpoint.resolve().await {
            Ok(found) => self.note_addresses(&endpoint, &found),
            Err(error) => {
                tracing::warn!(upstream = self.name(), endpoint = %endpoint.url(), %error, "cannot resolve the endpoint");
            }
        }
    }

    async fn keep_resolved(&self) {
        loop {
            tokio::time::sleep(RESOLVE_EVERY + random(RESOLVE_EVERY / 10)).await;
            self.resolve().await;
            // Shown again: another configuration of this upstream may have ended since, and taken its gauges along.
            self.show();
        }
    }

    async fn keep_swept(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            for member in self.members() {
                member.idle.sweep();
            }
        }
    }

    fn members(&self) -> Vec<Arc<Member>> {
        self.endpoints.lock().iter().flat_map(|(_, members)| members.clone()).collect()
    }

    async fn keep_checked(&self, check: &HealthCheck) {
        let checker = Checker::new();
        loop {
            iter(self.members())
                .for_each_concurrent(CHECK_AT_ONCE, |member| {
                    let checker = &checker;
                    async move { self.check(checker, check, &member).await }
                })
                .await;
            tokio::time::sleep(check.interval + random(check.interval / 10)).await;
        }
    }

    async fn check(&self, checker: &Checker, check: &HealthCheck, member: &Member) {
        let found = checker.ask(&self.peer(member), member.endpoint().authority(), check).await;
        self.note_check(member, &found);
    }

    fn show(&self) {
        self.rearrange_these(&self.endpoints.lock());
    }
}

/// A time up to `most`, so that not everything that runs at intervals does so at the same moment.
fn random(most: Duration) -> Duration {
    // Each state has keys of its own, from the system's randomness.
    let number = RandomState::new().build_hasher().finish();
    most.mul_f64(f64::from((number >> 32) as u32) / f64::from(u32::MAX))
}

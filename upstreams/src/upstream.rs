//! A named group of endpoints, and which of them a request goes to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora_core::upstreams::peer::HttpPeer;

use crate::config::{Config, EndpointConfig, HashBy, Selection};
use crate::endpoint::{Endpoint, EndpointUrl};
use crate::member::{Member, Place};
use crate::metrics::UpstreamMetrics;
use crate::peer::peer;
use crate::retry_budget::RetryBudget;
use crate::state::{EndpointState, State, UpstreamState};
use crate::table::{Entry, Nothing, Table};
use crate::tls::Tls;
use crate::visit::{NoTarget, Visit};

/// Nothing is to be tried again.
const NEVER: u64 = u64::MAX;

/// An endpoint, and what its name stands for.
pub(crate) type Addressed = (Arc<Endpoint>, Vec<Arc<Member>>);

/// A named group of endpoints that serve the same thing.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) config: Config,
    /// Also separates its idle connections from those of others, and of its own earlier configuration.
    tls: Tls,
    is_http_1: bool,
    /// With its addresses, in the order of the configuration. Whoever changes anything about them holds this.
    pub(crate) endpoints: Mutex<Vec<Addressed>>,
    /// What requests are shared out by.
    table: ArcSwap<Table>,
    turn: AtomicUsize,
    requests: AtomicUsize,
    budget: RetryBudget,
    began: Instant,
    /// When an ejected address is to be tried again, in milliseconds since it began.
    next_trial: AtomicU64,
    pub(crate) metrics: UpstreamMetrics,
}

/// There is no such endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream has no such endpoint")]
pub struct UnknownEndpoint;

impl Upstream {
    /// Sets up an upstream; nothing is connected or looked up yet. No other uses its connections, not even an earlier one
    /// of the same name.
    pub fn new(config: Config) -> Self {
        Self::build(config, &[])
    }

    /// Sets up an upstream in the place of `previous`. What is known of endpoints that both have goes on: addresses,
    /// requests under way, health, ejections. What the operator drains stays so, unless the configuration says otherwise
    /// than before.
    pub fn replacing(previous: &Self, config: Config) -> Self {
        let known = previous.endpoints.lock().clone();
        let upstream = Self::build(config, &known);
        for configured in &upstream.config.endpoints {
            let before = previous.config.endpoints.iter().find(|endpoint| endpoint.url == configured.url);
            if before.is_some_and(|before| before.draining != configured.draining) {
                let _ = upstream.drain(&configured.url, configured.draining);
            }
        }
        upstream
    }

    fn build(config: Config, known: &[Addressed]) -> Self {
        let endpoints = config.endpoints.iter().map(|configured| {
            if let Some(known) = known.iter().find(|(endpoint, _)| *endpoint.url() == configured.url) {
                return known.clone();
            }
            let endpoint = Arc::new(Endpoint::new(&config.name, configured.url.clone(), configured.draining));
            let members = endpoint.literal().map(|address| Arc::new(Member::new(endpoint.clone(), address)));
            (endpoint, members.into_iter().collect())
        });
        let upstream = Self {
            endpoints: Mutex::new(endpoints.collect()),
            metrics: UpstreamMetrics::new(&config.name),
            tls: Tls::new(&config.tls),
            is_http_1: config.endpoints.iter().all(|endpoint| config.protocol.is_http_1(endpoint.url.is_tls())),
            config,
            table: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            budget: RetryBudget::default(),
            began: Instant::now(),
            next_trial: AtomicU64::new(NEVER),
        };
        upstream.rearrange();
        upstream
    }

    /// The name routes know it by.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it runs on.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What requests that go to the same endpoint have in common, if endpoints are selected so.
    pub fn hash_by(&self) -> Option<HashBy> {
        (self.config.selection == Selection::ConsistentHash).then_some(self.config.hash_by)
    }

    /// Whether nothing but HTTP/1.1 is spoken to it.
    pub fn is_http_1(&self) -> bool {
        self.is_http_1
    }

    /// Which idle connections may be used now.
    pub(crate) fn group(&self) -> u64 {
        self.tls.material().group
    }

    /// Whether any endpoint has an address.
    pub fn is_resolved(&self) -> bool {
        self.endpoints.lock().iter().any(|(_, members)| !members.is_empty())
    }

    /// Whether any address is well, as far as known.
    pub fn is_well(&self) -> bool {
        !self.table.load().is_panic
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`NoTarget::Overloaded`] when it would be one too many.
    pub fn enter(self: &Arc<Self>) -> Result<Visit, NoTarget> {
        let others = self.requests.fetch_add(1, Ordering::Relaxed);
        let visit = Visit::new(self.clone());
        if self.config.limits.requests.is_some_and(|limit| others >= limit) {
            return Err(NoTarget::Overloaded);
        }
        self.budget.earn();
        Ok(visit)
    }

    pub(crate) fn leave(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// The address that a session is bound to. When the endpoint has it no more, another of the same endpoint. None when
    /// that is no good: the endpoint is gone, or `has_failed` and it is known to be down. What another endpoint answers
    /// then, 404, is what tells a client to begin a new session.
    pub(crate) fn bound(&self, place: &Place, has_failed: bool) -> Option<Arc<Member>> {
        if let Some(member) = self.table.load().at(place)
            && (!has_failed || member.is_well())
        {
            return Some(member.clone());
        }
        let endpoints = self.endpoints.lock();
        let (_, members) = endpoints.iter().find(|(endpoint, _)| endpoint.url() == place.url())?;
        members.iter().find(|member| member.address() != place.address() && member.is_well()).cloned()
    }

    /// Whether one more request may go to an address.
    pub(crate) fn has_room(&self, member: &Member) -> bool {
        self.config.limits.requests_per_endpoint.is_none_or(|limit| member.requests() < limit)
    }

    /// The address a request goes to; and whether it is the one that tries an ejected address again.
    pub(crate) fn select(
        &self,
        key: Option<&[u8]>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<(Arc<Member>, bool), NoTarget> {
        if self.next_trial.load(Ordering::Relaxed) <= self.milliseconds(now)
            && let Some(member) = self.begin_trial(now)
        {
            return Ok((member, true));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let table = self.table.load();
        let was_tried = |member: &Arc<Member>| tried.iter().any(|tried| Arc::ptr_eq(tried, member));
        let selected = table
            .select(turn, key, |member| self.has_room(member) && !was_tried(member))
            // Better the same one again than none.
            .or_else(|_| table.select(turn, key, |member| self.has_room(member)));
        match selected {
            Ok(member) => Ok((member.clone(), false)),
            Err(Nothing::Empty) => Err(NoTarget::Nowhere),
            Err(Nothing::Barred) => Err(NoTarget::Overloaded),
        }
    }

    fn begin_trial(&self, now: Instant) -> Option<Arc<Member>> {
        let endpoints = self.endpoints.lock();
        let mut members = endpoints.iter().flat_map(|(_, members)| members);
        let found = members
            .find(|member| {
                member.state() == State::Ejected && self.has_room(member) && member.ejection.lock().try_now(now)
            })
            .cloned();
        self.schedule_trial(&endpoints);
        found
    }

    pub(crate) fn abandon_trial(&self, member: &Member) {
        let endpoints = self.endpoints.lock();
        member.ejection.lock().leave();
        self.schedule_trial(&endpoints);
    }

    fn schedule_trial(&self, endpoints: &[Addressed]) {
        // One that may not be tried now would have every request look for it.
        let members =
            endpoints.iter().flat_map(|(_, members)| members).filter(|member| member.state() == State::Ejected);
        let due = members.filter_map(|member| member.ejection.lock().due()).min();
        self.next_trial.store(due.map_or(NEVER, |due| self.milliseconds(due)), Ordering::Relaxed);
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(NEVER)
    }

    pub(crate) fn peer(&self, member: &Member) -> HttpPeer {
        peer(member.endpoint().url(), member.address(), &self.config.timeouts, self.config.protocol, &self.tls)
    }

    pub(crate) fn retries(&self) -> usize {
        self.config.retries as usize
    }

    pub(crate) fn spend_retry(&self) -> bool {
        let is_allowed = self.budget.spend();
        self.metrics.retry(is_allowed);
        is_allowed
    }

    pub(crate) fn note_failure(&self, member: &Member, is_trial: bool) {
        member.is_suspect.store(true, Ordering::Relaxed);
        let ejected = member.ejection.lock().failed(is_trial, &self.config.ejection, Instant::now());
        let Some(span) = ejected else { return };
        member.endpoint().metrics.ejections.increment();
        tracing::warn!(
            upstream = self.name(), endpoint = %member.endpoint().url(), address = %member.address(), ?span, "ejected"
        );
        self.rearrange();
    }

    pub(crate) fn note_answer(&self, member: &Member, knowing: bool) {
        let mut ejection = member.ejection.lock();
        let has_recovered = ejection.answered(knowing, Instant::now());
        if !ejection.is_out() {
            member.is_suspect.store(false, Ordering::Relaxed);
        }
        drop(ejection);
        if has_recovered {
            tracing::info!(
                upstream = self.name(), endpoint = %member.endpoint().url(), address = %member.address(), "in use again"
            );
            self.rearrange();
        }
    }

    /// Notes what a health check found.
    pub(crate) fn note_check(&self, member: &Member, found: &pingora_core::Result<()>) {
        let Some(check) = &self.config.health else { return };
        let metrics = &member.endpoint().metrics;
        if found.is_ok() { &metrics.checks_passed } else { &metrics.checks_failed }.increment();
        if !member.health.lock().note(found.is_ok(), check) {
            return;
        }
        let (name, url, address) = (self.name(), member.endpoint().url(), member.address());
        match found {
            Ok(()) => tracing::info!(upstream = name, endpoint = %url, %address, "healthy"),
            Err(error) => tracing::warn!(upstream = name, endpoint = %url, %address, %error, "unhealthy"),
        }
        self.rearrange();
    }

    /// Lets an endpoint get no new requests and sessions, or lets it get them again.
    ///
    /// # Errors
    /// [`UnknownEndpoint`].
    pub fn drain(&self, url: &EndpointUrl, is_draining: bool) -> Result<(), UnknownEndpoint> {
        let found = self.endpoints.lock().iter().find(|(endpoint, _)| endpoint.url() == url).cloned();
        let (endpoint, _) = found.ok_or(UnknownEndpoint)?;
        endpoint.drain(is_draining);
        tracing::info!(upstream = self.name(), endpoint = %url, is_draining, "draining");
        self.rearrange();
        Ok(())
    }

    /// Notes what a name stands for now.
    pub(crate) fn note_addresses(&self, endpoint: &Arc<Endpoint>, found: &[SocketAddr]) {
        let mut endpoints = self.endpoints.lock();
        let Some((_, members)) = endpoints.iter_mut().find(|(own, _)| Arc::ptr_eq(own, endpoint)) else { return };
        if members.iter().map(|member| member.address()).eq(found.iter().copied()) {
            return;
        }
        let member = |address: &SocketAddr| {
            let known = members.iter().find(|member| member.address() == *address).cloned();
            known.unwrap_or_else(|| Arc::new(Member::new(endpoint.clone(), *address)))
        };
        *members = found.iter().map(member).collect();
        tracing::info!(upstream = self.name(), endpoint = %endpoint.url(), addresses = ?found, "resolved");
        self.rearrange_these(&endpoints);
    }

    /// Makes the table anew, after whatever it depends on has changed.
    fn rearrange(&self) {
        self.rearrange_these(&self.endpoints.lock());
    }

    pub(crate) fn rearrange_these(&self, endpoints: &[Addressed]) {
        let mut entries = Vec::new();
        for ((endpoint, members), configured) in endpoints.iter().zip(&self.config.endpoints) {
            endpoint.metrics.state(Some(summary(endpoint, members)));
            let entry = |member: &Arc<Member>| Entry { member: member.clone(), weight: configured.weight };
            entries.extend(members.iter().map(entry));
        }
        let table = Table::new(self.config.selection, entries, Member::is_well);
        self.metrics.panic(table.is_panic);
        let is_panic = table.is_panic;
        let previous = self.table.swap(Arc::new(table));
        if is_panic && !previous.is_panic {
            tracing::warn!(upstream = self.name(), "no endpoint is well: all of them get requests");
        }
        self.schedule_trial(endpoints);
    }

    /// What it looks like at the moment.
    pub fn state(&self) -> UpstreamState {
        let endpoints = self.endpoints.lock();
        let describe = |((endpoint, members), configured): (&Addressed, &EndpointConfig)| EndpointState {
            url: endpoint.url().to_string(),
            weight: configured.weight,
            state: summary(endpoint, members),
            requests: members.iter().map(|member| member.requests()).sum(),
            addresses: members.iter().map(|member| member.describe()).collect(),
            counts: endpoint.metrics.counts(),
        };
        UpstreamState {
            name: self.config.name.to_string(),
            selection: self.config.selection.into(),
            requests: self.requests.load(Ordering::Relaxed),
            panic: !self.is_well(),
            endpoints: endpoints.iter().zip(&self.config.endpoints).map(describe).collect(),
        }
    }
}

/// The state of an endpoint: that of the address which is best off.
fn summary(endpoint: &Endpoint, members: &[Arc<Member>]) -> State {
    let best = members.iter().map(|member| member.state()).min();
    if endpoint.is_draining() { State::Draining } else { best.unwrap_or(State::Unresolved) }
}

#[cfg(test)]
mod tests;

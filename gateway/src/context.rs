//! What is established of a request so far. When it is dropped, on whatever way out, it leaves the one audit record.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Uri, Version, request};
use phantomgate_introspection::clock::Timestamp;
use phantomgate_introspection::{CachedToken, Lookup, ScopeSet};
use phantomgate_mcp::{Id, Messages};
use phantomgate_upstreams::Visit;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::audit::{Audit, AuditRecord, Decision, Latency, Reason, bounded};
use crate::authorize::Grant;
use crate::downstream::Slot;
use crate::gateway::Gateway;
use crate::limits::Held;
use crate::listener::ClientCertificate;
use crate::mcp::McpRequest;
use crate::metrics::{OpenStream, RequestCounters};
use crate::rejection::Rejection;
use crate::route::Route;
use crate::stopwatch::{Stage, Stopwatch};
use crate::telemetry::{Finished, RequestTrace, Tracing};
use crate::upstream_credential::{DerivedCredentials, UpstreamCredential};

/// The context of one request.
pub struct RequestContext {
    /// What the request is called in our log and at the upstream.
    pub request_id: Uuid,
    /// Its route, once found.
    pub route: Option<Arc<Route>>,
    /// The proof that it may pass, once there is one, and what it entitles to.
    pub admitted: Option<Admitted>,
    /// The token, once it is known to be active: for the record.
    pub token: Option<Arc<CachedToken<DerivedCredentials>>>,
    /// The certificate that its client has shown.
    pub client_certificate: Option<ClientCertificate>,
    /// What it says, where it is for an MCP endpoint.
    pub mcp: McpRequest,
    /// Whom a refusal answers, where that has been read.
    pub json_rpc_id: Option<Id>,
    /// Where Pingora's session is, while ours stands in its place.
    pub slot: Option<Slot>,
    /// Its way to the upstream, once it is on it.
    pub visit: Option<Visit>,
    /// What it has taken of the limits of its route.
    pub limits: Held,
    /// Where its time goes.
    pub stopwatch: Stopwatch,
    /// How its token was known.
    pub token_lookup: Option<Lookup>,
    /// Whether the authorization server was waited for, for another token in exchange.
    pub has_exchanged: bool,
    /// The trace it is part of, where requests are traced.
    pub trace: Option<RequestTrace>,
    /// Counts its answer, while that is an event stream.
    pub stream: Option<OpenStream>,
    audit: Arc<Audit>,
    tracing: Option<Arc<Tracing>>,
    arrival: Option<Arrival>,
    outcome: Option<Outcome>,
    status: u16,
    body_bytes: (usize, usize),
    _under_way: UnderWay,
}

/// A request that may pass.
pub struct Admitted {
    /// The proof.
    pub grant: Grant,
    /// What the upstream gets in place of the token.
    pub credential: UpstreamCredential,
}

/// What is known of a request as soon as it has a head.
struct Arrival {
    method: Method,
    uri: Uri,
    version: Version,
    peer: Option<SocketAddr>,
}

struct Outcome {
    decision: Decision,
    reason: Reason,
    cause: Option<String>,
}

impl RequestContext {
    /// The context of a request that begins now, on `gateway`.
    pub fn new(in_flight: &InFlight, gateway: &Gateway) -> Self {
        Self {
            request_id: Uuid::new_v4(),
            route: None,
            admitted: None,
            token: None,
            client_certificate: None,
            mcp: McpRequest::default(),
            json_rpc_id: None,
            slot: None,
            visit: None,
            limits: Held::default(),
            stopwatch: Stopwatch::start(),
            token_lookup: None,
            has_exchanged: false,
            trace: None,
            stream: None,
            audit: gateway.audit.clone(),
            tracing: gateway.tracing.clone(),
            arrival: None,
            outcome: None,
            status: 0,
            body_bytes: (0, 0),
            _under_way: in_flight.enter(),
        }
    }

    /// Notes what is asked for, and by whom. Cheap: it shares the memory of the request.
    pub fn begin(&mut self, request: &request::Parts, peer: Option<SocketAddr>) {
        let (method, uri) = (request.method.clone(), request.uri.clone());
        self.trace = self.tracing.as_ref().map(|tracing| tracing.begin(&request.headers));
        self.arrival = Some(Arrival { method, uri, version: request.version, peer });
    }

    /// Notes that the request is answered here: with one of our own documents, or as browsers ask before they send one.
    pub fn answered_here(&mut self) {
        self.outcome = Some(Outcome { decision: Decision::Allow, reason: Reason::OwnEndpoint, cause: None });
    }

    /// Notes that the request is refused.
    pub fn rejected(&mut self, rejection: &Rejection) {
        let (decision, reason) = rejection.decision();
        self.outcome = Some(Outcome { decision, reason, cause: rejection.cause() });
    }

    /// Notes that the client went away. For a stream that was granted that is a usual end, not a failure.
    pub fn disconnected(&mut self) {
        let decision = if self.admitted.is_some() { Decision::Allow } else { Decision::Fail };
        self.outcome = Some(Outcome { decision, reason: Reason::ClientDisconnected, cause: None });
    }

    /// Notes that the answer was ended because its token has ended.
    pub fn cut(&mut self) {
        self.outcome = Some(Outcome { decision: Decision::Allow, reason: Reason::StreamCut, cause: None });
    }

    /// Notes the status that was sent.
    pub fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// Notes how long the bodies were: of the request, as far as it was read, and of the answer, as far as it was sent.
    pub fn transferred(&mut self, received: usize, sent: usize) {
        self.body_bytes = (received, sent);
    }

    /// What became of the request. When nothing was noted, it was passed on if it has a grant and an answer; otherwise it
    /// ended before either, because the client went away.
    fn outcome(&self) -> (Decision, Reason) {
        match (&self.outcome, &self.admitted) {
            (Some(outcome), _) => (outcome.decision, outcome.reason),
            (None, Some(_)) if self.status != 0 => (Decision::Allow, Reason::Granted),
            (None, _) => (Decision::Fail, Reason::ClientDisconnected),
        }
    }
}

impl RequestContext {
    /// What is recorded of it, which it lends.
    fn record<'a>(
        &'a self,
        arrival: &'a Arrival,
        (decision, reason): (Decision, Reason),
        latency: Latency,
    ) -> AuditRecord<'a> {
        let route = self.route.as_deref();
        let token = self.admitted.as_ref().and_then(|admitted| admitted.grant.token()).or(self.token.as_ref());
        let active = token.map(|token| token.active());
        AuditRecord {
            time: Timestamp::now().before(latency.total),
            request_id: self.request_id,
            trace: self.trace.as_ref().map(RequestTrace::position),
            decision,
            reason,
            cause: self.outcome.as_ref().and_then(|outcome| outcome.cause.as_deref()).map(bounded),
            status: self.status,
            route: route.map(|route| &*route.name),
            method: bounded(arrival.method.as_str()),
            path: bounded(arrival.uri.path()),
            mcp_method: self.mcp.method().map(bounded),
            mcp_name: self.mcp.name().map(bounded),
            client_id: active.and_then(|active| active.client_id.as_deref()).map(bounded),
            subject: active.and_then(|active| active.subject.as_deref()).map(bounded),
            token: token.map(|token| token.digest()),
            token_lookup: self.token_lookup.map(<&str>::from),
            scopes_required: route.and_then(|route| scopes_required(route, self.mcp.messages.as_ref())),
            scopes_granted: active.map(|active| &active.scope),
            peer: arrival.peer,
            protocol: protocol(arrival.version),
            upstream: route.filter(|_| self.visit.is_some()).map(|route| &*route.upstream.config().name),
            endpoint: self.visit.as_ref().and_then(Visit::authority).map(|authority| &**authority),
            retries: self.visit.as_ref().map_or(0, |visit| visit.attempts().saturating_sub(1)),
            bytes_received: self.body_bytes.0,
            bytes_sent: self.body_bytes.1,
            latency,
        }
    }

    fn finished<'a>(&'a self, trace: &'a RequestTrace, record: &'a AuditRecord<'a>) -> Finished<'a> {
        let waited = |has_waited: bool, stage| self.stopwatch.span(stage).filter(|_| has_waited);
        Finished {
            trace,
            record,
            route: self.route.as_deref(),
            began: self.stopwatch.started(),
            introspection: waited(self.token_lookup.is_some_and(Lookup::has_waited), Stage::Introspection),
            exchange: waited(self.has_exchanged, Stage::Credential),
        }
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        let Some(arrival) = self.arrival.take() else { return };
        let latency = self.stopwatch.stop();
        let outcome = self.outcome();
        let trace = self.trace.as_ref().filter(|trace| trace.is_sampled());
        let traced = trace.zip(self.tracing.as_ref());
        if traced.is_some() || self.audit.is_kept() {
            let record = self.record(&arrival, outcome, latency);
            if let Some((trace, tracing)) = traced {
                tracing.finish(&self.finished(trace, &record));
            }
            self.audit.keep(&record);
        }
        let (decision, reason) = outcome;
        let counters = self.route.as_ref().map(|route| &route.counters);
        let counters = counters.unwrap_or_else(|| RequestCounters::without_route());
        counters.count(decision, reason, self.status, &latency);
    }
}

/// The scopes that a request takes, as far as that is known: those of the rules only where its message was read.
fn scopes_required<'a>(route: &'a Route, messages: Option<&Messages>) -> Option<Cow<'a, ScopeSet>> {
    let scopes = &route.protection.as_ref()?.scopes;
    Some(match (&route.mcp, messages) {
        (Some(mcp), Some(messages)) => Cow::Owned(mcp.policy.needed(messages, Some(scopes))),
        _ => Cow::Borrowed(scopes),
    })
}

/// The protocol as it is named on the wire.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Counts what is under way, requests or connections, so that the end of the last one can be waited for.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Counter>);

#[derive(Default)]
struct Counter {
    count: AtomicUsize,
    idle: Notify,
}

/// One of those that [`InFlight`] counts.
pub struct UnderWay(Arc<Counter>);

impl InFlight {
    /// One more, until what is returned is dropped.
    pub fn enter(&self) -> UnderWay {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        UnderWay(self.0.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Waits until there is none.
    pub async fn idle(&self) {
        loop {
            let idle = self.0.idle.notified();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_is_reached_when_the_last_request_ends() {
        let in_flight = InFlight::default();
        in_flight.idle().await;
        let (one, two) = (in_flight.enter(), in_flight.enter());
        let waiting = tokio::spawn({
            let in_flight = in_flight.clone();
            async move { in_flight.idle().await }
        });
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        waiting.await.unwrap();
    }
}

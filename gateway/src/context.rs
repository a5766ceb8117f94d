//! What is established of a request so far. When it is dropped, on whatever way out, it leaves the one audit record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http::{Method, Uri};
use phantomgate_introspection::CachedToken;
use phantomgate_mcp::Id;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::audit::{AuditRecord, Decision, Reason};
use crate::authorize::Grant;
use crate::downstream::Slot;
use crate::mcp::McpRequest;
use crate::metrics::RequestCounters;
use crate::rejection::Rejection;
use crate::route::Route;
use crate::upstream_credential::{DerivedCredentials, UpstreamCredential};

/// The context of one request.
pub struct RequestContext {
    /// What the request is called in our log and at the upstream.
    pub request_id: String,
    /// Its route, once found.
    pub route: Option<Arc<Route>>,
    /// The proof that it may pass, once there is one, and what it entitles to.
    pub admitted: Option<Admitted>,
    /// The token, once it is known to be active: for the record.
    pub token: Option<Arc<CachedToken<DerivedCredentials>>>,
    /// What it says, where it is for an MCP endpoint.
    pub mcp: McpRequest,
    /// Whom a refusal answers, where that has been read.
    pub json_rpc_id: Option<Id>,
    /// Where Pingora's session is, while ours stands in its place.
    pub slot: Option<Slot>,
    /// The `Host` of the endpoint it goes to, once selected.
    pub authority: Option<String>,
    /// The position of that endpoint.
    pub endpoint: Option<usize>,
    /// How often connecting to an endpoint has failed.
    pub failed_connections: usize,
    started: Instant,
    request_line: Option<(Method, Uri)>,
    outcome: Option<Outcome>,
    status: u16,
    _under_way: UnderWay,
}

/// A request that may pass.
pub struct Admitted {
    /// The proof.
    pub grant: Grant,
    /// What the upstream gets in place of the token.
    pub credential: UpstreamCredential,
}

struct Outcome {
    decision: Decision,
    reason: Reason,
    cause: Option<String>,
}

impl RequestContext {
    /// The context of a request that begins now.
    pub fn new(in_flight: &InFlight) -> Self {
        Self {
            request_id: Uuid::new_v4().to_string(),
            route: None,
            admitted: None,
            token: None,
            mcp: McpRequest::default(),
            json_rpc_id: None,
            slot: None,
            authority: None,
            endpoint: None,
            failed_connections: 0,
            started: Instant::now(),
            request_line: None,
            outcome: None,
            status: 0,
            _under_way: in_flight.enter(),
        }
    }

    /// Notes what is asked for. Cheap: both share the memory of the request.
    pub fn begin(&mut self, method: &Method, uri: &Uri) {
        self.request_line = Some((method.clone(), uri.clone()));
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

impl Drop for RequestContext {
    fn drop(&mut self) {
        let Some((method, uri)) = &self.request_line else { return };
        let token = self.admitted.as_ref().and_then(|admitted| admitted.grant.token()).or(self.token.as_ref());
        let (decision, reason) = self.outcome();
        let record = AuditRecord {
            request_id: &self.request_id,
            decision,
            reason,
            cause: self.outcome.as_ref().and_then(|outcome| outcome.cause.as_deref()),
            status: self.status,
            route: self.route.as_ref().map(|route| route.name.as_str()),
            method: method.as_str(),
            path: bounded(uri.path()),
            mcp_method: self.mcp.method().map(bounded),
            mcp_name: self.mcp.name().map(bounded),
            client_id: token.and_then(|token| token.active().client_id.as_deref()),
            subject: token.and_then(|token| token.active().subject.as_deref()),
            token: token.map(|token| token.digest()),
            duration: self.started.elapsed(),
        };
        record.emit();
        let counters = self.route.as_ref().map(|route| &route.counters);
        counters.unwrap_or_else(|| RequestCounters::without_route()).count(decision, reason);
    }
}

/// The beginning of a text, for the record: a client decides how long a path is, but not how long our log gets.
fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(256)).unwrap_or_default()
}

/// Counts the requests under way, so that the end of the last one can be waited for.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Counter>);

#[derive(Default)]
struct Counter {
    count: AtomicUsize,
    idle: Notify,
}

struct UnderWay(Arc<Counter>);

impl InFlight {
    fn enter(&self) -> UnderWay {
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

//! ⑩ Exactly one record per request, whatever became of it.
//!
//! A request makes its [`AuditRecord`] when it is over, of what it still has; [`Audit`] writes it down, as JSON, and passes
//! that on to whoever keeps it: the sinks of the configuration, and the ring that the admin listener shows.

mod json;
mod lines;
mod recent;
mod record;
mod sink;

pub use json::JsonRecord;
pub use recent::{Entry, Recent};
pub(crate) use record::bounded;
#[cfg(test)]
pub(crate) use record::tests::record;
pub use record::{AuditRecord, Latency};
pub use sink::AuditError;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::sink::Sink;
use crate::config::{AuditSinkConfig, Config};
use crate::delivery::Threads;
use crate::live::Live;

/// What became of a request.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, strum::IntoStaticStr, strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Decision {
    /// It was passed on, or answered by ourselves.
    Allow,
    /// It was refused: the client's fault, or policy.
    Deny,
    /// It could not be decided or served: not the client's fault.
    Fail,
}

/// Why. It determines the [`Decision`], except where a client went away. The names are stable: dashboards and alerts are
/// built on them.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// There was a grant.
    Granted,
    /// A well-known document of ours was asked for, or what browsers ask before they send a request (CORS).
    OwnEndpoint,
    /// No route is for the request.
    NoRoute,
    /// Routes are for its host and path, but for other methods.
    MethodNotAllowed,
    /// It could be read in two ways, or not at all.
    MalformedRequest,
    /// It had no token.
    MissingCredential,
    /// Its token is expired, revoked, unknown, malformed or of another kind.
    InactiveToken,
    /// Its token is for another resource.
    WrongAudience,
    /// Its token was granted too little.
    InsufficientScope,
    /// The person has to do something at the authorization server first.
    InsufficientClaims,
    /// The route lets nobody do this: a tool, a prompt, a resource or a method.
    ToolDenied,
    /// Its message is no JSON-RPC, or none that has one reading.
    MalformedMessage,
    /// Its headers say something else than its body.
    HeaderMismatch,
    /// It is of a revision of MCP that the route does not speak.
    UnsupportedVersion,
    /// Its message is larger than the route takes.
    BodyTooLarge,
    /// Its head is larger than the route takes.
    HeaderTooLarge,
    /// It did not arrive in time.
    RequestTimeout,
    /// Too many came in too short a time: of its client, its subject, its address, or on the route.
    RateLimited,
    /// Its subject has as many event streams open as it may.
    TooManyStreams,
    /// As many requests are under way on the route as may be.
    ConcurrencyLimited,
    /// Its session has ended, or is somebody else's.
    SessionNotFound,
    /// It comes from a browser, from a place that is not allowed.
    ForeignOrigin,
    /// The authorization server gave no answer.
    IntrospectionUnavailable,
    /// The authorization server refused to exchange the token, or gave what may not be used.
    ExchangeRefused,
    /// The upstream gave no answer.
    UpstreamUnavailable,
    /// The upstream has as many requests under way as it may have.
    UpstreamOverloaded,
    /// The client went away before it had its answer.
    ClientDisconnected,
    /// Its answer was an event stream that outlasted its token, or the gateway.
    StreamCut,
    /// We failed.
    InternalError,
}

/// Who keeps records.
pub struct Audit {
    /// The last ones, where there is an admin listener to show them.
    pub recent: Option<Arc<Recent>>,
    /// How it goes at the moment, where there is one.
    pub live: Option<Arc<Live>>,
    /// Whether they are lines of the log.
    is_logged: bool,
    sinks: Vec<Arc<Sink>>,
    threads: Threads,
}

/// No room for a record: the request it would be about must not be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl Audit {
    /// How long a request waits for room for its record.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// What `config` says; of the `previous` one, what stays as it is. A sink that is not wanted any more ends when the last
    /// request is over that began with it.
    ///
    /// # Errors
    /// [`AuditError`] when a place cannot be written to.
    pub fn open(config: &Config, previous: Option<&Self>) -> Result<Self, AuditError> {
        let threads = previous.map(|previous| previous.threads.clone()).unwrap_or_default();
        let recent = || previous.and_then(|previous| previous.recent.clone()).unwrap_or_default();
        let kept = |wanted: &AuditSinkConfig| {
            previous.and_then(|previous| previous.sinks.iter().find(|sink| sink.config() == wanted)).cloned()
        };
        let sink = |wanted: &AuditSinkConfig| match kept(wanted) {
            Some(sink) => Ok(sink),
            None => Sink::open(wanted, &threads).map(Arc::new),
        };
        let live = || previous.and_then(|previous| previous.live.clone()).unwrap_or_default();
        let is_shown = config.admin.is_some();
        Ok(Self {
            recent: is_shown.then(recent),
            live: is_shown.then(live),
            is_logged: config.audit.log,
            sinks: config.audit.sinks.iter().map(sink).collect::<Result<_, _>>()?,
            threads,
        })
    }

    /// Resolves when there will be room for the record of a request that begins. At once, mostly.
    ///
    /// # Errors
    /// [`NoRoom`] when there is none for so long that its client may be gone.
    pub async fn has_room(&self) -> Result<(), NoRoom> {
        for sink in self.sinks.iter().filter(|sink| sink.delivery().must_wait()) {
            tokio::time::timeout(Self::PATIENCE, sink.delivery().has_room()).await.map_err(|_elapsed| NoRoom)?;
        }
        Ok(())
    }

    /// Whether anybody would keep a record; without, none need be made.
    pub fn is_kept(&self) -> bool {
        self.recent.is_some() || !self.sinks.is_empty() || (self.is_logged && record::is_logged())
    }

    /// Passes `record` on.
    pub fn keep(&self, record: &AuditRecord<'_>) {
        if self.is_logged {
            record.log();
        }
        if let Some(live) = &self.live {
            live.count(record);
        }
        if self.recent.is_none() && self.sinks.is_empty() {
            return;
        }
        let record = JsonRecord::from(record);
        for sink in &self.sinks {
            sink.delivery().push(record.clone());
        }
        if let Some(recent) = &self.recent {
            recent.push(record);
        }
    }

    /// Has the files opened anew, because the operator asked for it.
    pub fn reopen(&self) {
        for sink in &self.sinks {
            sink.delivery().reopen();
        }
    }

    /// Brings the gauges of the queues up to date.
    pub fn report(&self) {
        for sink in &self.sinks {
            sink.delivery().report();
        }
    }

    /// Takes nothing more. What is there is still written.
    pub fn close(&self) {
        for sink in &self.sinks {
            sink.delivery().close();
        }
    }

    /// The threads that write.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }
}

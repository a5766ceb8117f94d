//! ⑩ Exactly one record per request, whatever became of it.
//!
//! A request makes its [`AuditRecord`] when it is over; [`Audit`] passes it on to whoever keeps it.

mod recent;
mod record;

pub use recent::{Entry, Recent};
#[cfg(test)]
pub(crate) use record::tests::record;
pub use record::{AuditRecord, Latency};

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::live::Live;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, strum::IntoStaticStr)]
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
#[derive(Default)]
pub struct Audit {
    /// The last ones, where there is an admin listener to show them.
    pub recent: Option<Arc<Recent>>,
    /// How it goes at the moment, where there is one.
    pub live: Option<Arc<Live>>,
}

impl Audit {
    /// What `config` says; of the `previous` one, what stays as it is.
    pub fn open(config: &Config, previous: Option<&Self>) -> Self {
        let recent = || previous.and_then(|previous| previous.recent.clone()).unwrap_or_default();
        let live = || previous.and_then(|previous| previous.live.clone()).unwrap_or_default();
        let is_shown = config.admin.is_some();
        Self { recent: is_shown.then(recent), live: is_shown.then(live) }
    }

    /// Whether anybody would keep a record; without, none need be made.
    pub fn is_kept(&self) -> bool {
        self.recent.is_some() || record::is_logged()
    }

    /// Passes `record` on.
    pub fn keep(&self, record: AuditRecord) {
        record.log();
        if let Some(live) = &self.live {
            live.count(&record);
        }
        if let Some(recent) = &self.recent {
            recent.push(Arc::new(record));
        }
    }
}

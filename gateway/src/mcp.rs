//! MCP endpoints: every message is read and authorized by what it asks for.
//!
//! ```text
//! request ─► token ─► body ─► Messages ─┬─► revision: headers and body say the same
//!                                       ├─► policy: who may call what (see `authorize`)
//!                                       └─► session: whose it is, and at which endpoint
//! answer  ─► lists show what the caller may use; an event stream ends with its token (see `downstream`)
//! ```
//!
//! Decisions are taken on the body alone, after all of it has arrived: a member at its very end can change what it says.
//! The upstream gets the very bytes that were read. How messages are read is the crate `phantomgate-mcp`'s; here is what a
//! route makes of them.

pub mod policy;
pub mod session;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Method, StatusCode, header, request};
use phantomgate_introspection::{CachedToken, Ended, NumericDate};
use phantomgate_mcp::{
    Id, ListKind, Message, Messages, Operation, Refused, Revision, Visibility, check, check_version_header,
};
use phantomgate_upstreams::Place;

use crate::authorize::Grant;
use crate::config::{Lists, SessionLimits};
use crate::cross_origin::{self, CrossOrigin};
use crate::rejection::{Rejection, UnsupportedVersion};
use crate::route::Route;
use crate::stopping::Stopping;
use crate::upstream_credential::DerivedCredentials;
use policy::{Granted, Policy};
use session::{InUse, Owner, Session, SessionFault, Sessions};

/// The session that a request is part of, up to 2025-11-25.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The request whose answer goes on until somebody ends it.
const SUBSCRIBE: &str = "subscriptions/listen";

/// What makes a route an MCP endpoint.
pub struct McpEndpoint {
    /// The revisions that are spoken.
    pub revisions: Vec<Revision>,
    /// Who may do what.
    pub policy: Policy,
    /// Which items lists show.
    pub lists: Lists,
    /// The largest message, in bytes.
    pub max_body: usize,
    /// Where browser clients may come from.
    pub cross_origin: CrossOrigin,
    /// How long sessions last.
    pub session_limits: SessionLimits,
    /// The sessions of the upstream; routes to the same one share them.
    pub sessions: Arc<Sessions>,
}

/// What is known of a request to an MCP endpoint.
#[derive(Default)]
pub struct McpRequest {
    /// Of which revision it is, where it says so.
    pub revision: Option<Revision>,
    /// What it says; none but with POST.
    pub messages: Option<Messages>,
    /// The session it is part of.
    pub session: Option<InUse>,
    /// Lists in its answer are filtered.
    pub is_filtered: bool,
}

impl McpEndpoint {
    /// Refuses what is no request of MCP, by its head.
    ///
    /// # Errors
    /// [`Rejection::MethodNotAllowed`] for methods that MCP has no use for: what they carry would not be read.
    /// [`Rejection::UnsupportedMediaType`] for a body that could be read otherwise than we do.
    pub fn check_head(request: &request::Parts) -> Result<(), Rejection> {
        match request.method {
            Method::POST if !is_plain_json(&request.headers) => Err(Rejection::UnsupportedMediaType),
            Method::POST => Ok(()),
            Method::GET | Method::DELETE if has_body(&request.headers) => Err(Rejection::UnsupportedMediaType),
            Method::GET | Method::DELETE => Ok(()),
            _ => Err(Rejection::MethodNotAllowed(cross_origin::METHODS)),
        }
    }

    /// Checks what a POST says against its own headers, and against what is spoken here; gives its revision.
    ///
    /// # Errors
    /// A [`Rejection`] with the error code that the specification has for it.
    pub fn check_messages(&self, headers: &HeaderMap, messages: &Messages) -> Result<Revision, Rejection> {
        check(headers, messages, &self.revisions).map_err(|refused| self.refused(refused))
    }

    /// Checks the headers of a request without a message; gives its revision, if it says one.
    ///
    /// # Errors
    /// As [`Self::check_messages`].
    pub fn check_version(&self, headers: &HeaderMap) -> Result<Option<Revision>, Rejection> {
        check_version_header(headers, &self.revisions).map_err(|refused| self.refused(refused))
    }

    fn refused(&self, refused: Refused) -> Rejection {
        match refused {
            Refused::Malformed(malformed) => Rejection::MalformedMessage(malformed),
            Refused::HeaderMismatch(header) => Rejection::HeaderMismatch(header),
            Refused::UnsupportedVersion(requested) => {
                // Whoever can read this error negotiates without sessions: of the revisions that are named to it, it takes one.
                let (stateless, older): (Vec<_>, Vec<_>) =
                    self.revisions.iter().partition(|revision| revision.is_stateless());
                let supported = if stateless.is_empty() { older } else { stateless };
                Rejection::UnsupportedVersion(UnsupportedVersion { supported, requested })
            }
        }
    }

    /// The session that `request` is part of, if it names one.
    ///
    /// # Errors
    /// [`Rejection::SessionNotFound`] when it has ended or is somebody else's: the client is to begin a new one.
    pub fn enter_session(
        &self,
        request: &request::Parts,
        grant: &Grant,
        now: NumericDate,
    ) -> Result<Option<InUse>, Rejection> {
        let Some(id) = self.session_id(request).transpose() else { return Ok(None) };
        let session = id.and_then(|id| self.sessions.enter(id, owner(grant), self.session_limits, now));
        session.map(Some).map_err(Rejection::SessionNotFound)
    }

    fn session_id<'a>(&self, request: &'a request::Parts) -> Result<Option<&'a str>, SessionFault> {
        let mut ids = request.headers.get_all(SESSION_ID).iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => id.to_str().map(Some).map_err(|_| SessionFault::Malformed),
            (Some(_), Some(_)) => Err(SessionFault::Malformed),
            // HTTP+SSE has an address of its own for the messages of each session.
            (None, _) if self.revisions.contains(&Revision::V2024_11_05) && request.uri.query().is_some() => {
                Ok(request.uri.path_and_query().map(|target| target.as_str()))
            }
            (None, _) => Ok(None),
        }
    }

    /// Notes what the upstream's answer says of sessions: one has begun at `place`, or the
    /// one of the request has ended.
    pub fn note_session(
        &self,
        grant: &Grant,
        session: Option<&Session>,
        method: &Method,
        (status, headers): (StatusCode, &HeaderMap),
        place: Option<Place>,
    ) {
        let id = headers.get(SESSION_ID).and_then(|id| id.to_str().ok());
        match (session, id, place) {
            (Some(session), ..) if status == StatusCode::NOT_FOUND => session.end(),
            (Some(session), ..) if status.is_success() && *method == Method::DELETE => session.end(),
            (_, Some(id), Some(place)) if status.is_success() => {
                self.sessions.begin(id, owner(grant), place, self.session_limits, NumericDate::now());
            }
            _ => {}
        }
    }

    /// What lists in the answer to a request may show; none when nothing is to be taken out.
    pub fn visibility(&self, grant: &Grant, messages: Option<&Messages>) -> Option<Arc<dyn Visibility>> {
        // A stream without a request of its own may repeat answers of another that broke off.
        let may_have_lists = messages
            .is_none_or(|messages| messages.iter().any(|message| matches!(message.operation(), Operation::List(_))));
        if self.policy.hides_nothing() || !may_have_lists {
            return None;
        }
        Some(Arc::new(Caller { route: grant.route().clone(), token: grant.token().cloned() }))
    }
}

impl McpRequest {
    /// Whether a session that it names counts for nothing, as in the revisions without sessions. Then the upstream must not
    /// hear of it either: it may be somebody else's.
    pub fn ignores_sessions(&self) -> bool {
        self.revision.is_some_and(Revision::is_stateless)
    }

    /// How many messages it has.
    pub fn count(&self) -> usize {
        self.messages.as_ref().map_or(1, |messages| messages.iter().count())
    }

    /// The method of its first message.
    pub fn method(&self) -> Option<&str> {
        self.messages.as_ref()?.iter().next()?.method()
    }

    /// The tool, prompt or resource that its first message is about.
    pub fn name(&self) -> Option<&str> {
        match self.messages.as_ref()?.iter().next()?.operation() {
            Operation::Tool(name)
            | Operation::Prompt(name)
            | Operation::Resource(name)
            | Operation::CompletePrompt(name)
            | Operation::CompleteResource(name) => Some(name),
            Operation::Listen(_)
            | Operation::List(_)
            | Operation::Protocol
            | Operation::Other
            | Operation::Response => None,
        }
    }

    /// Waits for the end of an event stream that answers a request with this `method`: the end of the token, which
    /// `token_ended` tells, of the session, or of the gateway. Gives the last event of the stream: an error for each request
    /// that waits for an answer in it.
    pub fn stream_end(
        &self,
        method: &Method,
        token_ended: BoxFuture<'static, Ended>,
        stopping: Stopping,
    ) -> BoxFuture<'static, Bytes> {
        let listens = |message: &Message| message.method() == Some(SUBSCRIBE);
        let is_open_ended = match &self.messages {
            Some(messages) => messages.iter().all(listens),
            None => method != Method::POST,
        };
        let waiting = |message: &Message| message.method().and(message.id()).cloned();
        let ids: Vec<Id> = self.messages.iter().flat_map(Messages::iter).filter_map(waiting).collect();
        let session_ends = self.session.as_deref().map(Session::life_ends);
        Box::pin(async move {
            let session_ended = async {
                match session_ends {
                    Some(end) => tokio::time::sleep(end.from_now()).await,
                    None => std::future::pending().await,
                }
            };
            let why = tokio::select! {
                ended = token_ended => match ended {
                    Ended::Inactive(inactive) => Rejection::InactiveToken(inactive),
                    Ended::Unconfirmed(unavailable) => Rejection::IntrospectionUnavailable(unavailable),
                },
                () = session_ended => Rejection::SessionNotFound(SessionFault::Ended),
                () = stopping.clone().begun(), if is_open_ended => Rejection::Stopping,
                () = stopping.over() => Rejection::Stopping,
            };
            let mut events = String::new();
            for id in &ids {
                let _ = write!(events, "event: message\ndata: {}\n\n", why.json_rpc_error(id));
            }
            events.into()
        })
    }
}

fn owner(grant: &Grant) -> Owner<'_> {
    let issuer = grant.route().protection.as_ref().map_or("", |protection| protection.authorization_server.as_str());
    let token = grant.token().map(|token| token.active());
    Owner {
        issuer,
        subject: token.and_then(|token| token.subject.as_deref()),
        client_id: token.and_then(|token| token.client_id.as_deref()),
    }
}

/// Whom a list is for.
struct Caller {
    route: Arc<Route>,
    token: Option<Arc<CachedToken<DerivedCredentials>>>,
}

impl Visibility for Caller {
    fn is_visible(&self, kind: ListKind, name: &str) -> bool {
        let granted = granted(&self.route, self.token.as_deref());
        let shows = |mcp: &McpEndpoint| mcp.policy.shows(kind, name, granted, mcp.lists == Lists::Obtainable);
        self.route.mcp.as_deref().is_some_and(shows)
    }
}

/// What `token` was granted on `route`.
pub fn granted<'a>(route: &'a Route, token: Option<&'a CachedToken<DerivedCredentials>>) -> Granted<'a> {
    match (&route.protection, token) {
        (Some(protection), Some(token)) => {
            Granted::Scopes { scopes: &token.active().scope, hierarchy: &protection.scope_hierarchy }
        }
        _ => Granted::Nothing,
    }
}

/// Whether the body can only be read as it stands: not compressed, and in no other character set than UTF-8. There are
/// servers that would read `charset=utf-7`, in which our harmless text is another one.
fn is_plain_json(headers: &HeaderMap) -> bool {
    let is_identity = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_identity) {
        return false;
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let content_type = match (types.next(), types.next()) {
        (None, _) => return true,
        (Some(content_type), None) => content_type.to_str().unwrap_or("?").to_ascii_lowercase(),
        (Some(_), Some(_)) => return false,
    };
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let is_harmless = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.trim() == "charset" => value.trim().trim_matches('"') == "utf-8",
        _ => !parameter.contains("charset"),
    };
    media_type == "application/json" && parts.all(is_harmless)
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, fields: &[(&str, &str)]) -> Result<(), Rejection> {
        let mut request = request::Request::builder().method(method).uri("/mcp");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        McpEndpoint::check_head(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_message_is_plain_json() {
        for content_type in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(head(Method::POST, &[("content-type", content_type)]).is_ok(), "{content_type}");
        }
        for fields in [
            &[("content-type", "application/json; charset=utf-7")][..],
            &[("content-type", "application/json; charset=utf-8; charset=utf-7")],
            &[("content-type", "application/json; charset*=utf-7")],
            &[("content-type", "application/x-www-form-urlencoded")],
            &[("content-type", "application/json"), ("content-type", "application/json")],
            &[("content-type", "application/json"), ("content-encoding", "gzip")],
        ] {
            assert!(matches!(head(Method::POST, fields), Err(Rejection::UnsupportedMediaType)), "{fields:?}");
        }
    }

    #[test]
    fn what_would_not_be_read_is_refused() {
        assert!(head(Method::GET, &[]).is_ok() && head(Method::DELETE, &[("content-length", "0")]).is_ok());
        for method in [Method::GET, Method::DELETE] {
            let outcome = head(method, &[("content-length", "5")]);
            assert!(matches!(outcome, Err(Rejection::UnsupportedMediaType)));
        }
        for method in [Method::PUT, Method::PATCH, Method::HEAD, Method::CONNECT] {
            assert!(matches!(head(method, &[]), Err(Rejection::MethodNotAllowed(_))));
        }
    }
}

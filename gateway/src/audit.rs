//! ⑩ Exactly one record per request, whatever became of it.

use std::time::Duration;

use phantomgate_introspection::TokenDigest;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// There was a grant.
    Granted,
    /// A well-known document of ours was asked for, or what browsers ask before they send a request (CORS).
    OwnEndpoint,
    /// No route is for the request.
    NoRoute,
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
    /// The client went away before it had its answer.
    ClientDisconnected,
    /// Its answer was an event stream that outlasted its token.
    StreamCut,
    /// We failed.
    InternalError,
}

/// What is recorded of a request. The token is known by its digest only.
#[derive(Debug)]
pub struct AuditRecord<'a> {
    /// The id we gave the request.
    pub request_id: &'a str,
    /// What became of it.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// What the operator should know beyond that.
    pub cause: Option<&'a str>,
    /// The status sent; 0 when none was.
    pub status: u16,
    /// The route, if one was found.
    pub route: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The method of its MCP message; of a batch, of the first.
    pub mcp_method: Option<&'a str>,
    /// The tool, prompt or resource that this is about.
    pub mcp_name: Option<&'a str>,
    /// The agent's client identifier.
    pub client_id: Option<&'a str>,
    /// The subject of the token.
    pub subject: Option<&'a str>,
    /// What the token is known by.
    pub token: Option<TokenDigest>,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
}

impl AuditRecord<'_> {
    /// Writes the record to the log.
    pub fn emit(&self) {
        let token = self.token.map(|digest| digest.to_string());
        tracing::info!(
            target: "audit",
            request_id = self.request_id,
            decision = <&str>::from(self.decision),
            reason = <&str>::from(self.reason),
            cause = self.cause,
            status = self.status,
            route = self.route,
            method = self.method,
            path = self.path,
            mcp_method = self.mcp_method,
            mcp_name = self.mcp_name,
            client_id = self.client_id,
            subject = self.subject,
            token,
            duration_us = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
        );
    }
}

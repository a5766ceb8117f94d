//! To upstreams that speak HTTP/1.1, in one place.
//!
//! Pingora's proxy would lead a request in two halves that talk over channels, and have a task watch over each connection that
//! waits for another request; docs/performance.md says what that costs. The client's side is Pingora's here, too: framing,
//! limits, and what makes its connection fit for another request. The upstream's is a [`RoundTrip`].
//!
//! The client may be one over HTTP/2, and there may be a [`Downstream`](crate::downstream) in the place of its session.

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, StatusCode, Version, header};
use phantomgate_upstreams::Visit;
use phantomgate_upstreams::http_1::RoundTrip;
use pingora::connectors::TransportConnector;
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::server::Session as HttpSession;
use pingora::{Error, Result};
use tokio::task::unconstrained;

use super::{no_grant, pass_body, prepare_answer, prepare_request};
use crate::context::RequestContext;
use crate::respond::BODY_PATIENCE;
use crate::stopping::Stopping;
use crate::visit;

/// How far the body of a request has got.
enum Body {
    /// There may be more of it.
    Open,
    /// All of it is at the upstream.
    Sent,
    /// The upstream takes no more. It may have said why before: its answer counts, and the rest of the body does not.
    Refused(Option<Box<Error>>),
}

/// The way to upstreams over HTTP/1.1.
pub struct Http1 {
    connector: TransportConnector,
    stopping: Stopping,
}

impl Http1 {
    /// Event streams end when the gateway is `stopping`.
    pub fn new(stopping: Stopping) -> Self {
        Self { connector: TransportConnector::new(None), stopping }
    }

    /// Sends a request that may pass to its upstream, to another endpoint when one fails and that is safe, and the answer to
    /// the client.
    ///
    /// # Errors
    /// What the client is to be told, if it has no answer yet.
    pub async fn forward(&self, session: &mut HttpSession, context: &mut RequestContext) -> Result<()> {
        loop {
            visit::next(session, context)?;
            let (stream, is_reused) = match self.connect(context).await {
                Ok(connection) => connection,
                Err(mut error) => {
                    error.as_up();
                    visit::failed_to_connect(context, &mut error);
                    if error.retry() {
                        continue;
                    }
                    return Err(error);
                }
            };
            visit::connected(context, is_reused);
            let mut upstream = begin(session, stream, context)?;
            match self.exchange(session, &mut upstream, context).await {
                Ok(body) => {
                    // The client is waited for, but not for ever, before it is asked for its next request.
                    session.set_total_drain_timeout(Some(BODY_PATIENCE));
                    if let (Body::Sent, Some(visit)) = (body, &context.visit)
                        && let Some(stream) = upstream.end().await
                    {
                        visit.keep_connection(stream);
                    }
                    return Ok(());
                }
                Err(mut error) => {
                    visit::failed(session, context, &mut error, is_reused);
                    if !error.retry() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// A connection to where the request is now, and whether it was used before.
    async fn connect(&self, context: &RequestContext) -> Result<(Stream, bool)> {
        if let Some(stream) = context.visit.as_ref().and_then(Visit::idle_connection) {
            return Ok((stream, true));
        }
        let peer = visit::peer(context)?;
        // In a box, or every request would have room for it.
        Ok((Box::pin(self.connector.new_stream(&peer)).await?, false))
    }

    /// Sends the request over `upstream`, and passes the answer on as it comes. Gives how far the request's body got.
    async fn exchange(
        &self,
        session: &mut HttpSession,
        upstream: &mut RoundTrip,
        context: &mut RequestContext,
    ) -> Result<Body> {
        let mut body = Body::Open;
        match at_hand(session) {
            Some(part) => body.send(part.map_err(Error::into_down)?, session, upstream, context).await?,
            // Some send no body before the upstream has said that it wants one (RFC 9110 §10.1.1).
            None => upstream.send(&[], false).await?,
        }
        let mut is_answered = false;
        while !is_answered || matches!(body, Body::Open) {
            let is_read = session.is_body_done();
            tokio::select! {
                task = upstream.read(), if !is_answered => {
                    let task = task.map_err(|error| body.refusal().unwrap_or(error));
                    is_answered = self.pass_on(task, session, upstream, context).await?;
                }
                // When all is read this shows that the client is gone, or has waited too long.
                part = session.read_body_or_idle(is_read) => {
                    body.send(part.map_err(Error::into_down)?, session, upstream, context).await?;
                }
            }
        }
        Ok(body)
    }

    /// Passes on to the client what the upstream has sent. Gives whether that was all.
    async fn pass_on(
        &self,
        first: Result<HttpTask>,
        session: &mut HttpSession,
        upstream: &mut RoundTrip,
        context: &mut RequestContext,
    ) -> Result<bool> {
        let mut tasks = Vec::with_capacity(2);
        let mut next = Some(first);
        while let Some(task) = next {
            let mut task = task.unwrap_or_else(|error| HttpTask::Failed(error.into_up()));
            next = None;
            let is_end = task.is_end();
            if let HttpTask::Header(head, _) = &mut task {
                answer_head(session, head, is_end)?;
                prepare_answer(&self.stopping, session, head, context)?;
                // What has come with the head goes out with it.
                next = if is_end { None } else { unconstrained(upstream.read()).now_or_never() };
            }
            tasks.push(task);
        }
        session.response_duplex_vec(tasks).await
    }
}

impl Body {
    /// Sends the next part of the body; none: that was all.
    ///
    /// # Errors
    /// The body is too large, or there is no grant. When the upstream does not take it, that is none yet.
    async fn send(
        &mut self,
        part: Option<Bytes>,
        session: &mut HttpSession,
        upstream: &mut RoundTrip,
        context: &mut RequestContext,
    ) -> Result<()> {
        pass_body(part.as_ref(), context)?;
        if !matches!(self, Self::Open) {
            return Ok(());
        }
        let is_end = part.is_none() || session.is_body_done();
        match upstream.send(part.as_deref().unwrap_or_default(), is_end).await {
            Ok(()) if is_end => *self = Self::Sent,
            Ok(()) => {}
            Err(error) => *self = Self::Refused(Some(error)),
        }
        Ok(())
    }

    /// Why the upstream took no more, if that has not been told yet.
    fn refusal(&mut self) -> Option<Box<Error>> {
        match self {
            Self::Refused(error) => error.take(),
            Self::Open | Self::Sent => None,
        }
    }
}

/// Begins to send the request that `session` has received over `stream`.
///
/// # Errors
/// There is no grant, or the head of the request makes no sense.
fn begin(session: &mut HttpSession, stream: Stream, context: &RequestContext) -> Result<RoundTrip> {
    let has_body = !session.is_body_empty();
    let received = session.req_header();
    let mut changes = prepare_request(received, context)?;
    let sending = changes.frame(&received.headers, has_body)?;
    let visit = context.visit.as_ref().ok_or_else(no_grant)?;
    let write_timeout = visit.upstream().config().timeouts.idle_stream;
    Ok(RoundTrip::new(stream, received.method.clone(), changes.write(received)?, sending, write_timeout))
}

/// What there is of the request's body without waiting for it, to go out with the head: the next part, or nothing where that is
/// its end.
fn at_hand(session: &mut HttpSession) -> Option<Result<Option<Bytes>>> {
    if session.is_body_empty() {
        return Some(Ok(None));
    }
    // What is read from now on can be sent again, and what was read before comes first.
    session.enable_retry_buffering();
    match session.get_retry_buffer() {
        Some(before) => Some(Ok(Some(before))),
        None => unconstrained(session.read_body_or_idle(false)).now_or_never(),
    }
}

/// Makes the head of an answer one of HTTP/1.1 with a length or an end.
///
/// # Errors
/// When Pingora refuses a header value.
fn answer_head(session: &HttpSession, head: &mut ResponseHeader, is_end: bool) -> Result<()> {
    // What ends with the connection ends in a way that lets the client's be used again.
    let has_length =
        [header::TRANSFER_ENCODING, header::CONTENT_LENGTH].iter().any(|name| head.headers.contains_key(name));
    let has_content = session.req_header().method != Method::HEAD
        && !head.status.is_informational()
        && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    if has_content && !has_length && !is_end {
        head.set_version(Version::HTTP_11);
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

//! Answers of our own meet Pingora here. Written by hand instead of with Pingora's `respond_error`, which closes the
//! connection and says `Server: Pingora`.

use std::time::Duration;

use http::{Method, StatusCode, header};
use phantomgate_mcp::{Id, id_of};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::server::Session;

use crate::answer::Answer;
use crate::cross_origin::{self, CrossOrigin};

/// How long a body is waited for that nobody wants any more.
pub const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// The largest body that is read for the id of a refused request: what Pingora keeps.
const LARGEST_BODY: u64 = 64 * 1024;

/// Sends `answer`. The connection can be used again afterwards, unless the client is still sending: then it closes, but only
/// once the client has stopped, or has had time to. A connection that is closed with something unread in it is reset, and its
/// client may lose the answer that would have told it why (RFC 9112 §9.6).
///
/// # Errors
/// When the client is gone.
pub async fn send(session: &mut Session, answer: Answer) -> pingora::Result<()> {
    // What is left of the request has to be read before the next one; not for ever, though.
    session.set_total_drain_timeout(Some(BODY_PATIENCE));
    let mut header = ResponseHeader::build(answer.status, Some(answer.headers.len() + 1))?;
    for (name, value) in answer.headers {
        header.append_header(name, value)?;
    }
    // RFC 9110 §8.6: what can have no content has no length of it.
    if answer.status != StatusCode::NO_CONTENT {
        header.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    }
    let has_body = !answer.body.is_empty() && session.req_header().method != Method::HEAD;
    // Who asks before sending a body sends none, unless it was told to go on.
    let may_send = !session.req_header().headers.contains_key(header::EXPECT) || session.response_written().is_some();
    session.write_response_header(Box::new(header)).await?;
    if has_body {
        session.write_response_body(answer.body, true).await?;
    }
    let is_http_1 = session.as_http1().is_some();
    if is_http_1 && !session.is_body_done() && may_send {
        let _ = session.drain_request_body().await;
    }
    Ok(())
}

/// Makes the upstream's `answer` to `request` one that browsers let the right pages read.
///
/// # Errors
/// When Pingora refuses a header value.
pub fn share(cross_origin: &CrossOrigin, request: &RequestHeader, answer: &mut ResponseHeader) -> pingora::Result<()> {
    let superseded: Vec<_> = answer.headers.keys().filter(|name| cross_origin::is_superseded(name)).cloned().collect();
    for name in &superseded {
        answer.remove_header(name);
    }
    for (name, value) in cross_origin.fields(&request.headers) {
        answer.append_header(name, value)?;
    }
    Ok(())
}

/// Whether this is the status of an answer. What comes before one, such as 100 (Continue), is none: another follows.
pub fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// The answer that was sent, if one was.
pub fn sent(session: &Session) -> Option<&ResponseHeader> {
    session.response_written().filter(|response| is_final(response.status))
}

/// The id of the JSON-RPC request in the body of a request that is refused; none when it is something else.
pub async fn json_rpc_id(session: &mut Session) -> Option<Id> {
    if !may_be_json_rpc(session) {
        return None;
    }
    session.enable_retry_buffering();
    let read = async {
        while !session.retry_buffer_truncated() {
            match session.read_request_body().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_gone) => return false,
            }
        }
        false
    };
    match tokio::time::timeout(BODY_PATIENCE, read).await {
        Ok(true) => id_of(&session.get_retry_buffer()?),
        Ok(false) | Err(_) => None,
    }
}

fn may_be_json_rpc(session: &Session) -> bool {
    let request = session.req_header();
    let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let is_json = text(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.get(..16).is_some_and(|start| start.eq_ignore_ascii_case("application/json")));
    let is_small = text(header::CONTENT_LENGTH)
        .is_none_or(|length| length.parse().is_ok_and(|length: u64| length <= LARGEST_BODY));
    // Who asks before sending a body is told without one.
    request.method == Method::POST && is_json && is_small && text(header::EXPECT).is_none()
}

/// Whether an answer is an event stream.
pub fn is_event_stream(response: &ResponseHeader) -> bool {
    let content_type = response.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    content_type.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

//! A request body that is read before the request is decided.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::ErrorType;
use pingora::protocols::http::server::Session;

use crate::rejection::{MalformedRequest, Rejection};

/// The whole body of the request, of `limit` bytes at most, in which no pause is longer than `patience`.
///
/// # Errors
/// [`Rejection::BodyTooLarge`] as soon as that is known; [`Rejection::RequestTimeout`] after a longer pause;
/// [`Rejection::MalformedRequest`] when the body does not arrive.
pub async fn read(session: &mut Session, limit: usize, patience: Duration) -> Result<Bytes, Rejection> {
    let request = session.req_header();
    let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let announced = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(Rejection::BodyTooLarge);
    }
    if text(header::EXPECT).is_some() {
        session.write_continue_response().await.map_err(|_| MalformedRequest::Http)?;
    }
    let mut body = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(chunk) = read_chunk(session, patience).await? {
        if body.len() + more.len() + chunk.len() > limit {
            return Err(Rejection::BodyTooLarge);
        }
        // Most bodies arrive at once, and need not be copied.
        if body.is_empty() {
            body = chunk;
        } else {
            more.extend_from_slice(&chunk);
        }
    }
    if more.is_empty() {
        return Ok(body);
    }
    let mut whole = BytesMut::with_capacity(body.len() + more.len());
    whole.extend_from_slice(&body);
    whole.extend_from_slice(&more);
    Ok(whole.freeze())
}

async fn read_chunk(session: &mut Session, patience: Duration) -> Result<Option<Bytes>, Rejection> {
    match tokio::time::timeout(patience, session.read_request_body()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) if *error.etype() != ErrorType::ReadTimedout => Err(MalformedRequest::Http.into()),
        Ok(Err(_)) | Err(_) => Err(Rejection::RequestTimeout),
    }
}

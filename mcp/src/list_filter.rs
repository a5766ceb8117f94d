//! Takes out of list results what a caller may not see.
//!
//! ```text
//! body ─► Decoder ─┬─ application/json ──► held until it is whole ─┬─► rewrite ─► body
//!                  └─ text/event-stream ─► held event by event ────┘
//! ```
//!
//! Everything else keeps its very bytes: messages without lists, the items that stay, comments, whatever an event has
//! beside its data. What cannot be read is not passed on, because the client might read it.

mod decoder;
mod events;
mod rewrite;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use self::decoder::Decoder;
use self::events::Events;
use self::rewrite::rewrite;
use crate::message::ListKind;

/// Who may see what.
pub trait Visibility: Send + Sync {
    /// Whether the caller may see this item of a list. `name` is the item's `name`, `uri` or `uriTemplate`, after its kind.
    fn is_visible(&self, kind: ListKind, name: &str) -> bool;
}

/// Why a response cannot be filtered. Nothing more of it may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Its `Content-Type` stands twice, or can be taken for two.
    #[error("the response has no one content type")]
    ContentType,
    /// Its `Content-Encoding` is none of gzip, deflate and br, or several.
    #[error("the response has a content encoding that is not supported")]
    UnsupportedEncoding,
    /// It does not decode.
    #[error("the response does not decode")]
    Decoding,
    /// What has to be read as a whole is larger than the limit.
    #[error("the response is too large to be filtered")]
    TooLarge,
    /// It is not JSON, or ambiguous, or an item of a list has no name.
    #[error("the response cannot be read")]
    Unreadable,
}

/// Follows one response and takes out of its lists what the caller may not see. Changes its length.
pub struct ListFilter {
    decoder: Decoder,
    form: Form,
    rules: Rules,
    failure: Option<FilterError>,
}

/// How messages stand in the body.
enum Form {
    /// As all of it, once it has come.
    Json(Vec<u8>),
    Events(Events),
}

/// What is the same for all of a response.
struct Rules {
    visibility: Arc<dyn Visibility>,
    limit: usize,
}

impl ListFilter {
    /// A filter for the response with these headers; none when it is neither JSON nor an event stream, and passes as it
    /// is. Holds back at most `limit` bytes, and makes of one chunk at most that many more than it has.
    ///
    /// # Errors
    /// [`FilterError::ContentType`] and [`FilterError::UnsupportedEncoding`].
    pub fn new(
        headers: &HeaderMap,
        visibility: Arc<dyn Visibility>,
        limit: usize,
    ) -> Result<Option<Self>, FilterError> {
        let Some(form) = form(headers)? else { return Ok(None) };
        let decoder = Decoder::new(headers)?;
        Ok(Some(Self { decoder, form, rules: Rules { visibility, limit }, failure: None }))
    }

    /// Whether what comes out is not encoded as what goes in: `Content-Encoding` has to be taken out of the response.
    pub fn is_decoding(&self) -> bool {
        !matches!(self.decoder, Decoder::Identity)
    }

    /// Takes the next piece of the body, and gives what may be sent now; perhaps nothing.
    ///
    /// # Errors
    /// [`FilterError`], and from then on the same one.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Bytes, FilterError> {
        self.unless_failed(|filter, output| {
            let Self { decoder, form, rules, .. } = filter;
            // What one chunk expands to is bounded as well as what is held.
            let mut left = rules.limit.saturating_add(chunk.len());
            decoder.push(chunk, &mut |piece| {
                left = left.checked_sub(piece.len()).ok_or(FilterError::TooLarge)?;
                form.push(piece, rules, output)
            })
        })
    }

    /// The body has ended: what is left of it.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn finish(&mut self) -> Result<Bytes, FilterError> {
        self.unless_failed(|filter, output| {
            filter.decoder.finish()?;
            filter.form.finish(&filter.rules, output)
        })
    }

    fn unless_failed(
        &mut self,
        step: impl FnOnce(&mut Self, &mut Vec<u8>) -> Result<(), FilterError>,
    ) -> Result<Bytes, FilterError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let mut output = Vec::new();
        let result = step(self, &mut output);
        self.failure = result.err();
        result.map(|()| output.into())
    }
}

impl Form {
    fn push(&mut self, piece: &[u8], rules: &Rules, output: &mut Vec<u8>) -> Result<(), FilterError> {
        match self {
            Self::Json(held) => rules.hold(held, piece),
            Self::Events(events) => events.push(piece, rules, output),
        }
    }

    fn finish(&mut self, rules: &Rules, output: &mut Vec<u8>) -> Result<(), FilterError> {
        match self {
            // A response to a notification has no body.
            Self::Json(held) if held.trim_ascii().is_empty() => output.append(held),
            Self::Json(held) => match rewrite(held, &*rules.visibility)? {
                Some(rewritten) => *output = rewritten,
                None => output.append(held),
            },
            Self::Events(events) => events.finish(rules, output)?,
        }
        Ok(())
    }
}

impl Rules {
    fn hold(&self, held: &mut Vec<u8>, piece: &[u8]) -> Result<(), FilterError> {
        if held.len().saturating_add(piece.len()) > self.limit {
            return Err(FilterError::TooLarge);
        }
        held.extend_from_slice(piece);
        Ok(())
    }
}

/// What clients take a content type for, of which some look no closer than whether these words are in it.
fn form(headers: &HeaderMap) -> Result<Option<Form>, FilterError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.to_str().map_err(|_| FilterError::ContentType)?.to_ascii_lowercase();
    match (value.contains("json"), value.contains("event-stream")) {
        _ if values.next().is_some() => Err(FilterError::ContentType),
        (true, true) => Err(FilterError::ContentType),
        (true, false) => Ok(Some(Form::Json(Vec::new()))),
        (false, true) => Ok(Some(Form::Events(Events::default()))),
        (false, false) => Ok(None),
    }
}

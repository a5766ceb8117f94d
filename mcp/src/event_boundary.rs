//! Where one server-sent event ends and the next has not begun.

/// Follows a `text/event-stream`, to know whether an event may be put in here.
#[derive(Debug, Clone, Default)]
pub struct EventBoundary {}

impl EventBoundary {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes notice of what was sent.
    pub fn push(&mut self, chunk: &[u8]) {
        let _ = chunk;
    }

    /// Whether what has been sent so far ends with an event's end, or has none begun.
    pub fn is_between_events(&self) -> bool {
        false
    }
}

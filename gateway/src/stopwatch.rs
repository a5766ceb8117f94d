//! Where the time of a request goes.

use std::time::{Duration, Instant};

use crate::audit::Latency;

/// What a request's time is spent on. Whenever a request enters a stage, the one before ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Our own work until it is decided.
    Decision,
    /// Learning about the token.
    Introspection,
    /// Waiting for the message of an MCP request.
    Message,
    /// Getting the credential for the upstream.
    Credential,
    /// Reaching the upstream, and waiting for the head of its answer.
    Upstream,
    /// Passing on the answer, or giving one of our own.
    Answer,
}

/// Sums up the time of one request by [`Stage`].
pub struct Stopwatch {
    started: Instant,
    stage: Stage,
    entered: Instant,
    spans: [Option<Span>; Stage::Answer as usize + 1],
}

/// The time of one stage: when it was entered first, and how long it took in all.
type Span = (Instant, Duration);

impl Stopwatch {
    /// A request begins now, in [`Stage::Decision`].
    pub fn start() -> Self {
        let now = Instant::now();
        Self { started: now, stage: Stage::Decision, entered: now, spans: Default::default() }
    }

    /// The request is in `stage` from now on.
    pub fn enter(&mut self, stage: Stage) {
        self.enter_at(stage, Instant::now());
    }

    fn enter_at(&mut self, stage: Stage, now: Instant) {
        if let Some(span) = self.spans.get_mut(self.stage as usize) {
            span.get_or_insert((self.entered, Duration::ZERO)).1 += now - self.entered;
        }
        (self.stage, self.entered) = (stage, now);
    }

    /// When the request began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// When `stage` was entered first, and how long it took until it was left; none where that never was.
    pub fn span(&self, stage: Stage) -> Option<(Instant, Duration)> {
        self.spans.get(stage as usize).copied().flatten()
    }

    /// The request is over. How long it took, and what of that.
    pub fn stop(&mut self) -> Latency {
        let now = Instant::now();
        self.enter_at(self.stage, now);
        let span = |stage: Stage| self.span(stage).map(|(_, span)| span);
        Latency {
            introspection: span(Stage::Introspection),
            message: span(Stage::Message),
            credential: span(Stage::Credential),
            decision: span(Stage::Decision),
            upstream: span(Stage::Upstream),
            total: now - self.started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_time_and_those_never_entered_have_none() {
        let mut stopwatch = Stopwatch::start();
        let started = stopwatch.started;
        let after = |millis| started + Duration::from_millis(millis);
        let moments = [
            (Stage::Introspection, after(1)),
            (Stage::Decision, after(11)),
            (Stage::Upstream, after(14)),
            (Stage::Answer, after(64)),
        ];
        for (stage, moment) in moments {
            stopwatch.enter_at(stage, moment);
        }
        let span = |stage: Stage| stopwatch.span(stage).map(|(_, span)| span.as_millis());
        assert_eq!(span(Stage::Decision), Some(4));
        assert_eq!(span(Stage::Introspection), Some(10));
        assert_eq!(span(Stage::Upstream), Some(50));
        assert_eq!(stopwatch.span(Stage::Upstream).map(|(began, _)| began), Some(after(14)));
        assert_eq!((span(Stage::Message), span(Stage::Credential)), (None, None));
    }
}

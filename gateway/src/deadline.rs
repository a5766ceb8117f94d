//! When an upstream's answer must have begun, and when it must have ended. Pingora has one timeout for every read from an
//! upstream, which must be as long as the longest silence in a stream: an answer that never begins needs a clock of ours.

use std::pin::Pin;
use std::time::{Duration, Instant};

use pingora::{Error, ErrorType};
use tokio::time::Sleep;

/// What an error says when no answer has begun in time.
pub const NO_ANSWER: ErrorType = ErrorType::Custom("no answer in time");

/// What an error says when an answer was not at its end in time.
pub const TOO_LONG: ErrorType = ErrorType::Custom("answer took too long");

/// How long an answer may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spans {
    /// From the end of the request to the beginning of the answer.
    pub first_byte: Option<Duration>,
    /// To the end of the answer, unless it is an event stream.
    pub until: Option<Instant>,
}

/// The deadline of one request.
#[derive(Debug, Default)]
pub struct Deadline {
    /// Since when an answer is waited for, and how long that may take.
    answer: Option<(Instant, Duration)>,
    until: Option<Instant>,
    /// Set when somebody waits.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The request is sent, or sent again, at the time `now`.
    pub fn start(&mut self, spans: Spans, now: Instant) {
        self.answer = spans.first_byte.map(|first_byte| (now, first_byte));
        self.until = spans.until;
        self.wind();
    }

    /// A part of the request was read from the client at the time `now`: the upstream cannot answer before it has all of it.
    pub fn request_goes_on(&mut self, now: Instant) {
        if let Some((since, _)) = &mut self.answer {
            *since = now;
            self.wind();
        }
    }

    /// The answer begins.
    pub fn answer_begins(&mut self, is_event_stream: bool) {
        self.answer = None;
        if is_event_stream {
            self.until = None;
        }
        self.wind();
    }

    /// When it is, and what is wrong then.
    fn next(&self) -> Option<(Instant, ErrorType)> {
        let answer = self.answer.map(|(since, first_byte)| (since + first_byte, NO_ANSWER));
        let end = self.until.map(|until| (until, TOO_LONG));
        answer.into_iter().chain(end).min_by_key(|(at, _)| *at)
    }

    fn wind(&mut self) {
        match (self.next(), &mut self.sleep) {
            (Some((at, _)), Some(sleep)) => sleep.as_mut().reset(at.into()),
            (None, sleep) => *sleep = None,
            (Some(_), None) => {}
        }
    }

    /// Resolves when the deadline has passed; never where there is none.
    pub async fn passed(&mut self) -> Box<Error> {
        let Some((at, kind)) = self.next() else { return std::future::pending().await };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        sleep.await;
        Error::explain(kind, "the upstream took too long").into_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn an_answer_is_waited_for_from_the_last_part_of_the_request_on() {
        let (mut deadline, now) = (Deadline::default(), Instant::now());
        assert_eq!(deadline.next(), None);
        deadline.start(Spans { first_byte: Some(seconds(5)), until: Some(now + seconds(7)) }, now);
        assert_eq!(deadline.next(), Some((now + seconds(5), NO_ANSWER)));
        deadline.request_goes_on(now + seconds(1));
        assert_eq!(deadline.next(), Some((now + seconds(6), NO_ANSWER)));
        deadline.request_goes_on(now + seconds(3));
        assert_eq!(deadline.next(), Some((now + seconds(7), TOO_LONG)));
    }

    #[test]
    fn an_answer_must_end_in_time_unless_it_is_an_event_stream() {
        let (mut deadline, now) = (Deadline::default(), Instant::now());
        let spans = Spans { first_byte: Some(seconds(5)), until: Some(now + seconds(7)) };
        deadline.start(spans, now);
        deadline.answer_begins(false);
        assert_eq!(deadline.next(), Some((now + seconds(7), TOO_LONG)));
        deadline.start(spans, now);
        deadline.answer_begins(true);
        assert_eq!(deadline.next(), None);
    }
}

//! When an upstream's answer must have begun, must go on, and must have ended. Pingora has one timeout for every read from an
//! upstream, and sets a timer for each; here one clock of the client's connection knows all three.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora::{Error, ErrorType};
use tokio::time::{Instant, Sleep};

/// What an error says when no answer has begun in time.
pub const NO_ANSWER: ErrorType = ErrorType::Custom("no answer in time");

/// What an error says when an answer was silent for too long.
pub const TOO_QUIET: ErrorType = ErrorType::Custom("answer paused too long");

/// What an error says when an answer was not at its end in time.
pub const TOO_LONG: ErrorType = ErrorType::Custom("answer took too long");

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    /// From the end of the request to the beginning of the answer.
    pub first_byte: Duration,
    /// From one part of the answer to the next.
    pub pause: Duration,
    /// To the end of the answer, unless it is an event stream.
    pub until: Option<Instant>,
}

/// The deadline of one request.
#[derive(Debug, Default)]
pub struct Deadline(Option<Waiting>);

#[derive(Debug)]
struct Waiting {
    spans: Spans,
    /// Since when something is waited for. None: since nobody has had to wait yet; to look at the clock whenever something
    /// comes would cost more than all else here.
    since: Option<Instant>,
    has_begun: bool,
}

impl Deadline {
    /// The request is sent, or sent again.
    pub fn start(&mut self, spans: Spans) {
        self.0 = Some(Waiting { spans, since: None, has_begun: false });
    }

    /// A part of the request or of the answer has come. The upstream cannot answer before it has all of the request.
    pub fn goes_on(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.since = None;
        }
    }

    /// The answer begins.
    pub fn answer_begins(&mut self, is_event_stream: bool) {
        if let Some(waiting) = &mut self.0 {
            waiting.has_begun = true;
            waiting.spans.until = waiting.spans.until.filter(|_| !is_event_stream);
        }
    }

    /// When the answer must be at its end, whoever it waits for.
    pub fn end_of_answer(&self) -> Option<Instant> {
        self.0.as_ref()?.spans.until
    }

    /// Something has to be waited for, `now` or still. When the upstream has had its time, and what is wrong then.
    pub fn wait(&mut self, now: impl FnOnce() -> Instant) -> Option<(Instant, ErrorType)> {
        let Waiting { spans, since, has_begun } = self.0.as_mut()?;
        let since = *since.get_or_insert_with(now);
        let (patience, kind) = if *has_begun { (spans.pause, TOO_QUIET) } else { (spans.first_byte, NO_ANSWER) };
        let pause = (since + patience, kind);
        spans.until.filter(|until| *until < pause.0).map(|until| (until, TOO_LONG)).or(Some(pause))
    }
}

/// The error that says that a deadline of this `kind` has passed.
pub fn passed(kind: ErrorType) -> Box<Error> {
    Error::explain(kind, "the upstream took too long").into_up()
}

/// A timer that is kept from one wait to the next. That a deadline moves on costs nothing: the timer is set anew when it would
/// ring too late, or has rung too early.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `deadline` has passed.
    pub fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn started(until: Option<u64>) -> (Deadline, Instant) {
        let (mut deadline, now) = (Deadline::default(), Instant::now());
        let until = until.map(|until| now + seconds(until));
        deadline.start(Spans { first_byte: seconds(5), pause: seconds(10), until });
        (deadline, now)
    }

    #[test]
    fn an_answer_is_waited_for_from_the_last_part_of_the_request_on() {
        let (mut deadline, now) = started(Some(7));
        assert_eq!(deadline.wait(|| now), Some((now + seconds(5), NO_ANSWER)));
        deadline.goes_on();
        assert_eq!(deadline.wait(|| now + seconds(1)), Some((now + seconds(6), NO_ANSWER)));
        assert_eq!(deadline.wait(|| now + seconds(4)), Some((now + seconds(6), NO_ANSWER)));
        deadline.goes_on();
        assert_eq!(deadline.wait(|| now + seconds(3)), Some((now + seconds(7), TOO_LONG)));
    }

    #[test]
    fn an_answer_may_pause_and_must_end_in_time_unless_it_is_an_event_stream() {
        let (mut deadline, now) = started(Some(15));
        deadline.answer_begins(false);
        assert_eq!(deadline.wait(|| now), Some((now + seconds(10), TOO_QUIET)));
        deadline.goes_on();
        assert_eq!(deadline.wait(|| now + seconds(6)), Some((now + seconds(15), TOO_LONG)));
        deadline.answer_begins(true);
        assert_eq!(deadline.wait(|| now + seconds(6)), Some((now + seconds(16), TOO_QUIET)));
    }

    #[test]
    fn where_nothing_is_waited_for_there_is_no_deadline() {
        let mut deadline = Deadline::default();
        deadline.goes_on();
        deadline.answer_begins(false);
        assert_eq!((deadline.wait(Instant::now), deadline.end_of_answer()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_rings_when_the_last_deadline_passes_wherever_it_was_moved() {
        let (mut timer, began) = (Timer::default(), Instant::now());
        let mut ring = async |after| {
            let deadline = began + seconds(after);
            poll_fn(|context| timer.poll(deadline, context)).await;
            began.elapsed().as_secs()
        };
        assert_eq!(ring(3).await, 3);
        assert!(tokio::time::timeout(seconds(1), ring(8)).await.is_err());
        assert_eq!(ring(20).await, 20);
        assert!(tokio::time::timeout(seconds(1), ring(90)).await.is_err());
        assert_eq!(ring(30).await, 30);
        assert_eq!(ring(29).await, 30);
    }
}

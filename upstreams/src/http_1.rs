//! A request and its answer over a connection to a server that speaks HTTP/1.1 (RFC 9112), as its client.
//!
//! ```text
//! head, parts of the body ─► unsent ─► stream ─► read ─► heads, parts of the body ─► stream, for another request
//! ```
//! What is read stays where it was read until it is taken out as a [`head`] or as a part of a [`body`]; both know no streams.
//! docs/performance.md says what that spares, compared with Pingora's session.

mod body;
mod head;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::Method;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::HttpTask;
use pingora_core::{Error, ErrorType, Result, RetryType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use body::Body;
use head::Head;

/// How much is made room for at first, and how much at most, to read an answer. Many answers are short, and many streams
/// are idle.
const ROOM: std::ops::RangeInclusive<usize> = 4 * 1024..=64 * 1024;

/// How long the head of an answer may be.
const LONGEST_HEAD: usize = 1024 * 1024;

/// What of an answer is not as it has to be.
#[derive(Debug, PartialEq, Eq)]
struct Malformed(&'static str);

impl From<Malformed> for Box<Error> {
    fn from(Malformed(what): Malformed) -> Self {
        // Without what was sent: that is not for our log.
        Error::explain(ErrorType::InvalidHTTPHeader, format!("the upstream's answer: {what}")).into_up()
    }
}

/// How the body of a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// So many bytes are left of it.
    Length(u64),
    /// In chunks.
    Chunks,
}

/// A request on its way to the server, and its answer on its way back.
pub struct RoundTrip {
    stream: Stream,
    method: Method,
    sending: Sending,
    /// How long each write may take.
    write_timeout: Duration,
    /// The head of the request, until the first of its body, or the lack of one, is sent with it.
    unsent: Vec<u8>,
    /// What was read, and not taken yet.
    read: BytesMut,
    /// How much of that is a head without its end.
    parsed: usize,
    /// How much is made room for next.
    room: usize,
    /// What is read of the answer; none before its head.
    body: Option<Body>,
    has_answer: bool,
    keeps_connection: bool,
}

impl RoundTrip {
    /// Begins with a request of this `method`, whose head is `head` and whose body is sent so. Nothing is written yet.
    pub fn new(stream: Stream, method: Method, head: Vec<u8>, sending: Sending, write_timeout: Duration) -> Self {
        Self {
            stream,
            method,
            sending,
            write_timeout,
            unsent: head,
            read: BytesMut::new(),
            parsed: 0,
            room: *ROOM.start(),
            body: None,
            has_answer: false,
            keeps_connection: true,
        }
    }

    /// Sends the head, if that has not been done yet, and the next `part` of the body; `is_end`: that was all.
    ///
    /// # Errors
    /// It cannot be written, not in time, or is longer or shorter than the head says.
    pub async fn send(&mut self, part: &[u8], is_end: bool) -> Result<()> {
        let (size, end): (String, &[u8]) = match &mut self.sending {
            Sending::Length(left) => {
                let rest = left.checked_sub(part.len() as u64).filter(|rest| *rest == 0 || !is_end);
                *left = rest.ok_or_else(|| {
                    Error::explain(ErrorType::WriteError, "the body has another length than was announced").into_up()
                })?;
                (String::new(), b"")
            }
            // An empty chunk would be the last.
            Sending::Chunks if part.is_empty() => (String::new(), if is_end { b"0\r\n\r\n" } else { b"" }),
            Sending::Chunks => (format!("{:x}\r\n", part.len()), if is_end { b"\r\n0\r\n\r\n" } else { b"\r\n" }),
        };
        let head = std::mem::take(&mut self.unsent);
        let stream = &mut self.stream;
        let written = within(self.write_timeout, async {
            if part.is_empty() && end.is_empty() {
                stream.write_all(&head).await?;
            } else {
                let body = Buf::chain(Buf::chain(size.as_bytes(), part), end);
                stream.write_all_buf(&mut Buf::chain(&*head, body)).await?;
            }
            stream.flush().await
        });
        written.await.map_err(|error| {
            let kind =
                if error.kind() == io::ErrorKind::TimedOut { ErrorType::WriteTimedout } else { ErrorType::WriteError };
            Error::because(kind, "while a request was written", error).into_up()
        })
    }

    /// The next of the answer: a head (informational ones come before the last), a part of the body, or its end. Nothing is
    /// lost when it is not waited for to the end.
    ///
    /// # Errors
    /// It cannot be read, is no answer, or breaks off. One that has not begun on a connection that was idle before may come if
    /// the request is sent again.
    pub async fn read(&mut self) -> Result<HttpTask> {
        loop {
            match &mut self.body {
                None if self.read.is_empty() => {}
                None => {
                    let is_due = self.parsed == 0 || head::may_end(&self.read, self.parsed);
                    let head = if is_due { head::take(&mut self.read, &self.method)? } else { None };
                    if let Some(Head { header, body, keeps_connection }) = head {
                        (self.body, self.has_answer, self.parsed) = (body, true, 0);
                        self.keeps_connection &= keeps_connection;
                        return Ok(HttpTask::Header(Box::new(header), body.is_some_and(Body::is_over)));
                    }
                    self.parsed = self.read.len();
                    if self.read.len() > LONGEST_HEAD {
                        return Err(Malformed("the length of the head").into());
                    }
                }
                Some(body) if body.is_over() => return Ok(HttpTask::Done),
                Some(body) => {
                    if let Some(part) = body.take(&mut self.read)? {
                        return Ok(HttpTask::Body(Some(part), body.is_over()));
                    }
                    if body.is_over() {
                        return Ok(HttpTask::Done);
                    }
                }
            }
            if !self.read_more().await? {
                return Ok(HttpTask::Done);
            }
        }
    }

    /// Reads what there is, and waits for it. Gives whether there was more before the connection ended, where that is the end of
    /// the answer.
    async fn read_more(&mut self) -> Result<bool> {
        if self.read.capacity() - self.read.len() < *ROOM.start() {
            let room = match self.body {
                Some(Body::Length(left)) => {
                    usize::try_from(left).unwrap_or(usize::MAX).clamp(*ROOM.start(), *ROOM.end())
                }
                _ => self.room,
            };
            self.read.reserve(room);
        }
        let room = self.read.capacity() - self.read.len();
        let (kind, cause) = match self.stream.read_buf(&mut self.read).await {
            Ok(0) if self.body == Some(Body::UntilClosed) => {
                self.body = Some(Body::EMPTY);
                return Ok(false);
            }
            Ok(0) => (ErrorType::ConnectionClosed, io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                // What fills its room is a long answer.
                self.room = if count == room { (2 * self.room).min(*ROOM.end()) } else { self.room };
                return Ok(true);
            }
            Err(error) => (ErrorType::ReadError, error),
        };
        // A server that closes an idle connection may do that while a request is on its way there.
        let may_have_been_idle = !self.has_answer && self.read.is_empty();
        let is_end = kind == ErrorType::ConnectionClosed || cause.raw_os_error().is_some();
        let mut error = Error::because(kind, "while an answer was read", cause).into_up();
        if may_have_been_idle && is_end {
            error.retry = RetryType::ReusedOnly;
        }
        Err(error)
    }

    /// The connection, if it can serve another request: the answer is whole, nothing has come behind it, and the server has
    /// not said otherwise. Whether the request is whole, too, its sender knows.
    pub async fn end(mut self) -> Option<Stream> {
        if self.keeps_connection && self.body.is_some_and(Body::is_over) && self.read.is_empty() {
            return Some(self.stream);
        }
        let _ = within(self.write_timeout, self.stream.shutdown()).await;
        None
    }
}

/// What is `written`, if that does not take longer than this.
async fn within(limit: Duration, written: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let mut written = pin!(written);
    // Mostly there is room for it, and no clock has to be looked at.
    if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(written.as_mut().poll(context))).await {
        return done;
    }
    Box::pin(timeout(limit, written)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn begin(head: &str, sending: Sending) -> (RoundTrip, DuplexStream) {
        let (ours, server) = duplex(64 * 1024);
        (RoundTrip::new(Box::new(ours), Method::GET, head.into(), sending, PATIENCE), server)
    }

    /// What came of a request without a body to which the server sent this, piece by piece, and then nothing more; and
    /// whether its connection can serve another.
    async fn answers(pieces: &[&str]) -> (Vec<String>, bool) {
        let (mut trip, mut server) = begin("", Sending::Length(0));
        let mut pieces = pieces.iter();
        let mut told = Vec::new();
        loop {
            let task = match trip.read().now_or_never() {
                Some(task) => task,
                None => match pieces.next() {
                    Some(piece) => {
                        server.write_all(piece.as_bytes()).await.unwrap();
                        continue;
                    }
                    None => {
                        server.shutdown().await.unwrap();
                        trip.read().await
                    }
                },
            };
            told.push(match task {
                Ok(HttpTask::Header(header, is_end)) => format!("{} {is_end}", header.status.as_u16()),
                Ok(HttpTask::Body(part, is_end)) => {
                    format!("{} {is_end}", String::from_utf8_lossy(&part.unwrap_or_default()))
                }
                Ok(HttpTask::Done) => "done".to_owned(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => format!("{} {:?}", error.etype().as_str(), error.retry),
            });
            if told.last().is_some_and(|last| last.ends_with(" true") || last == "done" || !last.ends_with(" false")) {
                return (told, trip.end().await.is_some());
            }
        }
    }

    async fn sent(head: &str, sending: Sending, parts: &[(&str, bool)]) -> (String, bool) {
        let (mut trip, mut server) = begin(head, sending);
        let mut is_good = true;
        for (part, is_end) in parts {
            is_good &= trip.send(part.as_bytes(), *is_end).await.is_ok();
        }
        drop(trip);
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        (text, is_good)
    }

    #[tokio::test]
    async fn an_answer_comes_as_it_was_sent_and_its_connection_is_as_good_as_before() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n";
        for (pieces, told, is_reusable) in [
            (&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"][..], &["200 false", "ab true"][..], true),
            (&["HTTP/1.1 200 OK\r\nContent-Le", "ngth: 2\r\n\r\na", "b"], &["200 false", "a false", "b true"], true),
            (&["HTTP/1.1 204 No Content\r\n\r\n"], &["204 true"], true),
            (&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], &["200 true"], true),
            (&[chunked, "0\r\n\r\n"], &["200 false", "ab false", "done"], true),
            (&[&format!("{chunked}0\r\n\r\n")], &["200 false", "ab true"], true),
            (&["HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"], &["103 false", "204 true"], true),
            (&["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"], &["100 false", "204 true"], true),
            // What its server does not keep, or has said more on than was asked for, serves no other.
            (&["HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"], &["204 true"], false),
            (&["HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n"], &["204 true"], false),
            (&["HTTP/1.1 200 OK\r\n\r\n", "ab"], &["200 false", "ab false", "done"], false),
        ] {
            let (all, is_good) = answers(pieces).await;
            assert_eq!(
                (&all[..], is_good),
                (told.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(), is_reusable),
                "{pieces:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_may_come_byte_by_byte() {
        for end in ["\r\n", "\n"] {
            let answer = format!("{end}HTTP/1.1 200 OK{end}X-A: 1{end}  2{end}Content-Length: 0{end}{end}");
            let pieces: Vec<&str> = answer.split("").filter(|piece| !piece.is_empty()).collect();
            assert_eq!(answers(&pieces).await, (vec!["200 true".to_owned()], true), "{end:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_none_and_only_one_that_never_began_may_come_another_time() {
        for (pieces, error) in [
            (&[][..], "ConnectionClosed ReusedOnly"),
            (&["HTTP/1.1 200 OK\r\n"], "ConnectionClosed Decided(false)"),
            (&["HTTP/1.1 103 Early Hints\r\n\r\n"], "ConnectionClosed Decided(false)"),
            (&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"], "ConnectionClosed Decided(false)"),
            (&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"], "ConnectionClosed Decided(false)"),
            (&["SSH-2.0-OpenSSH_9.2\r\n"], "InvalidHTTPHeader Decided(false)"),
            (&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx"], "InvalidHTTPHeader Decided(false)"),
        ] {
            let (told, is_good) = answers(pieces).await;
            assert_eq!((told.last().map(String::as_str), is_good), (Some(error), false), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_takes_no_memory_without_end() {
        let (mut trip, mut server) = begin("", Sending::Length(0));
        tokio::spawn(async move {
            server.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            while server.write_all(format!("a: {}\r\n", "b".repeat(60_000)).as_bytes()).await.is_ok() {}
        });
        assert_eq!(*trip.read().await.unwrap_err().etype(), ErrorType::InvalidHTTPHeader);
        assert!(trip.read.capacity() <= 2 * LONGEST_HEAD, "{}", trip.read.capacity());
    }

    #[tokio::test]
    async fn the_head_goes_out_with_the_beginning_of_the_body() {
        let (mut trip, mut server) = begin("head\r\n\r\n", Sending::Length(5));
        trip.send(b"hel", false).await.unwrap();
        let mut text = [0; 64];
        assert_eq!(server.read(&mut text).await.unwrap(), "head\r\n\r\nhel".len());
        trip.send(b"lo", true).await.unwrap();
        assert_eq!(server.read(&mut text).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_body_is_sent_as_its_head_announces_it() {
        let parts = &[("hello", false), ("", false), (" ", true)];
        assert_eq!(
            sent("h\n", Sending::Chunks, parts).await,
            ("h\n5\r\nhello\r\n1\r\n \r\n0\r\n\r\n".to_owned(), true)
        );
        assert_eq!(sent("h\n", Sending::Chunks, &[("", true)]).await, ("h\n0\r\n\r\n".to_owned(), true));
        assert_eq!(sent("h\n", Sending::Chunks, &[("", false)]).await, ("h\n".to_owned(), true));
        assert_eq!(sent("h\n", Sending::Length(6), parts).await, ("h\nhello ".to_owned(), true));
        assert_eq!(sent("h\n", Sending::Length(0), &[("", true)]).await, ("h\n".to_owned(), true));
        // What is too long would be read as another request, and what is too short would take it in.
        assert_eq!(
            sent("h\n", Sending::Length(5), &[("hello", false), ("x", true)]).await,
            ("h\nhello".to_owned(), false)
        );
        assert_eq!(sent("h\n", Sending::Length(6), &[("hello", true)]).await, (String::new(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_read_has_its_time() {
        let (mut trip, _server) = begin("", Sending::Length(1_000_000));
        let error = trip.send(&[0; 1_000_000], true).await.unwrap_err();
        assert_eq!(*error.etype(), ErrorType::WriteTimedout);
    }
}

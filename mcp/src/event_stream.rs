//! Server-sent events, line by line, wherever the stream is cut (HTML, server-sent events, parsing an event stream).

use memchr::memchr2;

/// The mark that a stream may begin with, which is not part of its first line.
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Follows a `text/event-stream`, to know whether an event may be put in here.
#[derive(Debug, Clone, Default)]
pub struct EventBoundary {
    lines: Lines,
    /// Whether lines of an event have come, and the empty one that ends it has not.
    is_in_event: bool,
}

impl EventBoundary {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes notice of what was sent.
    pub fn push(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some((_, end)) = self.lines.next(&mut rest) {
            match end {
                Some(Line::Empty) => self.is_in_event = false,
                Some(Line::Field) => self.is_in_event = true,
                Some(Line::Comment) | None => {}
            }
        }
    }

    /// Whether what has been sent so far ends with an event's end, or has none begun. Comments are part of no event.
    pub fn is_between_events(&self) -> bool {
        !self.is_in_event && self.lines.is_at_start()
    }
}

/// What a line of an event stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// It ends an event.
    Empty,
    /// It begins with a colon, and says nothing.
    Comment,
    /// It is part of an event.
    Field,
}

/// Cuts a stream into lines, which end with CR, LF or both.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    /// How much of the byte order mark has come; all of it, once it can come no more.
    mark: usize,
    /// What the line is that has begun; none when nothing of it has come.
    line: Option<Line>,
    /// The last line ended with a CR, and nothing has come since: an LF would belong to it.
    is_after_cr: bool,
}

impl Lines {
    /// Takes the next piece: up to a line's end, or of all that is there. Says what the line is that ends with it.
    ///
    /// A piece without a line's end may be the rest of the one before: an LF whose CR came in an earlier chunk.
    pub(crate) fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<Line>)> {
        let first = *rest.first()?;
        if let Some(mark) = self.take_mark(rest) {
            return Some((mark, None));
        }
        if std::mem::take(&mut self.is_after_cr) && first == b'\n' {
            return Some((take(rest, 1), None));
        }
        let Some(length) = memchr2(b'\r', b'\n', rest) else {
            self.begin(first);
            return Some((take(rest, rest.len()), None));
        };
        if length > 0 {
            self.begin(first);
        }
        let end = match rest.get(length..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([b'\r']) => {
                self.is_after_cr = true;
                1
            }
            _ => 1,
        };
        Some((take(rest, length + end), Some(self.line.take().unwrap_or(Line::Empty))))
    }

    /// Whether no line has begun.
    pub(crate) fn is_at_start(&self) -> bool {
        self.line.is_none() && matches!(self.mark, 0 | 3)
    }

    fn begin(&mut self, first: u8) {
        self.line.get_or_insert(if first == b':' { Line::Comment } else { Line::Field });
    }

    fn take_mark<'a>(&mut self, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let expected = BYTE_ORDER_MARK.get(self.mark..)?;
        let length = expected.iter().zip(*rest).take_while(|(expected, byte)| expected == byte).count();
        let is_other = length < expected.len() && length < rest.len();
        self.mark += length;
        if is_other {
            if self.mark > 0 {
                self.line = Some(Line::Field); // what looked like the mark was the start of a line
            }
            self.mark = BYTE_ORDER_MARK.len();
        }
        (length > 0).then(|| take(rest, length))
    }
}

/// Takes the first bytes of what is left.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    *rest = left;
    taken
}

/// The lines of what has come whole, each with its end.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lines = Lines { mark: BYTE_ORDER_MARK.len(), ..Lines::default() };
    let mut rest = text;
    std::iter::from_fn(move || lines.next(&mut rest).map(|(line, _)| line))
}

/// What a line gives to the data of its event; none when it is another field.
pub(crate) fn data(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stream in one piece, and cut at every byte.
    fn is_between_events(stream: &str) -> bool {
        let mut whole = EventBoundary::new();
        whole.push(stream.as_bytes());
        let mut cut = EventBoundary::new();
        stream.bytes().for_each(|byte| cut.push(&[byte]));
        assert_eq!(whole.is_between_events(), cut.is_between_events(), "{stream:?}");
        whole.is_between_events()
    }

    #[test]
    fn an_event_ends_with_an_empty_line_however_lines_end() {
        for stream in [
            "",
            "data: a\n\n",
            "data: a\r\n\r\n",
            "data: a\r\r",
            "data: a\r\n\n",
            "data: a\n\r",
            "id: 1\nevent: b\ndata: a\ndata\n\n",
            "data: a\n\n\n\n",
            "\u{feff}data: a\n\n",
        ] {
            assert!(is_between_events(stream), "{stream:?}");
        }
    }

    #[test]
    fn what_has_begun_is_no_place_for_another_event() {
        for stream in [
            "d",
            "data: a",
            "data: a\n",
            "data: a\r\n",
            "data: a\r",
            "id: 1\n",
            "data: a\n\nretry: 1\n",
            ": comm",
            "data: a\n:\n",
            "\u{feff}data: a\n",
        ] {
            assert!(!is_between_events(stream), "{stream:?}");
        }
    }

    #[test]
    fn comments_are_part_of_no_event() {
        for stream in [":\n", ":\r", ": ping\r\n", "data: a\n\n: ping\n", "\u{feff}", "\u{feff}:\n"] {
            assert!(is_between_events(stream), "{stream:?}");
        }
    }

    #[test]
    fn half_a_byte_order_mark_is_the_start_of_a_line() {
        let mut boundary = EventBoundary::new();
        boundary.push(b"\xEF\xBB");
        assert!(!boundary.is_between_events());
        boundary.push(b"\n");
        assert!(!boundary.is_between_events());
        boundary.push(b"\n");
        assert!(boundary.is_between_events());
    }

    #[test]
    fn lines_come_with_their_ends_and_data_without() {
        let all: Vec<&[u8]> = lines(b"data: a\r\ndata:b\rdata\ndata:  c\ndatum: d\n Data: e\n\n").collect();
        assert_eq!(all.concat(), b"data: a\r\ndata:b\rdata\ndata:  c\ndatum: d\n Data: e\n\n");
        let data: Vec<_> = all.into_iter().map(data).collect();
        assert_eq!(data, [Some(&b"a"[..]), Some(b"b"), Some(b""), Some(b" c"), None, None, None]);
    }
}

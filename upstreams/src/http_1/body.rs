//! The body of an answer (RFC 9112 §6, §7.1): where it ends, and what of it was read.

use bytes::{Buf as _, Bytes, BytesMut};
use httparse::Status;

use super::Malformed;

/// How long a line may be that says how long a chunk is, with its extensions.
const LONGEST_LINE: usize = 4 * 1024;

/// How long the fields behind the last chunk may be.
const LONGEST_TRAILERS: usize = 64 * 1024;

/// The rest of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes; at 0 it is over.
    Length(u64),
    /// Chunks.
    Chunks(Chunk),
    /// Whatever comes until the connection ends.
    UntilClosed,
}

/// Where among its chunks a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// At the line that says how long the next one is.
    Size,
    /// So far from the end of one.
    Data(u64),
    /// At the end of the line behind one.
    End,
    /// Behind the last one, so far into the fields that may follow.
    Trailers(usize),
}

impl Body {
    /// None.
    pub(super) const EMPTY: Self = Self::Length(0);

    /// The beginning of one in chunks.
    pub(super) const CHUNKED: Self = Self::Chunks(Chunk::Size);

    /// Whether it is over.
    pub(super) fn is_over(self) -> bool {
        self == Self::EMPTY
    }

    /// Takes the next part of the body from what was `read`; none when there is nothing of it there. Goes on to the end of the
    /// body if that was read, too.
    ///
    /// # Errors
    /// What is there is no chunk.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        let part = match self {
            Self::Length(left) => part(left, read),
            Self::UntilClosed => (!read.is_empty()).then(|| read.split().freeze()),
            Self::Chunks(_) => {
                self.frame(read)?;
                let part = match self {
                    Self::Chunks(Chunk::Data(left)) => part(left, read),
                    _ => None,
                };
                self.frame(read)?;
                part
            }
        };
        Ok(part)
    }

    /// Goes on to the next byte of a chunk, or to the end of the body.
    fn frame(&mut self, read: &mut BytesMut) -> Result<(), Malformed> {
        while let Self::Chunks(chunk) = self {
            *chunk = match *chunk {
                Chunk::Size => match size(read)? {
                    Some(0) => Chunk::Trailers(0),
                    Some(size) => Chunk::Data(size),
                    None => return Ok(()),
                },
                Chunk::Data(0) => Chunk::End,
                Chunk::Data(_) => return Ok(()),
                Chunk::End => match read.first_chunk() {
                    Some(b"\r\n") => {
                        read.advance(2);
                        Chunk::Size
                    }
                    Some(_) => return Err(Malformed("the end of a chunk")),
                    None => return Ok(()),
                },
                Chunk::Trailers(length) => match line(read, LONGEST_TRAILERS.saturating_sub(length))? {
                    Some(0) => {
                        *self = Self::EMPTY;
                        return Ok(());
                    }
                    // What they say is for nobody who has not asked for them, and nobody has.
                    Some(line) => Chunk::Trailers(length + line + 2),
                    None => return Ok(()),
                },
            };
        }
        Ok(())
    }
}

/// Takes of what was `read` as much as is `left`.
fn part(left: &mut u64, read: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
    *left -= length as u64;
    (length > 0).then(|| read.split_to(length).freeze())
}

/// Takes the line that says how long a chunk is; none when there is more of it to come.
fn size(read: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    const MALFORMED: Malformed = Malformed("the length of a chunk");
    // Without a digit there is none, which is not the same as 0.
    if read.first().is_some_and(|first| !first.is_ascii_hexdigit()) {
        return Err(MALFORMED);
    }
    match httparse::parse_chunk_size(read).map_err(|_| MALFORMED)? {
        Status::Complete((length, _)) if length > LONGEST_LINE => Err(MALFORMED),
        Status::Complete((length, size)) => {
            read.advance(length);
            Ok(Some(size))
        }
        Status::Partial if read.len() > LONGEST_LINE => Err(MALFORMED),
        Status::Partial => Ok(None),
    }
}

/// Takes a line, and gives its length without its end; none when there is more of it to come.
fn line(read: &mut BytesMut, longest: usize) -> Result<Option<usize>, Malformed> {
    const MALFORMED: Malformed = Malformed("what follows the last chunk");
    let end = memchr::memchr(b'\n', read);
    if end.unwrap_or(read.len()) > longest {
        return Err(MALFORMED);
    }
    let Some(end) = end else { return Ok(None) };
    let length = end.checked_sub(1).filter(|end| read.get(*end) == Some(&b'\r')).ok_or(MALFORMED)?;
    read.advance(end + 1);
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of a body that is read in pieces, and what is behind it.
    fn read<'a>(
        mut body: Body,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, bool, Vec<u8>), Malformed> {
        let (mut read, mut whole) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            read.extend_from_slice(piece);
            while !body.is_over() {
                let Some(part) = body.take(&mut read)? else { break };
                assert!(!part.is_empty());
                whole.extend_from_slice(&part);
            }
        }
        Ok((whole, body.is_over(), read.to_vec()))
    }

    fn chunks(text: &str) -> Result<(Vec<u8>, bool, Vec<u8>), Malformed> {
        read(Body::CHUNKED, [text.as_bytes()])
    }

    #[test]
    fn however_a_body_is_cut_up_it_reads_the_same() {
        let chunked = "5\r\nhello\r\nA ; a=\"b\"\r\n 123456789\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n";
        for (body, text, content) in
            [(Body::CHUNKED, chunked, "hello 123456789"), (Body::Length(5), "hello", "hello"), (Body::EMPTY, "", "")]
        {
            let text = format!("{text}next");
            let expected = (content.as_bytes().to_vec(), true, b"next".to_vec());
            for cut in 0..text.len() {
                let (one, two) = text.as_bytes().split_at(cut);
                assert_eq!(read(body, [one, two]).unwrap(), expected, "{text:?} at {cut}");
            }
            assert_eq!(read(body, text.as_bytes().chunks(1)).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_body_is_over_with_its_last_part() {
        for (mut body, text) in [(Body::Length(5), "hello"), (Body::CHUNKED, "5\r\nhello\r\n0\r\n\r\n")] {
            assert_eq!(body.take(&mut text.into()).unwrap().unwrap(), "hello");
            assert!(body.is_over());
        }
    }

    #[test]
    fn without_a_length_all_is_body() {
        assert_eq!(read(Body::UntilClosed, [&b"a"[..], b"b"]).unwrap(), (b"ab".to_vec(), false, Vec::new()));
    }

    #[test]
    fn rfc9112_s7_1_what_is_no_chunk_is_refused() {
        for text in [
            "\r\nhello",
            "-5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5\nhello\r\n",
            "5 5\r\nhello\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\rx",
            "ffffffffffffffff1\r\n",
            "0\r\nX-A: b\n\r\n",
        ] {
            assert!(chunks(text).is_err(), "{text:?}");
        }
        // Only their beginning.
        for text in ["", "5", "5\r", "5\r\nhello\r", "0\r\n", "0\r\n\r", "fffffffffffffff\r\nhello"] {
            assert!(!chunks(text).unwrap().1, "{text:?}");
        }
    }

    #[test]
    fn what_says_how_long_a_chunk_is_and_what_follows_the_last_one_has_an_end() {
        assert!(chunks(&format!("5;{}\r\nhello\r\n", "a".repeat(LONGEST_LINE - 8))).is_ok());
        assert!(chunks(&format!("5;{}\r\nhello\r\n", "a".repeat(LONGEST_LINE))).is_err());
        assert!(chunks(&format!("5;{}", "a".repeat(LONGEST_LINE))).is_err());
        let field = format!("a: {}\r\n", "b".repeat(1019));
        assert!(chunks(&format!("0\r\n{}\r\n", field.repeat(63))).unwrap().1);
        assert!(chunks(&format!("0\r\n{}", field.repeat(65))).is_err());
        assert!(chunks(&format!("0\r\na: {}", "b".repeat(LONGEST_TRAILERS))).is_err());
    }
}

//! Content codings taken off, piece by piece (RFC 9110 §8.4.1): a stream goes on as it comes.
//!
//! Everything that is decoded passes through a buffer of fixed size, so that whoever takes it can stop in the middle of
//! what a few bytes expand to.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::FilterError;

/// How much is decoded at a time.
const BUFFER: usize = 16 * 1024;

/// A header of gzip may have a name and a comment of any length; real ones have none.
const MAX_GZIP_HEADER: usize = 512;

/// Who takes what is decoded.
type Sink<'s> = dyn FnMut(&[u8]) -> Result<(), FilterError> + 's;

/// Takes off one content coding.
pub(super) enum Decoder {
    Identity,
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
    Brotli(Box<Brotli>),
}

impl Decoder {
    /// For the `Content-Encoding` of a response.
    pub(super) fn new(headers: &HeaderMap) -> Result<Self, FilterError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(Self::Identity) };
        if values.next().is_some() {
            return Err(FilterError::UnsupportedEncoding);
        }
        let value = value.to_str().map_err(|_| FilterError::UnsupportedEncoding)?;
        match value.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip(Box::new(Gzip::new()))),
            "deflate" => Ok(Self::Deflate(Box::default())),
            "br" => Ok(Self::Brotli(Box::new(Brotli::new()))),
            _ => Err(FilterError::UnsupportedEncoding),
        }
    }

    pub(super) fn push(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), FilterError> {
        match self {
            Self::Identity => sink(input),
            Self::Gzip(gzip) => gzip.push(input, sink),
            Self::Deflate(deflate) => deflate.push(input, sink),
            Self::Brotli(brotli) => brotli.push(input, sink),
        }
    }

    /// No more will come. An error in the midst of it; nothing at all is no body, and none was encoded.
    pub(super) fn finish(&self) -> Result<(), FilterError> {
        let is_whole = match self {
            Self::Identity => true,
            Self::Gzip(gzip) => matches!(&gzip.at, At::Header(header) if header.is_empty()),
            Self::Deflate(deflate) => deflate.inflate.is_none() || deflate.has_ended,
            Self::Brotli(brotli) => !brotli.has_begun || brotli.has_ended,
        };
        if is_whole { Ok(()) } else { Err(FilterError::Decoding) }
    }
}

/// DEFLATE (RFC 1951), with or without the wrapping of zlib.
struct Inflate {
    state: Box<InflateState>,
    buffer: Vec<u8>,
}

impl Inflate {
    fn new(format: DataFormat) -> Self {
        Self { state: InflateState::new_boxed(format), buffer: vec![0; BUFFER] }
    }

    /// Decodes all there is, up to the end of the stream: whether that has come. What follows it stays in `input`.
    fn push(&mut self, input: &mut &[u8], sink: &mut Sink<'_>) -> Result<bool, FilterError> {
        loop {
            let step = inflate(&mut self.state, input, &mut self.buffer, MZFlush::None);
            *input = input.get(step.bytes_consumed..).unwrap_or_default();
            if step.bytes_written > 0 {
                sink(self.buffer.get(..step.bytes_written).unwrap_or_default())?;
            }
            match step.status {
                Ok(MZStatus::StreamEnd) => return Ok(true),
                Ok(_) if step.bytes_consumed > 0 || step.bytes_written > 0 => {}
                Ok(_) | Err(MZError::Buf) => return Ok(false),
                Err(_) => return Err(FilterError::Decoding),
            }
        }
    }
}

/// The coding `gzip` (RFC 1952): members one after the other, each with a header, a checksum and a length.
pub(super) struct Gzip {
    at: At,
    inflate: Inflate,
    checksum: crc32fast::Hasher,
    length: u32,
}

/// Where in a member of gzip the input is.
enum At {
    /// In the header, of which this has come.
    Header(Vec<u8>),
    Body,
    /// In the checksum and length, of which this has come.
    Trailer(Vec<u8>),
}

impl Gzip {
    fn new() -> Self {
        Self {
            at: At::Header(Vec::new()),
            inflate: Inflate::new(DataFormat::Raw),
            checksum: crc32fast::Hasher::new(),
            length: 0,
        }
    }

    fn push(&mut self, mut input: &[u8], sink: &mut Sink<'_>) -> Result<(), FilterError> {
        while let Some((first, rest)) = input.split_first() {
            match &mut self.at {
                At::Header(header) => {
                    header.push(*first);
                    input = rest;
                    if is_gzip_header(header)? {
                        self.at = At::Body;
                    }
                }
                At::Body => {
                    let (checksum, length) = (&mut self.checksum, &mut self.length);
                    let has_ended = self.inflate.push(&mut input, &mut |piece| {
                        checksum.update(piece);
                        *length = length.wrapping_add(u32::try_from(piece.len()).unwrap_or_default());
                        sink(piece)
                    })?;
                    if has_ended {
                        self.at = At::Trailer(Vec::new());
                    } else if !input.is_empty() {
                        return Err(FilterError::Decoding);
                    }
                }
                At::Trailer(trailer) => {
                    trailer.push(*first);
                    input = rest;
                    if trailer.len() == 8 {
                        self.end_member()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn end_member(&mut self) -> Result<(), FilterError> {
        let At::Trailer(trailer) = &self.at else { return Ok(()) };
        let checksum = std::mem::take(&mut self.checksum).finalize();
        if trailer.as_slice() != [checksum.to_le_bytes(), self.length.to_le_bytes()].concat() {
            return Err(FilterError::Decoding);
        }
        self.inflate.state.reset(DataFormat::Raw);
        self.length = 0;
        self.at = At::Header(Vec::new());
        Ok(())
    }
}

/// Whether this is the whole header of a member (RFC 1952 §2.3).
fn is_gzip_header(header: &[u8]) -> Result<bool, FilterError> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    if header.len() > MAX_GZIP_HEADER || !header.iter().zip([0x1F, 0x8B, 8]).all(|(byte, magic)| *byte == magic) {
        return Err(FilterError::Decoding);
    }
    let Some((&[_, _, _, flags, ..], mut rest)) = header.split_first_chunk::<10>() else { return Ok(false) };
    if flags & 0xE0 != 0 {
        return Err(FilterError::Decoding);
    }
    for (flag, length) in [(EXTRA, extra_length as Length), (NAME, text_length), (COMMENT, text_length)] {
        if flags & flag != 0 {
            let Some(after) = length(rest).and_then(|length| rest.get(length..)) else { return Ok(false) };
            rest = after;
        }
    }
    Ok(rest.len() == if flags & CHECKSUM != 0 { 2 } else { 0 })
}

/// How long a field of the header is that begins here; none while that cannot be said.
type Length = fn(&[u8]) -> Option<usize>;

fn extra_length(rest: &[u8]) -> Option<usize> {
    rest.first_chunk().map(|length| 2 + usize::from(u16::from_le_bytes(*length)))
}

fn text_length(rest: &[u8]) -> Option<usize> {
    rest.iter().position(|byte| *byte == 0).map(|end| end + 1)
}

/// The coding `deflate`: zlib (RFC 1950), or what many took it for, DEFLATE without it.
#[derive(Default)]
pub(super) struct Deflate {
    inflate: Option<Inflate>,
    has_ended: bool,
}

impl Deflate {
    fn push(&mut self, mut input: &[u8], sink: &mut Sink<'_>) -> Result<(), FilterError> {
        let Some(first) = input.first() else { return Ok(()) };
        if self.has_ended {
            return Err(FilterError::Decoding);
        }
        // The method of zlib is always 8. Without zlib these bits would be padding that is not zero, which nobody writes.
        let format = if first & 0x0F == 8 { DataFormat::Zlib } else { DataFormat::Raw };
        let inflate = self.inflate.get_or_insert_with(|| Inflate::new(format));
        self.has_ended = inflate.push(&mut input, sink)?;
        if input.is_empty() { Ok(()) } else { Err(FilterError::Decoding) }
    }
}

/// The coding `br` (RFC 7932).
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    buffer: Vec<u8>,
    has_begun: bool,
    has_ended: bool,
}

impl Brotli {
    fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self {
            // Strict: not the windows of up to a gigabyte that are no part of the RFC.
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            buffer: vec![0; BUFFER],
            has_begun: false,
            has_ended: false,
        }
    }

    fn push(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), FilterError> {
        if input.is_empty() {
            return Ok(());
        }
        if self.has_ended {
            return Err(FilterError::Decoding);
        }
        self.has_begun = true;
        let (mut left, mut consumed, mut total) = (input.len(), 0, 0);
        loop {
            let (mut free, mut written) = (self.buffer.len(), 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut consumed,
                input,
                &mut free,
                &mut written,
                &mut self.buffer,
                &mut total,
                &mut self.state,
            );
            sink(self.buffer.get(..written).unwrap_or_default())?;
            match result {
                BrotliResult::ResultSuccess if left == 0 => {
                    self.has_ended = true;
                    return Ok(());
                }
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::ResultSuccess | BrotliResult::ResultFailure => return Err(FilterError::Decoding),
            }
        }
    }
}

//! Bodies as servers encode them.

use crate::list_filter::Visibility;
use crate::message::ListKind;

/// Everything is visible.
pub(crate) struct Open;

impl Visibility for Open {
    fn is_visible(&self, _: ListKind, _: &str) -> bool {
        true
    }
}

pub(crate) fn deflate(body: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(body, 6)
}

pub(crate) fn zlib(body: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(body, 6)
}

const GZIP_HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&GZIP_HEADER[..], &deflate(body), &crc32fast::hash(body).to_le_bytes(), &length.to_le_bytes()].concat()
}

/// What a server has sent of a stream that goes on.
pub(crate) fn flushed_gzip(body: &[u8]) -> Vec<u8> {
    use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, compress};
    let mut compressor = CompressorOxide::new(0x100);
    let mut output = vec![0; body.len() * 2 + 100];
    let (_, _, length) = compress(&mut compressor, body, &mut output, TDEFLFlush::Sync);
    [&GZIP_HEADER[..], &output[..length]].concat()
}

pub(crate) fn brotli(body: &str) -> Vec<u8> {
    let mut output = Vec::new();
    brotli::BrotliCompress(&mut body.as_bytes(), &mut output, &brotli::enc::BrotliEncoderParams::default()).unwrap();
    output
}

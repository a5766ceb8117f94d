//! The names of zlib-ng that `flate2` links to, without its code: there is no compression in this build, and every call
//! says so with [`Z_STREAM_ERROR`].
//!
//! Pingora compiles its compression module whether it is used or not, and with it `flate2` on zlib-ng. phantomgate passes
//! bodies on as they are and never turns that module on.

#![allow(non_camel_case_types, non_snake_case, reason = "the names are zlib's")]

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};

pub type uInt = c_uint;

/// A stream, which is never begun.
#[repr(C)]
pub struct z_stream {
    pub next_in: *mut c_uchar,
    pub avail_in: uInt,
    pub total_in: usize,
    pub next_out: *mut c_uchar,
    pub avail_out: uInt,
    pub total_out: usize,
    pub msg: *mut c_char,
    pub state: *mut c_void,
    pub zalloc: extern "C" fn(*mut c_void, uInt, uInt) -> *mut c_void,
    pub zfree: extern "C" fn(*mut c_void, *mut c_void),
    pub opaque: *mut c_void,
    pub data_type: c_int,
    pub adler: u32,
    pub reserved: usize,
}

pub const Z_NO_FLUSH: c_int = 0;
pub const Z_PARTIAL_FLUSH: c_int = 1;
pub const Z_SYNC_FLUSH: c_int = 2;
pub const Z_FULL_FLUSH: c_int = 3;
pub const Z_FINISH: c_int = 4;
pub const Z_BLOCK: c_int = 5;
pub const Z_OK: c_int = 0;
pub const Z_STREAM_END: c_int = 1;
pub const Z_NEED_DICT: c_int = 2;
pub const Z_STREAM_ERROR: c_int = -2;
pub const Z_DATA_ERROR: c_int = -3;
pub const Z_MEM_ERROR: c_int = -4;
pub const Z_BUF_ERROR: c_int = -5;
pub const Z_DEFAULT_STRATEGY: c_int = 0;
pub const Z_DEFLATED: c_int = 8;

pub extern "C" fn zlibVersion() -> *const c_char {
    c"none".as_ptr()
}

/// Defines a function of zlib's that fails.
macro_rules! absent {
    ($($name:ident($($argument:ty),*);)*) => {
        $(pub extern "C" fn $name($(_: $argument),*) -> c_int { Z_STREAM_ERROR })*
    };
}

absent! {
    deflateInit2_(*mut z_stream, c_int, c_int, c_int, c_int, c_int, *const c_char, c_int);
    deflate(*mut z_stream, c_int);
    deflateEnd(*mut z_stream);
    deflateReset(*mut z_stream);
    deflateParams(*mut z_stream, c_int, c_int);
    deflateSetDictionary(*mut z_stream, *const c_uchar, uInt);
    inflateInit2_(*mut z_stream, c_int, *const c_char, c_int);
    inflate(*mut z_stream, c_int);
    inflateEnd(*mut z_stream);
    inflateReset2(*mut z_stream, c_int);
    inflateSetDictionary(*mut z_stream, *const c_uchar, uInt);
}

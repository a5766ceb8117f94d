//! Claims: read, or refused.

#![no_main]

use phantomgate_introspection::Claims;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let Ok(claims) = Claims::parse(text) else { return };
    for name in claims.names() {
        let _ = (claims.text(name), claims.texts(name), claims.date(name), claims.at(name));
    }
});

//! JWEs: read, or refused. The first line is the header, then come key, initialization vector, ciphertext and tag; all of
//! it as it stands is tried too.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use phantomgate_introspection::jwe::DecryptionKey;

/// Bob's key of RFC 7518 §C, as PKCS #8.
static KEY: LazyLock<Option<DecryptionKey>> = LazyLock::new(|| {
    let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVEmDZpDXXK8p8N0C\n\
               ndsxs924q6nS1RXFASRl6BfUqdyhRANCAATB40nLYexwJIzoAQNMODThuI6+EWHL\n\
               Ja84dB94X8/ExHvJZwjvgJUrU/jSVV/nK4Qe0EWIYosdN4pZSTlQDsnJ";
    DecryptionKey::from_pem(&format!("-----BEGIN {0}-----\n{key}\n-----END {0}-----\n", "PRIVATE KEY"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let key = KEY.as_ref().expect("the key of the standard is one");
    let parts: Vec<String> =
        input.split(|byte| *byte == b'\n').map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).collect();
    for jwe in [parts.join("."), String::from_utf8_lossy(input).into_owned()] {
        let _ = key.decrypt(&jwe);
    }
});

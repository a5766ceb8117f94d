//! Key sets: read, or refused; and whatever key is read is used.

#![no_main]

use phantomgate_introspection::config::JwtRules;
use phantomgate_introspection::jwt::SignedJwt;
use phantomgate_introspection::key_set::KeySet;

/// The header says ES256, then EdDSA, then RS256; the signatures are zeros.
const JWTS: [&str; 3] = [
    "eyJhbGciOiJFUzI1NiJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "eyJhbGciOiJFZERTQSJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "eyJhbGciOiJSUzI1NiJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let Ok(keys) = KeySet::parse(body) else { return };
    for jwt in JWTS {
        if let Ok(jwt) = SignedJwt::parse(jwt, &[""], &JwtRules::ALGORITHMS) {
            let _ = jwt.verify(&keys);
        }
    }
});

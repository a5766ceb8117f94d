//! JWTs: nothing is verified that nobody signed. The first line is the header, the second the payload, the third the
//! signature; all of it as it stands is tried too.

#![no_main]

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use phantomgate_introspection::config::JwtRules;
use phantomgate_introspection::jwt::SignedJwt;
use phantomgate_introspection::key_set::KeySet;

/// The public key of RFC 8037 §A.2.
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPjHURo"}]}"#;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(keys) = KeySet::parse(KEYS.as_bytes()) else { return };
    let parts: Vec<String> =
        input.split(|byte| *byte == b'\n').map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).collect();
    for jwt in [parts.join("."), String::from_utf8_lossy(input).into_owned()] {
        if let Ok(signed) = SignedJwt::parse(&jwt, &["at+jwt", ""], &JwtRules::ALGORITHMS) {
            assert!(!matches!(signed.verify(&keys), Ok(Some(_))), "verified: {jwt}");
        }
    }
});

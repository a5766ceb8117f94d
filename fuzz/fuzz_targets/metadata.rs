//! Metadata: read, or refused.

#![no_main]

use phantomgate_introspection::config::is_confidential;
use phantomgate_introspection::{AuthorizationServerMetadata, Issuer};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let Ok(issuer) = Issuer::parse("https://login.example.com") else { return };
    let Ok(metadata) = AuthorizationServerMetadata::parse(body, &issuer) else { return };
    for mtls in [false, true] {
        for url in [metadata.introspection_endpoint(mtls), metadata.token_endpoint(mtls), metadata.jwks_uri()] {
            assert!(url.is_err() || url.is_ok_and(|url| is_confidential(&url)));
        }
    }
});

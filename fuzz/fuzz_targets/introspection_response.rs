//! Introspection responses: read, or refused.

#![no_main]

use phantomgate_introspection::response::Reader;
use phantomgate_introspection::{Config, Issuer, NumericDate, Vendor};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let Ok(issuer) = Issuer::parse("https://login.example.com") else { return };
    for vendor in [Vendor::Standard, Vendor::Hydra, Vendor::Keycloak, Vendor::Okta] {
        let config = Config { vendor, claims: vec!["a.b".to_owned()], ..Config::new(issuer.clone()) };
        let _ = Reader::new(&config).introspection_response(body, NumericDate::from_seconds(1_000));
    }
});

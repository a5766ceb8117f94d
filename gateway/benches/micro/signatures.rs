//! What a JWT costs that is made for an upstream, and one that is verified here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use phantomgate::config::SigningAlgorithm::{self, ES256, EdDSA, PS256, RS256};
use phantomgate::config::{SignedConfig, SigningConfig};
use phantomgate::signing::{SignedCredential, Signer};
use phantomgate::upstream_credential::Made;
use phantomgate_introspection::config::JwtRules;
use phantomgate_introspection::jwt::SignedJwt;
use phantomgate_introspection::key_set::KeySet;
use phantomgate_introspection::{ActiveToken, Claims, NumericDate, ScopeSet};

pub(crate) const ALGORITHMS: [SigningAlgorithm; 4] = [ES256, EdDSA, RS256, PS256];

const NOW: NumericDate = NumericDate::from_seconds(1_000_000);

#[divan::bench(args = ALGORITHMS)]
fn sign(bencher: Bencher<'_, '_>, algorithm: SigningAlgorithm) {
    bencher.bench_local(signing(algorithm));
}

#[divan::bench(args = ALGORITHMS)]
fn verify(bencher: Bencher<'_, '_>, algorithm: SigningAlgorithm) {
    bencher.bench_local(verifying(algorithm));
}

pub(crate) fn signing(algorithm: SigningAlgorithm) -> impl FnMut() -> Made {
    let credential = credential(algorithm);
    let token = token();
    move || credential.sign(black_box(&token), NOW).expect("a JWT")
}

/// Many JWTs in turn: how many steps a signature takes depends on its bits.
pub(crate) fn verifying(algorithm: SigningAlgorithm) -> impl FnMut() -> Claims {
    let credential = credential(algorithm);
    let keys = KeySet::parse(&credential.signer.key_set()).expect("its public key");
    let jwt = |_| {
        let header = credential.sign(&token(), NOW).expect("a JWT").header;
        header.to_str().ok().and_then(|header| header.strip_prefix("Bearer ")).expect("a JWT").to_owned()
    };
    let jwts: Vec<_> = (0..64).map(jwt).collect();
    let mut next = 0;
    move || {
        next = (next + 1) % jwts.len();
        let jwt = SignedJwt::parse(black_box(&jwts[next]), &["at+jwt"], &JwtRules::ALGORITHMS).expect("a JWT");
        jwt.verify(&keys).expect("a signature").expect("a known key")
    }
}

/// A folder for keys. They are made once, for all runs: how long that takes is a matter of luck.
pub(crate) fn keys(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("micro").join(name)
}

pub(crate) fn credential(algorithm: SigningAlgorithm) -> SignedCredential {
    let lifetime = Duration::from_secs(3_600);
    let issuer = "https://mcp.example.com".to_owned();
    let config = SigningConfig { issuer, algorithm, keys: keys(&algorithm.to_string()), lifetime };
    let signer = Arc::new(Signer::open(&config, NOW).expect("a key"));
    let terms = SignedConfig { audience: "https://mcp.internal".to_owned(), lifetime, claims: Vec::new() };
    SignedCredential { signer, terms }
}

fn token() -> ActiveToken {
    ActiveToken {
        subject: Some("248289761001".into()),
        client_id: Some("agent".into()),
        scope: ScopeSet::from_granted("mcp:read mcp:write"),
        ..ActiveToken::default()
    }
}

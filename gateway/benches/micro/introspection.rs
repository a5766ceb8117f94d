//! What a token in the cache costs.
//!
//! The number of allocations is exact: none on a hit.

use std::time::Duration;

use divan::{Bencher, black_box};
use phantomgate_introspection::config::{Client, Endpoints};
use phantomgate_introspection::{
    Accepts, ClientAuthentication, Config, Introspector, Issuer, NumericDate, OpaqueToken, Revocation, Secret,
};
use zeroize::Zeroizing;

use crate::authorization_server::{self, RUNTIME, token};
use crate::done;

/// One token in the cache.
#[divan::bench(sample_size = 1_000)]
fn hit(bencher: Bencher<'_, '_>) {
    bencher.bench_local(hitting());
}

pub(crate) fn hitting() -> impl FnMut() -> bool {
    let introspector = warm(1);
    let token = token(0);
    move || look(&introspector, &token)
}

/// Each time another one of many, so that little of it is in the processor's caches.
#[divan::bench(args = [1_000, 10_000], sample_size = 1_000)]
fn hit_among(bencher: Bencher<'_, '_>, tokens: usize) {
    let introspector = warm(tokens);
    let tokens: Vec<_> = (0..tokens).map(token).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % tokens.len();
        look(&introspector, &tokens[next])
    });
}

/// The first hit after somebody else's token was revoked, and all that follow.
#[divan::bench(sample_size = 1_000)]
fn hit_after_revocations_of_others(bencher: Bencher<'_, '_>) {
    let introspector = warm(1);
    for n in 0..1_000 {
        introspector.revoke(&Revocation::Subject(n.to_string()));
    }
    let token = token(0);
    bencher.bench_local(|| look(&introspector, &token));
}

fn look(introspector: &Introspector<()>, token: &str) -> bool {
    let token = OpaqueToken::parse(black_box(token)).expect("a token");
    done(introspector.introspect(token, Accepts::default(), NumericDate::now())).is_ok()
}

/// An introspector that knows so many tokens.
fn warm(tokens: usize) -> Introspector<()> {
    let url = authorization_server::start();
    let mut config = Config::new(Issuer::parse(&url).expect("an issuer"));
    config.endpoints = Endpoints { introspection: Some(url.parse().expect("a URL")), ..Endpoints::default() };
    let secret = Secret::fixed(Zeroizing::new("secret".to_owned()));
    config.client =
        Some(Client { id: "bench".to_owned(), authentication: ClientAuthentication::ClientSecretBasic(secret) });
    config.cache.max_ttl = Duration::from_secs(3_600);
    let introspector = Introspector::new(&config).expect("an introspector");
    RUNTIME.block_on(async {
        for number in 0..tokens {
            let token = token(number);
            let token = OpaqueToken::parse(&token).expect("a token");
            introspector.introspect(token, Accepts::default(), NumericDate::now()).await.expect("an active token");
        }
    });
    introspector
}

//! What a token in the cache costs: `cargo bench -p phantomgate-introspection`.
//!
//! Times are for a quiet machine and say little on another. The number of allocations is exact: none on a hit. What the mean
//! shows beyond that is the cache's housekeeping, which moka lets a reader do about three times a second. The authorization
//! server is a few lines on loopback that answer each first question.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::exit,
    reason = "a benchmark that cannot be set up says so by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use divan::{AllocProfiler, Bencher, black_box};
use phantomgate_introspection::config::{Client, Endpoints};
use phantomgate_introspection::{
    Accepts, ClientAuthentication, Config, Introspector, Issuer, NumericDate, OpaqueToken, Revocation, Secret,
};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads")
});

const RESPONSE: &str = r#"{"active":true,"sub":"248289761001","client_id":"agent","scope":"mcp:read mcp:write","sid":"s","aud":"https://mcp.example.com/mcp","exp":9999999999}"#;

/// One token in the cache.
#[divan::bench(sample_size = 1_000)]
fn hit(bencher: Bencher<'_, '_>) {
    let introspector = warm(1);
    let token = token(0);
    bencher.bench_local(|| look(&introspector, &token));
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
    let known = introspector.introspect(token, Accepts::default(), NumericDate::now());
    // A hit never waits: the future is done when it is first looked at.
    done(known).is_ok()
}

fn done<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("a hit waited"),
    }
}

fn token(number: usize) -> String {
    format!("opaque-token-of-some-forty-characters-{number:08}")
}

/// An introspector that knows so many tokens.
fn warm(tokens: usize) -> Introspector<()> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(|| answer(stream));
        }
    });
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

/// Answers every request on a connection alike.
fn answer(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{RESPONSE}", RESPONSE.len()).ok()?;
    }
}

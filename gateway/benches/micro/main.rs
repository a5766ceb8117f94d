//! What the parts of a request cost: in time and allocations, by divan, and in instructions, by callgrind.
//!
//! ```sh
//! ./tests/run bench
//! cargo bench --workspace --bench micro                    # time and allocations
//! cargo bench --workspace --bench micro -- instructions    # compared with instructions.txt
//! ```
//!
//! Times are for a quiet machine and say little on another. Numbers of allocations are exact, and numbers of instructions
//! nearly so: they show a regression on any machine.
//!
//! One binary for all crates, because each one that knows the gateway links Pingora.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up says so by panicking, and prints what it finds"
)]

mod admission;
mod audit;
mod authorization_server;
mod heads;
mod instructions;
mod introspection;
mod messages;
mod routes;
mod signatures;

use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

use divan::AllocProfiler;
use instructions::{Scenario, scenario};
use mimalloc::MiMalloc;
use phantomgate::config::SigningAlgorithm::{ES256, EdDSA, PS256, RS256};
use phantomgate::metrics::Exposition;

/// The allocator of the product, and an eye on it.
#[global_allocator]
static ALLOCATOR: AllocProfiler<MiMalloc> = AllocProfiler::new(MiMalloc);

fn main() -> ExitCode {
    phantomgate::install_crypto_provider();
    let _exposition = Exposition::install(); // requests are counted, as they are where it runs
    match std::env::args().nth(1).as_deref() {
        Some("instructions") => instructions::compare(&scenarios()),
        Some(instructions::UNDER_CALLGRIND) => instructions::run(&scenarios()),
        _ => {
            divan::main();
            ExitCode::SUCCESS
        }
    }
}

/// What instructions are counted of, by the names that `instructions.txt` has for it.
fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("routes: find among 10", || routes::finding(10)),
        scenario("routes: find among 1000", || routes::finding(1_000)),
        scenario("routes: find nothing among 1000", || routes::finding_nothing(1_000)),
        scenario("introspection: hit (digest, cache)", introspection::hitting),
        scenario("admission: hit (credential, digest, cache, authorize, grant)", admission::admitting),
        scenario("admission: hit, from target to token swap", admission::deciding),
        scenario("admission: refused, no credential", admission::refusing),
        scenario("heads: change a request of 200 untrusted fields", || heads::changing(200)),
        scenario("heads: read an answer of 200 pieces", || heads::reading(200)),
        scenario("audit: write a record", audit::writing),
        scenario("messages: parse tools/call of 500 B", || messages::parsing(messages::call(0))),
        scenario("messages: parse tools/call of 64 KiB", || messages::parsing(messages::call(64 * 1024))),
        scenario("messages: parse a batch of 10 × 500 B", || messages::parsing(messages::batch(10))),
        scenario("messages: parse and check tools/call of 500 B", messages::checking),
        scenario("messages: filter a list of 50 tools", || messages::filtering("application/json")),
        scenario("messages: filter a list of 50 tools in an event", || messages::filtering("text/event-stream")),
        scenario("messages: pass 100 events", messages::passing),
        scenario("signatures: sign ES256", || signatures::signing(ES256)),
        scenario("signatures: sign EdDSA", || signatures::signing(EdDSA)),
        scenario("signatures: sign RS256", || signatures::signing(RS256)),
        scenario("signatures: sign PS256", || signatures::signing(PS256)),
        scenario("signatures: verify ES256", || signatures::verifying(ES256)),
        scenario("signatures: verify EdDSA", || signatures::verifying(EdDSA)),
        scenario("signatures: verify RS256", || signatures::verifying(RS256)),
        scenario("signatures: verify PS256", || signatures::verifying(PS256)),
    ]
}

/// What a future gives that never waits: it is done when it is first looked at.
fn done<F: Future>(future: F) -> F::Output {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a hit waited"),
    }
}

//! A moment of all that a program is for. A build that writes down what it does meanwhile tells the next one what is often
//! done and what is not: `packaging/build`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::authorization_server::token;
use crate::programs::Program;
use crate::requests::{each, get, post};
use crate::world::{World, mcp_route};
use crate::{peers, soak};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which; `PHANTOMGATE_BIN` and `PLAIN_PINGORA_BIN` say where they are
    program: Trained,
}

/// What is ours to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Trained {
    /// The gateway
    Phantomgate,
    /// The floor it is compared with
    PlainPingora,
}

/// How long everything at once is done.
const MIXTURE: Duration = Duration::from_secs(30);

/// How many requests of each kind are refused: who floods with them must not find what nobody has made fast.
const REFUSED: usize = 20_000;

pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    match arguments.program {
        Trained::Phantomgate => {
            peers::exercise(Program::Phantomgate).await;
            soak::exercise(MIXTURE).await;
            refuse().await;
        }
        Trained::PlainPingora => peers::exercise(Program::PlainPingora).await,
    }
    ExitCode::SUCCESS
}

/// Has requests refused: without a token, with one that is not good, and a call of a tool that is denied.
async fn refuse() {
    let world = World::start(1, 1).await;
    let mut configuration = world.configuration();
    configuration["routes"] = serde_json::json!([mcp_route("mcp", "/mcp", "api", serde_json::json!({}))]);
    let gateway = world.gateway("refusing", &configuration).await;
    let address = gateway.address();
    let (known, call) =
        (token("0000000"), r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete-users"}}"#);
    let answers = each(address, 16, 0..3 * REFUSED, move |number| match number % 3 {
        0 => format!("GET /mcp HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes(),
        1 => get(address, "/mcp", "unknown"),
        _ => post(address, "/mcp", &known, call),
    });
    let answers = answers.await;
    assert_eq!(answers.statuses.keys().copied().collect::<Vec<_>>(), [401, 403], "{}", gateway.output());
}

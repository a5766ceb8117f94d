//! Every client with every server: each signs in, connects, lists the tools, calls one, sees an event of a call that is
//! still going on, gets the scope that a tool asks for beyond its token's, and goes on when its token has expired.
//!
//! All clients of a server run at once through one gateway, as agents do. The table says what is expected of whom; where
//! a client cannot do something by itself, it says why.

use e2e::{Fixture, World, python_client, python_server, server_everything, typescript_client};
use futures_util::future::join_all;
use rmcp::{ClientLifecycleMode, model::ProtocolVersion};
use serde_json::{Value, json};

use super::{in_front_of, rmcp_client::rmcp_client, rmcp_server::rmcp_server};

/// Seconds that a token lives: long enough for all steps before the last, which waits for its end. (rmcp refreshes for
/// every request what has less than 30 s to live; longer lives would only make longer tests.)
const LIFETIME: u64 = 20;

const WITH_SESSIONS: &str = "2025-11-25";
const STATELESS: &str = "2026-07-28";

/// A client, and how it is started.
#[derive(Clone, Copy, Debug)]
enum Client {
    TypeScript1,
    TypeScript2,
    TypeScript2Auto,
    TypeScript2Stateless,
    Python,
    FastMcp,
    RmcpInitialize,
    RmcpDiscover,
    RmcpAuto,
}

/// What becomes of a call to a tool that needs a scope which the token lacks.
enum StepUp {
    /// The client gets it and the call succeeds.
    Succeeds,
    /// It does not, with this in its error. The reason stands beside it.
    Fails { error: &'static str },
}

use Client::*;
use StepUp::*;

impl Client {
    /// Those that speak to a server of the revisions up to 2025-11-25.
    const WITH_SESSIONS: [Self; 7] =
        [TypeScript1, TypeScript2, TypeScript2Auto, Python, FastMcp, RmcpInitialize, RmcpAuto];
    /// Those that speak to one of all revisions, which are all.
    const ALL: [Self; 9] = [
        TypeScript1,
        TypeScript2,
        TypeScript2Auto,
        TypeScript2Stateless,
        Python,
        FastMcp,
        RmcpInitialize,
        RmcpDiscover,
        RmcpAuto,
    ];

    /// The revision that it agrees on with a server of all revisions.
    fn preferred(self) -> &'static str {
        match self {
            TypeScript1 | TypeScript2 | RmcpInitialize => WITH_SESSIONS,
            TypeScript2Auto | TypeScript2Stateless | Python | FastMcp | RmcpDiscover | RmcpAuto => STATELESS,
        }
    }

    fn step_up(self) -> StepUp {
        match self {
            // It holds a refresh token and uses that, which brings the same scopes again. An operator whose clients are of
            // this kind asks for all scopes at once: `challenge: all`.
            TypeScript1 => Fails { error: "403 after trying upscoping" },
            _ => Succeeds,
        }
    }

    async fn run(self, server: &str, steps: &[Value]) -> Value {
        let newest = || vec![ProtocolVersion::V_2026_07_28];
        match self {
            TypeScript1 => typescript_client("sdk", json!({}), server, steps).await,
            TypeScript2 => typescript_client("client", json!({}), server, steps).await,
            TypeScript2Auto => typescript_client("client", negotiating(json!("auto")), server, steps).await,
            TypeScript2Stateless => {
                typescript_client("client", negotiating(json!({ "pin": STATELESS })), server, steps).await
            }
            Python => python_client("mcp", server, steps).await,
            FastMcp => python_client("fastmcp", server, steps).await,
            RmcpInitialize => rmcp_client(server, ClientLifecycleMode::Initialize, steps).await,
            RmcpDiscover => {
                rmcp_client(server, ClientLifecycleMode::Discover { preferred_versions: newest() }, steps).await
            }
            RmcpAuto => {
                let lifecycle = ClientLifecycleMode::Auto { preferred_versions: newest(), legacy_version: None };
                rmcp_client(server, lifecycle, steps).await
            }
        }
    }
}

fn negotiating(mode: Value) -> Value {
    json!({ "versionNegotiation": { "mode": mode } })
}

/// What is called of a server to see an event of a call that is still going on, and how it shows that one was seen.
struct Streaming {
    call: fn(Client) -> Value,
    is_seen_in: fn(&Value) -> bool,
}

/// It takes three seconds, in as many steps; another call is made and answered between the first and the last.
const OF_SERVER_EVERYTHING: Streaming = Streaming {
    call: |_| {
        json!({
            "do": "stream", "tool": "trigger-long-running-operation", "arguments": { "duration": 3, "steps": 3 },
            "meanwhile": { "tool": "echo", "arguments": { "message": "meanwhile" } },
        })
    },
    is_seen_in: |streamed| streamed["answered_meanwhile"] == true,
};

/// It ends when another call says so, which is made at its first event: never, if that event does not come before its end.
const OF_OURS: Streaming = Streaming {
    call: |client| {
        let name = json!({ "name": format!("{client:?}") });
        json!({
            "do": "stream", "tool": "hold", "arguments": name, "meanwhile": { "tool": "release", "arguments": name },
        })
    },
    is_seen_in: |streamed| streamed["text"].as_str().is_some_and(|text| text.starts_with("Released: ")),
};

fn steps(streaming: Value) -> Vec<Value> {
    let echo = |message: &str| json!({ "do": "call", "tool": "echo", "arguments": { "message": message } });
    vec![
        json!({ "do": "list" }),
        echo("hello"),
        streaming,
        json!({ "do": "call", "tool": "get-sum", "arguments": { "a": 2, "b": 3 } }),
        json!({ "do": "expire" }),
        echo("hello again"),
    ]
}

/// What is not as it should be in the facts of one client.
fn complaints(client: Client, protocol: &str, streaming: &Streaming, facts: &Value) -> Vec<String> {
    let [listed, called, streamed, stepped_up, _, refreshed] = facts["steps"].as_array().unwrap().as_slice() else {
        panic!("{client:?}: {facts}")
    };
    let has = |scope: &str, step: &Value| step["scope"].as_str().unwrap().split(' ').any(|each| each == scope);
    let step_up = match client.step_up() {
        Succeeds => stepped_up["text"] == "The sum of 2 and 3 is 5." && has("mcp:write", stepped_up),
        Fails { error } => stepped_up["error"].as_str().is_some_and(|message| message.contains(error)),
    };
    let checks = [
        ("connect", facts["protocol"] == protocol),
        ("list", listed["tools"].as_array().is_some_and(|tools| tools.contains(&json!("echo")))),
        ("call", called["text"] == "Echo: hello"),
        ("call with the scope of the first challenge", has("mcp:read", called) && !has("mcp:write", called)),
        ("stream", (streaming.is_seen_in)(streamed)),
        ("step up", step_up),
        (
            "refresh",
            refreshed["text"] == "Echo: hello again" && refreshed["token"].as_u64() > stepped_up["token"].as_u64(),
        ),
    ];
    checks
        .iter()
        .filter(|(_, right)| !right)
        .map(|(step, _)| format!("{client:?} does not {step}: {} {}", facts["protocol"], facts["steps"]))
        .collect()
}

/// Lets all of these clients use `server` at once.
async fn agents_use(server: &str, clients: &[(Client, &str)], streaming: &Streaming) {
    let (world, _provider) = world(server).await;
    let url = world.url("/mcp");
    let (world, url) = (&world, url.as_str());
    let facts = clients.iter().map(|(client, protocol)| async move {
        let facts = client.run(url, &steps((streaming.call)(*client))).await;
        for credential in facts["credentials"].as_array().unwrap() {
            world.credentials.agent(credential.as_str().unwrap());
        }
        complaints(*client, protocol, streaming, &facts)
    });
    let complaints = join_all(facts).await.concat();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

async fn world(server: &str) -> (World, Fixture) {
    in_front_of(server, LIFETIME, "client_secret_basic", |route| {
        route["mcp"] = json!({ "default": "allow", "tools": { "get-sum": { "scopes": ["mcp:write"] } } });
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_uses_server_everything() {
    let server = server_everything().await;
    let clients = Client::WITH_SESSIONS.map(|client| (client, WITH_SESSIONS));

    agents_use(server.text("/url"), &clients, &OF_SERVER_EVERYTHING).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_uses_a_python_server() {
    let server = python_server().await;
    let clients = Client::ALL.map(|client| (client, client.preferred()));

    agents_use(server.text("/url"), &clients, &OF_OURS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_uses_an_rmcp_server() {
    let server = rmcp_server().await;
    let clients = Client::ALL.map(|client| (client, client.preferred()));

    agents_use(&server, &clients, &OF_OURS).await;
}

#[tokio::test]
async fn the_typescript_sdk_gets_all_scopes_at_once_where_the_first_challenge_asks_for_all() {
    let server = server_everything().await;
    let (world, _provider) = in_front_of(server.text("/url"), 600, "client_secret_post", |route| {
        let tools = json!({ "get-sum": { "scopes": ["mcp:write"] } });
        route["mcp"] = json!({ "default": "allow", "tools": tools, "challenge": "all" });
    })
    .await;

    let sum = json!({ "do": "call", "tool": "get-sum", "arguments": { "a": 2, "b": 3 } });
    let facts = TypeScript1.run(&world.url("/mcp"), &[sum]).await;

    assert_eq!(facts["steps"][0]["text"], "The sum of 2 and 3 is 5.", "{facts}");
    assert_eq!(facts["steps"][0]["token"], 1, "{facts}");
}

//! Real servers and clients from npm, PyPI and Debian, which `./tests/run` installs, most of them under `target/fixtures`.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{Certificates, Process};

/// A running fixture and the JSON line that it printed when it was ready.
pub struct Fixture {
    /// What it said: its URL or issuer.
    pub ready: Value,
    /// Who vouches for its certificate, where it has one.
    pub(crate) authority: Option<PathBuf>,
    _process: Process,
}

impl Fixture {
    async fn start(name: &str, command: Command) -> Self {
        let process = Process::spawn(name, command);
        Self { ready: process.ready().await, authority: None, _process: process }
    }

    /// A string of its ready line.
    #[track_caller]
    pub fn text(&self, pointer: &str) -> &str {
        self.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {}", self.ready))
    }
}

/// oidc-provider, which issues tokens for these resources:
/// `{"URL": {"scopes": [...], "ttl": seconds, "format": "opaque" or "jwt"}}`.
pub async fn oidc_provider(resources: Value) -> Fixture {
    start_oidc_provider(&json!({ "resources": resources })).await
}

/// The same over TLS, asking for client certificates.
pub async fn oidc_provider_over_tls(resources: Value, certificates: &Certificates) -> Fixture {
    let tls = json!({
        "ca": certificates.ca(),
        "certificate": certificates.server().certificate,
        "privateKey": certificates.server().private_key,
    });
    let provider = start_oidc_provider(&json!({ "resources": resources, "tls": tls })).await;
    Fixture { authority: Some(certificates.ca()), ..provider }
}

/// oidc-provider with further options of its own; see there.
pub async fn start_oidc_provider(options: &Value) -> Fixture {
    let mut command = node("oidc-provider/server.mjs");
    command.arg(options.to_string());
    Fixture::start("oidc-provider", command).await
}

/// django-oauth-toolkit, which issues tokens for any resource, with the scopes `mcp:read` and `mcp:write`.
pub async fn django_oauth_toolkit() -> Fixture {
    Fixture::start("django-oauth-toolkit", python("django-oauth-toolkit/server.py")).await
}

/// Glewlwyd, which issues tokens for these resources: `{"URL": {"scopes": [...]}}`.
pub async fn glewlwyd(resources: Value) -> Fixture {
    let mut command = python("glewlwyd/server.py");
    command.arg(json!({ "resources": resources }).to_string());
    Fixture::start("glewlwyd", command).await
}

/// The reference server of the MCP project.
pub async fn server_everything() -> Fixture {
    start_server_everything("streamableHttp").await
}

/// The same with the transport of 2024-11-05, HTTP+SSE.
pub async fn server_everything_of_2024() -> Fixture {
    start_server_everything("sse").await
}

async fn start_server_everything(transport: &str) -> Fixture {
    let mut command = node("mcp-servers/everything.mjs");
    command.arg(transport);
    Fixture::start("server-everything", command).await
}

/// A server on the Python SDK, with a few tools.
pub async fn python_server() -> Fixture {
    Fixture::start("the Python MCP server", python("mcp-servers/python_server.py")).await
}

/// A server on the Python SDK that has everything the official conformance suite asks for.
pub async fn conformance_server() -> Fixture {
    Fixture::start("the conformance server", python("mcp-servers/conformance_server.py")).await
}

/// The official conformance suite, as the folder of node_modules that a version of it lives in.
pub fn mcp_conformance(package: &str) -> Command {
    let mut command = Command::new(installed("node/node"));
    command.arg(installed(&format!("node/node_modules/{package}/dist/index.js")));
    command
}

/// Runs a client of the TypeScript SDK, with the options of its class, through `steps`; gives the facts it printed.
/// `fixtures/mcp-clients/typescript.mjs` says what they all are.
pub async fn typescript_client(client: &str, options: Value, server: &str, steps: &[Value]) -> Value {
    let mut command = node("mcp-clients/typescript.mjs");
    command.arg(json!({ "client": client, "options": options, "server": server, "steps": steps }).to_string());
    run_client(&format!("the TypeScript client {client}"), command).await
}

/// Runs a Python client, `mcp` or `fastmcp`, through `steps`; gives the facts it printed.
pub async fn python_client(client: &str, server: &str, steps: &[Value]) -> Value {
    let mut command = python("mcp-clients/python_client.py");
    command.arg(json!({ "client": client, "server": server, "steps": steps }).to_string());
    run_client(&format!("the Python client {client}"), command).await
}

/// Drives the web interface of MCP Inspector in a browser to its end, served at `address` and connecting by `connection`
/// (`proxy`, `direct`, or `refused` when it is to fail); gives what the driver printed.
pub async fn inspector(connection: &str, address: SocketAddr, server: &str, message: &str) -> Value {
    let mut command = node("browser/inspector.mjs");
    command.args([connection, &address.port().to_string(), server, message]);
    run_client("MCP Inspector", command).await
}

/// Uses the dashboard in a browser, as `fixtures/browser/dashboard.mjs` says; gives what the driver printed.
pub async fn dashboard(options: &Value) -> Value {
    let mut command = node("browser/dashboard.mjs");
    command.arg(options.to_string());
    run_client("the dashboard", command).await
}

async fn run_client(name: &str, command: Command) -> Value {
    let mut process = Process::spawn(name, command);
    let status = process.exit().await;
    let output = process.output();
    assert!(status.success(), "{name} ended with {status}:\n{output}");
    let answer = output.lines().find_map(|line| serde_json::from_str(line).ok().filter(Value::is_object));
    answer.unwrap_or_else(|| panic!("{name} printed no result:\n{output}"))
}

fn node(script: &str) -> Command {
    let mut command = Command::new(installed("node/node"));
    // The scripts are reached through a link beside node_modules, and must look for their imports there.
    command.args(["--preserve-symlinks", "--preserve-symlinks-main"]);
    command.arg(installed(&format!("node/fixtures/{script}")));
    command
}

fn python(script: &str) -> Command {
    let mut command = Command::new(installed("python/bin/python"));
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(script));
    command
}

fn installed(path: &str) -> PathBuf {
    let fixtures = std::env::var_os("PHANTOMGATE_FIXTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/fixtures"), PathBuf::from);
    let path = fixtures.join(path);
    assert!(path.exists(), "{} is missing: `./tests/run install` installs it", path.display());
    path
}

//! Real servers and clients from npm and PyPI, which `./tests/run` installs under `target/fixtures`.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{Process, within};

/// A running fixture and the JSON line that it printed when it was ready.
pub struct Fixture {
    /// What it said: its URL or issuer.
    pub ready: Value,
    _process: Process,
}

impl Fixture {
    async fn start(name: &str, command: Command) -> Self {
        let process = Process::spawn(name, command);
        Self { ready: process.ready().await, _process: process }
    }

    /// A string of its ready line.
    #[track_caller]
    pub fn text(&self, pointer: &str) -> &str {
        self.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {}", self.ready))
    }
}

/// oidc-provider, which issues tokens for these resources: `{"URL": {"scopes": [...], "ttl": seconds}}`.
pub async fn oidc_provider(resources: Value) -> Fixture {
    let mut command = node("oidc-provider/server.mjs");
    command.arg(serde_json::json!({ "resources": resources }).to_string());
    Fixture::start("oidc-provider", command).await
}

/// The reference server of the MCP project.
pub async fn server_everything() -> Fixture {
    Fixture::start("server-everything", node("mcp-servers/everything.mjs")).await
}

/// A server on the Python SDK, with the tools `echo` and `whoami`.
pub async fn python_server() -> Fixture {
    Fixture::start("the Python MCP server", python("mcp-servers/python_server.py")).await
}

/// Runs the TypeScript SDK's client of a generation (`sdk` or `client`) to its end; gives what it printed.
pub async fn typescript_client(generation: &str, server: &str, tool: &str, arguments: &Value) -> Value {
    let mut command = node("mcp-clients/typescript.mjs");
    command.args([generation, server, tool, &arguments.to_string()]);
    run_client("the TypeScript client", command).await
}

/// Runs the Python SDK's client to its end; gives what it printed.
pub async fn python_client(server: &str, tool: &str, arguments: &Value) -> Value {
    let mut command = python("mcp-clients/python_client.py");
    command.args([server, tool, &arguments.to_string()]);
    run_client("the Python client", command).await
}

/// What a person's browser does with an authorization URL: follows redirects and keeps cookies until it is sent back
/// to `redirect_url`. Gives the URL it was sent to.
pub async fn follow_redirects(authorization_url: &str, redirect_url: &str) -> String {
    let no_redirects = reqwest::redirect::Policy::none();
    let browser = reqwest::Client::builder().redirect(no_redirects).no_proxy().build().unwrap();
    let mut cookies = BTreeMap::new();
    let mut url = url::Url::parse(authorization_url).unwrap();
    while !url.as_str().starts_with(redirect_url) {
        let cookie = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let request = browser.get(url.clone()).header("cookie", cookie);
        let response = within("a redirect", request.send()).await.unwrap();
        for line in response.headers().get_all("set-cookie") {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = response.headers().get("location").map(|location| location.to_str().unwrap());
        let location = location.unwrap_or_else(|| panic!("{url} answered {}", response.status()));
        url = url.join(location).unwrap();
    }
    url.into()
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

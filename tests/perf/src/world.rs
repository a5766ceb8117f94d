//! phantomgate between an authorization server and an upstream, for the commands that look at it alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{AnswerExt as _, Process, ReservedPort, within};
use serde_json::{Value, json};

use crate::authorization_server::{AuthorizationServer, CLIENT_ID, CLIENT_SECRET, RESOURCE, SCOPE, UPSTREAM_AUDIENCE};
use crate::load::listening;
use crate::machine::Placement;
use crate::process::{ProcessTree, Usage};
use crate::programs::{ENVIRONMENT, Program};
use crate::upstream::{Upstream, new_folder};

/// How long memory may take to be given back after what needed it has gone.
const SETTLING: Duration = Duration::from_secs(3);

/// Everything but the gateway.
pub(crate) struct World {
    /// Who knows the tokens.
    pub(crate) authorization_server: AuthorizationServer,
    /// Where requests go.
    pub(crate) upstream: Upstream,
    /// Which processors they have.
    pub(crate) placement: Placement,
    directory: tempfile::TempDir,
}

impl World {
    /// One whose authorization server knows so many tokens, and whose upstream has so many addresses.
    pub(crate) async fn start(tokens: usize, addresses: usize) -> Self {
        let (directory, placement) = (tempfile::tempdir().unwrap(), Placement::here());
        let launch = |program: &Path| placement.other(program);
        let upstream = Upstream::start_at(addresses, directory.path(), launch).await;
        Self { authorization_server: AuthorizationServer::start(tokens), upstream, placement, directory }
    }

    /// Where files may lie.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A command that starts something other than the gateway.
    pub(crate) fn launch(&self) -> impl Fn(&Path) -> Command {
        |program| self.placement.other(program)
    }

    /// What is the same for all gateways here: one protected route to the upstream, no audit, and no bound that a load
    /// would meet. Tokens are believed, and JWTs live, as long as a command runs.
    pub(crate) fn configuration(&self) -> Value {
        let issuer = self.authorization_server.issuer();
        json!({
            "limits": { "connections": 1_000_000, "connections_per_address": 1_000_000 },
            "authorization_servers": { "main": {
                "issuer": issuer,
                "client": { "id": CLIENT_ID, "secret": { "file": "secret" } },
                "endpoints": { "introspection": format!("{issuer}/introspect") },
                "cache": { "max_ttl": "1h" },
            } },
            "signing": { "issuer": "https://gateway.example.com", "keys": "keys", "lifetime": "1h" },
            "upstreams": { "api": { "endpoints": [format!("http://{}", self.upstream.address())] } },
            "routes": [route("api", "/", "api")],
        })
    }

    /// Starts a gateway, which has a folder of this name.
    pub(crate) async fn gateway(&self, name: &str, configuration: &Value) -> Gateway {
        let (port, admin) = (ReservedPort::new(), ReservedPort::new());
        let directory = new_folder(self.directory(), name);
        let file = directory.join("gateway.yaml");
        std::fs::write(directory.join("secret"), CLIENT_SECRET).unwrap();
        let mut command = self.placement.proxy(&Program::Phantomgate.path());
        command.envs(ENVIRONMENT).args(["run", "--log-level", "warn", "-c"]).arg(&file);
        write(&file, port.address(), admin.address(), configuration);
        let gateway = Gateway { port, admin, process: Process::spawn("phantomgate", command), file };
        tokio::select! {
            () = listening(gateway.address()) => {}
            () = gateway.process.find_in_output("it listened", |_| None) => {} // that is, it panics when the process ends
        }
        gateway
    }
}

/// A protected route for what is below `path`. All of them take the same tokens and send the same credential.
pub(crate) fn route(name: &str, path: &str, upstream: &str) -> Value {
    json!({
        "name": name,
        "match": { "path": path },
        "upstream": upstream,
        "resource": format!("{RESOURCE}{path}"),
        "audiences": [RESOURCE],
        "authorization_server": "main",
        "scopes": [SCOPE],
        "credential": { "kind": "signed", "audience": UPSTREAM_AUDIENCE },
    })
}

/// The same, where messages are read and decided upon.
pub(crate) fn mcp_route(name: &str, path: &str, upstream: &str, tools: Value) -> Value {
    let mut route = route(name, path, upstream);
    route["mcp"] = json!({ "default": "deny", "tools": tools });
    route
}

/// JSON is YAML.
fn write(file: &Path, address: SocketAddr, admin: SocketAddr, configuration: &Value) {
    let mut configuration = configuration.clone();
    configuration["listeners"] = json!([{ "address": address }]);
    configuration["admin"] = json!({ "address": admin });
    // In one piece: it may be looked at any time.
    let new = file.with_extension("new");
    std::fs::write(&new, serde_json::to_string_pretty(&configuration).unwrap()).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// A running gateway. Dropping it ends it.
pub(crate) struct Gateway {
    port: ReservedPort,
    admin: ReservedPort,
    process: Process,
    file: PathBuf,
}

impl Gateway {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> ProcessTree {
        ProcessTree::of(self.process.id())
    }

    /// All it has said, which is nothing when all is well.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// What it holds when nothing has been asked of it for a while.
    pub(crate) async fn at_rest(&self) -> Usage {
        tokio::time::sleep(SETTLING).await;
        self.processes().usage()
    }

    /// Has it read another configuration and put it to work.
    pub(crate) async fn reload(&self, configuration: &Value) {
        write(&self.file, self.address(), self.admin.address(), configuration);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/v1/reload", self.admin.address());
        client.post(url).answer().await.assert_status(200);
    }

    /// The sum of all samples of a metric.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let metrics = client.get(format!("http://{}/metrics", self.admin.address())).answer().await;
        sum_of(&metrics.assert_status(200).body, name)
    }

    /// Waits until a metric is 0.
    pub(crate) async fn metric_ends(&self, name: &str) {
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        let ended = async {
            while self.metric(name).await > 0.0 {
                interval.tick().await;
            }
        };
        within(&format!("{name} to be 0"), ended).await;
    }
}

/// The sum of the samples of this name, in the text that Prometheus reads.
fn sum_of(metrics: &str, name: &str) -> f64 {
    let samples =
        metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    samples.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_are_summed() {
        let metrics = "# TYPE open gauge\nopen{route=\"a b\"} 2\nopen{route=\"c\"} 3\nopened 7\nconnections 4\n";
        assert_eq!(sum_of(metrics, "open"), 5.0);
        assert_eq!(sum_of(metrics, "connections"), 4.0);
        assert_eq!(sum_of(metrics, "none"), 0.0);
    }
}

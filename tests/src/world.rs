//! The servers of one test: a scripted authorization server, a scripted upstream, and the gateway between them.

use std::path::Path;

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    AnswerExt, AuthorizationServer, Credentials, Fixture, Gateway, Hosts, RawConnection, ReservedPort, Response,
    Upstream,
    authorization_server::{CLIENT_ID, CLIENT_SECRET},
};

/// The scope that the protected route of every world asks for.
const SCOPE: &str = "mcp:read";

/// The audience of the JWTs that the gateway signs for the upstream.
const UPSTREAM_AUDIENCE: &str = "https://upstream.internal/mcp";

/// All servers of a test. When it ends, it checks that no credential went where it must not.
pub struct World {
    /// The running gateway.
    pub gateway: Gateway,
    /// The authorization server named `main` in the configuration.
    pub authorization_server: AuthorizationServer,
    /// The upstream named `upstream` in the configuration.
    pub upstream: Upstream,
    /// What must not be found in the wrong places.
    pub credentials: Credentials,
    /// The configuration that was written last.
    config: Value,
    client: reqwest::Client,
    admin: ReservedPort,
    directory: TempDir,
}

/// The servers of a test whose gateway has not started yet: the place to change its configuration.
pub struct Given {
    /// The configuration. YAML includes JSON, so this is written to the file as it is.
    pub config: Value,
    /// The authorization server named `main`.
    pub authorization_server: AuthorizationServer,
    /// The upstream named `upstream`.
    pub upstream: Upstream,
    /// What must not be found in the wrong places.
    pub credentials: Credentials,
    /// How much the gateway logs: at first all there is, because all of it is searched for credentials.
    pub log_level: &'static str,
    /// Where the gateway looks names up, if not where everybody does.
    pub hosts: Option<Hosts>,
    port: ReservedPort,
    admin: ReservedPort,
    directory: TempDir,
}

impl Given {
    /// One protected route, `/mcp`.
    pub async fn new() -> Self {
        let (port, admin) = (ReservedPort::new(), ReservedPort::new());
        let (directory, credentials) = (tempfile::tempdir().unwrap(), Credentials::default());
        let origin = format!("http://{}", port.address());
        let authorization_server = AuthorizationServer::start(&format!("{origin}/mcp"), credentials.clone()).await;
        let upstream = Upstream::start().await;
        let config = json!({
            "listeners": [{ "address": port.address() }],
            "admin": { "address": admin.address() },
            "authorization_servers": { "main": authorization_server_config(&authorization_server, directory.path()) },
            "signing": { "issuer": origin, "algorithm": "ES256", "keys": directory.path().join("keys"), "lifetime": "5m" },
            "upstreams": { "upstream": { "endpoints": [upstream.url()] } },
            "routes": [route("mcp", &origin, "/mcp")],
        });
        Self {
            config,
            authorization_server,
            upstream,
            credentials,
            log_level: "trace",
            hosts: None,
            port,
            admin,
            directory,
        }
    }

    /// The public URL of a path on the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.address())
    }

    /// Adds a protected route that differs from the first in its path and resource alone.
    pub fn add_route(&mut self, name: &str, path: &str) -> &mut Value {
        let route = route(name, &format!("http://{}", self.port.address()), path);
        let routes = self.config["routes"].as_array_mut().unwrap();
        routes.push(route);
        routes.last_mut().unwrap()
    }

    /// Adds a route that needs no credential.
    pub fn add_public_route(&mut self, name: &str, path: &str) {
        let route = json!({ "name": name, "match": { "path": path }, "upstream": "upstream", "public": true });
        self.config["routes"].as_array_mut().unwrap().push(route);
    }

    /// Adds an authorization server to the configuration.
    pub fn add_authorization_server(&mut self, name: &str, server: &AuthorizationServer) {
        self.config["authorization_servers"][name] = authorization_server_config(server, self.directory.path());
    }

    /// Puts oidc-provider in the place of `main`, where the gateway is the client that authenticates in this way.
    pub fn use_provider(&mut self, provider: &Fixture, authentication: &str) {
        let client = &provider.ready["clients"][authentication];
        let client_secret = client["client_secret"].as_str().unwrap();
        let secret = self.directory().join("provider-secret");
        std::fs::write(&secret, client_secret).unwrap();
        self.credentials.gateway(client_secret);
        self.config["authorization_servers"]["main"] = json!({
            "issuer": provider.text("/issuer"),
            "client": { "id": client["client_id"], "secret": { "file": secret }, "authentication": authentication },
        });
    }

    /// Puts a real MCP server in the place of `upstream`.
    pub fn use_server(&mut self, server: &Fixture) {
        let endpoint = server.text("/url").strip_suffix("/mcp").unwrap();
        self.config["upstreams"]["upstream"]["endpoints"] = json!([endpoint]);
    }

    /// A folder that lives as long as the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the gateway.
    pub async fn start(self) -> World {
        let Self { config, authorization_server, upstream, credentials, log_level, hosts, port, admin, directory } =
            self;
        let file = directory.path().join("gateway.yaml");
        std::fs::write(&file, serde_json::to_string_pretty(&config).unwrap()).unwrap();
        let gateway = Gateway::start(port, &file, log_level, hosts).await;
        // Every request shows what was received, not what a client library made of it.
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        World { gateway, authorization_server, upstream, credentials, config, client, admin, directory }
    }
}

/// The configuration of an authorization server, with its client secret in a file.
fn authorization_server_config(server: &AuthorizationServer, directory: &Path) -> Value {
    let secret = directory.join("secret");
    std::fs::write(&secret, CLIENT_SECRET).unwrap();
    json!({
        "issuer": server.issuer(),
        "endpoints": { "introspection": server.introspection_endpoint() },
        "client": { "id": CLIENT_ID, "secret": { "file": secret }, "authentication": "client_secret_basic" },
    })
}

fn route(name: &str, origin: &str, path: &str) -> Value {
    json!({
        "name": name,
        "match": { "path": path },
        "upstream": "upstream",
        "resource": format!("{origin}{path}"),
        "authorization_server": "main",
        "scopes": [SCOPE],
        "credential": { "kind": "signed", "audience": UPSTREAM_AUDIENCE },
    })
}

impl World {
    /// One protected route, `/mcp`, that asks for the scope `mcp:read`.
    pub async fn new() -> Self {
        Given::new().await.start().await
    }

    /// Writes another configuration in the place of the one there is.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        self.write_config(&serde_json::to_string_pretty(&self.config).unwrap());
    }

    /// Writes `text` in the place of the configuration.
    pub fn write_config(&self, text: &str) {
        // At once, as editors do: nobody reads half of it.
        let (new, file) = (self.directory().join("new.yaml"), self.directory().join("gateway.yaml"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Has the gateway read its configuration again, by way of the admin listener.
    pub async fn reload(&self) -> Response {
        self.client().post(self.admin_url("/v1/reload")).answer().await
    }

    /// A token that passes every check of the route.
    pub fn valid_token(&self) -> String {
        self.authorization_server.issue(json!({}))
    }

    /// An absolute URL on the gateway.
    pub fn url(&self, path: &str) -> String {
        self.gateway.url(path)
    }

    /// An absolute URL on the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin.address())
    }

    /// The client of [`Self::get`], for requests that are made elsewhere.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// A request to the gateway.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// A GET request to the gateway.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A POST request to the gateway.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A JSON-RPC request to `/mcp`, with the id 1.
    pub fn call(&self, token: &str, method: &str, params: &Value) -> RequestBuilder {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.send(token, message.to_string())
    }

    /// A message, or what should be one, to `/mcp`.
    pub fn send(&self, token: &str, message: impl Into<String>) -> RequestBuilder {
        let request = self.post("/mcp").bearer_auth(token).header("content-type", "application/json");
        request.header("accept", "application/json, text/event-stream").body(message.into())
    }

    /// A connection to the gateway, for bytes of the test's own.
    pub async fn raw(&self) -> RawConnection {
        RawConnection::open(&self.gateway).await
    }

    /// A folder that lives as long as the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A second panic would hide the first.
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ---\n{}", self.gateway.log());
            return;
        }
        for request in self.upstream.received() {
            for jwt in request.headers.get_all("authorization") {
                self.credentials.gateway(jwt.to_str().unwrap().trim_start_matches("Bearer "));
            }
        }
        self.upstream.assert_no_agent_credential(&self.credentials);
        let log = self.gateway.log();
        let leak = log.lines().find(|line| self.credentials.any_in(line).is_some());
        assert_eq!(leak, None, "a credential is in the gateway's output");
    }
}

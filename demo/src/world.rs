//! Owns the demo's world: who is there, at which addresses, with which secrets; how it starts and how it ends.
//!
//! Everything is on loopback, on ports that the operating system chose, and gone when the world ends. Never: a fixed
//! port, a download, a file outside the temporary folder.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context;
use axum::{Router, middleware};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::access_token::Verifier;
use crate::authorization_server::{AuthorizationServer, ClientCredentials, Config, ExchangePolicy};
use crate::fetch;
use crate::gateway::{Addresses, Gateway, SECRET_FILE};
use crate::mcp_server;
use crate::recorder::{self, Recorder};
use crate::users_api;

/// The audience of the JWTs that phantomgate signs for the MCP server; `conf/demo.yaml` says the same.
pub const MCP_AUDIENCE: &str = "https://mcp.internal/users";
/// The audience of the JWTs that the users API accepts.
pub const API_AUDIENCE: &str = "https://api.internal/users";

/// So long a server may take to finish what it is doing when the world ends.
const GRACE: Duration = Duration::from_secs(2);

/// Where everybody is.
#[derive(Debug, Clone)]
pub struct Urls {
    /// phantomgate.
    pub gateway: String,
    /// The MCP endpoint as agents know it, and the audience of their tokens.
    pub resource: String,
    /// The authorization server; also its issuer identifier.
    pub authorization_server: String,
    /// The MCP server behind phantomgate.
    pub mcp_server: String,
    /// The users API behind the MCP server.
    pub users_api: String,
}

/// A running world: authorization server, users API, MCP server, phantomgate.
pub struct World {
    urls: Urls,
    received_by_authorization_server: Recorder,
    received_by_mcp_server: Recorder,
    received_by_users_api: Recorder,
    servers: Servers,
    gateway: Gateway,
    _folder: TempDir,
}

impl World {
    /// Starts everything; when this returns, every port answers.
    ///
    /// # Errors
    /// Names the part that could not start, and why.
    pub async fn start() -> anyhow::Result<World> {
        // The addresses come first: the parts have to know each other before any of them starts.
        let [gateway, authorization_server, mcp, api] = [(); 4].map(|()| bind());
        let (gateway, authorization_server, mcp, api) = (gateway?, authorization_server?, mcp?, api?);
        let urls = Urls {
            gateway: format!("http://{}", gateway.address),
            resource: format!("http://{}{}", gateway.address, mcp_server::PATH),
            authorization_server: format!("http://{}", authorization_server.address),
            mcp_server: format!("http://{}{}", mcp.address, mcp_server::PATH),
            users_api: format!("http://{}/users", api.address),
        };
        let addresses = Addresses {
            gateway: gateway.address.clone(),
            authorization_server: authorization_server.address.clone(),
            mcp_server: mcp.address.clone(),
        };
        let secrets = Secrets::new();
        let http = fetch::http_client().context("cannot set up an HTTP client")?;
        let received_by_authorization_server = Recorder::default();
        let received_by_mcp_server = Recorder::default();
        let received_by_users_api = Recorder::default();
        let mut servers = Servers::new();

        let authorization = AuthorizationServer::new(secrets.authorization_server(&urls)).await;
        let router = authorization.context("the authorization server cannot start")?.into_router();
        let recording = middleware::from_fn_with_state(received_by_authorization_server.clone(), recorder::record);
        let router = router.layer(recording);
        servers.serve("the authorization server", authorization_server, router)?;

        let router = users_api::router(from_authorization_server(&urls, &http), received_by_users_api.clone());
        servers.serve("the users API", api, router)?;

        let config = secrets.mcp_server(&urls);
        let verifier = from_phantomgate(&urls, &http);
        let router = mcp_server::router(config, verifier, received_by_mcp_server.clone(), http);
        servers.serve("the MCP server", mcp, router)?;

        let folder = secrets.write().context("cannot keep phantomgate's secret in a temporary folder")?;
        let gateway = Gateway::start(gateway.listener, &addresses, folder.path()).await?;
        Ok(World {
            urls,
            received_by_authorization_server,
            received_by_mcp_server,
            received_by_users_api,
            servers,
            gateway,
            _folder: folder,
        })
    }

    /// Where everybody is.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// What reached the authorization server.
    pub fn received_by_authorization_server(&self) -> &Recorder {
        &self.received_by_authorization_server
    }

    /// What reached the MCP server.
    pub fn received_by_mcp_server(&self) -> &Recorder {
        &self.received_by_mcp_server
    }

    /// What reached the users API.
    pub fn received_by_users_api(&self) -> &Recorder {
        &self.received_by_users_api
    }

    /// Ends everything: phantomgate first, so that what it has in flight can still be answered.
    ///
    /// # Errors
    /// When a part of the world had broken.
    pub async fn shut_down(self) -> anyhow::Result<()> {
        let gateway = self.gateway.shut_down().await;
        self.servers.shut_down().await;
        gateway
    }
}

/// The users API believes the authorization server.
fn from_authorization_server(urls: &Urls, http: &reqwest::Client) -> Verifier {
    let jwks_uri = format!("{}/jwks", urls.authorization_server);
    Verifier::new(&urls.authorization_server, API_AUDIENCE, &jwks_uri, http.clone())
}

/// The MCP server believes phantomgate.
fn from_phantomgate(urls: &Urls, http: &reqwest::Client) -> Verifier {
    Verifier::new(&urls.gateway, MCP_AUDIENCE, &phantomgate_jwks_uri(urls), http.clone())
}

fn phantomgate_jwks_uri(urls: &Urls) -> String {
    format!("{}/.well-known/jwks.json", urls.gateway)
}

/// The secrets of this one world.
struct Secrets {
    phantomgate: ClientCredentials,
    users_mcp: ClientCredentials,
}

impl Secrets {
    fn new() -> Secrets {
        let client = |id: &str| ClientCredentials { id: id.to_owned(), secret: Uuid::new_v4().to_string() };
        Secrets { phantomgate: client("phantomgate"), users_mcp: client("users-mcp") }
    }

    fn authorization_server(&self, urls: &Urls) -> Config {
        Config {
            issuer: urls.authorization_server.clone(),
            resource_server: self.phantomgate.clone(),
            resource: urls.resource.clone(),
            exchange: ExchangePolicy {
                client: self.users_mcp.clone(),
                subject_issuer: urls.gateway.clone(),
                subject_jwks_uri: phantomgate_jwks_uri(urls),
                subject_audience: MCP_AUDIENCE.to_owned(),
                audience: API_AUDIENCE.to_owned(),
            },
        }
    }

    fn mcp_server(&self, urls: &Urls) -> mcp_server::Config {
        mcp_server::Config {
            token_endpoint: format!("{}/token", urls.authorization_server),
            client: self.users_mcp.clone(),
            users_url: urls.users_api.clone(),
            users_audience: API_AUDIENCE.to_owned(),
        }
    }

    /// A folder as an operator would lay it out, readable by this user alone.
    fn write(&self) -> std::io::Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("phantomgate-demo-").tempdir()?;
        let file = folder.path().join(SECRET_FILE);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&file, &self.phantomgate.secret)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(folder)
    }
}

struct Bound {
    listener: TcpListener,
    address: String,
}

fn bind() -> anyhow::Result<Bound> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot bind a port on 127.0.0.1")?;
    let address = listener.local_addr().context("cannot tell which port was bound")?.to_string();
    Ok(Bound { listener, address })
}

/// The servers that are not phantomgate.
struct Servers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Servers {
    fn new() -> Servers {
        Servers { tasks: JoinSet::new(), stop: watch::Sender::new(false) }
    }

    fn serve(&mut self, name: &'static str, bound: Bound, router: Router) -> anyhow::Result<()> {
        let listen = |listener: TcpListener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        let listener = listen(bound.listener).with_context(|| format!("{name} cannot listen"))?;
        let mut stop = self.stop.subscribe();
        let stopped = async move {
            // An error means that the sender is gone, and the world with it.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        self.tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "{name} ended");
            }
        });
        Ok(())
    }

    async fn shut_down(mut self) {
        let _ = self.stop.send(true);
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        // Whoever has not finished by then is cut off when the set is dropped.
        let _ = tokio::time::timeout(GRACE, finished).await;
    }
}

//! An MCP server on rmcp, of every revision, with the tools of the Python one.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::Router;
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    handler::server::wrapper::Parameters,
    model::{ProgressNotificationParam, RequestMetaObject, ServerCapabilities, ServerConfig},
    schemars::{self, JsonSchema},
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
};

/// Starts one; it lives as long as the test. Gives its URL.
pub(super) async fn rmcp_server() -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let tools = Tools::default();
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    let router = Router::new().route_service("/mcp", service);
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    url
}

/// The sessions share what is held.
#[derive(Clone, Default)]
struct Tools {
    held: Arc<Mutex<HashMap<String, watch::Sender<bool>>>>,
}

#[derive(Deserialize, JsonSchema)]
struct Message {
    message: String,
}

#[derive(Deserialize, JsonSchema)]
struct Summands {
    a: i64,
    b: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
}

#[tool_router]
impl Tools {
    #[tool(description = "The message, as server-everything says it")]
    async fn echo(&self, Parameters(Message { message }): Parameters<Message>) -> String {
        format!("Echo: {message}")
    }

    #[tool(name = "get-sum", description = "The same")]
    async fn get_sum(&self, Parameters(Summands { a, b }): Parameters<Summands>) -> String {
        format!("The sum of {a} and {b} is {}.", a + b)
    }

    #[tool(description = "Says that it has begun, and does not end before it is released by this name")]
    async fn hold(
        &self,
        Parameters(Name { name }): Parameters<Name>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<String, ErrorData> {
        let mut released = self.released(&name).await.subscribe();
        if let Some(token) = meta.get_progress_token() {
            let begun = ProgressNotificationParam::new(token, 1.0).with_total(2.0);
            client.notify_progress(begun).await.unwrap();
        }
        let _ = released.wait_for(|released| *released).await;
        Ok(format!("Released: {name}"))
    }

    #[tool(description = "Lets one go that is held")]
    async fn release(&self, Parameters(Name { name }): Parameters<Name>) -> String {
        self.released(&name).await.send_replace(true);
        name
    }

    async fn released(&self, name: &str) -> watch::Sender<bool> {
        self.held.lock().await.entry(name.to_owned()).or_default().clone()
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

//! Owns the MCP server: one tool, `fetch-users`, behind the JWTs that phantomgate signs for this server.
//!
//! To call the users API the tool needs a token for *that* API. It gets one by exchange (RFC 8693): it hands the JWT it
//! was called with to the authorization server and receives another, for the same person and another audience.
//!
//! Never: passes on the token it was called with, and never sees the one the agent holds.

use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{StatusCode, request::Parts};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Router, http::Extensions};
use rmcp::handler::server::tool::Extension;
use rmcp::model::{CallToolResult, ContentBlock, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use serde::Deserialize;

use crate::access_token::{Claims, Verifier};
use crate::authorization_server::{ACCESS_TOKEN_TYPE, ClientCredentials, TOKEN_EXCHANGE_GRANT_TYPE};
use crate::fetch;
use crate::recorder::{self, Recorder};
use crate::users_api::{self, User, challenge, refusal};

/// Where the server is reached.
pub const PATH: &str = "/mcp";
/// The tool it has.
pub const TOOL: &str = "fetch-users";

/// The servers behind this one, and how it proves who it is.
#[derive(Clone)]
pub struct Config {
    /// The authorization server's token endpoint.
    pub token_endpoint: String,
    /// This server, as a client of the authorization server.
    pub client: ClientCredentials,
    /// `GET` this for the users.
    pub users_url: String,
    /// The audience of the users API.
    pub users_audience: String,
}

/// The caller of a request, verified: the JWT, and what it says.
#[derive(Clone)]
struct Caller {
    token: String,
    claims: Claims,
}

/// The MCP endpoint behind `verifier`; `recorder` remembers what arrives.
pub fn router(config: Config, verifier: Verifier, recorder: Recorder, http: reqwest::Client) -> Router {
    let tools = UsersTools { config: Arc::new(config), http };
    // Without sessions one POST is a whole call, so that `curl` can make it.
    let transport = StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true);
    let service =
        StreamableHttpService::new(move || Ok(tools.clone()), Arc::new(NeverSessionManager::default()), transport);
    Router::new()
        .route_service(PATH, service)
        .layer(middleware::from_fn_with_state(Arc::new(verifier), admit))
        .layer(middleware::from_fn_with_state(recorder, recorder::record))
}

/// Lets a request in when phantomgate signed a JWT for this server.
async fn admit(State(verifier): State<Arc<Verifier>>, mut request: Request, next: Next) -> Response {
    let Some(token) = recorder::bearer(request.headers()).map(str::to_owned) else {
        return challenge(StatusCode::UNAUTHORIZED, "Bearer".to_owned());
    };
    match verifier.verify(&token).await {
        Ok(claims) => {
            request.extensions_mut().insert(Caller { token, claims });
            next.run(request).await
        }
        Err(refused) => refusal(&refused),
    }
}

#[derive(Clone)]
struct UsersTools {
    config: Arc<Config>,
    http: reqwest::Client,
}

#[tool_router]
impl UsersTools {
    #[tool(
        name = "fetch-users",
        description = "Lists the users that the person you act for may see: given name, family name and e-mail.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn fetch_users(&self, Extension(parts): Extension<Parts>) -> Result<CallToolResult, ErrorData> {
        let caller = caller(&parts.extensions)?;
        match self.users_for(caller).await {
            Ok(users) => {
                let listed = serde_json::to_string(&users)
                    .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
                Ok(CallToolResult::success(vec![ContentBlock::text(listed)]))
            }
            Err(error) => {
                tracing::warn!(subject = caller.claims.sub, error = format!("{error:#}"), "fetch-users failed");
                Ok(CallToolResult::error(vec![ContentBlock::text(format!("{error:#}"))]))
            }
        }
    }
}

#[tool_handler]
impl ServerHandler for UsersTools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("Ask for users with the tool fetch-users.")
    }
}

fn caller(extensions: &Extensions) -> Result<&Caller, ErrorData> {
    extensions.get::<Caller>().ok_or_else(|| ErrorData::internal_error("nobody let this request in", None))
}

#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    issued_token_type: String,
    token_type: String,
}

impl UsersTools {
    async fn users_for(&self, caller: &Caller) -> anyhow::Result<Vec<User>> {
        let token = self.exchange(caller).await?;
        let url = &self.config.users_url;
        let response = self.http.get(url).bearer_auth(token).send().await;
        let response = response.context("the users API cannot be reached")?;
        fetch::read_json(response, url, fetch::MAX_DOCUMENT_BYTES).await.context("the users API listed no users")
    }

    /// RFC 8693 §2: this caller's token, for one that the users API accepts.
    async fn exchange(&self, caller: &Caller) -> anyhow::Result<String> {
        let ClientCredentials { id, secret } = &self.config.client;
        let request = self.http.post(&self.config.token_endpoint).basic_auth(id, Some(secret)).form(&[
            ("grant_type", TOKEN_EXCHANGE_GRANT_TYPE),
            ("subject_token", &caller.token),
            ("subject_token_type", ACCESS_TOKEN_TYPE),
            ("audience", &self.config.users_audience),
            ("scope", users_api::SCOPE),
        ]);
        let response = request.send().await.context("the authorization server cannot be reached")?;
        let exchanged = fetch::read_json(response, &self.config.token_endpoint, fetch::MAX_DOCUMENT_BYTES).await;
        let exchanged: Exchanged = exchanged.context("the token exchange gave no token")?;
        anyhow::ensure!(
            exchanged.issued_token_type == ACCESS_TOKEN_TYPE && exchanged.token_type.eq_ignore_ascii_case("Bearer"),
            "the token exchange answered another kind of token"
        );
        Ok(exchanged.access_token)
    }
}

//! Owns the demo's authorization server: **for demos only**. It has no passwords, forgets everything when it stops, and
//! says so in its metadata and on its login page.
//!
//! The grants, registration, introspection and revocation come from the `oauth-as` library. What that leaves to its
//! host is here: the login page, fetching client ID metadata documents, who a person is, and the exchange of a
//! JWT that *another* issuer, phantomgate, has signed.
//!
//! | path | what | specification |
//! |---|---|---|
//! | `/.well-known/oauth-authorization-server` | metadata | RFC 8414 |
//! | `/register` | a client introduces itself | RFC 7591 |
//! | `/authorize` | the login page, the authorization code | RFC 6749 §4.1, RFC 7636, RFC 8707, RFC 9207 |
//! | `/token` | code or refresh token to opaque tokens; token exchange | RFC 6749, RFC 8693 |
//! | `/introspect` | what an opaque token means, for phantomgate alone | RFC 7662 |
//! | `/revoke` | a token ends | RFC 7009 |
//! | `/jwks` | the keys of the exchanged JWTs | RFC 7517 |
//!
//! Never: a JWT for an agent, a token without an audience, an answer to an introspection that is not authenticated.

mod client_id_metadata_document;
mod exchange;
mod introspection;
mod login;
mod page;
mod people;
mod registration;
pub(crate) mod signing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use oauth_as::client::{Client, ClientAuth, ClientId};
use oauth_as::http::{AuthorizationService, ServiceBuilder};
use oauth_as::scope::ScopeSet;
use oauth_as::server::{ResourceServerRegistration, ServerConfig, SystemClock};
use oauth_as::store::{MemoryStorage, Storage};
use serde_json::{Value, json};
use tower_http::cors::{Any, CorsLayer};

pub use exchange::{ACCESS_TOKEN_TYPE, ExchangePolicy, GRANT_TYPE as TOKEN_EXCHANGE_GRANT_TYPE};
pub use people::{PEOPLE, Person};

use crate::fetch;
use exchange::Exchange;
use login::Tickets;
use registration::Budget;
use signing::SigningKey;

type Protocol = oauth_as::server::AuthorizationServer<MemoryStorage, SystemClock>;

/// How a server that is a confidential client proves who it is (RFC 6749 §2.3.1).
#[derive(Clone)]
pub struct ClientCredentials {
    /// Its client identifier.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

/// What the authorization server knows about the rest of the world.
pub struct Config {
    /// Its own issuer identifier: the URL it is reached at.
    pub issuer: String,
    /// The resource server that may introspect: phantomgate.
    pub resource_server: ClientCredentials,
    /// The resource that phantomgate protects, the audience of every agent's token (RFC 8707).
    pub resource: String,
    /// Who may exchange which JWT for which (RFC 8693).
    pub exchange: ExchangePolicy,
}

/// How long an agent's token lives.
const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long an agent may go on without its person.
const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);
/// No request to this server is larger.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Tokens are forgotten when they expire; so many of them can be issued in the life of one.
const TOKEN_REQUESTS_PER_HOUR: u32 = 10_000;

/// The authorization server, ready to be served.
pub struct AuthorizationServer {
    protocol: Arc<Protocol>,
    service: AuthorizationService<MemoryStorage, SystemClock>,
    metadata: Value,
    tickets: Tickets,
    clients: Arc<Budget>,
    token_requests: Budget,
    exchange: Exchange,
    signing_key: SigningKey,
    http: reqwest::Client,
}

impl AuthorizationServer {
    /// Sets up keys and the clients that are known from the start.
    ///
    /// # Errors
    /// Names what could not be set up: the signing key, a client, a URL in `config`.
    pub async fn new(config: Config) -> anyhow::Result<AuthorizationServer> {
        let http = fetch::http_client().context("cannot set up an HTTP client")?;
        let signing_key = SigningKey::generate()?;
        let exchange = Exchange::new(config.exchange.clone(), &config.issuer, http.clone());
        let clients = Arc::new(Budget::in_total(registration::MAX_CLIENTS));

        let protocol = Protocol::new(protocol_config(&config)?, MemoryStorage::new())
            .with_registration_policy(Box::new(registration::WhileRoom(clients.clone())));
        let protocol = Arc::new(protocol);
        protocol.register_client(resource_server(&config)).await.context("cannot register phantomgate")?;
        let service = ServiceBuilder::new(protocol.clone())
            .build()
            .map_err(|error| anyhow!("cannot route the endpoints: {error}"))?;
        let metadata = metadata(&protocol, &config)?;

        Ok(AuthorizationServer {
            protocol,
            service,
            metadata,
            tickets: Tickets::default(),
            clients,
            token_requests: Budget::per_hour(TOKEN_REQUESTS_PER_HOUR),
            exchange,
            signing_key,
            http,
        })
    }

    /// The endpoints.
    pub fn into_router(self) -> Router {
        // Agents that live in a browser may call these. Not the login page: no other page may read the ticket in it.
        let for_agents = Router::new()
            .route("/.well-known/oauth-authorization-server", get(serve_metadata))
            .route("/register", post(registration::register))
            .route("/token", post(token))
            .route("/revoke", post(forward))
            .layer(CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any));
        Router::new()
            .merge(for_agents)
            .route("/authorize", get(login::show).post(login::submit))
            .route("/introspect", post(introspection::introspect))
            .route("/jwks", get(serve_jwks))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(Arc::new(self))
    }

    /// Lets the library answer.
    async fn answer(&self, parts: request::Parts, body: Bytes) -> Response {
        let answer = self.service.handle(Request::from_parts(parts, Body::from(body))).await;
        answer.map(|body| Body::from(body.into_bytes()))
    }
}

type Shared = State<Arc<AuthorizationServer>>;

fn protocol_config(config: &Config) -> anyhow::Result<ServerConfig> {
    let scopes = ScopeSet::from_tokens(people::SCOPES).map_err(|error| anyhow!("cannot name the scopes: {error}"))?;
    // The device grant is the library's, not the demo's: its page is never routed.
    let mut protocol = ServerConfig::new(&config.issuer, format!("{}/device", config.issuer));
    protocol.registration = Some(Box::new(registration::config(scopes)));
    protocol.scopes_supported = Some(people::SCOPES.map(str::to_owned).to_vec());
    protocol.allowed_resources = Some([config.resource.clone().into_boxed_str()].into());
    protocol.resource_servers =
        Some([ResourceServerRegistration::new(ClientId::new(&config.resource_server.id), [&config.resource])].into());
    protocol.introspection_endpoint = Some(format!("{}/introspect", config.issuer));
    protocol.revocation_endpoint = Some(format!("{}/revoke", config.issuer));
    protocol.access_token_ttl = ACCESS_TOKEN_LIFETIME;
    protocol.refresh_token_ttl = Some(REFRESH_TOKEN_LIFETIME);
    protocol.issue_refresh_tokens = true;
    Ok(protocol)
}

fn resource_server(config: &Config) -> Client {
    Client {
        client_id: ClientId::new(&config.resource_server.id),
        auth: ClientAuth::ConfidentialSecret { secret: config.resource_server.secret.clone() },
        grant_types: Vec::new(),
        redirect_uris: Vec::new(),
        allowed_scopes: ScopeSet::default(),
        default_scopes: ScopeSet::default(),
        name: Some("phantomgate".to_owned()),
        registration: None,
    }
}

/// The library's metadata, less the grants that are not routed here, plus what this server adds to the library.
fn metadata(protocol: &Protocol, config: &Config) -> anyhow::Result<Value> {
    let mut metadata = serde_json::to_value(protocol.metadata()).context("cannot write the metadata")?;
    let document = metadata.as_object_mut().context("the metadata is not an object")?;
    document.remove("device_authorization_endpoint");
    document.insert("jwks_uri".to_owned(), json!(format!("{}/jwks", config.issuer)));
    document.insert("client_id_metadata_document_supported".to_owned(), json!(true));
    document.insert(
        "grant_types_supported".to_owned(),
        json!(["authorization_code", "refresh_token", exchange::GRANT_TYPE]),
    );
    document.insert("demo".to_owned(), json!("This authorization server is for demos. It has no passwords."));
    Ok(metadata)
}

async fn serve_metadata(State(server): Shared) -> Response {
    Json(server.metadata.clone()).into_response()
}

async fn serve_jwks(State(server): Shared) -> Response {
    Json(server.signing_key.jwk_set()).into_response()
}

async fn forward(State(server): Shared, parts: request::Parts, body: Bytes) -> Response {
    server.answer(parts, body).await
}

async fn token(State(server): Shared, parts: request::Parts, body: Bytes) -> Response {
    // An exchange leaves nothing behind here, so it costs none of the budget.
    if exchange::is_exchange(&body) {
        return exchange::answer(&server.exchange, &server.signing_key, &parts.headers, &body).await;
    }
    if !server.token_requests.spend() {
        let error = json!({ "error": "temporarily_unavailable", "error_description": "this demo has had enough" });
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "60")], Json(error)).into_response();
    }
    // The library leaves the removal of what has expired to its host.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(jsonwebtoken::get_current_timestamp());
    if let Err(error) = server.protocol.store().sweep_expired(now).await {
        tracing::warn!(%error, "cannot forget expired tokens");
    }
    server.answer(parts, body).await
}

//! The authorization server of a proxy under load. It knows a number of tokens by heart and counts what it is asked.
//!
//! It speaks RFC 7662 with those that introspect. For those that ask somebody else to decide (nginx `auth_request`, Envoy
//! `ext_authz`, Traefik `forwardAuth`) it has a second endpoint, which answers the request itself: 200 with a JWT in
//! `Authorization`, or 401.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use e2e::{Jwt, SigningKey, now};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

/// The client that may introspect.
pub(crate) const CLIENT_ID: &str = "perf";
/// Its secret.
pub(crate) const CLIENT_SECRET: &str = "of-no-importance";
/// The audience of all tokens.
pub(crate) const RESOURCE: &str = "https://api.example.com";
/// The audience of all JWTs.
pub(crate) const UPSTREAM_AUDIENCE: &str = "https://api.internal";
/// The scope of all tokens.
pub(crate) const SCOPE: &str = "api:read";

/// What stands in every token, after its number: they are as long as those of real servers.
const TOKEN_SUFFIX: &str = "7YkQvR2mZtW9sXcB4nHjL6pD";

/// A running one. It ends with the runtime.
pub(crate) struct AuthorizationServer {
    address: SocketAddr,
    state: Arc<Tokens>,
}

struct Tokens {
    issuer: String,
    client: HeaderValue,
    key: SigningKey,
    /// `Bearer` and the JWT that stands in for the token of this number, signed when it is first wanted.
    credentials: Vec<OnceLock<HeaderValue>>,
    introspections: AtomicU64,
}

impl AuthorizationServer {
    /// Starts one that knows so many tokens.
    pub(crate) async fn start(tokens: usize) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let issuer = format!("http://{address}");
        let basic = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
        let state = Arc::new(Tokens {
            key: SigningKey::new(),
            credentials: (0..tokens).map(|_| OnceLock::new()).collect(),
            client: HeaderValue::try_from(format!("Basic {basic}")).unwrap(),
            issuer,
            introspections: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/introspect", post(introspect))
            .route("/decide", any(decide))
            .route("/decide/", any(decide)) // Envoy appends the path of the request
            .route("/decide/{*path}", any(decide))
            .fallback(get(metadata))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state }
    }

    /// Its issuer, as it stands in its metadata.
    pub(crate) fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token of this number, counted from 0.
    pub(crate) fn token(&self, number: usize) -> String {
        assert!(number < self.state.credentials.len(), "there are {} tokens", self.state.credentials.len());
        format!("agent-{number:07}-{TOKEN_SUFFIX}")
    }

    /// How often it was asked about a token since this was called last.
    pub(crate) fn take_introspections(&self) -> u64 {
        self.state.introspections.swap(0, Ordering::Relaxed)
    }
}

/// Whose token that of this number is.
pub(crate) fn subject(number: usize) -> String {
    format!("user-{number:07}")
}

impl Tokens {
    fn number(&self, token: &str) -> Option<usize> {
        let number = token.strip_prefix("agent-")?.strip_suffix(TOKEN_SUFFIX)?.strip_suffix('-')?.parse().ok()?;
        (number < self.credentials.len()).then_some(number)
    }

    /// What the gateway would sign: the same claims, and about as long.
    fn credential(&self, number: usize) -> &HeaderValue {
        self.credentials[number].get_or_init(|| {
            let claims = json!({
                "iss": self.issuer,
                "sub": subject(number),
                "aud": UPSTREAM_AUDIENCE,
                "iat": now(),
                "exp": now() + 3600,
                "jti": format!("0a1b2c3d-4e5f-4a6b-8c7d-{number:012}"),
                "client_id": "agent",
                "scope": SCOPE,
            });
            HeaderValue::try_from(format!("Bearer {}", Jwt::new("at+jwt", claims).sign(&self.key))).unwrap()
        })
    }
}

/// RFC 7662.
async fn introspect(State(tokens): State<Arc<Tokens>>, headers: HeaderMap, body: String) -> Response {
    if headers.get(AUTHORIZATION) != Some(&tokens.client) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    tokens.introspections.fetch_add(1, Ordering::Relaxed);
    let token = body.split('&').find_map(|field| field.strip_prefix("token=")).unwrap_or_default();
    let answer = match tokens.number(token) {
        None => json!({ "active": false }),
        Some(number) => json!({
            "active": true,
            "iss": tokens.issuer,
            "sub": subject(number),
            "aud": RESOURCE,
            "scope": SCOPE,
            "client_id": "agent",
            "token_type": "Bearer",
            "iat": now(),
            "exp": now() + 3600,
        }),
    };
    ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// The decision itself, for those that do not introspect.
async fn decide(State(tokens): State<Arc<Tokens>>, headers: HeaderMap) -> Response {
    tokens.introspections.fetch_add(1, Ordering::Relaxed);
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token.and_then(|token| tokens.number(token)) {
        None => (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")]).into_response(),
        Some(number) => {
            let caching = HeaderValue::from_static("max-age=300");
            [(AUTHORIZATION, tokens.credential(number).clone()), (CACHE_CONTROL, caching)].into_response()
        }
    }
}

async fn metadata(State(tokens): State<Arc<Tokens>>) -> Response {
    let issuer = &tokens.issuer;
    axum::Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
        "response_types_supported": ["code"],
    }))
    .into_response()
}

//! The authorization server of a proxy under load. It knows a number of tokens by heart and counts what it is asked.
//!
//! It can be slow, fail, hang and go away, and counts its connections.
//!
//! It speaks RFC 7662 with those that introspect. For those that ask somebody else to decide (nginx `auth_request`, Envoy
//! `ext_authz`, Traefik `forwardAuth`) it has a second endpoint, which answers the request itself: 200 with a JWT in
//! `Authorization`, or 401.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::connect_info::Connected;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::serve::{IncomingStream, Listener};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use e2e::{Jwt, ReservedPort, SigningKey, now, within};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

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

/// A running one. It ends when it is dropped.
pub(crate) struct AuthorizationServer {
    port: ReservedPort,
    state: Arc<Tokens>,
    /// Its own, so that all its connections end with it. `None` while it is away.
    runtime: Option<Runtime>,
}

/// What comes of a question about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It is answered.
    Answer,
    /// 500.
    Fail,
    /// Nothing, until it behaves otherwise.
    Hang,
}

struct Tokens {
    issuer: String,
    client: HeaderValue,
    key: SigningKey,
    /// `Bearer` and the JWT that stands in for the token of this number, signed when it is first wanted.
    credentials: Vec<OnceLock<HeaderValue>>,
    introspections: AtomicU64,
    /// In microseconds.
    latency: AtomicU64,
    behaviour: watch::Sender<Behaviour>,
    connections: Arc<Connections>,
}

impl AuthorizationServer {
    /// Starts one that knows so many tokens.
    pub(crate) fn start(tokens: usize) -> Self {
        let port = ReservedPort::new();
        let basic = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
        let state = Arc::new(Tokens {
            key: SigningKey::new(),
            credentials: (0..tokens).map(|_| OnceLock::new()).collect(),
            client: HeaderValue::try_from(format!("Basic {basic}")).unwrap(),
            issuer: format!("http://{}", port.address()),
            introspections: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            behaviour: watch::Sender::new(Behaviour::Answer),
            connections: Arc::default(),
        });
        let mut server = Self { port, state, runtime: None };
        server.come_back();
        server
    }

    /// Listens, after it was away.
    pub(crate) fn come_back(&mut self) {
        let router = Router::new()
            .route("/introspect", post(introspect))
            .route("/decide", any(decide))
            .route("/decide/", any(decide)) // Envoy appends the path of the request
            .route("/decide/{*path}", any(decide))
            .fallback(get(metadata))
            .with_state(Arc::clone(&self.state));
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = {
            let _runtime = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(self.port.address()).unwrap();
            Counting { listener: socket.listen(4096).unwrap(), connections: Arc::clone(&self.state.connections) }
        };
        runtime.spawn(async move {
            axum::serve(listener, router.into_make_service_with_connect_info::<Connection>()).await.unwrap();
        });
        self.runtime = Some(runtime);
    }

    /// Goes away: breaks off all connections, and refuses new ones.
    pub(crate) async fn go_away(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let mut open = self.state.connections.open.subscribe();
        within("the authorization server to go away", open.wait_for(|open| *open == 0)).await.unwrap();
    }

    /// What comes of questions about tokens from now on.
    pub(crate) fn be(&self, behaviour: Behaviour) {
        self.state.behaviour.send_replace(behaviour);
    }

    /// How long it thinks about each question from now on.
    pub(crate) fn take_time(&self, latency: Duration) {
        self.state.latency.store(latency.as_micros().try_into().unwrap(), Ordering::Relaxed);
    }

    /// How many connections it had at once, at most, since this was called last.
    pub(crate) fn take_most_connections(&self) -> usize {
        self.state.connections.most.swap(*self.state.connections.open.borrow(), Ordering::Relaxed)
    }

    /// Its issuer, as it stands in its metadata.
    pub(crate) fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The token of this number, counted from 0.
    pub(crate) fn token(&self, number: usize) -> String {
        assert!(number < self.state.credentials.len(), "there are {} tokens", self.state.credentials.len());
        token(&format!("{number:07}"))
    }

    /// How often it was asked about a token since this was called last.
    pub(crate) fn take_introspections(&self) -> u64 {
        self.state.introspections.swap(0, Ordering::Relaxed)
    }
}

/// The token whose number is written like this, with seven digits.
pub(crate) fn token(number: &str) -> String {
    format!("agent-{number}-{TOKEN_SUFFIX}")
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // to wait for it is not allowed in another runtime
        }
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
    let latency = tokens.latency.load(Ordering::Relaxed);
    if latency > 0 {
        tokio::time::sleep(Duration::from_micros(latency)).await;
    }
    let mut behaviour = tokens.behaviour.subscribe();
    let behaviour = *behaviour.wait_for(|behaviour| *behaviour != Behaviour::Hang).await.unwrap();
    if behaviour == Behaviour::Fail {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
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

/// Connections from their acceptance to their end.
#[derive(Debug)]
struct Connections {
    open: watch::Sender<usize>,
    most: AtomicUsize,
}

impl Default for Connections {
    fn default() -> Self {
        Self { open: watch::Sender::new(0), most: AtomicUsize::new(0) }
    }
}

/// A connection that is open: axum keeps it as long as it serves the connection.
#[derive(Clone, Debug)]
struct Connection {
    _counted: Arc<Counted>,
}

#[derive(Debug)]
struct Counted(Arc<Connections>);

impl Connection {
    fn new(connections: &Arc<Connections>) -> Self {
        let mut now = 0;
        connections.open.send_modify(|open| {
            *open += 1;
            now = *open;
        });
        connections.most.fetch_max(now, Ordering::Relaxed);
        Self { _counted: Arc::new(Counted(Arc::clone(connections))) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// A listener that counts its connections. To axum the count is the peer's address, which it hands on to the service.
struct Counting {
    listener: TcpListener,
    connections: Arc<Connections>,
}

impl Listener for Counting {
    type Io = TcpStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (TcpStream, Connection) {
        let (stream, _) = Listener::accept(&mut self.listener).await;
        stream.set_nodelay(true).unwrap();
        (stream, Connection::new(&self.connections))
    }

    fn local_addr(&self) -> std::io::Result<Connection> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

impl Connected<IncomingStream<'_, Counting>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Counting>) -> Self {
        stream.remote_addr().clone()
    }
}

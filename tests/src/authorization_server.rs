//! A scripted authorization server: for each token a test says what introspection answers, and how it misbehaves.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{Credentials, ReservedPort, clock::now, within};

/// The gateway's client id; its colon survives Basic only when it is form-encoded first (RFC 6749 section 2.3.1).
pub(crate) const CLIENT_ID: &str = "gateway:tests";
/// The gateway's client secret, with every character that form-encoding changes.
pub(crate) const CLIENT_SECRET: &str = "s3cr:t+/ %&=é";

/// What introspection answers for one token.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with this JSON.
    Claims(Value),
    /// 200 with `{"active": false}`, as for every token nobody issued.
    Inactive,
    /// Anything else.
    Raw(StatusCode, &'static str, Bytes),
    /// 307 to another place, which would be given the token and the client's credentials.
    Redirect(String),
    /// The same, later: when the test releases it.
    Held(watch::Receiver<bool>, Box<Self>),
}

impl Answer {
    /// An answer with `status` and a small JSON body, as servers send with an error.
    pub fn status(status: u16) -> Self {
        Self::Raw(StatusCode::from_u16(status).unwrap(), "application/json", r#"{"error":"scripted"}"#.into())
    }

    /// An answer with any content.
    pub fn content(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::Raw(StatusCode::from_u16(status).unwrap(), content_type, body.into())
    }
}

/// An introspection request as it arrived.
#[derive(Clone, Debug)]
pub struct IntrospectionRequest {
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its decoded form.
    pub form: Vec<(String, String)>,
}

impl IntrospectionRequest {
    /// The values of a form field.
    pub fn field(&self, name: &str) -> Vec<&str> {
        self.form.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// A running authorization server.
pub struct AuthorizationServer {
    port: ReservedPort,
    script: Arc<Script>,
    credentials: Credentials,
    serving: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

struct Script {
    issuer: String,
    claimed_issuer: Mutex<Option<String>>,
    openid_alone: AtomicBool,
    audience: String,
    answers: Mutex<HashMap<String, Answer>>,
    outage: Mutex<Option<Answer>>,
    requests: watch::Sender<Vec<IntrospectionRequest>>,
}

impl AuthorizationServer {
    /// Starts one whose tokens are, unless a test says otherwise, for `audience`.
    pub async fn start(audience: &str, credentials: Credentials) -> Self {
        let port = ReservedPort::new();
        credentials.gateway(CLIENT_SECRET);
        let script = Script {
            issuer: format!("http://{}", port.address()),
            claimed_issuer: Mutex::default(),
            openid_alone: AtomicBool::default(),
            audience: audience.to_owned(),
            answers: Mutex::default(),
            outage: Mutex::default(),
            requests: watch::Sender::default(),
        };
        let mut server = Self { port, script: Arc::new(script), credentials, serving: None };
        server.come_up().await;
        server
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.script.issuer
    }

    /// Names another issuer in its metadata.
    pub fn claim_to_be(&self, issuer: &str) {
        *self.script.claimed_issuer.lock().unwrap() = Some(issuer.to_owned());
    }

    /// Has its metadata where OpenID Connect Discovery puts it, and not where RFC 8414 does.
    pub fn know_openid_alone(&self) {
        self.script.openid_alone.store(true, Ordering::Relaxed);
    }

    /// Its introspection endpoint.
    pub fn introspection_endpoint(&self) -> String {
        format!("{}/introspect", self.issuer())
    }

    /// A new opaque token. `claims` are laid over those of a valid one; `null` removes a claim.
    pub fn issue(&self, claims: Value) -> String {
        let token = format!("opaque-{}", uuid::Uuid::new_v4().simple());
        self.issue_as(&token, claims);
        token
    }

    /// The same, with a token that the test chose.
    pub fn issue_as(&self, token: &str, claims: Value) {
        let mut all = json!({
            "active": true, "iss": self.issuer(), "aud": self.script.audience, "sub": "alice", "client_id": "agent",
            "scope": "mcp:read", "token_type": "Bearer", "iat": now(), "exp": now() + 600,
        });
        let overlaid = all.as_object_mut().unwrap();
        overlaid.extend(claims.as_object().expect("claims are an object").clone());
        overlaid.retain(|_, value| !value.is_null());
        self.answer(token, Answer::Claims(all));
    }

    /// A token that nobody issued.
    pub fn unknown_token(&self) -> String {
        let token = format!("unknown-{}", uuid::Uuid::new_v4().simple());
        self.credentials.agent(&token);
        token
    }

    /// From now on, introspecting `token` answers this.
    pub fn answer(&self, token: &str, answer: Answer) {
        self.credentials.agent(token);
        self.script.answers.lock().unwrap().insert(token.to_owned(), answer);
    }

    /// Makes introspection of `token` wait until the returned sender is dropped or sent `true`.
    pub fn hold(&self, token: &str) -> watch::Sender<bool> {
        let (release, released) = watch::channel(false);
        let mut answers = self.script.answers.lock().unwrap();
        let then = answers.remove(token).unwrap_or(Answer::Inactive);
        answers.insert(token.to_owned(), Answer::Held(released, Box::new(then)));
        release
    }

    /// From now on every introspection gets this answer, until [`Self::recover`].
    pub fn fail_with(&self, answer: Answer) {
        *self.script.outage.lock().unwrap() = Some(answer);
    }

    /// Back to what was scripted for each token.
    pub fn recover(&self) {
        *self.script.outage.lock().unwrap() = None;
    }

    /// Stops listening: connections are refused until [`Self::come_up`].
    pub async fn go_down(&mut self) {
        if let Some((stop, serving)) = self.serving.take() {
            drop(stop);
            within("an authorization server to stop", serving).await.unwrap();
        }
    }

    /// Listens (again).
    pub async fn come_up(&mut self) {
        let listener = listen(self.port.address());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router(Arc::clone(&self.script))).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        self.serving = Some((stop, tokio::spawn(async { serving.await.unwrap() })));
    }

    /// How often `token` was introspected.
    pub fn introspections(&self, token: &str) -> usize {
        count(&self.script.requests.borrow(), token)
    }

    /// How many introspections there were, of any token.
    pub fn requests(&self) -> Vec<IntrospectionRequest> {
        self.script.requests.borrow().clone()
    }

    /// Waits until the gateway has asked about `token` this often.
    pub async fn introspected(&self, token: &str, times: usize) {
        let mut requests = self.script.requests.subscribe();
        let asked = requests.wait_for(|requests| count(requests, token) >= times);
        within("an introspection", asked).await.unwrap();
    }
}

fn count(requests: &[IntrospectionRequest], token: &str) -> usize {
    requests.iter().filter(|request| request.field("token").contains(&token)).count()
}

/// Listens on a reserved port.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

fn router(script: Arc<Script>) -> Router {
    Router::new()
        .route("/introspect", post(introspect))
        .route("/.well-known/oauth-authorization-server", get(oauth_metadata))
        .route("/.well-known/openid-configuration", get(metadata))
        .with_state(script)
}

async fn oauth_metadata(State(script): State<Arc<Script>>) -> Response {
    if script.openid_alone.load(Ordering::Relaxed) {
        return StatusCode::NOT_FOUND.into_response();
    }
    metadata(State(script)).await.into_response()
}

async fn metadata(State(script): State<Arc<Script>>) -> axum::Json<Value> {
    let issuer = &script.issuer;
    let claimed = script.claimed_issuer.lock().unwrap().clone();
    axum::Json(json!({
        "issuer": claimed.as_ref().unwrap_or(issuer),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn introspect(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let request = IntrospectionRequest { headers, form };
    let authenticated = authenticated(&request);
    let token = request.field("token").first().map(|token| (*token).to_owned());
    script.requests.send_modify(|requests| requests.push(request));

    let outage = script.outage.lock().unwrap().clone();
    let scripted = || {
        if !authenticated {
            return Answer::status(401);
        }
        let Some(token) = token else { return Answer::status(400) };
        script.answers.lock().unwrap().get(&token).cloned().unwrap_or(Answer::Inactive)
    };
    let mut answer = outage.unwrap_or_else(scripted);
    while let Answer::Held(mut released, then) = answer {
        // Dropping the sender releases too, so that a failing test does not leave a request behind.
        let _ = released.wait_for(|released| *released).await;
        answer = *then;
    }
    match answer {
        Answer::Claims(claims) => axum::Json(claims).into_response(),
        Answer::Raw(status, content_type, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            response
        }
        Answer::Redirect(location) => Redirect::temporary(&location).into_response(),
        Answer::Inactive | Answer::Held(..) => axum::Json(json!({ "active": false })).into_response(),
    }
}

/// Whether the gateway authenticated, by exactly one of the two methods.
fn authenticated(request: &IntrospectionRequest) -> bool {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET))));
    let by_basic = request.headers.get(header::AUTHORIZATION).is_some_and(|value| *value == basic);
    let by_post = request.field("client_id") == [CLIENT_ID] && request.field("client_secret") == [CLIENT_SECRET];
    by_basic != by_post
}

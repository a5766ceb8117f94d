//! A scripted authorization server: for each token a test says what introspection answers, and how it misbehaves.

mod endpoints;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    Credentials, Jwt, ReservedPort, SigningKey,
    clock::now,
    jwt::{basic, overlay},
    within,
};

/// The gateway's client id; its colon survives Basic only when it is form-encoded first (RFC 6749 section 2.3.1).
pub(crate) const CLIENT_ID: &str = "gateway:tests";
/// The gateway's client secret, with every character that form-encoding changes.
pub(crate) const CLIENT_SECRET: &str = "s3cr:t+/ %&=é";

/// What an endpoint answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of the introspection endpoint: these claims, in the form that was asked for (JSON, a JWT access token, or a signed
    /// response as RFC 9701 has it).
    Claims(Value),
    /// Of the introspection endpoint: not active, in the form that was asked for. So are all tokens nobody issued.
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
        Self::json(status, &json!({ "error": "scripted" }))
    }

    /// An answer with JSON content.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::content(status, "application/json", body.to_string())
    }

    /// An answer with any content.
    pub fn content(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::Raw(StatusCode::from_u16(status).unwrap(), content_type, body.into())
    }
}

/// A form that was sent to an endpoint, as it arrived.
#[derive(Clone, Debug)]
pub struct FormRequest {
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its decoded content.
    pub form: Vec<(String, String)>,
}

impl FormRequest {
    /// The values of a form field.
    pub fn field(&self, name: &str) -> Vec<&str> {
        self.form.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the gateway authenticated, by exactly one method. What an assertion says is for the test to look at.
    fn is_authenticated(&self) -> bool {
        let by_basic = self.headers.get("authorization").is_some_and(|value| *value == basic(CLIENT_ID, CLIENT_SECRET));
        let by_post = self.field("client_id") == [CLIENT_ID] && self.field("client_secret") == [CLIENT_SECRET];
        let by_assertion = self.field("client_assertion").len() == 1;
        u8::from(by_basic) + u8::from(by_post) + u8::from(by_assertion) == 1
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
    audience: String,
    key: Mutex<SigningKey>,
    metadata: Mutex<Value>,
    openid_alone: Mutex<bool>,
    answers: Mutex<HashMap<String, Answer>>,
    outage: Mutex<Option<Answer>>,
    introspections: watch::Sender<Vec<FormRequest>>,
    exchange: Mutex<Value>,
    exchange_answer: Mutex<Option<Answer>>,
    exchanges: watch::Sender<Vec<FormRequest>>,
    key_set: Mutex<Option<Answer>>,
    key_set_requests: watch::Sender<usize>,
    metadata_requests: watch::Sender<usize>,
}

impl AuthorizationServer {
    /// Starts one whose tokens are, unless a test says otherwise, for `audience`.
    pub async fn start(audience: &str, credentials: Credentials) -> Self {
        let port = ReservedPort::new();
        credentials.gateway(CLIENT_SECRET);
        let issuer = format!("http://{}", port.address());
        let script = Script {
            metadata: Mutex::new(json!({
                "issuer": issuer,
                "introspection_endpoint": format!("{issuer}/introspect"),
                "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
            })),
            issuer,
            audience: audience.to_owned(),
            key: Mutex::default(),
            openid_alone: Mutex::default(),
            answers: Mutex::default(),
            outage: Mutex::default(),
            introspections: watch::Sender::default(),
            exchange: Mutex::new(json!({})),
            exchange_answer: Mutex::default(),
            exchanges: watch::Sender::default(),
            key_set: Mutex::default(),
            key_set_requests: watch::Sender::default(),
            metadata_requests: watch::Sender::default(),
        };
        let mut server = Self { port, script: Arc::new(script), credentials, serving: None };
        server.come_up().await;
        server
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.script.issuer
    }

    // --- its metadata ---

    /// Lays members over its metadata; `null` removes one.
    pub fn claim_in_metadata(&self, members: &Value) {
        overlay(&mut self.script.metadata.lock().unwrap(), members);
    }

    /// Has its metadata where OpenID Connect Discovery puts it, and not where RFC 8414 does.
    pub fn know_openid_alone(&self) {
        *self.script.openid_alone.lock().unwrap() = true;
    }

    /// How often its metadata was asked for, at any of its places.
    pub fn metadata_requests(&self) -> usize {
        *self.script.metadata_requests.borrow()
    }

    /// Its introspection endpoint.
    pub fn introspection_endpoint(&self) -> String {
        format!("{}/introspect", self.issuer())
    }

    // --- its tokens ---

    /// A new opaque token. `claims` are laid over those of a valid one; `null` removes a claim.
    pub fn issue(&self, claims: Value) -> String {
        let token = format!("opaque-{}", uuid::Uuid::new_v4().simple());
        self.issue_as(&token, claims);
        token
    }

    /// The same, with a token that the test chose.
    pub fn issue_as(&self, token: &str, claims: Value) {
        let mut all = self.valid_claims();
        overlay(&mut all, &json!({ "active": true, "token_type": "Bearer" }));
        overlay(&mut all, &claims);
        self.answer(token, Answer::Claims(all));
    }

    /// A token that nobody issued.
    pub fn unknown_token(&self) -> String {
        let token = format!("unknown-{}", uuid::Uuid::new_v4().simple());
        self.credentials.agent(&token);
        token
    }

    /// A JWT access token (RFC 9068) to change and sign. `claims` are laid over those of a valid one.
    pub fn jwt(&self, claims: &Value) -> Jwt {
        let mut all = self.valid_claims();
        overlay(&mut all, claims);
        Jwt::new("at+jwt", all)
    }

    /// The same, signed: a token for an agent.
    pub fn issue_jwt(&self, claims: &Value) -> String {
        let token = self.jwt(claims).sign(&self.key());
        self.credentials.agent(&token);
        token
    }

    fn valid_claims(&self) -> Value {
        json!({
            "iss": self.issuer(), "aud": self.script.audience, "sub": "alice", "client_id": "agent", "scope": "mcp:read",
            "iat": now(), "exp": now() + 600, "jti": uuid::Uuid::new_v4().to_string(),
        })
    }

    // --- its keys ---

    /// The key that it signs with.
    pub fn key(&self) -> SigningKey {
        self.script.key.lock().unwrap().clone()
    }

    /// Signs with a new key from now on, and publishes the old one no longer.
    pub fn rotate_key(&self) {
        *self.script.key.lock().unwrap() = SigningKey::new();
    }

    /// From now on its key set is this, or again what it is with `None`.
    pub fn answer_key_set(&self, answer: Option<Answer>) {
        *self.script.key_set.lock().unwrap() = answer;
    }

    /// How often its keys were asked for.
    pub fn key_set_requests(&self) -> usize {
        *self.script.key_set_requests.borrow()
    }

    // --- introspection ---

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

    /// How often `token` was introspected.
    pub fn introspections(&self, token: &str) -> usize {
        count(&self.script.introspections.borrow(), "token", token)
    }

    /// Every introspection, of any token.
    pub fn requests(&self) -> Vec<FormRequest> {
        self.script.introspections.borrow().clone()
    }

    /// Waits until the gateway has asked about `token` this often.
    pub async fn introspected(&self, token: &str, times: usize) {
        let mut requests = self.script.introspections.subscribe();
        let asked = requests.wait_for(|requests| count(requests, "token", token) >= times);
        within("an introspection", asked).await.unwrap();
    }

    // --- the token endpoint ---

    /// Lays members over its answers to exchanges; `null` removes one.
    pub fn claim_in_exchanges(&self, members: &Value) {
        overlay(&mut self.script.exchange.lock().unwrap(), members);
    }

    /// From now on every exchange gets this answer, or again a token with `None`.
    pub fn answer_exchanges(&self, answer: Option<Answer>) {
        *self.script.exchange_answer.lock().unwrap() = answer;
    }

    /// Every exchange so far.
    pub fn exchanges(&self) -> Vec<FormRequest> {
        self.script.exchanges.borrow().clone()
    }

    // --- its listener ---

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
        let router = endpoints::router(Arc::clone(&self.script));
        let serving = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        self.serving = Some((stop, tokio::spawn(async { serving.await.unwrap() })));
    }
}

fn count(requests: &[FormRequest], name: &str, value: &str) -> usize {
    requests.iter().filter(|request| request.field(name).contains(&value)).count()
}

/// Listens on a reserved port.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

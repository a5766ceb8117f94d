//! Requests to the server under check, and what all checks want to know of it: its first challenge and its metadata.

use std::fmt;

use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use url::{Host, Url};

use super::{Target, Verdict, challenge::Challenge};

/// What a check finds: nothing wrong, or a verdict that is not [`Verdict::Passed`].
pub(super) type Finding<T = ()> = Result<T, Verdict>;

/// The revision of what is sent, unless a check is about another.
pub(super) const LEGACY: &str = "2025-11-25";
const STATELESS: &str = "2026-07-28";

/// The most that is read of an answer, in bytes.
const LONGEST: usize = 256 * 1024;

/// An origin that no server knows: `.invalid` is nobody's (RFC 6761 section 6.4).
pub(super) const FOREIGN_ORIGIN: &str = "https://foreign.invalid";

/// Ends a check that has seen something wrong.
pub(super) fn failed<T>(why: impl Into<String>) -> Finding<T> {
    Err(Verdict::Failed(why.into()))
}

/// Ends a check that cannot tell.
pub(super) fn skipped<T>(why: impl Into<String>) -> Finding<T> {
    Err(Verdict::Skipped(why.into()))
}

/// The server under check.
pub(super) struct Probe<'a> {
    pub(super) target: &'a Target,
    client: Client,
    /// What it answers to a client without a token.
    pub(super) first: Reply,
    /// The metadata that is where the first challenge says.
    pub(super) metadata: Finding<Value>,
    /// The metadata that is where RFC 9728 section 3.1 has it, and its address.
    pub(super) well_known: Finding<(Url, Value)>,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Its content; of an event stream nothing.
    pub(super) body: String,
}

impl<'a> Probe<'a> {
    /// Sends the first request.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub(super) async fn new(target: &'a Target) -> Finding<Self> {
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(target.patience)
            .connect_timeout(target.patience)
            .user_agent("mcp-authorization");
        if is_this_machine(&target.url) {
            builder = builder.no_proxy();
        }
        let Ok(client) = builder.build() else { return failed("there is no TLS on this machine") };
        let first = Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: String::new() };
        let (metadata, well_known) = (skipped("not looked for yet"), skipped("not looked for yet"));
        let mut probe = Self { target, client, first, metadata, well_known };
        probe.first = probe.ask(probe.post(&initialize())).await?;
        probe.metadata = probe.metadata_by_challenge().await;
        probe.well_known = probe.metadata_by_well_known_path().await;
        Ok(probe)
    }

    // --- requests ---

    /// A message, without a token.
    pub(super) fn post(&self, message: &Value) -> RequestBuilder {
        as_message(self.request(Method::POST), message)
    }

    /// The same, with a token where none should be.
    pub(super) fn post_with_token_in_query(&self, message: &Value, token: &str) -> RequestBuilder {
        let mut url = self.target.url.clone();
        url.query_pairs_mut().append_pair("access_token", token);
        as_message(self.request_to(Method::POST, url), message)
    }

    /// A request without a message and without a token.
    pub(super) fn request(&self, method: Method) -> RequestBuilder {
        self.request_to(method, self.target.url.clone())
    }

    fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url).header(header::ACCEPT, "application/json, text/event-stream")
    }

    /// A request to another address, which a document named.
    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url).header(header::ACCEPT, "application/json")
    }

    /// The answer to a request. Of an event stream only the head is waited for: it may never end. A session that begins is
    /// ended.
    pub(super) async fn ask(&self, request: RequestBuilder) -> Finding<Reply> {
        let (client, request) = request.build_split();
        let Ok(request) = request else { return failed("the request cannot be written") };
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let reply = receive(client.execute(request).await).await?;
        if let Some(session) = reply.headers.get("mcp-session-id") {
            let end = self.request(Method::DELETE).header("mcp-session-id", session);
            let end = authorization.into_iter().fold(end, |end, value| end.header(header::AUTHORIZATION, value));
            // A server may not let clients end sessions; then it does so itself, later.
            let _ = end.send().await;
        }
        Ok(reply)
    }

    /// The answer to whoever sends this `Authorization` field: to `initialize`, or where that has no success, as with a server
    /// of 2026-07-28, to `server/discover`.
    pub(super) async fn enter(&self, authorization: &str) -> Finding<Reply> {
        let reply = self.ask(self.post(&initialize()).header(header::AUTHORIZATION, authorization)).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        self.ask(self.discover().header(header::AUTHORIZATION, authorization)).await
    }

    fn discover(&self) -> RequestBuilder {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientInfo": client_info(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let request = self.post(&request("server/discover", json!({ "_meta": meta })));
        request.header("mcp-protocol-version", STATELESS).header("mcp-method", "server/discover")
    }

    // --- tokens ---

    /// A token that the server takes, if we have one.
    pub(super) fn token(&self) -> Finding<&str> {
        self.target.token.as_deref().map_or_else(|| skipped("no token was given"), Ok)
    }

    /// A token that the server takes, with too few scopes, if we have one.
    pub(super) fn insufficient_token(&self) -> Finding<&str> {
        let token = self.target.insufficient_token.as_deref();
        token.map_or_else(|| skipped("no token with too few scopes was given"), Ok)
    }

    // --- discovery ---

    /// The challenge of the first answer.
    pub(super) fn challenge(&self) -> Finding<Challenge> {
        self.first.challenge()
    }

    async fn metadata_by_challenge(&self) -> Finding<Value> {
        let challenge = self.challenge()?;
        let Some(address) = challenge.get("resource_metadata") else {
            return failed("the challenge has no resource_metadata");
        };
        let Ok(url) = Url::parse(address) else { return failed(format!("resource_metadata is no URL: {address}")) };
        self.resource_metadata(url).await
    }

    /// RFC 9728 section 3.1.
    async fn metadata_by_well_known_path(&self) -> Finding<(Url, Value)> {
        let mut url = self.target.url.clone();
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("/.well-known/oauth-protected-resource{path}"));
        let metadata = self.resource_metadata(url.clone()).await?;
        Ok((url, metadata))
    }

    async fn resource_metadata(&self, url: Url) -> Finding<Value> {
        let metadata = self.document(url.clone()).await?;
        if metadata.get("resource").is_some() { Ok(metadata) } else { failed(format!("{url} has no resource in it")) }
    }

    /// A document in JSON.
    pub(super) async fn document(&self, url: Url) -> Finding<Value> {
        let reply = self.ask(self.get(url.clone())).await?;
        if reply.status != StatusCode::OK {
            return failed(format!("{url} answers {}", reply.status));
        }
        let content_type = reply.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.to_ascii_lowercase().starts_with("application/json")) {
            return failed(format!("{url} is {content_type:?}, not application/json"));
        }
        match serde_json::from_str(&reply.body) {
            Ok(document @ Value::Object(_)) => Ok(document),
            _ => failed(format!("{url} is no JSON object")),
        }
    }
}

impl Reply {
    /// Its one Bearer challenge.
    pub(super) fn challenge(&self) -> Finding<Challenge> {
        let mut challenges = Challenge::all_bearer(&self.headers).or_else(failed)?;
        match (challenges.pop(), challenges.len()) {
            (Some(challenge), 0) => Ok(challenge),
            (None, _) => failed(format!("{} has no Bearer challenge", self.status)),
            (Some(_), more) => failed(format!("{} has {} Bearer challenges", self.status, more + 1)),
        }
    }

    /// A field, where it is text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Checks the status.
    pub(super) fn expect(&self, statuses: &[u16], what: impl fmt::Display) -> Finding {
        if statuses.contains(&self.status.as_u16()) {
            return Ok(());
        }
        let wanted: Vec<_> = statuses.iter().map(u16::to_string).collect();
        failed(format!("{what}: {} instead of {}", self.status, wanted.join(" or ")))
    }
}

async fn receive(response: reqwest::Result<reqwest::Response>) -> Finding<Reply> {
    let mut response = match response {
        Ok(response) => response,
        Err(error) => return failed(format!("no answer: {}", reasons(&error))),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while !is_event_stream(&headers) && body.len() < LONGEST {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return failed(format!("{status}, but no whole answer: {}", reasons(&error))),
        }
    }
    Ok(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn as_message(request: RequestBuilder, message: &Value) -> RequestBuilder {
    request.header(header::CONTENT_TYPE, "application/json").body(message.to_string())
}

/// A request with the id 1.
pub(super) fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// How a client begins, up to 2025-11-25.
pub(super) fn initialize() -> Value {
    let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client_info() });
    request("initialize", params)
}

fn client_info() -> Value {
    json!({ "name": "mcp-authorization", "version": env!("CARGO_PKG_VERSION") })
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether nobody on the way can read what is sent there.
pub(super) fn is_confidential(url: &Url) -> bool {
    url.scheme() == "https" || is_this_machine(url)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// An error with all that led to it; the first alone says little.
fn reasons(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_the_clear_stays_on_this_machine() {
        let is_confidential = |url: &str| is_confidential(&Url::parse(url).unwrap());
        for url in
            ["https://a.example", "http://localhost:1", "http://127.9.9.9", "http://[::1]/", "http://a.localhost"]
        {
            assert!(is_confidential(url), "{url}");
        }
        for url in ["http://a.example", "http://0.0.0.0:1", "http://localhost.example", "http://127.0.0.1.example"] {
            assert!(!is_confidential(url), "{url}");
        }
    }
}

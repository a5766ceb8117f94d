//! A scripted upstream: tells what it got, streams on command, and remembers every request for the check at the end.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::{Credentials, client::only_value, within};

/// A request as it arrived at the upstream.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: Method,
    /// Its target, in the form it came in.
    pub target: String,
    /// The HTTP it came in.
    pub version: Version,
    /// Its header fields.
    pub headers: HeaderMap,
    body: watch::Receiver<Vec<u8>>,
}

impl Received {
    /// Its content so far.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.body.borrow()).into_owned()
    }

    /// Waits until its content contains `text`; the rest may still be on its way.
    pub async fn body_contains(&self, text: &str) {
        let mut body = self.body.clone();
        let arrived = body.wait_for(|body| String::from_utf8_lossy(body).contains(text));
        within("a part of a request body", arrived).await.expect("the part, before the body ended");
    }

    /// The one value of a header field.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        only_value(&self.headers, name, self)
    }

    /// The JWT that came in `Authorization: Bearer`.
    #[track_caller]
    pub fn jwt(&self) -> &str {
        self.header("authorization").strip_prefix("Bearer ").expect("a Bearer credential")
    }
}

/// A `text/event-stream` answer that a test feeds event by event; dropping it ends the answer.
pub struct EventStream(mpsc::Sender<Result<Bytes, Infallible>>);

impl EventStream {
    /// Sends one event.
    pub async fn send(&self, data: &str) {
        self.send_raw(&format!("data: {data}\n\n")).await;
    }

    /// Sends bytes as they are: comments, halves of events.
    pub async fn send_raw(&self, bytes: &str) {
        self.0.send(Ok(Bytes::copy_from_slice(bytes.as_bytes()))).await.expect("the gateway still reads");
    }

    /// Sends bytes if the gateway still reads; false when it has hung up.
    pub async fn offer(&self, bytes: Bytes) -> bool {
        self.0.send(Ok(bytes)).await.is_ok()
    }

    /// Waits until the gateway has hung up.
    pub async fn cancelled(&self) {
        within("the gateway to hang up", self.0.closed()).await;
    }
}

/// A running upstream.
pub struct Upstream {
    address: SocketAddr,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    received: watch::Sender<Vec<Received>>,
    streams: Mutex<Vec<mpsc::Receiver<Result<Bytes, Infallible>>>>,
    held: Mutex<Option<watch::Receiver<bool>>>,
    headers: Mutex<HeaderMap>,
    trailers: Mutex<HeaderMap>,
    status: Mutex<StatusCode>,
    content: Mutex<Option<(&'static str, Bytes)>>,
    handshakes: Mutex<Vec<Handshake>>,
}

/// How TLS was agreed on with the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The host that was asked for (SNI); none where it is an address.
    pub server_name: Option<String>,
    /// Whether the gateway showed a certificate.
    pub has_client_certificate: bool,
}

/// TLS connections, each agreed on before the next is looked at.
struct TlsConnections {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    script: Arc<Script>,
}

impl axum::serve::Listener for TlsConnections {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            let Ok(stream) = self.acceptor.accept(stream).await else { continue };
            let connection = stream.get_ref().1;
            self.script.handshakes.lock().unwrap().push(Handshake {
                server_name: connection.server_name().map(str::to_owned),
                has_client_certificate: connection.peer_certificates().is_some(),
            });
            return (stream, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Upstream {
    /// Starts one; unless scripted otherwise it answers every request with what it got, as JSON.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await.unwrap()
    }

    /// The same at this address.
    ///
    /// # Errors
    /// When somebody else has it.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let script = Arc::new(Script::default());
        let router = Router::new().fallback(receive).with_state(Arc::clone(&script));
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Ok(Self { address, script })
    }

    /// The same behind TLS, which offers these protocols (ALPN).
    pub async fn start_over_tls(mut tls: ServerConfig, protocols: &[&str]) -> Self {
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script::default());
        let router = Router::new().fallback(receive).with_state(Arc::clone(&script));
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let connections = TlsConnections { listener, acceptor, script: Arc::clone(&script) };
        tokio::spawn(async { axum::serve(connections, router).await.unwrap() });
        Self { address, script }
    }

    /// How TLS was agreed on, connection by connection.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.script.handshakes.lock().unwrap().clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, as an endpoint of the configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub fn received(&self) -> Vec<Received> {
        self.script.received.borrow().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn only_request(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:#?}");
        received[0].clone()
    }

    /// Waits for this many requests; gives the last. Their content may still be on its way.
    pub async fn receives(&self, count: usize) -> Received {
        let mut received = self.script.received.subscribe();
        let arrived = within("a request at the upstream", received.wait_for(|all| all.len() >= count)).await.unwrap();
        arrived[count - 1].clone()
    }

    /// The answer to the next request is an event stream, fed by the test.
    pub fn stream_next_answer(&self) -> EventStream {
        let (events, stream) = mpsc::channel(1);
        self.script.streams.lock().unwrap().push(stream);
        EventStream(events)
    }

    /// Answers wait until the returned sender is dropped or sent `true`.
    pub fn hold(&self) -> watch::Sender<bool> {
        let (release, released) = watch::channel(false);
        *self.script.held.lock().unwrap() = Some(released);
        release
    }

    /// Every answer carries this field too.
    pub fn add_header(&self, name: &'static str, value: &str) {
        self.script.headers.lock().unwrap().append(name, value.parse().unwrap());
    }

    /// Every answer ends with this field too, where its HTTP has a place for it.
    pub fn add_trailer(&self, name: &'static str, value: &str) {
        self.script.trailers.lock().unwrap().append(name, value.parse().unwrap());
    }

    /// Every answer has this status.
    pub fn answer_with_status(&self, status: u16) {
        *self.script.status.lock().unwrap() = StatusCode::from_u16(status).unwrap();
    }

    /// Every answer has this content, in place of what was received.
    pub fn answer_with(&self, content_type: &'static str, content: impl Into<Bytes>) {
        *self.script.content.lock().unwrap() = Some((content_type, content.into()));
    }

    /// Fails when a credential of an agent is anywhere in what arrived.
    pub fn assert_no_agent_credential(&self, credentials: &Credentials) {
        for request in self.received() {
            let text = format!("{request:?} {}", request.body());
            assert_eq!(
                credentials.agent_credential_in(&text),
                None,
                "an agent's credential reached the upstream: {text}"
            );
        }
    }
}

async fn receive(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (arriving, arrived) = watch::channel(Vec::new());
    let received = Received {
        method: parts.method,
        target: parts.uri.to_string(),
        version: parts.version,
        headers: parts.headers,
        body: arrived,
    };
    script.received.send_modify(|all| all.push(received.clone()));

    let stream = script.streams.lock().unwrap().pop();
    let mut response = if let Some(stream) = stream {
        // A server that leaves content unread does not see its client leave either.
        tokio::spawn(async move { read(body, &arriving).await });
        let events = Body::from_stream(ReceiverStream::new(stream));
        Response::builder().header(header::CONTENT_TYPE, "text/event-stream").body(events).unwrap()
    } else {
        read(body, &arriving).await;
        let held = script.held.lock().unwrap().clone();
        if let Some(mut released) = held {
            let _ = released.wait_for(|released| *released).await;
        }
        let content = script.content.lock().unwrap().clone();
        let (content_type, content) =
            content.unwrap_or_else(|| ("application/json", echo(&received).to_string().into()));
        Response::builder().header(header::CONTENT_TYPE, content_type).body(content.into()).unwrap()
    };
    *response.status_mut() = *script.status.lock().unwrap();
    response.headers_mut().extend(script.headers.lock().unwrap().clone());
    let trailers = script.trailers.lock().unwrap().clone();
    if trailers.is_empty() {
        return response;
    }
    // Over HTTP/1.1 only those are sent that were announced.
    let names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
    response.headers_mut().insert(header::TRAILER, names.join(", ").parse().unwrap());
    response.map(|body| Body::new(body.with_trailers(async { Some(Ok(trailers)) })))
}

async fn read(body: Body, arriving: &watch::Sender<Vec<u8>>) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        arriving.send_modify(|body| body.extend(chunk));
    }
}

fn echo(received: &Received) -> Value {
    let headers: Vec<_> = received
        .headers
        .iter()
        .filter(|(name, _)| *name != header::AUTHORIZATION)
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    json!({ "method": received.method.as_str(), "target": received.target, "headers": headers, "body": received.body() })
}

//! An OpenTelemetry collector that keeps what it is sent: OTLP over HTTP, binary Protobuf.

pub mod otlp;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch};

use self::otlp::{
    ExportLogsServiceRequest, ExportLogsServiceResponse, ExportTraceServiceRequest, ExportTraceServiceResponse,
    KeyValue, LogRecord, Resource, Span, Value,
};
use crate::within;

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    received: Arc<watch::Sender<Signals>>,
}

/// What it was sent.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Spans, in the order they came.
    pub spans: Vec<Span>,
    /// Log records, in the order they came.
    pub logs: Vec<LogRecord>,
    /// What the last sender said of itself.
    pub resource: BTreeMap<String, String>,
    /// The header fields of each request.
    pub headers: Vec<HeaderMap>,
    /// With what the next requests are refused.
    refusals: Vec<StatusCode>,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(watch::Sender::new(Signals::default()));
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/logs", post(logs))
            .with_state(Arc::clone(&received));
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, received }
    }

    /// Its URL, as an endpoint of the configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses the next request with this status.
    pub fn refuse_next(&self, status: u16) {
        self.received.send_modify(|signals| signals.refusals.push(StatusCode::from_u16(status).unwrap()));
    }

    /// What it was sent so far.
    pub fn received(&self) -> Signals {
        self.received.borrow().clone()
    }

    /// Waits until `enough` holds of what it was sent; gives that.
    pub async fn receives(&self, what: &str, enough: impl Fn(&Signals) -> bool) -> Signals {
        let mut received = self.received.subscribe();
        within(what, received.wait_for(|signals| enough(signals))).await.unwrap().clone()
    }
}

async fn traces(State(received): State<Arc<watch::Sender<Signals>>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refused(&received, headers) {
        return refusal;
    }
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    received.send_modify(|signals| {
        for spans in request.resource_spans {
            signals.resource = resource(spans.resource);
            signals.spans.extend(spans.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    });
    answer(&ExportTraceServiceResponse::default())
}

async fn logs(State(received): State<Arc<watch::Sender<Signals>>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refused(&received, headers) {
        return refusal;
    }
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    received.send_modify(|signals| {
        for logs in request.resource_logs {
            signals.resource = resource(logs.resource);
            signals.logs.extend(logs.scope_logs.into_iter().flat_map(|scope| scope.log_records));
        }
    });
    answer(&ExportLogsServiceResponse::default())
}

fn refused(received: &watch::Sender<Signals>, headers: HeaderMap) -> Option<Response> {
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    let mut refusal = None;
    received.send_modify(|signals| {
        signals.headers.push(headers);
        refusal = signals.refusals.pop();
    });
    refusal.map(IntoResponse::into_response)
}

fn answer(message: &impl Message) -> Response {
    ([(header::CONTENT_TYPE, "application/x-protobuf")], message.encode_to_vec()).into_response()
}

fn resource(resource: Option<Resource>) -> BTreeMap<String, String> {
    attributes(&resource.unwrap_or_default().attributes)
}

/// Attributes by name, as text.
pub fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        other => panic!("neither a text nor a number: {other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

/// An id of a trace or a span, as people write it.
pub fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

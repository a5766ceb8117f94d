//! An OpenTelemetry collector, by OTLP over HTTP with binary Protobuf. Used on the thread of a delivery, which it blocks.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use url::Url;
use uuid::Uuid;

use super::otlp::{AnyValue, InstrumentationScope, KeyValue, Resource, Value};
use crate::config::CollectorConfig;

/// The time for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A collector, for one kind of signal.
pub(super) struct Collector {
    /// What sends; or why there is nothing that does.
    sender: Result<Sender, String>,
    config: CollectorConfig,
    url: Option<Url>,
    resource: Resource,
}

struct Sender {
    /// A small one of its own, so that it works while the gateway's is being shut down.
    runtime: Runtime,
    client: reqwest::Client,
}

/// What a collector said.
pub(super) enum Reply<R> {
    /// It took the request; this is its answer.
    Taken(R),
    /// It will never take it.
    Refused(StatusCode),
}

impl Collector {
    /// The collector that `config` names; `path` is that of the signal: `v1/traces`, `v1/logs`.
    pub(super) fn new(config: &CollectorConfig, path: &str) -> Self {
        Self {
            sender: Sender::new(),
            url: config.endpoint.join(path).ok(),
            resource: resource(&config.service_name),
            config: config.clone(),
        }
    }

    /// What all signals say of us.
    pub(super) fn resource(&self) -> Resource {
        self.resource.clone()
    }

    /// Sends `message`, and waits for the answer.
    ///
    /// # Errors
    /// Why it could not be sent, or is to be sent again (OTLP/HTTP, "Retryable Response Codes"). A collector that wants
    /// another credential is asked again too: it can be put right meanwhile.
    pub(super) fn send<R: Message + Default>(&self, message: &impl Message) -> Result<Reply<R>, String> {
        let sender = self.sender.as_ref().map_err(Clone::clone)?;
        let url = self.url.clone().ok_or("the URL cannot be put together")?;
        let mut headers = HeaderMap::new();
        for (name, secret) in &self.config.headers {
            let mut value = HeaderValue::from_str(secret.current().as_str())
                .map_err(|_| format!("the secret for {name} has characters that no header can have"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let request = sender.client.post(url).headers(headers).body(message.encode_to_vec());
        sender.runtime.block_on(async {
            let mut answer = request.send().await.map_err(|error| innermost(&error))?;
            match answer.status() {
                status if status.is_success() => {}
                status @ (StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND) => return Err(format!("the collector answers {status}")),
                status => return Ok(Reply::Refused(status)),
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|error| innermost(&error))? {
                if body.len() + chunk.len() > LONGEST_ANSWER {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            // It has been taken; what cannot be read of the answer would only be advice.
            Ok(Reply::Taken(R::decode(&body[..]).unwrap_or_default()))
        })
    }
}

impl Sender {
    fn new() -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .user_agent(concat!("phantomgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| innermost(&error))?;
        Ok(Self { runtime, client })
    }
}

/// What has gone wrong at the bottom: the rest repeats the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn resource(service_name: &str) -> Resource {
    let attributes = [
        text("service.name", service_name),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", Uuid::new_v4().to_string()),
    ];
    Resource { attributes: attributes.to_vec() }
}

/// Who makes the signals.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "phantomgate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// An attribute that is a text.
pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::Text(value.into()))
}

/// An attribute that is a number.
pub(super) fn number(key: &str, value: impl TryInto<i64>) -> KeyValue {
    attribute(key, Value::Number(value.try_into().unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

//! A client's bearer token, for programs that have no option for one: a forwarder that runs on their side.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpListener;
use url::Url;

/// Adds a token to every request and is otherwise as transparent as it can be: answers pass on as they come, a client
/// that hangs up is one that hangs up at the target. Only where a request names this forwarder (in `Host` and `Origin`)
/// does it name the target instead; foreign names stay, for servers that refuse them.
pub struct BearerInjector {
    address: SocketAddr,
    path: String,
}

struct Injection {
    here: String,
    target: Url,
    authorization: HeaderValue,
    client: reqwest::Client,
}

impl BearerInjector {
    /// Starts one for `target`, a URL with a path.
    pub async fn start(target: &str, token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Url::parse(target).unwrap();
        let path = target.path().to_owned();
        let injection = Arc::new(Injection {
            here: address.to_string(),
            target,
            authorization: format!("Bearer {token}").parse().unwrap(),
            client: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap(),
        });
        let router = Router::new().fallback(inject).with_state(injection);
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, path }
    }

    /// Where it stands for its target.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }
}

async fn inject(State(injection): State<Arc<Injection>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let target = injection.target.authority();
    for (name, here, there) in [
        (header::HOST, injection.here.clone(), target.to_owned()),
        (header::ORIGIN, format!("http://{}", injection.here), format!("http://{target}")),
    ] {
        if parts.headers.get(&name).is_some_and(|value| *value == here) {
            parts.headers.insert(name, there.parse().unwrap());
        }
    }
    parts.headers.insert(header::AUTHORIZATION, injection.authorization.clone());
    // Of this connection, not of the request.
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let mut url = injection.target.join(parts.uri.path()).unwrap();
    url.set_query(parts.uri.query());
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let request = injection.client.request(parts.method, url).headers(parts.headers);
    let request = if body.is_empty() { request } else { request.body(body) };
    match request.send().await {
        Ok(answer) => {
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                headers.remove(name);
            }
            let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
            (*response.status_mut(), *response.headers_mut()) = (status, headers);
            response
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

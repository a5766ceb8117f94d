//! Asks addresses whether they are well, over the same protocol and TLS as requests.

use pingora_core::connectors::TransportConnector;
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, OkOrErr as _, Result};
use pingora_http::RequestHeader;

use crate::config::HealthCheck;

/// Asks. Its connections are its own, and used once: what is to be found out is whether a new one can be made.
pub(crate) struct Checker {
    http: Connector,
    transport: TransportConnector,
}

impl Checker {
    pub(crate) fn new() -> Self {
        Self { http: Connector::new(None), transport: TransportConnector::new(None) }
    }

    /// Whether what is at `peer` is well; `authority` is the `Host` that it expects.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn ask(&self, peer: &HttpPeer, authority: &str, check: &HealthCheck) -> Result<()> {
        let asked = async {
            match &check.path {
                Some(path) => self.get(peer, authority, path).await,
                None => self.transport.new_stream(peer).await.map(drop),
            }
        };
        match tokio::time::timeout(check.timeout, asked).await {
            Ok(found) => found,
            Err(_elapsed) => Error::e_explain(ErrorType::ReadTimedout, "no answer in time"),
        }
    }

    async fn get(&self, peer: &HttpPeer, authority: &str, path: &str) -> Result<()> {
        let (mut session, _) = self.http.get_http_session(peer).await?;
        let mut request = RequestHeader::build("GET", path.as_bytes(), None)?;
        request.insert_header(http::header::HOST, authority)?;
        request.insert_header(http::header::USER_AGENT, "phantomgate")?;
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map(|response| response.status);
        let status = status.or_err(ErrorType::InvalidHTTPHeader, "no answer")?;
        if status.is_success() {
            return Ok(());
        }
        Error::e_explain(ErrorType::HTTPStatus(status.as_u16()), "not well")
    }
}

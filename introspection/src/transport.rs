//! The HTTP client for one authorization server: which addresses it goes to, whom it trusts, and how much it reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::ACCEPT;
use phantomgate_files::FromFiles;
use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder};
use url::Url;
use zeroize::Zeroizing;

use crate::address::AllowedAddresses;
use crate::config::{Config, Tls};
use crate::error::{BuildError, Unavailable, innermost};

/// Sends requests to one authorization server. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Transport {
    allowed: AllowedAddresses,
    /// Another one as soon as a certificate or key has changed: connections are of one identity for all their life.
    client: Arc<FromFiles<reqwest::Client, BuildError>>,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, BuildError> {
        let allowed = AllowedAddresses::of(config);
        let tls = config.tls.clone();
        let identity = tls.identity.iter().flat_map(|identity| [&identity.certificate, &identity.private_key]);
        let files = tls.ca.iter().chain(identity).cloned().collect();
        let (timeout, resolver) = (config.introspection.timeout, Arc::new(allowed.clone()));
        let client = FromFiles::new(files, move || client(timeout, &resolver, &tls))?;
        Ok(Self { allowed, client: Arc::new(client) })
    }

    /// A request to be sent to `url`.
    pub(crate) fn post(&self, url: Url) -> Result<RequestBuilder, Unavailable> {
        self.allowed.check(&url)?;
        Ok(self.client.current().post(url))
    }

    /// What is at `url`, if that is not more than `limit` bytes; the body is read for the status 200 alone.
    pub(crate) async fn get(
        &self,
        url: Url,
        accept: &'static str,
        limit: usize,
    ) -> Result<(StatusCode, Vec<u8>), Unavailable> {
        self.allowed.check(&url)?;
        let answer = self.client.current().get(url).header(ACCEPT, accept).send().await?;
        match answer.status() {
            StatusCode::OK => Ok((StatusCode::OK, read_body(answer, limit).await?)),
            other => Ok((other, Vec::new())),
        }
    }
}

fn client(timeout: Duration, resolver: &Arc<AllowedAddresses>, tls: &Tls) -> Result<reqwest::Client, BuildError> {
    let base = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(resolver.clone())
            .connect_timeout(timeout)
            .timeout(timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("phantomgate/", env!("CARGO_PKG_VERSION")))
    };
    let trusting = match &tls.ca {
        None => base(),
        Some(path) => {
            let authorities = authorities(path)?;
            // Alone first: an error is then about this file.
            base().tls_certs_only(authorities.clone()).build().map_err(|error| unfit(path, &error))?;
            base().tls_certs_only(authorities)
        }
    };
    match &tls.identity {
        None => trusting.build().map_err(|error| BuildError::HttpClient(innermost(&error).to_string())),
        Some(files) => {
            let mut pem = read(&files.certificate)?;
            pem.push(b'\n');
            pem.extend_from_slice(&read(&files.private_key)?);
            let identity = Identity::from_pem(&pem);
            let client = identity.and_then(|identity| ClientBuilder::build(trusting.identity(identity)));
            client.map_err(|error| unfit(&files.certificate, &error))
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let authorities = Certificate::from_pem_bundle(&read(path)?).map_err(|error| unfit(path, &error))?;
    if authorities.is_empty() {
        return Err(BuildError::File { path: path.to_owned(), problem: "it has no certificate in it".to_owned() });
    }
    Ok(authorities)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, BuildError> {
    let bytes = std::fs::read(path);
    bytes.map(Zeroizing::new).map_err(|error| BuildError::File { path: path.to_owned(), problem: error.to_string() })
}

fn unfit(path: &Path, error: &reqwest::Error) -> BuildError {
    BuildError::File { path: path.to_owned(), problem: innermost(error).to_string() }
}

/// The body of `answer`, or an error as soon as it is larger than `limit` bytes.
pub(crate) async fn read_body(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, Unavailable> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(Unavailable::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests;

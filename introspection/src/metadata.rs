//! Authorization server metadata (RFC 8414, OpenID Connect Discovery 1.0): where it is, and what of it may be believed.
//!
//! Owns the issuer's comparison (exact, RFC 8414 §3.3) and the rule that no endpoint is taken from it that credentials
//! could not be sent to. Never follows redirects and never trusts a document of another issuer.

use std::fmt;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::authorization_server::{self, MAX_BODY};
use crate::config::is_confidential;
use crate::error::Unavailable;

/// The identifier of an authorization server: an `https` URL without query and fragment (RFC 8414 §2), compared to the
/// letter. `http` is taken for loopback addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Issuer {
    // Kept as written: a URL type would add a slash to it, and comparing is to the letter.
    text: String,
    url: Url,
}

/// Why a text is no issuer identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    /// It cannot be read as a URL.
    #[error("not an absolute URL")]
    NotAUrl,
    /// Neither `https` nor on loopback.
    #[error("must be an https URL (http is allowed for loopback addresses only)")]
    NotConfidential,
    /// It has user information, a query or a fragment.
    #[error("must have no user information, query or fragment")]
    Excess,
}

impl Issuer {
    /// Takes `text` for an issuer identifier.
    ///
    /// # Errors
    /// [`InvalidIssuer`] when it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuer> {
        let url = Url::parse(text).map_err(|_| InvalidIssuer::NotAUrl)?;
        if !is_confidential(&url) {
            return Err(InvalidIssuer::NotConfidential);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidIssuer::Excess);
        }
        Ok(Self { text: text.to_owned(), url })
    }

    /// The identifier as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where its metadata may be, most standard place first: RFC 8414 §3.1 (the well-known part before the issuer's
    /// path), OpenID Connect with the same insertion, and OpenID Connect Discovery 1.0 §4 (after the path).
    pub fn metadata_urls(&self) -> Vec<Url> {
        let path = self.url.path().trim_end_matches('/');
        let mut paths = vec![
            format!("/.well-known/oauth-authorization-server{path}"),
            format!("/.well-known/openid-configuration{path}"),
            format!("{path}/.well-known/openid-configuration"),
        ];
        paths.dedup();
        let at = |path: &String| {
            let mut url = self.url.clone();
            url.set_path(path);
            url
        };
        paths.iter().map(at).collect()
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

/// What of an authorization server's metadata is used, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServerMetadata {
    /// `introspection_endpoint`, fit to send credentials to.
    pub introspection_endpoint: Option<Url>,
}

impl AuthorizationServerMetadata {
    /// Reads the metadata document `body` of `issuer`.
    ///
    /// # Errors
    /// [`Unavailable`] when it is no metadata, of another issuer, or names an endpoint in the clear.
    pub fn parse(body: &[u8], issuer: &Issuer) -> Result<Self, Unavailable> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            introspection_endpoint: Option<Url>,
        }
        let document: Document =
            serde_json::from_slice(body).map_err(|error| Unavailable::Malformed(format!("metadata: {error}")))?;
        if document.issuer != issuer.as_str() {
            return Err(Unavailable::ForeignIssuer(document.issuer));
        }
        if document.introspection_endpoint.as_ref().is_some_and(|endpoint| !is_confidential(endpoint)) {
            return Err(Unavailable::Metadata("its introspection_endpoint is not an https URL"));
        }
        Ok(Self { introspection_endpoint: document.introspection_endpoint })
    }
}

/// The metadata of one issuer, fetched when first needed and again when old. While the server is away, what was fetched
/// before stays in use.
pub(crate) struct MetadataSource {
    issuer: Issuer,
    fetched: ArcSwapOption<Fetched>,
    // Held while fetching: one request at a time, the others wait for its result.
    last_failure: Mutex<Option<Instant>>,
}

struct Fetched {
    metadata: AuthorizationServerMetadata,
    at: Instant,
}

impl MetadataSource {
    /// How old metadata may be before it is fetched again.
    const MAX_AGE: Duration = Duration::from_secs(60 * 60);
    /// How long a failed fetch is not tried again.
    const COOL_DOWN: Duration = Duration::from_secs(1);

    pub(crate) fn new(issuer: Issuer) -> Self {
        Self { issuer, fetched: ArcSwapOption::empty(), last_failure: Mutex::new(None) }
    }

    /// The introspection endpoint of the issuer.
    pub(crate) async fn introspection_endpoint(&self, http: &reqwest::Client) -> Result<Url, Unavailable> {
        let metadata = self.metadata(http).await?;
        metadata.introspection_endpoint.ok_or(Unavailable::Metadata("it has no introspection_endpoint"))
    }

    async fn metadata(&self, http: &reqwest::Client) -> Result<AuthorizationServerMetadata, Unavailable> {
        if let Some(metadata) = self.known(Self::MAX_AGE) {
            return Ok(metadata);
        }
        let mut last_failure = self.last_failure.lock().await;
        if let Some(metadata) = self.known(Self::MAX_AGE) {
            return Ok(metadata);
        }
        let cooling = last_failure.is_some_and(|at| at.elapsed() < Self::COOL_DOWN);
        let failure = if cooling {
            Unavailable::Metadata("fetching it failed a moment ago")
        } else {
            match self.fetch(http).await {
                Ok(metadata) => {
                    self.fetched.store(Some(Fetched { metadata: metadata.clone(), at: Instant::now() }.into()));
                    return Ok(metadata);
                }
                Err(failure) => {
                    *last_failure = Some(Instant::now());
                    failure
                }
            }
        };
        self.known(Duration::MAX).ok_or(failure)
    }

    fn known(&self, max_age: Duration) -> Option<AuthorizationServerMetadata> {
        let fetched = self.fetched.load();
        fetched.as_ref().filter(|fetched| fetched.at.elapsed() < max_age).map(|fetched| fetched.metadata.clone())
    }

    /// Tries each place in turn; the first that has a document decides.
    async fn fetch(&self, http: &reqwest::Client) -> Result<AuthorizationServerMetadata, Unavailable> {
        let mut last = Unavailable::Metadata("there is none");
        for url in self.issuer.metadata_urls() {
            let response = http.get(url).header(http::header::ACCEPT, "application/json").send().await?;
            if response.status() == http::StatusCode::OK {
                let body = authorization_server::read_body(response, MAX_BODY).await?;
                return AuthorizationServerMetadata::parse(&body, &self.issuer);
            }
            last = Unavailable::Status { status: response.status().as_u16(), retry_after: None };
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(issuer: &str) -> Vec<String> {
        Issuer::parse(issuer).unwrap().metadata_urls().iter().map(Url::to_string).collect()
    }

    #[test]
    fn rfc8414_s3_1_the_well_known_part_goes_before_the_path() {
        assert_eq!(
            urls("https://example.com/issuer1"),
            [
                "https://example.com/.well-known/oauth-authorization-server/issuer1",
                "https://example.com/.well-known/openid-configuration/issuer1",
                "https://example.com/issuer1/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn rfc8414_s3_1_a_trailing_slash_is_removed_and_without_a_path_both_openid_forms_are_one() {
        let expected = [
            "https://example.com/.well-known/oauth-authorization-server",
            "https://example.com/.well-known/openid-configuration",
        ];
        assert_eq!(urls("https://example.com"), expected);
        assert_eq!(urls("https://example.com/"), expected);
    }

    #[test]
    fn rfc8414_s2_an_issuer_is_https_without_query_and_fragment() {
        assert_eq!(Issuer::parse("login.example.com"), Err(InvalidIssuer::NotAUrl));
        assert_eq!(Issuer::parse("http://login.example.com"), Err(InvalidIssuer::NotConfidential));
        assert_eq!(Issuer::parse("https://login.example.com/?a=b"), Err(InvalidIssuer::Excess));
        assert_eq!(Issuer::parse("https://login.example.com/#a"), Err(InvalidIssuer::Excess));
        assert_eq!(Issuer::parse("https://me:pw@login.example.com"), Err(InvalidIssuer::Excess));
    }

    #[test]
    fn rfc8414_s3_3_the_issuer_is_compared_to_the_letter() {
        let issuer = Issuer::parse("https://example.com").unwrap();
        let parse = |text: &str| AuthorizationServerMetadata::parse(text.as_bytes(), &issuer);
        let good =
            parse(r#"{"issuer":"https://example.com","introspection_endpoint":"https://example.com/i"}"#).unwrap();
        assert_eq!(good.introspection_endpoint.unwrap().as_str(), "https://example.com/i");
        for other in ["https://example.com/", "https://EXAMPLE.com", "https://evil.example"] {
            assert!(
                matches!(parse(&format!(r#"{{"issuer":"{other}"}}"#)), Err(Unavailable::ForeignIssuer(_))),
                "{other}"
            );
        }
    }

    #[test]
    fn an_endpoint_in_the_clear_is_refused() {
        let issuer = Issuer::parse("https://example.com").unwrap();
        let body = br#"{"issuer":"https://example.com","introspection_endpoint":"http://example.com/i"}"#;
        assert!(matches!(AuthorizationServerMetadata::parse(body, &issuer), Err(Unavailable::Metadata(_))));
    }
}

//! Authorization server metadata (RFC 8414, OpenID Connect Discovery 1.0): where it is, and what of it may be believed.
//!
//! Owns the issuer's comparison (exact, RFC 8414 §3.3) and the rule that no endpoint is taken from it that credentials
//! could not be sent to. Never follows redirects and never trusts a document of another issuer.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use url::Url;

use crate::authorization_server::MAX_BODY;
use crate::claims::Claims;
use crate::config::is_confidential;
use crate::error::Unavailable;
use crate::transport::Transport;

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

    pub(crate) fn url(&self) -> &Url {
        &self.url
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

/// What of an authorization server's metadata is used. What is of no use is an error for who needs it, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServerMetadata {
    document: Bytes,
    introspection_endpoint: Stated,
    token_endpoint: Stated,
    jwks_uri: Stated,
    mtls_introspection_endpoint: Stated,
    mtls_token_endpoint: Stated,
}

/// A URL fit to send credentials to, or why there is none.
type Stated = Result<Url, &'static str>;

impl AuthorizationServerMetadata {
    /// Reads the metadata document `body` of `issuer`.
    ///
    /// # Errors
    /// [`Unavailable`] when it is no metadata, or of another issuer.
    pub fn parse(body: &[u8], issuer: &Issuer) -> Result<Self, Unavailable> {
        let malformed = |what: &dyn fmt::Display| Unavailable::Malformed(format!("metadata: {what}"));
        let members = Claims::parse(body).map_err(|error| malformed(&error))?;
        match members.get("issuer").map(|issuer| issuer.as_str()) {
            Some(Some(named)) if named == issuer.as_str() => {}
            Some(Some(other)) => return Err(Unavailable::ForeignIssuer(other.chars().take(MAX_SHOWN).collect())),
            Some(None) | None => return Err(malformed(&"it names no issuer")),
        }
        let stated = |path: &str, [absent, unfit]: [&'static str; 2]| {
            let url = members.at(path).ok_or(absent)?.as_str().and_then(|text| Url::parse(text).ok());
            url.filter(is_confidential).ok_or(unfit)
        };
        let introspection = ["it has no introspection_endpoint", "its introspection_endpoint is not an https URL"];
        let token = ["it has no token_endpoint", "its token_endpoint is not an https URL"];
        let jwks = ["it has no jwks_uri", "its jwks_uri is not an https URL"];
        Ok(Self {
            document: Bytes::copy_from_slice(body),
            introspection_endpoint: stated("introspection_endpoint", introspection),
            token_endpoint: stated("token_endpoint", token),
            jwks_uri: stated("jwks_uri", jwks),
            mtls_introspection_endpoint: stated("mtls_endpoint_aliases.introspection_endpoint", introspection),
            mtls_token_endpoint: stated("mtls_endpoint_aliases.token_endpoint", token),
        })
    }

    /// The whole document, byte for byte as it was published.
    pub fn document(&self) -> &Bytes {
        &self.document
    }

    /// Where to introspect; with a certificate of ours (`mtls`), where those are asked for (RFC 8705 §5).
    ///
    /// # Errors
    /// [`Unavailable::Metadata`] when it is not there, or nowhere that credentials may be sent.
    pub fn introspection_endpoint(&self, mtls: bool) -> Result<Url, Unavailable> {
        endpoint(mtls, &self.mtls_introspection_endpoint, &self.introspection_endpoint)
    }

    /// Where tokens are exchanged; `mtls` as for introspection.
    ///
    /// # Errors
    /// [`Unavailable::Metadata`] when it is not there, or nowhere that credentials may be sent.
    pub fn token_endpoint(&self, mtls: bool) -> Result<Url, Unavailable> {
        endpoint(mtls, &self.mtls_token_endpoint, &self.token_endpoint)
    }

    /// Where its keys are.
    ///
    /// # Errors
    /// [`Unavailable::Metadata`] when it is not there, or where anybody on the way could put others in their place.
    pub fn jwks_uri(&self) -> Result<Url, Unavailable> {
        self.jwks_uri.clone().map_err(Unavailable::Metadata)
    }
}

fn endpoint(mtls: bool, alias: &Stated, plain: &Stated) -> Result<Url, Unavailable> {
    let stated = if mtls && alias.is_ok() { alias } else { plain };
    stated.clone().map_err(Unavailable::Metadata)
}

/// How much of a foreign issuer's name is told.
const MAX_SHOWN: usize = 200;

/// The metadata of `issuer`: tries each place in turn; the first that has a document decides.
pub(crate) async fn fetch(transport: Transport, issuer: Issuer) -> Result<AuthorizationServerMetadata, Unavailable> {
    let mut last = Unavailable::Metadata("there is none");
    for url in issuer.metadata_urls() {
        match transport.get(url, "application/json", MAX_BODY).await? {
            (StatusCode::OK, body) => return AuthorizationServerMetadata::parse(&body, &issuer),
            (other, _) => last = Unavailable::Status { status: other.as_u16(), retry_after: None },
        }
    }
    Err(last)
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

    fn parse(text: &str) -> Result<AuthorizationServerMetadata, Unavailable> {
        AuthorizationServerMetadata::parse(text.as_bytes(), &Issuer::parse("https://example.com").unwrap())
    }

    #[test]
    fn rfc8414_s3_3_the_issuer_is_compared_to_the_letter() {
        let text = r#"{"issuer":"https://example.com","introspection_endpoint":"https://example.com/i"}"#;
        let good = parse(text).unwrap();
        assert_eq!(good.document(), text);
        assert_eq!(good.introspection_endpoint(false).unwrap().as_str(), "https://example.com/i");
        for other in ["https://example.com/", "https://EXAMPLE.com", "https://evil.example"] {
            assert!(
                matches!(parse(&format!(r#"{{"issuer":"{other}"}}"#)), Err(Unavailable::ForeignIssuer(_))),
                "{other}"
            );
        }
    }

    #[test]
    fn an_endpoint_of_no_use_is_refused_by_who_needs_it_alone() {
        for url in ["http://example.com/i", "ftp://example.com/i", "/i", ""] {
            let metadata = parse(&format!(
                r#"{{"issuer":"https://example.com","introspection_endpoint":"{url}","jwks_uri":"https://example.com/k"}}"#
            ))
            .unwrap();
            let refused = metadata.introspection_endpoint(false).unwrap_err();
            assert!(refused.to_string().contains("introspection_endpoint is not"), "{refused}");
            assert_eq!(metadata.jwks_uri().unwrap().as_str(), "https://example.com/k");
            assert!(metadata.token_endpoint(false).unwrap_err().to_string().contains("no token_endpoint"));
        }
    }

    #[test]
    fn rfc8705_s5_who_comes_with_a_certificate_goes_where_that_is_asked_for() {
        let metadata = parse(
            r#"{"issuer":"https://example.com","introspection_endpoint":"https://example.com/i",
                "token_endpoint":"https://example.com/t",
                "mtls_endpoint_aliases":{"introspection_endpoint":"https://mtls.example.com/i"}}"#,
        )
        .unwrap();
        assert_eq!(metadata.introspection_endpoint(true).unwrap().as_str(), "https://mtls.example.com/i");
        assert_eq!(metadata.introspection_endpoint(false).unwrap().as_str(), "https://example.com/i");
        assert_eq!(metadata.token_endpoint(true).unwrap().as_str(), "https://example.com/t", "without an alias");
    }

    #[test]
    fn what_is_no_metadata_is_malformed() {
        for body in
            ["", "[]", "{}", r#"{"issuer":7}"#, r#"{"issuer":"https://example.com","jwks_uri":"a","jwks_uri":"b"}"#]
        {
            assert!(matches!(parse(body), Err(Unavailable::Malformed(_))), "{body}");
        }
    }
}

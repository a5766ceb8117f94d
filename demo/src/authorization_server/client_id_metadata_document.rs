//! Owns clients whose identifier is the URL of a document about them (OAuth Client ID Metadata Document, as MCP uses
//! it): when such a client turns up at `/authorize`, its document is fetched and becomes its registration.
//!
//! `https` anywhere, `http` on loopback only: that is how a demo without certificates can show it. A server that others
//! can reach would also refuse private addresses, judged by the address it connected to; this one is a demo.
//!
//! Never: follows a redirect, reads more than [`MAX_DOCUMENT_BYTES`], accepts a document that names another client.

use oauth_as::client::{Client, ClientAuth, ClientId};
use oauth_as::grant::GrantType;
use oauth_as::scope::ScopeSet;
use oauth_as::store::Storage;
use serde::Deserialize;
use url::{Host, Url};

use super::{AuthorizationServer, people};
use crate::fetch::{self, FetchError};

/// The largest document that is read.
const MAX_DOCUMENT_BYTES: usize = 5 * 1024;

/// Why a client with such an identifier is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAClient {
    #[error(
        "a client_id that is a URL must be https (or http on loopback), have a path, and no query, fragment or user"
    )]
    Identifier,
    #[error("the client's metadata document: {0}")]
    Fetch(#[from] FetchError),
    #[error("the client's metadata document is about another client_id")]
    Mismatch,
    #[error("the client's metadata document lists no redirect_uris")]
    NoRedirect,
    #[error("the client's metadata document asks for client authentication, which a document like this cannot give")]
    Authentication,
    #[error("this demo knows enough clients; restart it")]
    TooMany,
    #[error("the client's metadata document cannot be used: {0}")]
    Unusable(String),
}

#[derive(Deserialize)]
struct Document {
    client_id: String,
    #[serde(default)]
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
}

/// Whether an identifier is the URL of a document at all; a registered client's is not.
pub(super) fn is_url(client_id: &str) -> bool {
    client_id.starts_with("https://") || client_id.starts_with("http://")
}

/// Fetches the document of `client_id`, and makes it known until the next time.
///
/// # Errors
/// [`NotAClient`] says which rule the identifier or the document breaks.
pub(super) async fn learn(server: &AuthorizationServer, client_id: &str) -> Result<(), NotAClient> {
    let url = document_url(client_id)?;
    let document: Document = fetch::fetch_json(&server.http, url.as_str(), MAX_DOCUMENT_BYTES).await?;
    let client = client(client_id, document)?;
    let known = server.protocol.store().get_client(&client.client_id).await;
    let is_new = matches!(known, Ok(None));
    if is_new && !server.clients.spend() {
        return Err(NotAClient::TooMany);
    }
    server.protocol.register_client(client).await.map_err(|error| NotAClient::Unusable(error.to_string()))
}

fn document_url(client_id: &str) -> Result<Url, NotAClient> {
    let url = Url::parse(client_id).map_err(|_| NotAClient::Identifier)?;
    let on_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    let acceptable = (url.scheme() == "https" || url.scheme() == "http" && on_loopback)
        && url.path() != "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        // The identifier is compared byte for byte, so it must be what the URL parser would have written.
        && url.as_str() == client_id;
    acceptable.then_some(url).ok_or(NotAClient::Identifier)
}

fn client(client_id: &str, document: Document) -> Result<Client, NotAClient> {
    if document.client_id != client_id {
        return Err(NotAClient::Mismatch);
    }
    if document.redirect_uris.is_empty() {
        return Err(NotAClient::NoRedirect);
    }
    if document.token_endpoint_auth_method.is_some_and(|method| method != "none") {
        return Err(NotAClient::Authentication);
    }
    let scopes = ScopeSet::from_tokens(people::SCOPES).map_err(|error| NotAClient::Unusable(error.to_string()))?;
    Ok(Client {
        client_id: ClientId::new(client_id),
        auth: ClientAuth::Public,
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        redirect_uris: document.redirect_uris,
        allowed_scopes: scopes.clone(),
        default_scopes: scopes,
        name: document.client_name,
        registration: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(client_id: &str) -> Document {
        Document {
            client_id: client_id.to_owned(),
            client_name: None,
            redirect_uris: vec!["http://127.0.0.1:1/callback".to_owned()],
            token_endpoint_auth_method: None,
        }
    }

    #[test]
    fn only_https_or_loopback_identifiers_with_a_path_are_fetched() {
        for good in ["https://agent.example/client.json", "http://127.0.0.1:8/client", "http://[::1]:8/client"] {
            assert!(document_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://agent.example/client.json",
            "http://localhost/client.json",
            "https://agent.example/",
            "https://agent.example/c?d=1",
            "https://agent.example/c#d",
            "https://user@agent.example/c",
            "https://agent.example/a/../c",
            "HTTPS://agent.example/c",
        ] {
            assert!(matches!(document_url(bad), Err(NotAClient::Identifier)), "{bad}");
        }
    }

    #[test]
    fn a_document_about_another_client_is_refused() {
        let refused = client("https://agent.example/client.json", document("https://other.example/client.json"));
        assert!(matches!(refused, Err(NotAClient::Mismatch)));
    }

    #[test]
    fn a_document_cannot_ask_for_a_secret() {
        let id = "https://agent.example/client.json";
        let document = Document { token_endpoint_auth_method: Some("client_secret_basic".to_owned()), ..document(id) };
        assert!(matches!(client(id, document), Err(NotAClient::Authentication)));
    }
}

//! Owns the agent: an OAuth client that knows nothing but the URL of an MCP server, finds out the rest, lets a person
//! log in, and calls a tool.
//!
//! Discovery is RFC 9728 and RFC 8414, registration RFC 7591, the login RFC 6749 §4.1 with PKCE (RFC 7636), resource
//! indicators (RFC 8707) and the issuer check of RFC 9207. Never: looks into a token.

use anyhow::{Context, bail, ensure};
use oauth2::basic::BasicClient;
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, CsrfToken, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope, TokenResponse, TokenUrl,
};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, LOCATION, WWW_AUTHENTICATE};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::fetch;
use crate::mcp_server::TOOL;

/// Where a browser would bring the code. Nobody listens there: the agent of the demo reads the redirect itself.
pub const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";
/// The name the agent gives itself when it registers.
pub const NAME: &str = "Demo agent";

/// An agent that talks to one MCP server.
#[derive(Clone)]
pub struct Agent {
    http: reqwest::Client,
    resource: String,
}

/// What a protected resource says about itself (RFC 9728 §2).
#[derive(Debug, Clone, Deserialize)]
pub struct ProtectedResourceMetadata {
    /// The resource, to be named when a token is asked for.
    pub resource: String,
    /// Who issues tokens for it.
    pub authorization_servers: Vec<String>,
}

/// What an authorization server says about itself (RFC 8414 §2), as far as this agent needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct AuthorizationServerMetadata {
    /// Its name, which must be the URL it was found at.
    pub issuer: String,
    /// Where people log in.
    pub authorization_endpoint: String,
    /// Where codes become tokens.
    pub token_endpoint: String,
    /// Where clients introduce themselves.
    pub registration_endpoint: String,
    /// Where resource servers, and they alone, ask what a token means.
    pub introspection_endpoint: String,
    /// Where tokens end.
    pub revocation_endpoint: String,
}

/// The answer to a call that was made as plain HTTP, to see the answer itself.
#[derive(Debug, Clone)]
pub struct PlainAnswer {
    /// The status.
    pub status: StatusCode,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// The body, as JSON if it is.
    pub body: Value,
}

/// A login that has begun: the person has to visit a page.
pub struct Login {
    /// The page.
    pub url: Url,
    state: CsrfToken,
    verifier: PkceCodeVerifier,
}

impl Login {
    /// The secret that ties the code to this agent (RFC 7636 §4.1); only its hash is in the URL.
    pub fn code_verifier(&self) -> &str {
        self.verifier.secret()
    }
}

impl Agent {
    /// An agent that knows the URL of an MCP server and nothing else.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(resource: &str) -> anyhow::Result<Agent> {
        let http = fetch::http_client().context("the agent cannot set up an HTTP client")?;
        Ok(Agent { http, resource: resource.to_owned() })
    }

    /// Calls the tool as one plain POST, with or without a token.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn call_plainly(&self, token: Option<&str>) -> anyhow::Result<PlainAnswer> {
        let request = self.http.post(&self.resource).header(ACCEPT, "application/json, text/event-stream");
        let request = request.json(&tool_call());
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let response = request.send().await.context("the MCP server's address does not answer")?;
        let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|field| field.to_str().ok());
        let (status, challenge) = (response.status(), challenge.map(str::to_owned));
        let body = response.text().await.context("the answer broke off")?;
        Ok(PlainAnswer { status, challenge, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) })
    }

    /// Reads what the challenge points to (RFC 9728 §5.1), and checks that it is about this resource (§3.3).
    ///
    /// # Errors
    /// When it cannot be read, or is about another resource.
    pub async fn protected_resource(&self, metadata_url: &str) -> anyhow::Result<ProtectedResourceMetadata> {
        let metadata: ProtectedResourceMetadata =
            fetch::fetch_json(&self.http, metadata_url, fetch::MAX_DOCUMENT_BYTES).await?;
        ensure!(metadata.resource == self.resource, "the metadata is about {}", metadata.resource);
        Ok(metadata)
    }

    /// Reads the metadata of an authorization server (RFC 8414 §3), and checks that it is that server's (§3.3).
    ///
    /// # Errors
    /// When it cannot be read, or another issuer wrote it.
    pub async fn authorization_server(&self, issuer: &str) -> anyhow::Result<AuthorizationServerMetadata> {
        let url = well_known(issuer)?;
        let metadata: AuthorizationServerMetadata =
            fetch::fetch_json(&self.http, url.as_str(), fetch::MAX_DOCUMENT_BYTES).await?;
        ensure!(metadata.issuer == issuer, "the metadata is {}'s", metadata.issuer);
        Ok(metadata)
    }

    /// Introduces itself (RFC 7591 §3), and learns its client identifier.
    ///
    /// # Errors
    /// When the authorization server does not want it.
    pub async fn register(&self, server: &AuthorizationServerMetadata) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Registered {
            client_id: String,
        }
        let endpoint = &server.registration_endpoint;
        let metadata = json!({
            "client_name": NAME,
            "redirect_uris": [REDIRECT_URI],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        let response = self.http.post(endpoint).json(&metadata).send().await.context("nobody registers clients")?;
        let registered: Registered = fetch::read_json(response, endpoint, fetch::MAX_DOCUMENT_BYTES).await?;
        Ok(registered.client_id)
    }

    /// Prepares a login: which page to visit, and the PKCE secret to keep.
    ///
    /// # Errors
    /// When the server's metadata holds something that is not a URL.
    pub fn begin_login(
        &self,
        server: &AuthorizationServerMetadata,
        client_id: &str,
        scope: &str,
    ) -> anyhow::Result<Login> {
        let client = BasicClient::new(ClientId::new(client_id.to_owned()))
            .set_auth_uri(AuthUrl::new(server.authorization_endpoint.clone())?)
            .set_redirect_uri(RedirectUrl::new(REDIRECT_URI.to_owned())?);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state) = client
            .authorize_url(CsrfToken::new_random)
            .add_scope(Scope::new(scope.to_owned()))
            .add_extra_param("resource", self.resource.clone())
            .set_pkce_challenge(challenge)
            .url();
        Ok(Login { url, state, verifier })
    }

    /// Does what a person does: opens the page, clicks on a name, and is sent back. Returns where to.
    ///
    /// # Errors
    /// When there is no login page, or the click does not lead back to the agent.
    pub async fn visit(&self, login: &Login, person: &str) -> anyhow::Result<Url> {
        let page = self.http.get(login.url.clone()).send().await.context("the login page does not open")?;
        ensure!(page.status() == StatusCode::OK, "the login page opens with {}", page.status());
        let page = page.text().await.context("the login page breaks off")?;
        let ticket = attribute(&page, "name=\"ticket\" value=\"").context("the login page has no ticket")?;

        let mut form_action = login.url.clone();
        form_action.set_query(None);
        let clicked = self.http.post(form_action).form(&[("ticket", ticket), ("person", person)]).send().await;
        let clicked = clicked.context("the click leads nowhere")?;
        let location = clicked.headers().get(LOCATION).and_then(|field| field.to_str().ok());
        let Some(location) = location else { bail!("the click is answered with {}", clicked.status()) };
        Url::parse(location).context("the click leads to something that is not a URL")
    }

    /// Turns the redirect into a token, after checking that it answers this login (`state`) and comes from the server
    /// that was asked (RFC 9207 §2.4).
    ///
    /// # Errors
    /// When the person refused, the redirect is not ours, or the server does not accept code and PKCE secret.
    pub async fn finish_login(
        &self,
        server: &AuthorizationServerMetadata,
        client_id: &str,
        login: Login,
        redirect: &Url,
    ) -> anyhow::Result<String> {
        let parameter = |name: &str| redirect.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        ensure!(redirect.as_str().starts_with(REDIRECT_URI), "the redirect leads elsewhere");
        ensure!(parameter("state").as_deref() == Some(login.state.secret()), "the redirect answers another login");
        ensure!(parameter("iss").as_deref() == Some(&server.issuer), "the redirect comes from another server");
        let Some(code) = parameter("code") else {
            bail!("no code but {}", parameter("error").as_deref().unwrap_or("nothing"));
        };
        let token = BasicClient::new(ClientId::new(client_id.to_owned()))
            .set_token_uri(TokenUrl::new(server.token_endpoint.clone())?)
            .set_redirect_uri(RedirectUrl::new(REDIRECT_URI.to_owned())?)
            .exchange_code(AuthorizationCode::new(code.into_owned()))
            .set_pkce_verifier(login.verifier)
            .add_extra_param("resource", self.resource.clone())
            .request_async(&|request| send(self.http.clone(), request))
            .await
            .context("the code is not turned into a token")?;
        Ok(token.access_token().secret().clone())
    }

    /// Everything from a client identifier to a token, for a person who clicks at once.
    ///
    /// # Errors
    /// See the single steps.
    pub async fn log_in(
        &self,
        server: &AuthorizationServerMetadata,
        client_id: &str,
        person: &str,
        scope: &str,
    ) -> anyhow::Result<String> {
        let login = self.begin_login(server, client_id, scope)?;
        let redirect = self.visit(&login, person).await?;
        self.finish_login(server, client_id, login, &redirect).await
    }

    /// Calls the tool as MCP clients do: `initialize`, then `tools/call`.
    ///
    /// # Errors
    /// When either is refused.
    pub async fn call_tool(&self, token: &str) -> anyhow::Result<CallToolResult> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.resource.clone()).auth_header(token);
        let transport = StreamableHttpClientTransport::with_client(self.http.clone(), config);
        let client = ().serve(transport).await.context("the MCP server does not let the agent initialize")?;
        let result = client.call_tool(CallToolRequestParams::new(TOOL)).await;
        client.cancel().await.context("the MCP connection does not close")?;
        result.context("the tool call failed")
    }

    /// Tries to find out what a token means, the way phantomgate does (RFC 7662), but as nobody in particular. Returns
    /// the status of the answer.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn introspect(&self, server: &AuthorizationServerMetadata, token: &str) -> anyhow::Result<StatusCode> {
        let response = self.http.post(&server.introspection_endpoint).form(&[("token", token)]).send().await;
        Ok(response.context("nobody introspects tokens")?.status())
    }

    /// Ends a token (RFC 7009).
    ///
    /// # Errors
    /// When the server does not say that it did.
    pub async fn revoke(
        &self,
        server: &AuthorizationServerMetadata,
        client_id: &str,
        token: &str,
    ) -> anyhow::Result<()> {
        let form = [("token", token), ("client_id", client_id)];
        let response = self.http.post(&server.revocation_endpoint).form(&form).send().await;
        let status = response.context("nobody revokes tokens")?.status();
        ensure!(status == StatusCode::OK, "the revocation is answered with {status}");
        Ok(())
    }
}

/// The JSON-RPC message of a tool call.
pub fn tool_call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": TOOL, "arguments": {} } })
}

/// A parameter of a challenge, like `scope="…"`.
pub fn challenge_parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    attribute(challenge, &format!("{name}=\""))
}

/// What follows `marker`, up to the next quote.
fn attribute<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    text.split_once(marker)?.1.split_once('"').map(|(value, _)| value)
}

/// RFC 8414 §3.1: the well-known part goes between the host and the path.
fn well_known(issuer: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(issuer).with_context(|| format!("{issuer} is not a URL"))?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    Ok(url)
}

/// Lets the OAuth library speak through this agent's HTTP client.
async fn send(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let response = http.execute(request.try_into()?).await?;
    let mut answer = HttpResponse::default();
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    *answer.body_mut() = response.bytes().await?.to_vec();
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_parameter_by_parameter() {
        let challenge = r#"Bearer resource_metadata="http://gate.example/x", scope="users:read profile""#;
        assert_eq!(challenge_parameter(challenge, "scope"), Some("users:read profile"));
        assert_eq!(challenge_parameter(challenge, "resource_metadata"), Some("http://gate.example/x"));
        assert_eq!(challenge_parameter(challenge, "error"), None);
    }

    #[test]
    fn rfc8414_s3_1_the_well_known_part_goes_before_the_path() {
        let url = well_known("https://as.example/tenant").unwrap();
        assert_eq!(url.as_str(), "https://as.example/.well-known/oauth-authorization-server/tenant");
    }
}

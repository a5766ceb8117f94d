//! A person with a browser, and the agent that sent them there: the authorization code grant, with nobody watching.

use std::collections::BTreeMap;

use reqwest::{Client, RequestBuilder, redirect::Policy};
use serde_json::Value;
use url::Url;

use crate::{AnswerExt, Fixture, now, within};

/// The verifier of RFC 7636 appendix B. A secret of each request in life; here there is nobody to keep it from.
pub const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge of [`CODE_VERIFIER`].
pub const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What a person's browser does with an authorization URL: follows redirects and keeps cookies until it is sent back
/// to `redirect_url`. Gives the URL it was sent to.
pub async fn follow_redirects(authorization_url: &str, redirect_url: &str) -> String {
    browse(&client(&[]), Url::parse(authorization_url).unwrap(), redirect_url, BTreeMap::new()).await.into()
}

async fn browse(browser: &Client, mut url: Url, redirect_url: &str, mut cookies: BTreeMap<String, String>) -> Url {
    while !url.as_str().starts_with(redirect_url) {
        let cookie = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let request = browser.get(url.clone()).header("cookie", cookie);
        let response = within("a redirect", request.send()).await.unwrap();
        for line in response.headers().get_all("set-cookie") {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = response.headers().get("location").map(|location| location.to_str().unwrap());
        let location = location.unwrap_or_else(|| panic!("{url} answered {}", response.status()));
        url = url.join(location).unwrap();
    }
    url
}

/// A client that shows every answer as it came, and trusts these authorities (PEM) beside the public ones.
fn client(authorities: &[String]) -> Client {
    let client = Client::builder().redirect(Policy::none()).no_proxy();
    let trusting = authorities.iter().fold(client, |client, pem| {
        client.add_root_certificate(reqwest::Certificate::from_pem(pem.as_bytes()).unwrap())
    });
    trusting.build().unwrap()
}

/// What an agent gets when a person has signed in for it.
#[derive(Debug)]
pub struct TokenResponse(Value);

impl TokenResponse {
    /// The access token.
    pub fn access_token(&self) -> &str {
        self.0["access_token"].as_str().unwrap_or_else(|| panic!("no access token in {}", self.0))
    }

    /// The refresh token.
    pub fn refresh_token(&self) -> &str {
        self.0["refresh_token"].as_str().unwrap_or_else(|| panic!("no refresh token in {}", self.0))
    }
}

impl Fixture {
    /// Lets the person of this authorization server sign in for its agent, which asks for `scope` at `resource`.
    pub async fn sign_in(&self, resource: &str, scope: &str) -> TokenResponse {
        let (client_id, redirect_uri) = (self.text("/agent/client_id"), self.text("/agent/redirect_uri"));
        let mut url = Url::parse(self.text("/authorization_endpoint")).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("scope", scope),
            ("resource", resource),
            ("state", &now().to_string()),
            ("code_challenge", CODE_CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        let mut cookies = BTreeMap::new();
        if let Some(signed_in) = self.ready["cookies"].as_object() {
            // What Glewlwyd's own pages send on when there is nothing left to ask.
            url.query_pairs_mut().append_pair("g_continue", "");
            cookies.extend(signed_in.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())));
        }
        let callback = browse(&self.browser(), url, redirect_uri, cookies).await;
        let code = callback.query_pairs().find(|(name, _)| name == "code");
        let code = code.unwrap_or_else(|| panic!("no code in {callback}")).1;

        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client_id),
            ("code", &code),
            ("redirect_uri", redirect_uri),
            ("resource", resource),
            ("code_verifier", CODE_VERIFIER),
        ];
        TokenResponse(self.as_agent("/token_endpoint").form(&form).answer().await.assert_status(200).json())
    }

    /// Has the agent revoke a token of its own (RFC 7009).
    pub async fn revoke(&self, token: &str) {
        let form = [("token", token), ("client_id", self.text("/agent/client_id"))];
        self.as_agent("/revocation_endpoint").form(&form).answer().await.assert_status(200);
    }

    /// A request to an endpoint of its ready line, with the agent's secret where it has one.
    fn as_agent(&self, endpoint: &str) -> RequestBuilder {
        let request = self.browser().post(self.text(endpoint));
        match self.ready["agent"]["client_secret"].as_str() {
            Some(secret) => request.basic_auth(self.text("/agent/client_id"), Some(secret)),
            None => request,
        }
    }

    fn browser(&self) -> Client {
        let authority = self.authority.as_ref().map(|path| std::fs::read_to_string(path).unwrap());
        client(authority.as_slice())
    }
}

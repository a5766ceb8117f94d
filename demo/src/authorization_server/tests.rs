//! The authorization server over HTTP, with the walk-through's agent as its client and a made-up phantomgate whose keys
//! it trusts.

use axum::Router;
use axum::routing::get;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::signing::SigningKey;
use super::*;
use crate::access_token::{Audience, Claims, Verifier};
use crate::agent::{Agent, AuthorizationServerMetadata, Login, REDIRECT_URI};

const RESOURCE: &str = "http://127.0.0.1:1/mcp";
const MCP: &str = "https://mcp.internal/users";
const API: &str = "https://api.internal/users";

struct Fixture {
    issuer: String,
    gateway: String,
    gateway_key: SigningKey,
    agent: Agent,
    server: AuthorizationServerMetadata,
    client_id: String,
    http: reqwest::Client,
}

async fn bind() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn serve(listener: tokio::net::TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await });
}

fn credentials(id: &str) -> ClientCredentials {
    ClientCredentials { id: id.to_owned(), secret: format!("the secret of {id}") }
}

impl Fixture {
    /// An authorization server, a phantomgate of which only the keys exist, and an agent that has registered.
    async fn start() -> Fixture {
        let (gateway_listener, gateway) = bind().await;
        let gateway_key = SigningKey::generate().unwrap();
        let keys = Json(gateway_key.jwk_set());
        serve(gateway_listener, Router::new().route("/jwks", get(|| async move { keys })));

        let (listener, issuer) = bind().await;
        let config = Config {
            issuer: issuer.clone(),
            resource_server: credentials("phantomgate"),
            resource: RESOURCE.to_owned(),
            exchange: ExchangePolicy {
                client: credentials("users-mcp"),
                subject_issuer: gateway.clone(),
                subject_jwks_uri: format!("{gateway}/jwks"),
                subject_audience: MCP.to_owned(),
                audience: API.to_owned(),
            },
        };
        serve(listener, AuthorizationServer::new(config).await.unwrap().into_router());

        let agent = Agent::new(RESOURCE).unwrap();
        let server = agent.authorization_server(&issuer).await.unwrap();
        let client_id = agent.register(&server).await.unwrap();
        let http = fetch::http_client().unwrap();
        Fixture { issuer, gateway, gateway_key, agent, server, client_id, http }
    }

    /// A login as John, up to the redirect that carries the code.
    async fn logged_in(&self) -> (Login, Url) {
        let login = self.agent.begin_login(&self.server, &self.client_id, "users:read profile").unwrap();
        let redirect = self.agent.visit(&login, "john").await.unwrap();
        (login, redirect)
    }

    async fn token_of(&self, person: &str) -> String {
        self.agent.log_in(&self.server, &self.client_id, person, "users:read profile").await.unwrap()
    }

    async fn redeem(&self, code: &str, verifier: &str, redirect_uri: &str) -> (StatusCode, Value) {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect_uri),
            ("client_id", &self.client_id),
        ];
        self.answer(self.http.post(&self.server.token_endpoint).form(&form)).await
    }

    async fn introspect(&self, token: &str) -> Value {
        let ClientCredentials { id, secret } = credentials("phantomgate");
        let request = self.http.post(&self.server.introspection_endpoint);
        let (status, body) = self.answer(request.basic_auth(id, Some(secret)).form(&[("token", token)])).await;
        assert_eq!(status, StatusCode::OK);
        body
    }

    async fn exchange(&self, subject_token: &str, more: &[(&str, &str)]) -> (StatusCode, Value) {
        let ClientCredentials { id, secret } = credentials("users-mcp");
        let mut form = vec![
            ("grant_type", exchange::GRANT_TYPE),
            ("subject_token", subject_token),
            ("subject_token_type", exchange::ACCESS_TOKEN_TYPE),
        ];
        form.extend(more);
        // Basic wants the halves form-encoded; these secrets have a space in them to make sure of it.
        let secret = secret.replace(' ', "+");
        self.answer(self.http.post(&self.server.token_endpoint).basic_auth(id, Some(secret)).form(&form)).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    fn subject(&self) -> Claims {
        let now = jsonwebtoken::get_current_timestamp();
        Claims {
            iss: self.gateway.clone(),
            sub: "john".to_owned(),
            aud: Audience::One(MCP.to_owned()),
            client_id: self.client_id.clone(),
            scope: "users:read".to_owned(),
            iat: now,
            exp: now + 300,
            jti: "1".to_owned(),
            act: None,
        }
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_login_gives_a_token_that_introspection_explains_to_phantomgate() {
    let world = Fixture::start().await;
    let token = world.token_of("john").await;
    assert!(!token.contains('.') && token.len() >= 43);

    let answer = world.introspect(&token).await;
    assert_eq!(answer["active"], true);
    assert_eq!(answer["scope"], "profile users:read");
    assert_eq!(answer["aud"], json!([RESOURCE]));
    assert_eq!(answer["client_id"], world.client_id.as_str());
    assert_eq!(answer["iss"], world.issuer.as_str());
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!((&answer["given_name"], &answer["family_name"]), (&json!("John"), &json!("Doe")));
    for member in ["sub", "username", "email", "jti"] {
        assert!(answer[member].is_string(), "{member}");
    }
    for member in ["exp", "iat", "nbf"] {
        assert!(answer[member].is_u64(), "{member}");
    }
}

#[tokio::test]
async fn the_guest_gets_no_more_than_the_guest_may_give() {
    let world = Fixture::start().await;
    let token = world.token_of("sam").await;
    assert_eq!(world.introspect(&token).await["scope"], "profile");
}

#[tokio::test]
async fn a_person_who_denies_sends_the_agent_away() {
    let world = Fixture::start().await;
    let login = world.agent.begin_login(&world.server, &world.client_id, "users:read").unwrap();
    let redirect = world.agent.visit(&login, "").await.unwrap();
    assert_eq!(parameter(&redirect, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&redirect, "iss").as_deref(), Some(world.issuer.as_str()));
}

#[tokio::test]
async fn a_login_page_works_once() {
    let world = Fixture::start().await;
    let login = world.agent.begin_login(&world.server, &world.client_id, "users:read").unwrap();
    let page = world.http.get(login.url.clone()).send().await.unwrap().text().await.unwrap();
    let ticket = page.split_once("name=\"ticket\" value=\"").unwrap().1.split_once('"').unwrap().0;
    let click =
        || world.http.post(&world.server.authorization_endpoint).form(&[("ticket", ticket), ("person", "john")]);
    assert_eq!(click().send().await.unwrap().status(), StatusCode::SEE_OTHER);
    assert_eq!(click().send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn rfc7636_s4_6_a_code_without_its_secret_is_worth_nothing() {
    let world = Fixture::start().await;
    let (_, redirect) = world.logged_in().await;
    let code = parameter(&redirect, "code").unwrap();
    let (status, body) = world.redeem(&code, &"x".repeat(43), REDIRECT_URI).await;
    assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
}

#[tokio::test]
async fn rfc7636_s4_4_1_a_login_without_pkce_is_refused() {
    let world = Fixture::start().await;
    let login = world.agent.begin_login(&world.server, &world.client_id, "users:read").unwrap();
    let mut url = login.url.clone();
    let without: Vec<_> = login.url.query_pairs().filter(|(name, _)| !name.starts_with("code_challenge")).collect();
    url.query_pairs_mut().clear().extend_pairs(without);
    let answer = world.http.get(url).send().await.unwrap();
    let location = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    assert_eq!(parameter(&location, "error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn rfc8707_s2_a_login_for_no_resource_is_refused() {
    let world = Fixture::start().await;
    let login = world.agent.begin_login(&world.server, &world.client_id, "users:read").unwrap();
    let mut url = login.url.clone();
    let without: Vec<_> = login.url.query_pairs().filter(|(name, _)| name != "resource").collect();
    url.query_pairs_mut().clear().extend_pairs(without);
    let answer = world.http.get(url).send().await.unwrap();
    let location = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    assert_eq!(parameter(&location, "error").as_deref(), Some("invalid_target"));
}

#[tokio::test]
async fn rfc6749_s4_1_2_a_code_used_twice_is_refused_and_its_token_ends() {
    let world = Fixture::start().await;
    let (login, redirect) = world.logged_in().await;
    let code = parameter(&redirect, "code").unwrap();
    let (status, body) = world.redeem(&code, login.code_verifier(), REDIRECT_URI).await;
    assert_eq!(status, StatusCode::OK);
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(world.introspect(token).await["active"], true);

    let (status, body) = world.redeem(&code, login.code_verifier(), REDIRECT_URI).await;
    assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert_eq!(world.introspect(token).await, json!({ "active": false }));
}

#[tokio::test]
async fn rfc6749_s6_a_refresh_token_works_once() {
    let world = Fixture::start().await;
    let (login, redirect) = world.logged_in().await;
    let (_, body) = world.redeem(&parameter(&redirect, "code").unwrap(), login.code_verifier(), REDIRECT_URI).await;
    let refresh = body["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", &world.client_id)];
    let again = || world.http.post(&world.server.token_endpoint).form(&form);
    let (status, body) = world.answer(again()).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(body["refresh_token"], refresh);
    let (status, _) = world.answer(again()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_registered_shows_the_person_an_error_and_redirects_nobody() {
    let world = Fixture::start().await;
    let login = world.agent.begin_login(&world.server, &world.client_id, "users:read").unwrap();
    for other in ["https://evil.example/callback", "http://127.0.0.1:33418/other", "http://localhost:33418/callback"] {
        let mut url = login.url.clone();
        let changed: Vec<_> = login
            .url
            .query_pairs()
            .map(|(name, value)| if name == "redirect_uri" { (name, other.into()) } else { (name, value) })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(changed);
        let answer = world.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{other}");
    }
}

#[tokio::test]
async fn rfc8252_s7_3_the_port_of_a_loopback_redirect_may_vary() {
    let world = Fixture::start().await;
    let login = world.agent.begin_login(&world.server, &world.client_id, "users:read").unwrap();
    let url = login.url.as_str().replace("33418", "45678");
    assert_eq!(world.http.get(url).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_code_is_redeemed_with_the_redirect_uri_it_was_sent_to() {
    let world = Fixture::start().await;
    let (login, redirect) = world.logged_in().await;
    let code = parameter(&redirect, "code").unwrap();
    let (status, body) = world.redeem(&code, login.code_verifier(), "http://127.0.0.1:45678/callback").await;
    assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
}

#[tokio::test]
async fn rfc7662_s2_2_what_is_not_a_token_is_inactive_and_nothing_more_is_said() {
    let world = Fixture::start().await;
    assert_eq!(world.introspect("made-up").await, json!({ "active": false }));
}

#[tokio::test]
async fn rfc7662_s2_1_nobody_introspects_without_credentials() {
    let world = Fixture::start().await;
    let token = world.token_of("john").await;
    let request = || world.http.post(&world.server.introspection_endpoint).form(&[("token", &token)]);
    let (status, body) = world.answer(request()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.get("active").is_none());
    let (status, _) = world.answer(request().basic_auth("phantomgate", Some("wrong"))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn rfc7009_s2_1_a_revoked_token_is_inactive() {
    let world = Fixture::start().await;
    let token = world.token_of("john").await;
    world.agent.revoke(&world.server, &world.client_id, &token).await.unwrap();
    assert_eq!(world.introspect(&token).await, json!({ "active": false }));
}

#[tokio::test]
async fn a_client_can_be_a_document_and_the_document_must_be_about_it() {
    let world = Fixture::start().await;
    let (listener, host) = bind().await;
    let document = |client_id: String| {
        let document = Json(json!({ "client_id": client_id, "client_name": "Paper", "redirect_uris": [REDIRECT_URI] }));
        get(move || async move { document })
    };
    let router = Router::new()
        .route("/honest", document(format!("{host}/honest")))
        .route("/liar", document(format!("{host}/honest")))
        .route("/elsewhere", get(|| async { axum::response::Redirect::temporary("/honest") }));
    serve(listener, router);

    let login = |client_id: String| world.agent.begin_login(&world.server, &client_id, "users:read").unwrap();
    let honest = login(format!("{host}/honest"));
    let page = world.http.get(honest.url.clone()).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("Paper asks for access"));
    let token = world.agent.log_in(&world.server, &format!("{host}/honest"), "jane", "users:read").await.unwrap();
    assert_eq!(world.introspect(&token).await["client_id"], format!("{host}/honest"));

    for refused in ["liar", "elsewhere", "missing"] {
        let page = world.http.get(login(format!("{host}/{refused}")).url).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::BAD_REQUEST, "{refused}");
    }
}

#[tokio::test]
async fn a_browser_lets_other_pages_register_but_not_read_the_login_page() {
    let world = Fixture::start().await;
    let login = world.agent.begin_login(&world.server, &world.client_id, "users:read").unwrap();
    let from_elsewhere = |request: reqwest::RequestBuilder| request.header("Origin", "https://page.example").send();
    let metadata = from_elsewhere(world.http.get(format!("{}/.well-known/oauth-authorization-server", world.issuer)));
    assert_eq!(metadata.await.unwrap().headers()["access-control-allow-origin"], "*");
    let page = from_elsewhere(world.http.get(login.url)).await.unwrap();
    assert!(!page.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn rfc8693_s2_2_an_exchange_gives_a_jwt_that_the_api_accepts() {
    let world = Fixture::start().await;
    let subject = world.gateway_key.sign(&world.subject()).unwrap();
    let (status, body) = world.exchange(&subject, &[("resource", API)]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["issued_token_type"], exchange::ACCESS_TOKEN_TYPE);
    assert_eq!(body["token_type"], "Bearer");

    let api = Verifier::new(&world.issuer, API, &format!("{}/jwks", world.issuer), world.http.clone());
    let claims = api.verify(body["access_token"].as_str().unwrap()).await.unwrap();
    assert_eq!((claims.sub.as_str(), claims.scope.as_str()), ("john", "users:read"));
    assert_eq!(claims.act.unwrap().sub, "users-mcp");
}

#[tokio::test]
async fn an_exchange_never_widens() {
    let world = Fixture::start().await;
    let subject = world.gateway_key.sign(&world.subject()).unwrap();
    let wider = [
        (&[("audience", "https://payroll.internal")][..], "invalid_target"),
        (&[("audience", API), ("resource", "https://payroll.internal")], "invalid_target"),
        (&[], "invalid_target"),
        (&[("audience", API), ("scope", "users:read users:write")], "invalid_scope"),
    ];
    for (more, error) in wider {
        let (status, body) = world.exchange(&subject, more).await;
        assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!(error)), "{more:?}");
    }
}

#[tokio::test]
async fn an_exchange_needs_a_token_that_phantomgate_signed_for_the_mcp_server() {
    let world = Fixture::start().await;
    let good = world.subject();
    let sign = |claims: Claims| world.gateway_key.sign(&claims).unwrap();
    let bad = [
        ("for somebody else", sign(Claims { aud: Audience::One(API.to_owned()), ..good.clone() })),
        ("from another issuer", sign(Claims { iss: "https://evil.example".to_owned(), ..good.clone() })),
        ("expired", sign(Claims { exp: good.iat - 1, ..good.clone() })),
        ("signed with another key", SigningKey::generate().unwrap().sign(&good).unwrap()),
        ("an opaque token", world.token_of("john").await),
    ];
    for (what, subject) in bad {
        let (status, body) = world.exchange(&subject, &[("audience", API)]).await;
        assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")), "{what}");
    }
}

#[tokio::test]
async fn an_exchange_is_not_confused_about_algorithms() {
    let world = Fixture::start().await;
    let claims = world.subject();
    let published = world.gateway_key.jwk_set().keys.remove(0);
    let header = |algorithm: Algorithm, typ: &str| {
        let mut header = Header::new(algorithm);
        header.typ = Some(typ.to_owned());
        header.kid = published.common.key_id.clone();
        header
    };
    // The public key as an HMAC secret, and no signature at all.
    let secret = EncodingKey::from_secret(serde_json::to_string(&published).unwrap().as_bytes());
    let symmetric = jsonwebtoken::encode(&header(Algorithm::HS256, "at+jwt"), &claims, &secret).unwrap();
    let signed = world.gateway_key.sign(&claims).unwrap();
    let payload = signed.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{payload}.");
    for (what, subject) in [("HS256", symmetric), ("none", none)] {
        let (status, body) = world.exchange(&subject, &[("audience", API)]).await;
        assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")), "{what}");
    }
}

#[tokio::test]
async fn nobody_exchanges_without_the_mcp_servers_secret() {
    let world = Fixture::start().await;
    let subject = world.gateway_key.sign(&world.subject()).unwrap();
    let form = [
        ("grant_type", exchange::GRANT_TYPE),
        ("subject_token", &subject),
        ("subject_token_type", exchange::ACCESS_TOKEN_TYPE),
        ("audience", API),
    ];
    let request = || world.http.post(&world.server.token_endpoint).form(&form);
    assert_eq!(world.answer(request()).await.0, StatusCode::UNAUTHORIZED);
    let request = request().basic_auth("phantomgate", Some(credentials("phantomgate").secret));
    assert_eq!(world.answer(request).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_metadata_advertises_what_there_is_and_nothing_else() {
    let world = Fixture::start().await;
    let url = format!("{}/.well-known/oauth-authorization-server", world.issuer);
    let (_, metadata) = world.answer(world.http.get(url)).await;
    assert_eq!(metadata["issuer"], world.issuer.as_str());
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    assert_eq!(metadata["grant_types_supported"][2], exchange::GRANT_TYPE);
    assert!(metadata.get("device_authorization_endpoint").is_none());
    assert!(metadata["demo"].as_str().unwrap().contains("for demos"));
}

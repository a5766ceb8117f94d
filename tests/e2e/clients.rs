//! Real clients and real servers: each client does the whole OAuth flow headless, through the gateway, against a
//! certified authorization server, and then calls a tool.

use e2e::{
    AnswerExt, Fixture, Given, World, follow_redirects, now, oidc_provider, python_client, python_server,
    server_everything, typescript_client, until,
};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt,
    model::{CallToolRequestParams, ProtocolVersion},
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};

/// The gateway between oidc-provider and `server`.
async fn in_front_of(server: &Fixture, authentication: &str) -> (World, Fixture) {
    with_tokens_for(600, server, authentication).await
}

/// The same, with tokens that live so many seconds.
async fn with_tokens_for(seconds: u64, server: &Fixture, authentication: &str) -> (World, Fixture) {
    let mut given = Given::new().await;
    let resource = given.url("/mcp");
    let provider = oidc_provider(json!({ resource: { "scopes": ["mcp:read"], "ttl": seconds } })).await;
    given.use_provider(&provider, authentication);
    given.use_server(server);
    (given.start().await, provider)
}

/// What a client printed: it found the tool, called it, and nothing it held is in the gateway's log.
fn assert_echoed(world: &World, printed: &Value) {
    for credential in printed["credentials"].as_array().unwrap() {
        world.credentials.agent(credential.as_str().unwrap());
    }
    assert!(printed["tools"].as_array().unwrap().contains(&json!("echo")), "{printed}");
    assert_eq!(printed["result"]["content"][0]["text"], "Echo: hello", "{printed}");
}

fn hello() -> Value {
    json!({ "message": "hello" })
}

/// The same with rmcp, which is a library here instead of a program.
async fn rmcp_client(server: &str, lifecycle: ClientLifecycleMode) -> Value {
    let redirect_url = "http://127.0.0.1:1/callback";
    let mut oauth = OAuthState::new(server, None).await.unwrap();
    oauth.start_authorization(AuthorizationRequest::new(redirect_url).with_client_name("rmcp")).await.unwrap();
    let callback = follow_redirects(&oauth.get_authorization_url().await.unwrap(), redirect_url).await;
    oauth.handle_callback_url(&callback).await.unwrap();
    let manager = oauth.into_authorization_manager().unwrap();
    let token = manager.get_access_token().await.unwrap();

    let http = AuthClient::new(reqwest::Client::builder().no_proxy().build().unwrap(), manager);
    let transport =
        StreamableHttpClientTransport::with_client(http, StreamableHttpClientTransportConfig::with_uri(server));
    let client = ().serve_with_lifecycle(transport, lifecycle).await.unwrap();
    let tools: Vec<_> = client.list_all_tools().await.unwrap().into_iter().map(|tool| tool.name).collect();
    let call = CallToolRequestParams::new("echo").with_arguments(hello().as_object().unwrap().clone());
    let result = client.call_tool(call).await.unwrap();
    client.cancel().await.unwrap();
    json!({ "tools": tools, "result": result, "credentials": [token] })
}

#[tokio::test]
async fn the_typescript_sdk_calls_server_everything() {
    let server = server_everything().await;
    let (world, _provider) = in_front_of(&server, "client_secret_basic").await;

    let printed = typescript_client("sdk", &world.url("/mcp"), "echo", &hello()).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn the_typescript_sdk_calls_a_python_server() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(&server, "client_secret_post").await;

    let printed = typescript_client("sdk", &world.url("/mcp"), "echo", &hello()).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn the_typescript_client_of_version_2_calls_server_everything() {
    let server = server_everything().await;
    let (world, _provider) = in_front_of(&server, "client_secret_post").await;

    let printed = typescript_client("client", &world.url("/mcp"), "echo", &hello()).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn the_typescript_client_of_version_2_calls_a_python_server() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(&server, "client_secret_basic").await;

    let printed = typescript_client("client", &world.url("/mcp"), "echo", &hello()).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn the_python_client_calls_server_everything() {
    let server = server_everything().await;
    let (world, _provider) = in_front_of(&server, "client_secret_basic").await;

    let printed = python_client(&world.url("/mcp"), "echo", &hello()).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn the_python_client_calls_a_python_server() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(&server, "client_secret_post").await;

    let printed = python_client(&world.url("/mcp"), "echo", &hello()).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn rmcp_calls_server_everything() {
    let server = server_everything().await;
    let (world, _provider) = in_front_of(&server, "client_secret_post").await;

    let printed = rmcp_client(&world.url("/mcp"), ClientLifecycleMode::Initialize).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn rmcp_calls_a_python_server() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(&server, "client_secret_basic").await;

    let printed = rmcp_client(&world.url("/mcp"), ClientLifecycleMode::Initialize).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn rmcp_calls_a_python_server_without_a_session() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(&server, "client_secret_post").await;

    let stateless = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    let printed = rmcp_client(&world.url("/mcp"), stateless).await;

    assert_echoed(&world, &printed);
}

#[tokio::test]
async fn a_token_of_a_real_authorization_server_is_refused_once_it_has_expired() {
    let server = python_server().await;
    let (world, _provider) = with_tokens_for(4, &server, "client_secret_basic").await;
    let printed = rmcp_client(&world.url("/mcp"), ClientLifecycleMode::Initialize).await;
    assert_echoed(&world, &printed);

    until(now() + 5).await;
    let token = printed["credentials"][0].as_str().unwrap();
    let answer = world.get("/mcp").bearer_auth(token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
}

#[tokio::test]
async fn a_real_server_sees_the_claims_of_the_agent_and_never_its_token() {
    let server = python_server().await;
    let (world, provider) = in_front_of(&server, "client_secret_basic").await;

    let printed = python_client(&world.url("/mcp"), "whoami", &json!({})).await;

    let claims: Value = serde_json::from_str(printed["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(claims["sub"], provider.ready["account"]);
    assert_eq!(claims["iss"], world.url(""));
    assert_eq!(claims["aud"], "https://upstream.internal/mcp");
    assert_eq!(claims["scope"], "mcp:read");
}

#[tokio::test]
async fn a_refresh_token_of_a_real_server_is_no_access_token() {
    let server = python_server().await;
    let (world, _provider) = in_front_of(&server, "client_secret_basic").await;
    let printed = typescript_client("sdk", &world.url("/mcp"), "echo", &hello()).await;
    assert_echoed(&world, &printed);

    let refresh_token = printed["credentials"][1].as_str().unwrap();
    let answer = world.get("/mcp").bearer_auth(refresh_token).answer().await;

    answer.assert_status(401).assert_challenge_error("invalid_token");
}

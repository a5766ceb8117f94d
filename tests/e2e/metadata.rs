//! Where clients learn how to get a token: protected resource metadata (RFC 9728) for every route, and the authorization
//! server's own metadata (RFC 8414) where clients of MCP 2025-03-26 look for it.

use e2e::{
    Answer, AnswerExt, Given, Response, World, follow_redirects, server_everything, start_oidc_provider, within,
};
use http::Method;
use serde_json::{Value, json};
use url::Url;

const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

async fn on_host(world: &World, host: &str, path: &str) -> Response {
    world.get(path).header("host", host).answer().await
}

/// A route on a host of its own, as an operator would write it.
fn on_own_host<'a>(given: &'a mut Given, name: &str, host: &str, path: &str) -> &'a mut Value {
    let route = given.add_route(name, path);
    route["match"]["host"] = json!(host);
    route["resource"] = json!(format!("https://{host}{path}"));
    route
}

// --- protected resources ---

#[tokio::test]
async fn rfc9728_s3_1_each_of_several_servers_on_a_host_has_its_metadata_at_its_own_path() {
    let mut given = Given::new().await;
    given.add_route("calendar", "/calendar/mcp")["scopes"] = json!(["calendar:read"]);
    given.add_route("mail", "/mail/mcp")["scopes"] = json!(["mail:read"]);
    let world = given.start().await;

    for (path, scope) in [("/mcp", "mcp:read"), ("/calendar/mcp", "calendar:read"), ("/mail/mcp", "mail:read")] {
        let challenged = world.get(path).answer().await.assert_status(401).challenge();
        let url = world.url(&format!("{PROTECTED_RESOURCE}{path}"));
        assert_eq!(challenged.get("resource_metadata"), Some(url.as_str()));
        let metadata = world.client().get(&url).answer().await.assert_status(200).json();
        assert_eq!(metadata["resource"], world.url(path));
        assert_eq!(metadata["scopes_supported"], json!([scope]));
    }
    // The root form could speak for one of them only.
    world.get(PROTECTED_RESOURCE).answer().await.assert_status(404);
}

#[tokio::test]
async fn rfc9728_s3_1_a_resource_at_the_root_has_its_metadata_there_whatever_else_is_on_the_host() {
    let mut given = Given::new().await;
    on_own_host(&mut given, "root", "a.example", "/")["resource"] = json!("https://a.example");
    on_own_host(&mut given, "deep", "a.example", "/deep");
    let world = given.start().await;

    let root = on_host(&world, "a.example", PROTECTED_RESOURCE).await;
    let deep = on_host(&world, "a.example", &format!("{PROTECTED_RESOURCE}/deep")).await;

    assert_eq!(root.assert_status(200).json()["resource"], "https://a.example");
    assert_eq!(deep.assert_status(200).json()["resource"], "https://a.example/deep");
}

#[tokio::test]
async fn the_only_server_of_each_host_has_its_metadata_at_the_root_too() {
    let mut given = Given::new().await;
    on_own_host(&mut given, "one", "one.example", "/mcp");
    on_own_host(&mut given, "two", "two.example", "/mcp");
    let world = given.start().await;

    for host in ["one.example", "two.example"] {
        for path in [PROTECTED_RESOURCE.to_owned(), format!("{PROTECTED_RESOURCE}/mcp")] {
            let metadata = on_host(&world, host, &path).await.assert_status(200).json();
            assert_eq!(metadata["resource"], format!("https://{host}/mcp"));
        }
    }
}

#[tokio::test]
async fn rfc9728_s3_3_no_field_of_a_request_changes_the_resource() {
    let world = World::new().await;
    for name in ["host", "forwarded", "x-forwarded-host", "x-forwarded-proto", "x-original-url"] {
        let request = world.get(&format!("{PROTECTED_RESOURCE}/mcp")).header(name, "evil.example");

        let metadata = request.answer().await.assert_status(200).json();

        assert_eq!(metadata["resource"], world.url("/mcp"), "{name}");
    }
}

#[tokio::test]
async fn rfc9728_s2_scopes_are_those_of_the_route_and_of_all_its_rules_each_once() {
    let mut given = Given::new().await;
    given.config["routes"][0]["scopes"] = json!(["mcp:read"]);
    given.config["routes"][0]["mcp"] = json!({
        "default": { "scopes": ["mcp:use"] },
        "tools": { "a": { "scopes": ["mcp:read", "tools:a"] }, "b": "allow", "c-*": { "scopes": ["tools:c"] } },
        "prompts": { "*": { "scopes": ["prompts"] } },
        "resources": { "file:///*": { "scopes": ["resources"] } },
        "methods": { "logging/*": { "scopes": ["tools:a", "logging"] }, "tasks/*": "deny" },
    });
    let world = given.start().await;

    let metadata = world.get(&format!("{PROTECTED_RESOURCE}/mcp")).answer().await.assert_status(200).json();

    let mut scopes: Vec<_> =
        metadata["scopes_supported"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["logging", "mcp:read", "mcp:use", "prompts", "resources", "tools:a", "tools:c"]);
}

// --- the authorization server ---

/// A world that publishes the authorization server's metadata on its route's host.
async fn publishing() -> World {
    let mut given = Given::new().await;
    publish(&mut given.config["routes"][0]);
    given.start().await
}

fn publish(route: &mut Value) {
    route["mcp"] = json!({ "authorization_server_metadata": true, "default": "allow" });
}

/// An indented document, as only its author could have written it.
const DOCUMENT: &str =
    "{\n  \"issuer\": \"ISSUER\",\n\t\"token_endpoint\": \"ISSUER/token\", \"unknown\": [1.0e2, \"\\u00e9\"]\n}\n";

#[tokio::test]
async fn mcp_2025_03_26_authorization_the_authorization_servers_metadata_is_there_byte_for_byte() {
    let world = publishing().await;
    let published = DOCUMENT.replace("ISSUER", world.authorization_server.issuer());
    world.authorization_server.answer_metadata(Answer::content(
        200,
        "application/json; charset=utf-8",
        published.clone(),
    ));

    for path in [AUTHORIZATION_SERVER.to_owned(), format!("{AUTHORIZATION_SERVER}/mcp")] {
        let answer = world.get(&path).header("mcp-protocol-version", "2025-03-26").answer().await;

        assert_eq!(answer.assert_status(200).body, published);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
    }
    assert_eq!(world.authorization_server.metadata_requests().len(), 1);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn the_authorization_servers_metadata_is_nowhere_else() {
    let mut given = Given::new().await;
    publish(on_own_host(&mut given, "own", "own.example", "/own"));
    on_own_host(&mut given, "other", "other.example", "/other");
    let world = given.start().await;

    on_host(&world, "own.example", AUTHORIZATION_SERVER).await.assert_status(200);
    on_host(&world, "own.example", &format!("{AUTHORIZATION_SERVER}/own")).await.assert_status(200);
    on_host(&world, "own.example", &format!("{AUTHORIZATION_SERVER}/other")).await.assert_status(404);
    on_host(&world, "other.example", AUTHORIZATION_SERVER).await.assert_status(404);
    world.get(AUTHORIZATION_SERVER).answer().await.assert_status(404);
}

#[tokio::test]
async fn the_authorization_servers_metadata_can_be_read_and_nothing_else() {
    let world = publishing().await;

    world.request(Method::HEAD, AUTHORIZATION_SERVER).answer().await.assert_status(200);
    world.post(AUTHORIZATION_SERVER).body("x").answer().await.assert_status(405);
    let preflight = world.request(Method::OPTIONS, AUTHORIZATION_SERVER).header("origin", "https://anywhere.example");
    let preflight = preflight.header("access-control-request-method", "GET").answer().await;
    assert_eq!(preflight.assert_status(204).header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn without_the_authorization_server_its_metadata_is_503_until_it_is_back() {
    let mut given = Given::new().await;
    publish(&mut given.config["routes"][0]);
    given.authorization_server.go_down().await;
    let mut world = given.start().await;

    let answer = world.get(AUTHORIZATION_SERVER).answer().await;

    let seconds: u64 = answer.assert_status(503).header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:#?}");
    assert_eq!(answer.json()["reason"], "introspection_unavailable");
    world.gateway.logged(&["audit", "fail", "introspection_unavailable", AUTHORIZATION_SERVER]).await;
    world.authorization_server.come_up().await;
    let back = async { while world.get(AUTHORIZATION_SERVER).answer().await.status != 200 {} };
    within("the metadata to be back", back).await;
}

#[tokio::test]
async fn rfc8414_s3_3_metadata_of_another_issuer_is_not_passed_on() {
    let world = publishing().await;
    world.authorization_server.claim_in_metadata(&json!({ "issuer": "https://evil.example" }));

    let answer = world.get(AUTHORIZATION_SERVER).answer().await;

    assert!(!answer.assert_status(503).body.contains("evil.example"), "{answer:#?}");
}

#[tokio::test]
async fn metadata_without_end_is_not_passed_on() {
    let world = publishing().await;
    let long = format!("{{\"issuer\":\"{}\",\"x\":\"{}\"}}", world.authorization_server.issuer(), "x".repeat(100_000));
    world.authorization_server.answer_metadata(Answer::content(200, "application/json", long));

    world.get(AUTHORIZATION_SERVER).answer().await.assert_status(503);
}

#[tokio::test]
async fn a_client_of_2025_03_26_finds_its_way_to_a_tool_by_the_gateway_alone() {
    let mut given = Given::new().await;
    publish(&mut given.config["routes"][0]);
    let resource = given.url("/mcp");
    let server = server_everything().await;
    // Such a client knows no resource parameter (RFC 8707): its authorization server has one resource in mind.
    let resources = json!({ &resource: { "scopes": ["mcp:read"], "ttl": 600 } });
    let provider = start_oidc_provider(&json!({ "resources": resources, "defaultResource": resource })).await;
    given.use_provider(&provider, "client_secret_basic");
    given.use_server(&server);
    let world = given.start().await;

    // It was challenged; then it looks on the server's own host, and nowhere else.
    world.post("/mcp").json(&initialize()).answer().await.assert_status(401);
    let found = world.get(AUTHORIZATION_SERVER).header("mcp-protocol-version", "2025-03-26").answer().await;
    let metadata = found.assert_status(200).json();
    assert_eq!(metadata["issuer"], provider.ready["issuer"]);
    let token = authorize(&world, &metadata).await;
    world.credentials.agent(&token);

    let begun = world.post("/mcp").json(&initialize()).bearer_auth(&token).header("accept", ACCEPT).answer().await;
    let session = begun.assert_status(200).header("mcp-session-id");
    let send = |message: Value| {
        let request = world.post("/mcp").bearer_auth(&token).header("mcp-session-id", session);
        request.header("accept", ACCEPT).json(&message).answer()
    };
    send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await.assert_status(202);
    let call = json!({ "name": "echo", "arguments": { "message": "hello" } });
    let called = send(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call })).await;

    assert!(called.assert_status(200).body.contains("Echo: hello"), "{called:#?}");
}

const ACCEPT: &str = "application/json, text/event-stream";

fn initialize() -> Value {
    let params = json!({
        "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "old", "version": "1" },
    });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

/// Registers, lets the person agree, and redeems the code, at the endpoints that `metadata` names.
async fn authorize(world: &World, metadata: &Value) -> String {
    const REDIRECT: &str = "http://127.0.0.1:1/callback";
    let endpoint = |name: &str| metadata[name].as_str().unwrap_or_else(|| panic!("{name} in {metadata}")).to_owned();
    let registration = json!({
        "client_name": "old", "redirect_uris": [REDIRECT], "application_type": "native",
        "grant_types": ["authorization_code"], "response_types": ["code"], "token_endpoint_auth_method": "none",
    });
    let client = world.client().post(endpoint("registration_endpoint")).json(&registration).answer().await;
    let client = client.assert_status(201).json();
    let client_id = client["client_id"].as_str().unwrap();

    let mut url = Url::parse(&endpoint("authorization_endpoint")).unwrap();
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", REDIRECT),
        ("scope", "mcp:read"),
        ("code_challenge", e2e::CODE_CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let callback = Url::parse(&follow_redirects(url.as_str(), REDIRECT).await).unwrap();
    let code = callback.query_pairs().find(|(name, _)| name == "code").unwrap_or_else(|| panic!("{callback}")).1;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", client_id),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", e2e::CODE_VERIFIER),
    ];
    let tokens = world.client().post(endpoint("token_endpoint")).form(&form).answer().await.assert_status(200).json();
    tokens["access_token"].as_str().unwrap().to_owned()
}

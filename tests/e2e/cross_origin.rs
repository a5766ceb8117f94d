//! Browser clients of MCP endpoints: pages of known origins may call and read, pages of all others may not.

use e2e::{AnswerExt, Given, Response, World};
use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

const INSPECTOR: &str = "https://inspector.example.com";

/// A world whose route is an MCP endpoint, with these origins.
async fn with_origins(origins: &[&str]) -> World {
    given(origins).await.start().await
}

async fn given(origins: &[&str]) -> Given {
    let mut given = Given::new().await;
    given.config["routes"][0]["mcp"] = json!({ "origins": origins, "default": "allow" });
    given
}

fn ping() -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "ping" })
}

/// What a page of `origin` sends.
fn call(world: &World, origin: &str) -> RequestBuilder {
    world.post("/mcp").json(&ping()).header("origin", origin)
}

/// What the browser of a page of `origin` asks before that.
fn preflight(world: &World, path: &str, origin: &str) -> RequestBuilder {
    let request = world.request(Method::OPTIONS, path).header("origin", origin);
    request.header("access-control-request-method", "POST").header("access-control-request-headers", "authorization")
}

/// Checks that pages of `origin` and no others may read `answer`.
#[track_caller]
fn assert_readable(answer: &Response, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), origin);
    assert!(answer.headers.get_all("vary").iter().any(|vary| vary == "Origin"), "{answer:#?}");
    assert_eq!(answer.headers.get("access-control-allow-credentials"), None, "{answer:#?}");
    let exposed = answer.header("access-control-expose-headers");
    for name in ["WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version", "DPoP-Nonce", "Retry-After"] {
        assert!(exposed.split(", ").any(|known| known == name), "{name} in {answer:#?}");
    }
}

#[tokio::test]
async fn a_page_of_a_known_origin_may_call_and_read() {
    let world = with_origins(&[INSPECTOR, "http://127.0.0.1:6274"]).await;
    let token = world.valid_token();

    for origin in [INSPECTOR, "http://127.0.0.1:6274"] {
        let answer = call(&world, origin).bearer_auth(&token).answer().await;

        assert_readable(answer.assert_status(200), origin);
    }
}

#[tokio::test]
async fn a_page_of_the_resources_own_origin_may_call_and_read() {
    let world = with_origins(&[]).await;
    let token = world.valid_token();
    let own = world.url("");

    let answer = call(&world, &own).bearer_auth(&token).answer().await;

    assert_readable(answer.assert_status(200), &own);
}

#[tokio::test]
async fn a_client_that_is_no_browser_passes_and_caches_are_told_that_it_matters() {
    let world = with_origins(&[INSPECTOR]).await;
    let token = world.valid_token();

    let answer = world.post("/mcp").json(&ping()).bearer_auth(&token).answer().await;

    assert_eq!(answer.assert_status(200).header("vary"), "Origin");
    assert_eq!(answer.headers.get("access-control-allow-origin"), None, "{answer:#?}");
}

#[tokio::test]
async fn mcp_2025_11_25_transports_a_foreign_origin_is_403_whatever_token_comes_with_it() {
    let world = with_origins(&[INSPECTOR]).await;
    let token = world.valid_token();

    let answer = call(&world, "https://evil.example").bearer_auth(&token).answer().await;

    let error = answer.assert_status(403).json();
    assert_eq!(error["id"], 7);
    assert_eq!(error["error"]["code"], -32015);
    assert_eq!(error["error"]["data"]["reason"], "foreign_origin");
    assert_eq!(answer.headers.get("access-control-allow-origin"), None, "{answer:#?}");
    assert_eq!(answer.header("vary"), "Origin");
    assert!(world.upstream.received().is_empty());
    assert_eq!(world.authorization_server.introspections(&token), 0);
    world.gateway.logged(&["audit", "deny", "foreign_origin", "status=403"]).await;
}

#[tokio::test]
async fn a_foreign_origin_is_refused_with_every_method() {
    let world = with_origins(&[INSPECTOR]).await;
    let token = world.valid_token();

    for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS] {
        let request = world.request(method, "/mcp").bearer_auth(&token).header("origin", "https://evil.example");
        request.answer().await.assert_status(403);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn an_origin_is_known_to_the_letter_or_foreign() {
    let world = with_origins(&[INSPECTOR]).await;
    let token = world.valid_token();
    let mut got_through = Vec::new();
    for origins in [
        "Origin: null",
        "Origin:",
        "Origin: *",
        "Origin: http://inspector.example.com",
        "Origin: https://inspector.example.com:443",
        "Origin: https://inspector.example.com.evil.example",
        "Origin: https://inspector.example.com/",
        "Origin: https://evil.example https://inspector.example.com",
        "Origin: https://inspector.example.com, https://inspector.example.com",
        "Origin: https://inspector.example.com\r\nOrigin: https://inspector.example.com",
        "Origin: https://inspector.example.com\r\nOrigin: https://evil.example",
        "Origin: https://insp\u{e9}ctor.example.com",
    ] {
        let mut connection = world.raw().await;

        let head = format!("GET /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{origins}\r\n\r\n");
        connection.send(head).await;

        let answer = connection.response().await.unwrap();
        if answer.status != 403 {
            got_through.push((origins, answer.status));
        }
    }
    assert!(got_through.is_empty(), "{got_through:#?}");
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn where_the_operator_lets_any_origin_in_it_is_still_one_and_never_with_credentials() {
    let world = with_origins(&["*"]).await;
    let token = world.valid_token();

    for origin in ["https://anywhere.example", "null"] {
        assert_readable(call(&world, origin).bearer_auth(&token).answer().await.assert_status(200), "*");
    }
    let two = call(&world, "https://a.example").header("origin", "https://b.example").bearer_auth(&token);
    two.answer().await.assert_status(403);
}

#[tokio::test]
async fn a_preflight_is_answered_before_a_token_is_asked_for() {
    let world = with_origins(&[INSPECTOR]).await;
    let mut connection = world.raw().await;

    connection
        .send(format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: x\r\nOrigin: {INSPECTOR}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type,mcp-protocol-version\r\n\r\n"
        ))
        .await;
    let answer = connection.response().await.unwrap();

    answer.assert_status(204);
    assert_eq!(answer.headers.get("content-length"), None, "{answer:#?}");
    assert_eq!(answer.header("access-control-allow-origin"), INSPECTOR);
    assert_eq!(answer.header("access-control-allow-methods"), "GET, POST, DELETE");
    let allowed = answer.header("access-control-allow-headers");
    for name in [
        "Authorization",
        "Content-Type",
        "Accept",
        "DPoP",
        "MCP-Protocol-Version",
        "Mcp-Session-Id",
        "Last-Event-ID",
        "Mcp-Method",
        "Mcp-Name",
    ] {
        assert!(allowed.split(", ").any(|known| known == name), "{name} in {answer:#?}");
    }
    assert!(answer.header("access-control-max-age").parse::<u32>().unwrap() > 0);
    assert_eq!(answer.header("vary"), "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    assert_eq!(answer.headers.get("access-control-allow-credentials"), None, "{answer:#?}");
    // And the connection serves the request that follows.
    connection.send(format!("GET /mcp HTTP/1.1\r\nHost: x\r\nOrigin: {INSPECTOR}\r\n\r\n")).await;
    connection.response().await.unwrap().assert_status(401);
    assert!(world.upstream.received().is_empty());
    world.gateway.logged(&["audit", "allow", "own_endpoint", "status=204", "route=", "OPTIONS"]).await;
}

#[tokio::test]
async fn a_preflight_is_answered_over_http_2_too() {
    let world = with_origins(&[INSPECTOR]).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let token = world.valid_token();

    for _ in 0..2 {
        let ask = client.request(Method::OPTIONS, world.url("/mcp")).header("origin", INSPECTOR);
        ask.header("access-control-request-method", "POST").answer().await.assert_status(204);
        let call = client.post(world.url("/mcp")).json(&ping()).header("origin", INSPECTOR).bearer_auth(&token);
        assert_readable(call.answer().await.assert_status(200), INSPECTOR);
    }
}

#[tokio::test]
async fn mcp_2026_07_28_a_preflight_allows_parameters_in_headers_and_nothing_else_that_is_asked_for() {
    let world = with_origins(&[INSPECTOR]).await;

    let request = world.request(Method::OPTIONS, "/mcp").header("origin", INSPECTOR);
    let request = request.header("access-control-request-method", "POST");
    let names = "mcp-param-region, Mcp-Param-Tenant,x-forwarded-user,mcp-param-\u{e9},mcp-param-a b";
    let answer = request.header("access-control-request-headers", names).answer().await;

    let allowed = answer.assert_status(204).header("access-control-allow-headers").to_ascii_lowercase();
    assert!(allowed.ends_with(", mcp-name, mcp-param-region, mcp-param-tenant"), "{allowed}");
}

#[tokio::test]
async fn a_preflight_of_a_foreign_page_is_refused() {
    let world = with_origins(&[INSPECTOR]).await;

    let answer = preflight(&world, "/mcp", "https://evil.example").answer().await;

    answer.assert_status(403);
    assert_eq!(answer.headers.get("access-control-allow-origin"), None, "{answer:#?}");
}

#[tokio::test]
async fn options_without_a_browsers_question_is_405() {
    let world = with_origins(&[INSPECTOR]).await;
    let token = world.valid_token();

    let plain = world.request(Method::OPTIONS, "/mcp").bearer_auth(&token).answer().await;
    let of_a_page = world.request(Method::OPTIONS, "/mcp").header("origin", INSPECTOR).answer().await;

    for answer in [&plain, &of_a_page] {
        assert_eq!(answer.assert_status(405).header("allow"), "GET, POST, DELETE");
    }
    assert_readable(&of_a_page, INSPECTOR);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn refusals_can_be_read_by_the_page_that_was_refused() {
    let mut given = given(&[INSPECTOR]).await;
    given.config["routes"][0]["scopes"] = json!(["mcp:write"]);
    let world = given.start().await;
    let token = world.valid_token();

    let without_a_token = call(&world, INSPECTOR).answer().await;
    let without_the_scope = call(&world, INSPECTOR).bearer_auth(&token).answer().await;

    assert_readable(without_a_token.assert_status(401), INSPECTOR);
    assert_readable(without_the_scope.assert_status(403), INSPECTOR);
    assert_eq!(without_the_scope.challenge().get("scope"), Some("mcp:write"));
}

#[tokio::test]
async fn failures_can_be_read_by_the_page_that_met_them() {
    let mut given = given(&[INSPECTOR]).await;
    let nobody = e2e::ReservedPort::new();
    given.config["upstreams"]["upstream"]["endpoints"] = json!([format!("http://{}", nobody.address())]);
    let mut world = given.start().await;
    let token = world.valid_token();

    let bad_gateway = call(&world, INSPECTOR).bearer_auth(&token).answer().await;
    world.authorization_server.go_down().await;
    let unavailable = call(&world, INSPECTOR).bearer_auth(world.valid_token()).answer().await;

    assert_readable(bad_gateway.assert_status(502), INSPECTOR);
    assert_readable(unavailable.assert_status(503), INSPECTOR);
    assert!(unavailable.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn what_the_upstream_says_of_origins_is_replaced() {
    let world = with_origins(&[INSPECTOR]).await;
    world.upstream.add_header("access-control-allow-origin", "*");
    world.upstream.add_header("access-control-allow-origin", "https://evil.example");
    world.upstream.add_header("access-control-allow-credentials", "true");
    world.upstream.add_header("access-control-expose-headers", "X-Own");
    world.upstream.add_header("vary", "Accept-Encoding");
    let token = world.valid_token();

    let of_a_page = call(&world, INSPECTOR).bearer_auth(&token).answer().await;
    let of_no_page = world.post("/mcp").json(&ping()).bearer_auth(&token).answer().await;

    assert_readable(of_a_page.assert_status(200), INSPECTOR);
    let vary: Vec<_> = of_a_page.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Origin"]);
    let left = of_no_page.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).count();
    assert_eq!(left, 0, "{of_no_page:#?}");
}

#[tokio::test]
async fn an_event_stream_can_be_read_by_the_page_that_opened_it() {
    let world = with_origins(&[INSPECTOR]).await;
    let events = world.upstream.stream_next_answer();
    let token = world.valid_token();
    let request = call(&world, INSPECTOR).bearer_auth(&token);

    let opened = tokio::spawn(request.send());
    events.send("1").await;
    let answer = e2e::within("the beginning of a stream", opened).await.unwrap().unwrap();

    assert_eq!(answer.headers()["access-control-allow-origin"], INSPECTOR);
}

#[tokio::test]
async fn the_upstream_hears_nothing_of_origins() {
    let world = with_origins(&[INSPECTOR]).await;
    let token = world.valid_token();
    let request = call(&world, INSPECTOR).bearer_auth(&token).header("access-control-request-method", "POST");

    request.header("access-control-request-headers", "x").answer().await.assert_status(200);

    let received = world.upstream.only_request();
    for name in ["origin", "access-control-request-method", "access-control-request-headers"] {
        assert_eq!(received.headers.get(name), None, "{received:#?}");
    }
}

#[tokio::test]
async fn on_a_route_that_is_no_mcp_endpoint_origins_are_the_upstreams_business() {
    let world = World::new().await;
    world.upstream.add_header("access-control-allow-origin", "https://its.example");
    let token = world.valid_token();

    let answer = call(&world, "https://its.example").bearer_auth(&token).answer().await;

    assert_eq!(answer.assert_status(200).header("access-control-allow-origin"), "https://its.example");
    assert_eq!(answer.headers.get("vary"), None, "{answer:#?}");
    assert_eq!(world.upstream.only_request().header("origin"), "https://its.example");
    preflight(&world, "/mcp", "https://its.example").answer().await.assert_status(401);
}

#[tokio::test]
async fn a_public_endpoint_has_known_origins_too() {
    let mut given = Given::new().await;
    given.add_public_route("open", "/open");
    given.config["routes"][1]["mcp"] = json!({ "origins": [INSPECTOR], "default": "allow" });
    let world = given.start().await;
    let call = |origin: &str| world.post("/open").json(&ping()).header("origin", origin).answer();

    assert_readable(call(INSPECTOR).await.assert_status(200), INSPECTOR);
    call("https://evil.example").await.assert_status(403);
    call(&world.url("")).await.assert_status(403);
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn any_page_may_read_the_well_known_documents_whatever_headers_it_sends() {
    let world = with_origins(&[]).await;

    for path in ["/.well-known/oauth-protected-resource/mcp", "/.well-known/jwks.json"] {
        let asked = preflight(&world, path, "https://anywhere.example").answer().await;
        let read = world.get(path).header("origin", "https://anywhere.example").answer().await;

        assert_eq!(asked.assert_status(204).header("access-control-allow-origin"), "*");
        assert!(asked.header("access-control-allow-headers").contains("MCP-Protocol-Version"));
        assert_eq!(read.assert_status(200).header("access-control-allow-origin"), "*");
    }
    world.request(Method::OPTIONS, "/.well-known/jwks.json").answer().await.assert_status(405);
}

#[tokio::test]
async fn any_page_may_see_that_a_public_document_is_not_there() {
    let world = with_origins(&[INSPECTOR]).await;
    let document = "/.well-known/openid-configuration";

    let answer = preflight(&world, document, "https://elsewhere.example").answer().await;
    assert_eq!(answer.assert_status(204).header("access-control-allow-origin"), "*");
    let answer = world.get(document).header("origin", "https://elsewhere.example").answer().await;
    assert_eq!(answer.assert_status(404).header("access-control-allow-origin"), "*");
    let answer = world.get("/nothing").header("origin", "https://elsewhere.example").answer().await;
    assert_eq!(answer.assert_status(404).headers.get("access-control-allow-origin"), None);
}

//! Which route a request takes, and that no spelling of a path or a host gets around a protected one.

use e2e::{AnswerExt, Given, ReservedPort, World};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn a_path_of_no_route_is_404() {
    let world = World::new().await;

    for path in ["/", "/elsewhere", "/mcpx", "/MCP"] {
        world.get(path).answer().await.assert_status(404);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn the_paths_below_a_route_take_it_too() {
    let world = World::new().await;
    let token = world.valid_token();

    world.get("/mcp/below?query=1&x=%2F").bearer_auth(&token).answer().await.assert_status(200);

    assert_eq!(world.upstream.only_request().target, "/mcp/below?query=1&x=%2F");
}

#[tokio::test]
async fn the_longest_path_wins() {
    let mut given = Given::new().await;
    given.add_public_route("everything", "/");
    given.add_route("deep", "/mcp/deep")["scopes"] = json!(["deep"]);
    let world = given.start().await;

    world.get("/elsewhere").answer().await.assert_status(200);
    let deep = world.get("/mcp/deep/er").answer().await;

    assert_eq!(deep.assert_status(401).challenge().get("scope"), Some("deep"));
}

#[tokio::test]
async fn a_route_with_a_host_answers_for_that_host_alone() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["host"] = json!("mcp.example.com");
    let world = given.start().await;
    let token = world.valid_token();
    let request = |host: &'static str| world.get("/mcp").bearer_auth(&token).header("host", host).answer();

    request("mcp.example.com").await.assert_status(200);
    request("MCP.example.com:8443").await.assert_status(200);
    request("other.example.com").await.assert_status(404);
    request("mcp.example.com.evil.example").await.assert_status(404);
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn a_wildcard_is_for_all_names_below_it_and_the_longest_one_wins() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["host"] = json!("*.mcp.example.com");
    given.add_public_route("wider", "/mcp");
    given.config["routes"][1]["match"]["host"] = json!("*.example.com");
    let world = given.start().await;
    let status = async |host: &'static str| world.get("/mcp").header("host", host).answer().await.status;

    for host in ["a.mcp.example.com", "b.a.mcp.example.com:8443", "A.MCP.example.com"] {
        assert_eq!(status(host).await, 401, "{host}");
    }
    for host in ["mcp.example.com", "a.example.com", "xmcp.example.com"] {
        assert_eq!(status(host).await, 200, "{host}");
    }
    for host in ["example.com", "mcp.example.com.evil.example", "notexample.com"] {
        assert_eq!(status(host).await, 404, "{host}");
    }
}

#[tokio::test]
async fn an_exact_path_is_for_itself_alone() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["exact"] = json!(true);
    given.add_public_route("below", "/mcp");
    let world = given.start().await;

    world.get("/mcp?query=1").answer().await.assert_status(401);
    world.get("/mcp/").answer().await.assert_status(200);
    world.get("/mcp/below").answer().await.assert_status(200);
}

/// Two routes at `/mcp`: GET without a token, POST with one. Around them is one for everything.
async fn with_methods() -> World {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["methods"] = json!(["POST"]);
    given.add_public_route("read", "/mcp");
    given.config["routes"][1]["match"]["methods"] = json!(["GET"]);
    given.add_public_route("everything", "/");
    given.start().await
}

#[tokio::test]
async fn routes_may_share_a_path_by_methods() {
    let world = with_methods().await;
    let token = world.valid_token();

    world.get("/mcp/x").answer().await.assert_status(200);
    world.request(Method::HEAD, "/mcp/x").answer().await.assert_status(200);
    world.post("/mcp/x").answer().await.assert_status(401);
    world.post("/mcp/x").bearer_auth(&token).answer().await.assert_status(200);

    let methods: Vec<_> = world.upstream.received().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, [Method::GET, Method::HEAD, Method::POST]);
}

#[tokio::test]
async fn rfc9110_s15_5_6_a_method_of_no_route_is_405_with_allow_and_finds_no_other_place() {
    let world = with_methods().await;

    for method in [Method::DELETE, Method::OPTIONS, Method::from_bytes(b"PURGE").unwrap()] {
        let answer = world.request(method, "/mcp/x").answer().await;

        assert_eq!(answer.assert_status(405).header("allow"), "POST, GET, HEAD");
        assert_eq!(answer.json()["reason"], "method_not_allowed");
    }
    world.gateway.logged(&["audit", "method_not_allowed", "DELETE"]).await;
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_preflight_reaches_the_mcp_endpoint_whose_methods_do_not_name_it() {
    let mut given = Given::new().await;
    let origin = "https://inspector.example.com";
    given.config["routes"][0]["match"]["methods"] = json!(["POST"]);
    given.config["routes"][0]["mcp"] = json!({ "origins": [origin] });
    given.add_public_route("page", "/mcp");
    given.config["routes"][1]["match"]["methods"] = json!(["GET"]);
    let world = given.start().await;
    let preflight = |method: &'static str| {
        let request = world.request(Method::OPTIONS, "/mcp").header("origin", origin);
        request.header("access-control-request-method", method).answer()
    };

    let about_post = preflight("POST").await;

    assert_eq!(about_post.assert_status(204).header("access-control-allow-origin"), origin);
    preflight("GET").await.assert_status(405);
    preflight("DELETE").await.assert_status(405);
    preflight("no method").await.assert_status(405);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn rfc9728_s2_the_metadata_of_a_resource_is_that_of_all_its_routes() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["methods"] = json!(["GET"]);
    given.add_route("write", "/mcp")["match"]["methods"] = json!(["POST"]);
    given.config["routes"][1]["scopes"] = json!(["mcp:write"]);
    let world = given.start().await;

    let metadata = world.get("/.well-known/oauth-protected-resource/mcp").answer().await.assert_status(200).json();

    assert_eq!(metadata["scopes_supported"], json!(["mcp:read", "mcp:write"]));
    let get = world.get("/mcp").answer().await;
    let post = world.post("/mcp").answer().await;
    assert_eq!(get.challenge().get("scope"), Some("mcp:read"));
    assert_eq!(post.challenge().get("scope"), Some("mcp:write"));
    assert_eq!(get.challenge().get("resource_metadata"), post.challenge().get("resource_metadata"));
}

#[tokio::test]
async fn a_wildcard_route_has_its_metadata_on_each_of_its_hosts() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["host"] = json!("*.example.com");
    let world = given.start().await;
    let path = "/.well-known/oauth-protected-resource/mcp";

    let metadata = world.get(path).header("host", "a.b.example.com").answer().await;

    assert_eq!(metadata.assert_status(200).json()["resource"], world.url("/mcp"));
    world.get(path).header("host", "example.com").answer().await.assert_status(404);
}

#[tokio::test]
async fn every_spelling_of_a_path_takes_the_same_route() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["path"] = json!("/caf%C3%A9:admin");
    given.add_public_route("everything", "/");
    let world = given.start().await;
    let token = world.valid_token();

    for path in ["/caf%c3%a9:admin", "/caf%C3%a9:admin/x", "/caf%C3%A9%3Aadmin", "/caf%c3%a9%3aadmin"] {
        world.get(path).answer().await.assert_status(401);
    }
    world.get("/caf%c3%a9%3aadmin/x").bearer_auth(&token).answer().await.assert_status(200);
    assert_eq!(world.upstream.only_request().target, "/caf%c3%a9%3aadmin/x", "it is passed on as it came");
}

#[tokio::test]
async fn no_spelling_of_a_host_gets_around_the_route_of_that_host() {
    let mut given = Given::new().await;
    given.config["routes"][0]["match"]["host"] = json!("mcp.example.com");
    given.add_public_route("any host", "/");
    for (number, host) in ["127.0.0.1", "[::1]", "xn--bcher-kva.example"].into_iter().enumerate() {
        let route = given.add_route(&format!("host-{number}"), "/mcp");
        route["match"]["host"] = json!(host);
    }
    let world = given.start().await;
    for host in [
        "MCP.EXAMPLE.COM",
        "mcp.example.com:",
        "mcp.example.com:0",
        "mcp.example.com.",
        "mcp.example.com.:80",
        "mcp.example.com..",
        ".mcp.example.com",
        "mcp..example.com",
        "mcp.example.com:80:80",
        "mcp.example.com:65536",
        "mcp.example.com:8x",
        "user@mcp.example.com",
        "mcp.example.com,x",
        "mcp.example.com x",
        "mcp.example.com/x",
        "mcp.example.com\\x",
        "mcp.example.com#x",
        "mcp.example.com?x",
        "mcp%2eexample.com",
        "mcp\u{3002}example.com",
        "\u{ff4d}cp.example.com",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "[0:0:0:0:0:0:0:1]",
        "[0::0:1]",
        "[::0001]:80",
        "[::1%25lo]",
        "[::1",
        "::1",
        "b\u{fc}cher.example",
        "XN--BCHER-KVA.example",
    ] {
        let mut connection = world.raw().await;

        connection.send(format!("GET /mcp HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;

        if let Some(answer) = connection.response().await {
            assert!([400, 401].contains(&answer.status.as_u16()), "{host}: {answer:#?}");
        }
    }
    assert!(world.upstream.received().is_empty(), "{:#?}", world.upstream.received());
}

#[tokio::test]
async fn the_upstream_gets_its_own_host() {
    let world = World::new().await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).header("host", "public.example").answer().await.assert_status(200);

    assert_eq!(world.upstream.only_request().header("host"), world.upstream.address().to_string());
}

#[tokio::test]
async fn no_spelling_of_a_protected_path_gets_through_a_public_route() {
    let mut given = Given::new().await;
    given.add_public_route("everything", "/");
    let world = given.start().await;
    let mut got_through = Vec::new();
    for path in [
        "//mcp",
        "///mcp",
        "/%6dcp",
        "/%6Dcp",
        "/m%63p",
        "/./mcp",
        "/x/../mcp",
        "/../mcp",
        "/x/%2e%2e/mcp",
        "/x/.%2e/mcp",
        "/%2e/mcp",
        "/x/..%2fmcp",
        "/x%2f..%2fmcp",
        "/%2fmcp",
        "/x/..;/mcp",
        "/;/mcp",
        "/;x=1/mcp",
        "/mcp;x",
        "/mcp;x=1",
        "/mcp%3bx",
        "/mcp%23",
        "/x%23/../mcp",
        "/mcp%3f",
        "/\\mcp",
        "/x\\..\\mcp",
        "/%5cmcp",
        "/mcp%00",
        "/mcp%09",
        "/mcp%0d%0a",
        "/x/%252e%252e/mcp",
        "/%256dcp",
        "/mcp/",
        "/mcp/.",
        "/mcp//",
        "/mcp?",
        "/mcp#",
        "/mcp/../mcp",
        "/mcp%2f",
        "/mcp/%2e%2e",
        "/m%u0063p",
        "/mcp%",
        "/mcp%zz",
        "/%c0%afmcp",
        "/x/%c0%ae%c0%ae/mcp",
        "/%e0%80%afmcp",
        "/%f0%80%80%afmcp",
        "/%c1%8dcp",
        "/%ff/mcp",
        "/%EF%BC%8Fmcp",
        "/%EF%BD%8Dcp",
        "/x/%EF%BC%8E%EF%BC%8E/mcp",
        "/x/%E2%80%A5/mcp",
        "/%E2%88%95mcp",
        "/%E2%81%84mcp",
        "/x%EF%BC%BCmcp",
        "/mcp%EF%BC%9Bx",
        "/m%E2%80%8Bcp",
        "/mcp%C2%AD",
        "/mcp%C2%85",
        "/\u{ff0f}mcp",
        "/m\u{200b}cp",
        "/x/..%20/mcp",
        "/x/%20../mcp",
        "/x/.../mcp",
        "/%20/mcp",
        "/x/..#/mcp",
        "http:/mcp",
        "mcp",
        "?mcp",
        "x:mcp",
        "x://x/mcp",
        "*",
    ] {
        let mut connection = world.raw().await;

        connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;

        if let Some(answer) = connection.response().await
            && ![400, 401, 404].contains(&answer.status.as_u16())
        {
            let reached = world.upstream.received().last().map(|received| received.target.clone());
            got_through.push((path, answer.status, reached));
        }
    }
    assert!(got_through.is_empty(), "{got_through:#?}");
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn fields_that_name_another_target_have_no_effect() {
    let mut given = Given::new().await;
    given.add_public_route("open", "/open");
    let world = given.start().await;
    for name in ["x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-prefix", "x-http-method-override"] {
        let protected = world.get("/mcp").header(name, "/open").header("user-agent", "kube-probe/1.30").answer().await;
        let open = world.get("/open").header(name, "/mcp").answer().await;

        protected.assert_status(401);
        assert_eq!(open.assert_status(200).json()["target"], "/open");
    }
}

#[tokio::test]
async fn an_upstream_cannot_set_what_the_gateway_publishes() {
    let mut given = Given::new().await;
    given.add_public_route("everything", "/");
    let world = given.start().await;

    let keys = world.get("/.well-known/jwks.json").answer().await;

    assert!(keys.assert_status(200).json()["keys"].is_array());
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn every_listener_serves_all_routes() {
    let mut given = Given::new().await;
    let second = ReservedPort::new();
    given.config["listeners"].as_array_mut().unwrap().push(json!({ "address": second.address() }));
    let world = given.start().await;
    let token = world.valid_token();

    for address in [world.gateway.address(), second.address()] {
        let request = world.client().get(format!("http://{address}/mcp")).bearer_auth(&token);
        request.answer().await.assert_status(200);
    }
}

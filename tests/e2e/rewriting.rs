//! Paths that are others at the upstream, on the way there and back.

use e2e::{AnswerExt, Given, ReservedPort, World};
use serde_json::json;

/// A world whose route `/mcp` is `/internal` at the upstream.
async fn world() -> World {
    given().await.start().await
}

async fn given() -> Given {
    let mut given = Given::new().await;
    given.config["routes"][0]["rewrite"] = json!({ "path": "/internal" });
    given
}

#[tokio::test]
async fn the_matched_path_is_replaced_and_all_else_is_as_it_came() {
    for (target, at_upstream) in [
        ("/mcp", "/internal"),
        ("/mcp/", "/internal/"),
        ("/mcp?a=%2F..%2f&b=//../&c=%zz&d", "/internal?a=%2F..%2f&b=//../&c=%zz&d"),
        ("/mcp?", "/internal?"),
        ("/mcp/a%20b/caf%c3%a9/mcp?x=/mcp", "/internal/a%20b/caf%c3%a9/mcp?x=/mcp"),
    ] {
        let world = world().await;
        let token = world.valid_token();
        let mut connection = world.raw().await;

        connection.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")).await;

        connection.response().await.unwrap().assert_status(200);
        assert_eq!(world.upstream.only_request().target, at_upstream, "{target}");
    }
}

#[tokio::test]
async fn at_the_root_of_an_upstream_no_two_slashes_come_together() {
    let mut given = given().await;
    given.config["routes"][0]["rewrite"]["path"] = json!("/");
    let world = given.start().await;
    let token = world.valid_token();

    for path in ["/mcp", "/mcp/", "/mcp/x", "/mcp/x/?y"] {
        world.get(path).bearer_auth(&token).answer().await.assert_status(200);
    }

    let targets: Vec<_> = world.upstream.received().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/", "/", "/x", "/x/?y"]);
}

#[tokio::test]
async fn rfc9112_s3_2_2_of_an_absolute_target_the_path_is_replaced() {
    let world = world().await;
    let token = world.valid_token();
    let mut connection = world.raw().await;

    let head = format!("Host: a.example\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.send(format!("GET http://a.example/mcp/x?y HTTP/1.1\r\n{head}")).await;

    connection.response().await.unwrap().assert_status(200);
    assert_eq!(world.upstream.only_request().target, "/internal/x?y");
}

#[tokio::test]
async fn a_path_is_replaced_once_however_often_connecting_is_tried() {
    let mut given = given().await;
    given.config["routes"][0]["rewrite"]["path"] = json!("/mcp/mcp");
    let (closed, open) = (ReservedPort::new(), given.upstream.url());
    given.config["upstreams"]["upstream"]["endpoints"] = json!([format!("http://{}", closed.address()), open]);
    let world = given.start().await;
    let token = world.valid_token();

    for _ in 0..2 {
        world.get("/mcp/x").bearer_auth(&token).answer().await.assert_status(200);
    }

    assert!(world.upstream.received().iter().all(|request| request.target == "/mcp/mcp/x"));
}

#[tokio::test]
async fn messages_of_mcp_go_to_the_other_path() {
    let mut given = given().await;
    given.config["routes"][0]["mcp"] = json!({});
    let world = given.start().await;
    let token = world.valid_token();

    world.call(&token, "ping", &json!({})).answer().await.assert_status(200);

    let request = world.upstream.only_request();
    assert_eq!(request.target, "/internal");
    assert!(request.body().contains("ping"));
}

/// Where the client is sent when the upstream sends it to `location`.
async fn sent_to(world: &World, location: &str) -> String {
    world.upstream.answer_with_status(302);
    world.upstream.add_header("location", location);
    let token = world.valid_token();
    let answer = world.get("/mcp/x").bearer_auth(&token).answer().await;
    answer.assert_status(302).header("location").to_owned()
}

#[tokio::test]
async fn a_redirect_to_the_upstreams_own_path_leads_to_the_route() {
    for (location, followed) in
        [("/internal/y?z=%2F", "/mcp/y?z=%2F"), ("{url}/internal/", "/mcp/"), ("y", "/mcp/y"), ("?y", "/mcp/x?y")]
    {
        let world = world().await;
        let location = location.replace("{url}", &world.upstream.url());

        assert_eq!(sent_to(&world, &location).await, followed, "{location}");
    }
}

#[tokio::test]
async fn a_redirect_to_elsewhere_stays() {
    for location in ["https://login.example.com/internal/x", "/elsewhere", "/internals", "http://127.0.0.1/internal"] {
        let world = world().await;

        assert_eq!(sent_to(&world, location).await, location);
    }
}

#[tokio::test]
async fn without_rewriting_a_redirect_does_not_lead_around_the_gateway() {
    let world = World::new().await;
    let location = format!("{}/mcp/", world.upstream.url());

    assert_eq!(sent_to(&world, &location).await, "/mcp/");
}

#[tokio::test]
async fn no_redirect_of_the_upstreams_own_leads_to_another_host() {
    let mut given = given().await;
    given.config["routes"][0]["match"]["path"] = json!("/");
    let world = given.start().await;

    assert_eq!(sent_to(&world, "/internal//evil.example/").await, "/internal//evil.example/");
}

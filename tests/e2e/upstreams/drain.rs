//! An endpoint that is to go finishes what it has.

use e2e::{AnswerExt, Endpoint, Given, Response, Upstream, World, within};
use serde_json::{Value, json};

use super::{answered_in_turn, states, upstream, world};

async fn drain(world: &World, name: &str, body: &Value) -> Response {
    world.client().post(world.admin_url(&format!("/v1/upstreams/{name}/drain"))).json(body).answer().await
}

#[tokio::test]
async fn an_endpoint_that_is_draining_gets_no_requests() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"]["endpoints"] = json!([{ "url": one.url(), "draining": true }, two.url()]);
    let world = given.start().await;
    let token = world.valid_token();
    assert_eq!(states(&world).await, ["draining", "healthy"]);
    assert_eq!(answered_in_turn(&world, &token, 4).await, vec![two.name(); 4]);

    let answer = drain(&world, "upstream", &json!({ "endpoint": one.url(), "draining": false })).await;
    assert_eq!(answer.assert_status(200).json()["endpoints"][0]["state"], "healthy");
    drain(&world, "upstream", &json!({ "endpoint": two.url(), "draining": true })).await.assert_status(200);

    assert_eq!(answered_in_turn(&world, &token, 4).await, vec![one.name(); 4]);
    assert_eq!(states(&world).await, ["healthy", "draining"]);
}

#[tokio::test]
async fn a_session_stays_at_an_endpoint_that_is_draining_and_new_ones_begin_elsewhere() {
    let mut given = Given::new().await;
    let other = Upstream::start().await;
    given.config["routes"][0]["mcp"] = json!({});
    given.config["upstreams"]["upstream"]["endpoints"] = json!([given.upstream.url(), other.url()]);
    let world = given.start().await;
    let token = world.valid_token();
    world.upstream.add_header("mcp-session-id", "at-the-first");
    other.add_header("mcp-session-id", "at-the-other");
    let send = |session: &str| {
        let request = world.call(&token, "ping", &json!({}));
        if session.is_empty() { request } else { request.header("mcp-session-id", session) }.answer()
    };
    for _ in 0..2 {
        send("").await.assert_status(200);
    }
    assert_eq!((world.upstream.received().len(), other.received().len()), (1, 1));
    let sessions = |upstream: &Value| [0, 1].map(|number| upstream["endpoints"][number]["sessions"].clone());
    assert_eq!(sessions(&upstream(&world).await), [json!(1), json!(1)]);

    drain(&world, "upstream", &json!({ "endpoint": world.upstream.url(), "draining": true })).await.assert_status(200);

    for _ in 0..3 {
        send("at-the-first").await.assert_status(200);
        send("").await.assert_status(200);
    }
    assert_eq!((world.upstream.received().len(), other.received().len()), (4, 4));
    let end = world.request(http::Method::DELETE, "/mcp").bearer_auth(&token).header("mcp-session-id", "at-the-first");
    end.answer().await.assert_status(200);
    let idle = async { while upstream(&world).await["endpoints"][0]["requests"] != 0 {} };
    within("the last request to end", idle).await;
    let state = upstream(&world).await;
    assert_eq!(sessions(&state), [json!(0), json!(1)], "it can go now");
    assert_eq!(state["endpoints"][0]["state"], "draining");
}

#[tokio::test]
async fn only_what_there_is_can_be_drained() {
    let one = Endpoint::start().await;
    let world = world(&[&one], json!({})).await;
    let all = json!({ "endpoint": one.url(), "draining": true });

    drain(&world, "upstraem", &all).await.assert_status(404);
    drain(&world, "upstream", &json!({ "endpoint": "http://10.0.0.1:1", "draining": true })).await.assert_status(404);
    drain(&world, "upstream", &json!({ "endpoint": one.url() })).await.assert_status(400);
    drain(&world, "upstream", &json!({ "endpoint": "elsewhere", "draining": true })).await.assert_status(400);
    let text = world.client().post(world.admin_url("/v1/upstreams/upstream/drain")).body(all.to_string());
    text.answer().await.assert_status(415);
    world.client().get(world.admin_url("/v1/upstreams/upstream/drain")).answer().await.assert_status(405);

    assert_eq!(states(&world).await, ["healthy"]);
    drain(&world, "upstream", &all).await.assert_status(200);
    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(502);
}

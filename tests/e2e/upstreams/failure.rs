//! When an endpoint fails, the others serve its requests, as far as that is safe.

use e2e::{AnswerExt, Behaviour, Endpoint, Load, within};
use serde_json::json;

use super::{answered_by, answered_in_turn, states, states_become, upstream, world};

#[tokio::test]
async fn an_endpoint_that_dies_under_load_and_comes_back_fails_no_request_that_may_be_sent_again() {
    let (mut one, two) = (Endpoint::start().await, Endpoint::start().await);
    let settings = json!({ "ejection": { "failures": 3, "for": "200ms" } });
    let world = world(&[&one, &two], settings).await;
    let token = world.valid_token();
    let address = world.gateway.address();
    for _ in 0..3 {
        let tokens = [token.clone()];
        let load = tokio::spawn(async move { Load::run(address, "/mcp", 8, 400, &tokens).await });
        one.receives(one.requests() + 50).await;
        one.die().await;
        two.receives(two.requests() + 100).await;
        one.come_back();

        let load = within("the load", load).await.unwrap();

        assert_eq!(load.answers.into_iter().collect::<Vec<_>>(), [(200, 3_200)]);
        within("it to be in use again", async {
            while states(&world).await != ["healthy", "healthy"] {
                answered_by(&world, &token).await;
            }
        })
        .await;
    }
    assert!(world.metric("phantomgate_upstream_retries_total", &[("outcome", "sent")]).await > 0.0);
}

#[tokio::test]
async fn a_post_is_not_sent_twice_once_it_went_out() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    one.be(Behaviour::HangUp);
    two.be(Behaviour::HangUp);
    let world = world(&[&one, &two], json!({})).await;
    let token = world.valid_token();

    for sent in 1..=4 {
        let answer = world.post("/mcp").bearer_auth(&token).body("once").answer().await;

        answer.assert_status(502);
        assert_eq!(one.requests() + two.requests(), sent);
    }
}

#[tokio::test]
async fn a_post_on_a_connection_that_was_used_before_is_not_sent_twice_either() {
    let one = Endpoint::start().await;
    let world = world(&[&one], json!({})).await;
    let token = world.valid_token();
    world.post("/mcp").bearer_auth(&token).body("before").answer().await.assert_status(200);
    one.be(Behaviour::HangUp);

    world.post("/mcp").bearer_auth(&token).body("once").answer().await.assert_status(502);

    assert_eq!(one.requests(), 2);
}

#[tokio::test]
async fn a_get_that_was_not_answered_is_sent_to_another_endpoint() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    one.be(Behaviour::HangUp);
    let world = world(&[&one, &two], json!({})).await;
    let token = world.valid_token();

    let names = answered_in_turn(&world, &token, 4).await;

    assert_eq!(names, [two.name(), two.name(), two.name(), two.name()]);
    assert!(one.requests() > 0);
}

#[tokio::test]
async fn a_request_is_tried_again_no_more_often_than_it_may() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    one.be(Behaviour::HangUp);
    two.be(Behaviour::HangUp);
    let world = world(&[&one, &two], json!({ "retries": 1, "ejection": { "failures": 1000 } })).await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(502);
    assert_eq!(one.requests() + two.requests(), 2);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let mut one = Endpoint::start().await;
    one.be(Behaviour::Begin);
    let world = world(&[&one], json!({})).await;
    let token = world.valid_token();
    let request = tokio::spawn(world.get("/mcp").bearer_auth(&token).send());
    let mut answer = within("an answer", request).await.unwrap().unwrap();
    within("its beginning", answer.chunk()).await.unwrap();

    one.die().await;

    assert!(within("its end", answer.chunk()).await.is_err());
    assert_eq!(one.requests(), 1);
}

#[tokio::test]
async fn one_that_fails_is_ejected_until_a_request_finds_it_well() {
    let (mut one, two) = (Endpoint::start().await, Endpoint::start().await);
    let world = world(&[&one, &two], json!({ "ejection": { "failures": 2, "for": "4s" } })).await;
    let token = world.valid_token();
    one.die().await;

    answered_in_turn(&world, &token, 6).await;

    assert_eq!(states(&world).await, ["ejected", "healthy"]);
    let counts = upstream(&world).await["endpoints"][0]["counts"].clone();
    assert_eq!((&counts["ejections"], &counts["connect_failures"]), (&json!(1), &json!(2)), "{counts}");
    assert_eq!(world.metric("phantomgate_upstream_ejections_total", &[]).await, 1.0);
    world.gateway.logged(&["ejected", &one.name()]).await;

    one.come_back();
    within("it to be tried again", async { while answered_by(&world, &token).await != one.name() {} }).await;
    assert_eq!(states(&world).await, ["healthy", "healthy"]);
}

#[tokio::test]
async fn when_all_are_ejected_all_are_tried() {
    let (mut one, mut two) = (Endpoint::start().await, Endpoint::start().await);
    let world = world(&[&one, &two], json!({ "ejection": { "failures": 1, "for": "1h" } })).await;
    let token = world.valid_token();
    one.die().await;
    two.die().await;
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(502);
    assert_eq!(states(&world).await, ["ejected", "ejected"]);
    assert_eq!(world.metric("phantomgate_upstream_panic", &[]).await, 1.0);

    two.come_back();

    assert_eq!(answered_by(&world, &token).await, two.name());
    assert_eq!(states(&world).await, ["ejected", "healthy"]);
    assert_eq!(world.metric("phantomgate_upstream_panic", &[]).await, 0.0);
}

#[tokio::test]
async fn what_an_application_answers_is_no_failure() {
    let given = e2e::Given::new().await;
    given.upstream.answer_with_status(503);
    let world = given.start().await;
    let token = world.valid_token();

    for _ in 0..10 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);
    }

    assert_eq!(states(&world).await, ["healthy"]);
    assert_eq!(world.upstream.received().len(), 10);
}

#[tokio::test]
async fn one_that_says_it_is_not_well_gets_no_requests_until_it_is() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    let health = json!({
        "path": "/healthz", "interval": "500ms", "timeout": "500ms", "healthy_after": 2, "unhealthy_after": 2
    });
    let world = world(&[&one, &two], json!({ "health": health })).await;
    let token = world.valid_token();
    one.be_well(false);

    states_become(&world, &["unhealthy", "healthy"]).await;

    assert_eq!(answered_in_turn(&world, &token, 4).await, vec![two.name(); 4]);
    assert!(one.checks() >= 2);
    one.be_well(true);
    states_become(&world, &["healthy", "healthy"]).await;
    let names = answered_in_turn(&world, &token, 4).await;
    assert!(names.contains(&one.name()), "{names:?}");
    assert!(world.metric("phantomgate_upstream_health_checks_total", &[("result", "failed")]).await >= 2.0);
}

#[tokio::test]
async fn without_a_path_a_connection_shows_that_one_is_well() {
    let (mut one, two) = (Endpoint::start().await, Endpoint::start().await);
    let health = json!({ "interval": "500ms", "timeout": "500ms", "unhealthy_after": 1, "healthy_after": 1 });
    let world = world(&[&one, &two], json!({ "health": health })).await;

    one.die().await;
    states_become(&world, &["unhealthy", "healthy"]).await;

    one.come_back();
    states_become(&world, &["healthy", "healthy"]).await;
    assert_eq!((one.requests(), two.requests()), (0, 0), "no request had to fail");
}

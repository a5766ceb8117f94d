//! No more requests at once than an upstream may have.

use e2e::{AnswerExt, Behaviour, Endpoint, World, within};
use futures_util::future::select_all;
use serde_json::json;

use super::{answered_by, upstream, world};

#[tokio::test]
async fn one_request_too_many_is_503_until_another_has_ended() {
    let endpoint = Endpoint::start().await;
    let world = world(&[&endpoint], json!({ "limits": { "requests": 2 } })).await;
    let token = world.valid_token();
    endpoint.be(Behaviour::Hang);
    let held = [0, 1].map(|_| tokio::spawn(world.get("/mcp").bearer_auth(&token).answer()));
    endpoint.receives(2).await;

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status(503);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.json()["reason"], "upstream_overloaded");
    assert_eq!(endpoint.requests(), 2);
    assert_eq!(upstream(&world).await["requests"], 2);
    endpoint.be(Behaviour::Answer);
    for request in held {
        request.await.unwrap().assert_status(200);
    }
    let idle = async { while upstream(&world).await["requests"] != 0 {} };
    within("all to be forgotten", idle).await;
    answered_by(&world, &token).await;
}

#[tokio::test]
async fn a_client_that_goes_away_makes_room() {
    let endpoint = Endpoint::start().await;
    let world = world(&[&endpoint], json!({ "limits": { "requests": 1 } })).await;
    let token = world.valid_token();
    endpoint.be(Behaviour::Hang);
    let held = tokio::spawn(world.get("/mcp").bearer_auth(&token).send());
    endpoint.receives(1).await;

    held.abort();
    let gone = async { while upstream(&world).await["requests"] != 0 {} };
    within("the request to end", gone).await;

    endpoint.be(Behaviour::Answer);
    answered_by(&world, &token).await;
}

/// Which endpoint answers a request, once a place is free: the last request may have its own for a moment after its answer.
async fn eventually_answered_by(world: &World, token: &str) -> String {
    let answered = async {
        loop {
            let answer = world.get("/mcp").bearer_auth(token).answer().await;
            if answer.status != 503 {
                return answer.assert_status(200).body.clone();
            }
        }
    };
    within("an answer", answered).await
}

#[tokio::test]
async fn an_endpoint_that_is_full_is_passed_over() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    let world = world(&[&one, &two], json!({ "limits": { "requests_per_endpoint": 1 } })).await;
    let token = world.valid_token();
    one.be(Behaviour::Hang);
    let requests = [(); 2].map(|()| tokio::spawn(world.get("/mcp").bearer_auth(&token).answer()));
    let (Ok(second), _, mut held) = select_all(requests).await else { panic!("a request ended without an answer") };
    assert_eq!(second.assert_status(200).body, two.name());
    one.receives(1).await;

    for _ in 0..3 {
        assert_eq!(eventually_answered_by(&world, &token).await, two.name());
    }
    two.be(Behaviour::Hang);
    within("a place at the other endpoint", async {
        while two.requests() < 5 {
            let mut request = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
            tokio::select! {
                () = two.receives(5) => held.push(request),
                answer = &mut request => drop(answer.unwrap().assert_status(503)),
            }
        }
    })
    .await;
    one.be(Behaviour::Answer);
    two.be(Behaviour::Answer);
    for request in held {
        request.await.unwrap().assert_status(200);
    }
}

#[tokio::test]
async fn an_mcp_client_is_told_in_its_own_terms() {
    let endpoint = Endpoint::start().await;
    let mut given = super::given(&[&endpoint], json!({ "limits": { "requests": 1 } })).await;
    given.config["routes"][0]["mcp"] = json!({});
    let world = given.start().await;
    let token = world.valid_token();
    endpoint.be(Behaviour::Hang);
    let held = tokio::spawn(world.call(&token, "ping", &json!({})).answer());
    endpoint.receives(1).await;

    let answer = world.call(&token, "ping", &json!({})).answer().await;

    answer.assert_status(503);
    assert_eq!((&answer.json()["id"], &answer.json()["error"]["code"]), (&json!(1), &json!(-32018)));
    endpoint.be(Behaviour::Answer);
    held.await.unwrap().assert_status(200);
}

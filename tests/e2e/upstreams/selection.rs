//! Who gets a request.

use std::collections::{BTreeSet, HashSet};

use e2e::{AnswerExt, Behaviour, Endpoint, Given};
use serde_json::json;

use super::{answered_by, answered_in_turn, world};

#[tokio::test]
async fn endpoints_take_turns_by_their_weights() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"]["endpoints"] = json!([one.url(), { "url": two.url(), "weight": 3 }]);
    let world = given.start().await;

    answered_in_turn(&world, &world.valid_token(), 40).await;

    assert_eq!((one.requests(), two.requests()), (10, 30));
}

#[tokio::test]
async fn the_one_with_the_fewest_requests_under_way_gets_the_next() {
    let (one, two) = (Endpoint::start().await, Endpoint::start().await);
    let world = world(&[&one, &two], json!({ "selection": "least_connections" })).await;
    let token = world.valid_token();
    one.be(Behaviour::Hang);
    let mut held = Vec::new();
    while one.requests() == 0 {
        let request = world.get("/mcp").bearer_auth(&token).answer();
        held.push(tokio::spawn(request));
        let arrived = held.len();
        e2e::within("a request", async {
            while one.requests() + two.requests() < arrived {
                tokio::task::yield_now().await
            }
        })
        .await;
    }

    let names = answered_in_turn(&world, &token, 6).await;

    assert_eq!(names.into_iter().collect::<HashSet<_>>(), HashSet::from([two.name()]));
    one.be(Behaviour::Answer);
    for request in held {
        request.await.unwrap().assert_status(200);
    }
}

#[tokio::test]
async fn a_subject_stays_at_its_endpoint_and_moves_only_when_that_is_gone() {
    let mut endpoints = [Endpoint::start().await, Endpoint::start().await, Endpoint::start().await];
    let [one, two, three] = &endpoints;
    let world = world(&[one, two, three], json!({ "selection": "consistent_hash", "hash_by": "subject" })).await;
    let mut before = Vec::new();
    for number in 0..30 {
        let subject = format!("subject-{number}");
        let [first, second] =
            [json!({ "sub": subject }), json!({ "sub": subject })].map(|facts| world.authorization_server.issue(facts));
        let name = answered_by(&world, &first).await;
        assert_eq!(answered_by(&world, &second).await, name, "another token of {subject}");
        before.push((first, name));
    }
    let used: BTreeSet<_> = before.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(used.len(), 3, "all take part");

    endpoints[0].die().await;

    for (token, name) in before {
        let now = answered_by(&world, &token).await;
        assert!(now == name || name == endpoints[0].name(), "{name} is there, and yet {now} answered");
    }
}

#[tokio::test]
async fn each_address_of_a_name_is_tried() {
    let endpoint = Endpoint::start().await;
    let mut given = Given::new().await;
    // Of the addresses that this name may stand for, one is listened on.
    given.config["upstreams"]["upstream"]["endpoints"] = json!([format!("http://localhost:{}", endpoint.port())]);
    let world = given.start().await;

    let names = answered_in_turn(&world, &world.valid_token(), 10).await;

    assert_eq!(names.into_iter().collect::<HashSet<_>>(), HashSet::from([endpoint.name()]));
}

#[tokio::test]
async fn an_upstream_whose_name_nobody_knows_is_502_and_said_to_be_unresolved() {
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"]["endpoints"] = json!(["http://nobody.invalid:80"]);
    let world = given.start().await;

    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(502);

    assert_eq!(super::states(&world).await, ["unresolved"]);
}

//! Nothing breaks at the edges of the cache: where entries end under load, where many want the same one at once, and where
//! the authorization server does not answer as it should. `docs/architecture.md` shows these results as a table.

use e2e::{Answer, AnswerExt, Given, Load, QuietUpstream, World};
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_entries_end_all_the_time_no_request_of_three_hundred_thousand_fails() {
    const CONNECTIONS: usize = 64;
    const TOKENS: usize = 1_000;
    const REQUESTS: usize = 300_800;
    let mut given = Given::new().await;
    let upstream = QuietUpstream::start().await;
    given.config["authorization_servers"]["main"]["cache"] = json!({ "max_ttl": "2s" });
    given.config["upstreams"]["upstream"]["endpoints"] = json!([upstream.url()]);
    given.log_level = "warn"; // three hundred thousand lines would be looked through for a thousand tokens
    let world = given.start().await;
    let tokens: Vec<_> = (0..TOKENS).map(|_| world.valid_token()).collect();

    let load = Load::run(world.gateway.address(), "/mcp", CONNECTIONS, REQUESTS / CONNECTIONS, &tokens).await;

    let introspections = world.authorization_server.requests().len();
    eprintln!("{load:?}; {introspections} introspections");
    assert_eq!(load.answers.get(&200), Some(&REQUESTS), "{load:?}");
    assert_eq!((upstream.requests(), upstream.unswapped()), (REQUESTS, 0));
    // Every entry ended at least twice, and none was asked about more than once at a time.
    let lives = usize::try_from(load.duration.as_secs()).unwrap() / 2;
    assert!(introspections >= TOKENS * 2, "{introspections} introspections in {load:?}");
    assert!(introspections <= TOKENS * (lives + 1) * 3, "{introspections} introspections in {load:?}");
}

#[tokio::test]
async fn forty_requests_at_once_for_a_new_token_make_one_introspection() {
    let world = World::new().await;
    let token = world.valid_token();

    let answers = join_all((0..40).map(|_| world.get("/mcp").bearer_auth(&token).answer())).await;

    for answer in answers {
        answer.assert_status(200);
    }
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn five_requests_with_an_inactive_token_make_one_introspection() {
    let world = World::new().await;
    let token = world.authorization_server.unknown_token();

    for _ in 0..5 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
    }

    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn where_a_jwt_was_asked_for_each_other_answer_has_its_status_and_the_upstream_sees_nothing() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["introspection"] = json!({ "response": "jwt" });
    given.config["routes"][0]["credential"] = json!({ "kind": "jwt" });
    let world = given.start().await;
    for (name, answer, status) in [
        ("503", Answer::status(503), 503),
        ("429", Answer::status(429), 503),
        ("401", Answer::status(401), 503),
        ("garbage", Answer::content(200, "application/jwt", "garbage"), 503),
        ("html", Answer::content(200, "text/html", "<html>sign in</html>"), 503),
        ("an active token in json", Answer::json(200, &json!({ "active": true, "sub": "alice" })), 503),
        (r#"{"active":false}"#, Answer::json(200, &json!({ "active": false })), 401),
        ("204", Answer::content(204, "application/jwt", ""), 401),
    ] {
        let token = world.authorization_server.issue(json!({}));
        world.authorization_server.answer(&token, answer);

        let answer = world.get("/mcp").bearer_auth(&token).answer().await;

        assert_eq!(answer.status, status, "{name}: {answer:#?}");
    }
    assert!(world.upstream.received().is_empty());
}

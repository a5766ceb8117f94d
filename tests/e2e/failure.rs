//! When an authorization server or an upstream fails, the client is told so, and nothing is remembered.

use e2e::{Answer, AnswerExt, AuthorizationServer, Given, ReservedPort, World, now, until};
use serde_json::json;

/// Refused for now, with the time to come back; never a challenge, which would start a new login.
#[track_caller]
fn assert_unavailable(answer: &e2e::Response, why: &str) {
    assert_eq!(answer.status, 503, "{why}: {answer:#?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{why}: {answer:#?}");
    assert_eq!(answer.headers.get("www-authenticate"), None, "{why}");
}

#[tokio::test]
async fn whatever_the_authorization_server_answers_wrongly_is_503_and_forgotten() {
    let html = "<html>sign in</html>";
    for (name, failure) in [
        ("500", Answer::status(500)),
        ("502", Answer::status(502)),
        ("503", Answer::status(503)),
        ("429", Answer::status(429)),
        ("401", Answer::status(401)),
        ("403 as html", Answer::content(403, "text/html", "")),
        ("404", Answer::status(404)),
        ("302", Answer::status(302)),
        ("html", Answer::content(200, "text/html", html)),
        ("html that says json", Answer::content(200, "application/json", html)),
        ("no content", Answer::content(204, "application/json", "")),
        ("an array", Answer::content(200, "application/json", r#"[{"active":true}]"#)),
        ("no active member", Answer::content(200, "application/json", r#"{"sub":"alice"}"#)),
        ("half an object", Answer::content(200, "application/json", r#"{"active":true,"#)),
        ("two active members", Answer::content(200, "application/json", r#"{"active":false,"active":true}"#)),
        (
            "a huge body",
            Answer::content(200, "application/json", format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(8 << 20))),
        ),
        ("not utf-8", Answer::content(200, "application/json", &b"{\"active\":true,\"sub\":\"\xff\"}"[..])),
    ] {
        let world = World::new().await;
        let token = world.valid_token();

        world.authorization_server.fail_with(failure);
        let during = world.get("/mcp").bearer_auth(&token).answer().await;
        world.authorization_server.recover();
        let after = world.get("/mcp").bearer_auth(&token).answer().await;

        assert_unavailable(&during, name);
        assert_eq!(after.status, 200, "after {name}: {after:#?}");
        assert_eq!(world.upstream.received().len(), 1, "during {name}");
    }
}

#[tokio::test]
async fn a_redirect_of_the_introspection_is_not_followed() {
    let world = World::new().await;
    let elsewhere = AuthorizationServer::start(&world.url("/mcp"), world.credentials.clone()).await;
    let token = world.valid_token();
    elsewhere.issue_as(&token, json!({}));
    world.authorization_server.fail_with(Answer::Redirect(elsewhere.introspection_endpoint()));

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    assert_unavailable(&answer, "a redirect");
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn a_per_token_error_of_the_authorization_server_does_not_refuse_other_tokens() {
    let world = World::new().await;
    let errors = [400, 500, 429].map(Answer::status);
    let errors = [&errors[..], &[Answer::content(200, "text/html", "<html>")]].concat();

    for n in 0..60 {
        let odd = format!("eyJhbGciOiJub25lIn0.e30.{n}");
        world.authorization_server.answer(&odd, errors[n % errors.len()].clone());
        world.get("/mcp").bearer_auth(&odd).answer().await.assert_status_in(&[401, 503]);
    }

    let good = world.valid_token();
    world.get("/mcp").bearer_auth(&good).answer().await.assert_status(200);
    assert_eq!(world.metric("phantomgate_authorization_server_circuit_open", &[]).await, 0.0);
}

#[tokio::test]
async fn an_authorization_server_that_is_away_is_left_alone_for_a_while_and_asked_again() {
    let world = World::new().await;
    let warm = world.valid_token();
    world.get("/mcp").bearer_auth(&warm).answer().await.assert_status(200);
    world.authorization_server.fail_with(Answer::status(503));
    let ask = || async { world.get("/mcp").bearer_auth(world.valid_token()).answer().await };

    let mut last = ask().await;
    for _ in 0..20 {
        assert_unavailable(&last, "away");
        last = ask().await;
    }
    let asked = world.authorization_server.requests().len();
    assert!(asked < 10, "it was asked {asked} times while it was away");
    assert_eq!(world.metric("phantomgate_authorization_server_circuit_open", &[]).await, 1.0);
    world.get("/mcp").bearer_auth(&warm).answer().await.assert_status(200);

    world.authorization_server.recover();
    until(now() + 1 + last.header("retry-after").parse::<u64>().unwrap()).await;

    ask().await.assert_status(200);
    ask().await.assert_status(200);
    assert_eq!(world.metric("phantomgate_authorization_server_circuit_open", &[]).await, 0.0);
}

#[tokio::test]
async fn an_alarm_rings_while_the_authorization_server_refuses_our_client() {
    let world = World::new().await;
    let alarm = || world.metric("phantomgate_authorization_server_alarm", &[("alarm", "client_refused")]);
    assert_eq!(alarm().await, 0.0);
    for refusal in [Answer::status(401), Answer::content(403, "text/html", "")] {
        world.authorization_server.fail_with(refusal);
        let answer = world.get("/mcp").bearer_auth(world.valid_token()).answer().await;
        assert_unavailable(&answer, "our client is refused");
        assert_eq!(alarm().await, 1.0);

        world.authorization_server.recover();
        world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);
        assert_eq!(alarm().await, 0.0);
    }
}

#[tokio::test]
async fn an_alarm_rings_when_the_authorization_server_calls_everything_inactive() {
    let world = World::new().await;
    let alarm = || world.metric("phantomgate_authorization_server_alarm", &[("alarm", "all_inactive")]);
    for _ in 0..99 {
        let token = world.authorization_server.unknown_token();
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
    }
    assert_eq!(alarm().await, 0.0);

    let token = world.authorization_server.unknown_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
    assert_eq!(alarm().await, 1.0);

    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);
    assert_eq!(alarm().await, 0.0);
}

#[tokio::test]
async fn a_secret_that_changes_while_the_gateway_runs_is_used_at_once() {
    let world = World::new().await;
    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);

    world.authorization_server.change_secret("the next secret");
    let between = world.get("/mcp").bearer_auth(world.valid_token()).answer().await;
    std::fs::write(world.directory().join("secret"), "the next secret\n").unwrap();
    let after = world.get("/mcp").bearer_auth(world.valid_token()).answer().await;

    assert_unavailable(&between, "the old secret");
    after.assert_status(200);
}

#[tokio::test]
async fn an_authorization_server_that_does_not_answer_in_time_is_503_and_forgotten() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["introspection"] = json!({ "timeout": "1s" });
    let world = given.start().await;
    let token = world.valid_token();
    let release = world.authorization_server.hold(&token);

    let during = world.get("/mcp").bearer_auth(&token).answer().await;
    release.send(true).unwrap();
    let after = world.get("/mcp").bearer_auth(&token).answer().await;

    assert_unavailable(&during, "no answer in time");
    after.assert_status(200);
}

#[tokio::test]
async fn an_authorization_server_that_is_down_is_503_and_forgotten() {
    let mut world = World::new().await;
    let token = world.valid_token();

    world.authorization_server.go_down().await;
    let during = world.get("/mcp").bearer_auth(&token).answer().await;
    world.authorization_server.come_up().await;
    let after = world.get("/mcp").bearer_auth(&token).answer().await;

    assert_unavailable(&during, "connection refused");
    after.assert_status(200);
}

#[tokio::test]
async fn the_gateway_starts_while_the_authorization_server_is_down() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"].as_object_mut().unwrap().remove("endpoints");
    given.authorization_server.go_down().await;
    let mut world = given.start().await;
    let token = world.valid_token();

    let during = world.get("/mcp").bearer_auth(&token).answer().await;
    world.authorization_server.come_up().await;
    assert_unavailable(&during, "no metadata yet");
    until(now() + 1 + during.header("retry-after").parse::<u64>().unwrap()).await;
    let after = world.get("/mcp").bearer_auth(&token).answer().await;

    after.assert_status(200);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_502() {
    let mut given = Given::new().await;
    let nobody = ReservedPort::new();
    given.config["upstreams"]["upstream"]["endpoints"] = json!([format!("http://{}", nobody.address())]);
    let world = given.start().await;
    let token = world.valid_token();

    let answer = world.post("/mcp").bearer_auth(&token).body("{}").answer().await;

    // The connection is not used again, and says so before a client sends more on it.
    assert_eq!(answer.assert_status(502).header("connection"), "close");
    world.gateway.logged(&["audit", "upstream_unavailable", "status=502"]).await;
}

#[tokio::test]
async fn an_upstream_that_is_down_is_passed_over_for_one_that_is_up() {
    let mut given = Given::new().await;
    let nobody = ReservedPort::new();
    given.config["upstreams"]["upstream"]["endpoints"] =
        json!([format!("http://{}", nobody.address()), given.upstream.url()]);
    let world = given.start().await;
    let token = world.valid_token();

    for _ in 0..4 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }
}

#[tokio::test]
async fn an_upstream_that_stays_silent_is_504() {
    let mut given = Given::new().await;
    given.config["upstreams"]["upstream"]["timeouts"] = json!({ "idle_stream": "1s" });
    let world = given.start().await;
    let token = world.valid_token();
    let _held = world.upstream.hold();

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status(504);
}

#[tokio::test]
async fn an_answer_of_the_upstream_is_never_replaced() {
    let world = World::new().await;
    let token = world.valid_token();
    world.upstream.answer_with_status(400);

    let answer = world.post("/mcp").bearer_auth(&token).body("{}").answer().await;

    // A client of both protocol eras reads this body before it falls back.
    assert_eq!(answer.assert_status(400).json()["body"], "{}");
}

//! The dashboard in a real browser, as an operator uses it.

use e2e::{Answer, AnswerExt, Given, Upstream, World, dashboard};
use serde_json::{Value, json};

/// Drives it through `steps`. Gives what they gave, once it is sure that the browser had nothing to complain of and that the
/// page asked nobody else.
async fn drive(world: &World, steps: Value) -> Value {
    let printed = dashboard(&json!({ "url": world.admin_url("/"), "steps": steps })).await;
    assert_eq!(printed["complaints"], json!([]), "{printed}");
    assert_eq!(printed["origins"], json!([world.admin_url("")]), "{printed}");
    assert_eq!(printed["url"], world.admin_url("/dashboard"), "{printed}");
    printed["gave"].clone()
}

#[tokio::test]
async fn it_shows_what_was_just_decided_and_what_is_filtered_for() {
    let world = World::new().await;
    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);
    for _ in 0..2 {
        world.get("/mcp").answer().await.assert_status(401);
    }

    let gave = drive(
        &world,
        json!([
            { "do": "decisions", "count": 3 },
            { "do": "filter", "name": "decision", "value": "deny" },
            { "do": "decisions", "count": 2 },
            { "do": "filter", "name": "decision", "value": "" },
            { "do": "filter", "name": "subject", "value": "alice" },
            { "do": "decisions", "count": 1 },
        ]),
    )
    .await;

    assert_eq!(gave[0], json!(["missing_credential", "missing_credential", "granted"]));
    assert_eq!((&gave[2], &gave[5]), (&json!(["missing_credential", "missing_credential"]), &json!(["granted"])));
}

#[tokio::test]
async fn a_token_that_is_revoked_from_a_decision_is_refused_at_once() {
    let world = World::new().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    world.authorization_server.answer(&token, Answer::json(200, &json!({ "active": false })));
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    drive(
        &world,
        json!([
            { "do": "open", "text": "granted" },
            { "do": "click", "text": "Revoke the token…" },
            { "do": "shows", "text": "Revoke?" },
            { "do": "click", "text": "Revoke" },
            { "do": "shows", "text": "Revoked. 1 token was known and is forgotten." },
        ]),
    )
    .await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(401);
}

#[tokio::test]
async fn an_endpoint_is_drained_and_taken_in_again() {
    let mut given = Given::new().await;
    let other = Upstream::start().await;
    given.config["upstreams"]["upstream"]["endpoints"] = json!([given.upstream.url(), other.url()]);
    let world = given.start().await;
    let token = world.valid_token();
    let other_gets = async |count| {
        let before = other.received().len();
        for _ in 0..10 {
            world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
        }
        assert_eq!(other.received().len() - before, count);
    };
    other_gets(5).await;

    let endpoint = other.url();
    drive(
        &world,
        json!([
            { "do": "shows", "text": "healthy" },
            { "do": "press", "name": format!("Drain {endpoint}") },
            { "do": "click", "text": "Drain" },
            { "do": "shows", "text": format!("{endpoint} is draining.") },
        ]),
    )
    .await;
    other_gets(0).await;
    drive(
        &world,
        json!([
            { "do": "press", "name": format!("Resume {endpoint}") },
            { "do": "shows", "text": format!("{endpoint} gets requests again.") },
        ]),
    )
    .await;
    other_gets(5).await;
}

#[tokio::test]
async fn the_configuration_is_read_again_and_errors_are_shown() {
    let mut world = World::new().await;
    world.configure(|config| config["routes"][0]["upstream"] = json!("nowhere"));

    let steps = json!([
        { "do": "click", "text": "Reload configuration" },
        { "do": "click", "text": "Reload" },
        { "do": "shows", "text": "no upstream is named" },
    ]);
    let printed = dashboard(&json!({ "url": world.admin_url("/"), "steps": steps })).await;
    // Browsers complain of every answer that is no success.
    let complaints: Vec<_> = printed["complaints"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(complaints.iter().all(|complaint| complaint.contains("422")), "{printed}");
}

#[tokio::test]
async fn nothing_is_revoked_that_was_not_confirmed() {
    let world = World::new().await;
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    world.authorization_server.answer(&token, Answer::json(200, &json!({ "active": false })));

    drive(
        &world,
        json!([
            { "do": "click", "text": "Revoke…" },
            { "do": "select", "selector": "[name=kind]", "value": "subject" },
            { "do": "fill", "selector": "dialog [name=value]", "value": "alice" },
            { "do": "click", "text": "Next…" },
            { "do": "shows", "text": "all tokens of the subject “alice”" },
            { "do": "click", "text": "Cancel" },
            { "do": "hides", "text": "all tokens of the subject “alice”" },
        ]),
    )
    .await;

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
}

#[tokio::test]
async fn what_clients_write_is_text() {
    let world = World::new().await;
    let markup = "<img src=x onerror=alert(1)>";
    let token = world.authorization_server.issue(json!({ "sub": markup, "client_id": "<script>alert(2)</script>" }));
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let gave = drive(&world, json!([{ "do": "shows", "text": markup }, { "do": "text" }])).await;

    assert!(gave[1].as_str().unwrap().contains("<script>alert(2)</script>"), "{gave}");
}

#[tokio::test]
async fn where_there_is_a_token_the_page_asks_for_it() {
    let mut given = Given::new().await;
    let file = given.directory().join("admin-token");
    std::fs::write(&file, "token-of-the-operator\n").unwrap();
    given.credentials.gateway("token-of-the-operator");
    given.config["admin"]["token"] = json!({ "file": file });
    let world = given.start().await;
    world.get("/mcp").answer().await.assert_status(401);
    let steps = json!([
        { "do": "shows", "text": "Sign in" },
        { "do": "text" },
        { "do": "fill", "selector": "[name=token]", "value": "another" },
        { "do": "click", "text": "Sign in" },
        { "do": "shows", "text": "This is not the token." },
        { "do": "fill", "selector": "[name=token]", "value": "token-of-the-operator" },
        { "do": "click", "text": "Sign in" },
        { "do": "decisions", "count": 1 },
        { "do": "click", "text": "Sign out" },
        { "do": "shows", "text": "Sign in" },
    ]);

    let printed = dashboard(&json!({ "url": world.admin_url("/dashboard"), "steps": steps })).await;

    assert!(!printed["gave"][1].as_str().unwrap().contains("missing_credential"), "{printed}");
    // The browser tells of each 401, and of nothing else.
    for complaint in printed["complaints"].as_array().unwrap() {
        assert!(complaint.as_str().unwrap().contains("status of 401"), "{printed}");
    }
}

#[tokio::test]
async fn the_page_is_the_same_for_everybody_and_cannot_be_embedded() {
    let world = World::new().await;

    world.admin("/").answer().await.assert_status(307);
    let page = world.admin("/dashboard").answer().await;

    let policy = page.assert_status(200).header("content-security-policy");
    for directive in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!((page.header("cache-control"), page.header("x-content-type-options")), ("no-store", "nosniff"));
    let answer = world.admin("/v1/status").header("host", "evil.example").answer().await;
    answer.assert_status(421);
    world.admin("/dashboard").header("host", "evil.example").answer().await.assert_status(421);
}

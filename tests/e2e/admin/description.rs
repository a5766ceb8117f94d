//! What the admin listener says of itself, held against what it does.

use e2e::{AnswerExt, Description, Given, World};
use serde_json::json;

#[tokio::test]
async fn every_get_operation_answers_as_it_is_described() {
    let mut given = Given::new().await;
    given.add_public_route("public", "/public");
    let world = given.start().await;
    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);
    world.get("/public").answer().await.assert_status(200);
    let description = Description::of(&world).await;

    let mut checked = 0;
    for (method, path) in description.operations() {
        if method == "get" {
            let answer = world.admin(path).answer().await;
            description.assert_describes(method, path, answer.assert_status(200));
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}

#[tokio::test]
async fn revocations_answer_as_they_are_described() {
    let world = World::new().await;
    let description = Description::of(&world).await;

    for (revocation, status) in [(json!({ "subject": "alice" }), 200), (json!({}), 400)] {
        let answer = world.post_revocation(&revocation).await;
        description.assert_describes("post", "/v1/revocations", answer.assert_status(status));
    }
}

#[tokio::test]
async fn what_it_is_not_ready_for_is_described() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"].as_object_mut().unwrap().remove("endpoints");
    given.authorization_server.go_down().await;
    let world = given.start().await;
    let description = Description::of(&world).await;

    let answer = world.admin("/readyz").answer().await;

    description.assert_describes("get", "/readyz", answer.assert_status(503));
}

#[tokio::test]
async fn every_operation_says_what_it_is_for_and_may_fail_with_problem_details() {
    let world = World::new().await;
    let description = Description::of(&world).await;

    assert_eq!(description.document()["openapi"], "3.1.1");
    for (method, path) in description.operations() {
        let operation = &description.document()["paths"][path][method];
        assert!(operation["summary"].is_string(), "{method} {path}");
        assert_eq!(operation["responses"]["default"]["$ref"], "#/components/responses/Problem", "{method} {path}");
    }
}

#[tokio::test]
async fn every_operation_is_in_the_documentation() {
    let world = World::new().await;
    let documentation = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/admin.md")).unwrap();

    for (method, path) in Description::of(&world).await.operations() {
        let operation = format!("`{} {path}", method.to_uppercase());
        assert!(documentation.contains(&operation), "{operation}` is not in docs/admin.md");
    }
}

//! The checks at the end of every test are worth something only if they fail when they should.

use e2e::{AnswerExt, World};

#[tokio::test]
#[should_panic(expected = "an agent's credential reached the upstream")]
async fn an_agent_credential_at_the_upstream_fails_a_test() {
    let world = World::new().await;
    let token = world.valid_token();
    let other = world.valid_token();

    world.get("/mcp").bearer_auth(&token).header("x-forgotten", other).answer().await.assert_status(200);
}

#[tokio::test]
#[should_panic(expected = "a credential is in the gateway's output")]
async fn a_credential_in_the_log_fails_a_test() {
    let world = World::new().await;
    let token = world.authorization_server.unknown_token();

    world.get(&format!("/elsewhere/{token}")).answer().await.assert_status(404);
    world.gateway.logged(&["audit", "/elsewhere/"]).await;
}

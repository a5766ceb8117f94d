//! Requests of the gateway's own go where the operator sent them, and nowhere else that a document may name.

use e2e::{Answer, AnswerExt, Given, World};
use serde_json::json;
use tokio::net::TcpListener;

/// A listener on this machine at an address that nobody wrote into the configuration. Connections to it wait in its queue,
/// so a test sees afterwards whether there was one.
struct Bystander(TcpListener);

impl Bystander {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.2:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}/introspect", self.0.local_addr().unwrap())
    }

    async fn was_left_alone(self) -> bool {
        let connection = std::future::poll_fn(|context| std::task::Poll::Ready(self.0.poll_accept(context).is_ready()));
        !connection.await
    }
}

/// A gateway that takes everything from the metadata, whose `member` names `url`.
async fn told(member: &str, url: &str, accepts: &str) -> World {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"].as_object_mut().unwrap().remove("endpoints");
    given.config["routes"][0]["accepts"] = json!([accepts]);
    given.authorization_server.claim_in_metadata(&json!({ member: url }));
    given.start().await
}

#[tokio::test]
async fn an_introspection_endpoint_at_another_private_address_is_not_called() {
    let bystander = Bystander::new().await;
    let world = told("introspection_endpoint", &bystander.url(), "opaque").await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);

    assert!(bystander.was_left_alone().await);
}

#[tokio::test]
async fn a_key_set_at_another_private_address_is_not_fetched() {
    let bystander = Bystander::new().await;
    let world = told("jwks_uri", &bystander.url(), "jwt").await;
    let token = world.authorization_server.issue_jwt(&json!({}));

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);

    assert!(bystander.was_left_alone().await);
}

#[tokio::test]
async fn metadata_is_not_looked_for_where_a_redirect_leads() {
    let bystander = Bystander::new().await;
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"].as_object_mut().unwrap().remove("endpoints");
    given.authorization_server.answer_metadata(Answer::Redirect(bystander.url()));
    let world = given.start().await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);

    assert!(bystander.was_left_alone().await);
}

#[tokio::test]
async fn an_address_that_the_operator_allows_is_called() {
    let mut given = Given::new().await;
    let main = &mut given.config["authorization_servers"]["main"];
    main.as_object_mut().unwrap().remove("endpoints");
    main["allowed_addresses"] = json!(["127.0.0.0/8"]);
    let bystander = Bystander::new().await;
    given.authorization_server.claim_in_metadata(&json!({ "introspection_endpoint": bystander.url() }));
    let world = given.start().await;
    let token = world.valid_token();

    let asking = tokio::spawn(world.get("/mcp").bearer_auth(&token).send());
    e2e::within("a connection", bystander.0.accept()).await.unwrap();
    asking.abort();
}

#[tokio::test]
async fn an_endpoint_in_the_clear_elsewhere_is_not_called_whatever_its_host_is_called() {
    for url in ["http://login.example.com/introspect", "http://169.254.169.254/introspect", "file:///etc/passwd"] {
        let world = told("introspection_endpoint", url, "opaque").await;
        let token = world.valid_token();

        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(503);
    }
}

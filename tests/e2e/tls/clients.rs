//! Clients' certificates, and tokens that are bound to them (RFC 8705 §3).

use e2e::{AnswerExt, Certificates, Given, Identity, World};
use reqwest::RequestBuilder;
use serde_json::json;

use super::{client, given, url};

/// A gateway to which clients show certificates, `required` or `optional`.
async fn asking(requirement: &str) -> (World, Certificates) {
    let (given, certificates) = given_asking(requirement).await;
    (given.start().await, certificates)
}

async fn given_asking(requirement: &str) -> (Given, Certificates) {
    let (mut given, certificates) = given().await;
    let tls = &mut given.config["listeners"][0]["tls"];
    tls["client_ca"] = json!(certificates.ca());
    tls["client_certificate"] = json!(requirement);
    (given, certificates)
}

/// A request over a new connection, with this certificate.
fn request(world: &World, certificates: &Certificates, shown: Option<&Identity>, token: &str) -> RequestBuilder {
    let builder = client(certificates, world.gateway.address(), &["localhost"]);
    let builder = match shown {
        Some(identity) => builder.identity(identity.for_client()),
        None => builder,
    };
    builder.build().unwrap().get(url(world, "localhost")).bearer_auth(token)
}

/// A certificate of an authority that nobody has heard of.
fn of_a_stranger(world: &World) -> Identity {
    let folder = world.directory().join("stranger");
    std::fs::create_dir_all(&folder).unwrap();
    Certificates::new(&folder).client("stranger")
}

#[tokio::test]
async fn where_a_certificate_is_required_nobody_comes_without_one() {
    let (mut given, certificates) = given_asking("required").await;
    given.config["listeners"][0]["tls"].as_object_mut().unwrap().remove("client_certificate");
    let world = given.start().await;
    let token = world.valid_token();
    let agent = certificates.client("agent");

    request(&world, &certificates, Some(&agent), &token).answer().await.assert_status(200);
    assert!(request(&world, &certificates, None, &token).send().await.is_err());
    let stranger = of_a_stranger(&world);
    assert!(request(&world, &certificates, Some(&stranger), &token).send().await.is_err());
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn where_a_certificate_is_optional_a_wrong_one_is_still_refused() {
    let (world, certificates) = asking("optional").await;
    let token = world.valid_token();
    let agent = certificates.client("agent");

    request(&world, &certificates, Some(&agent), &token).answer().await.assert_status(200);
    request(&world, &certificates, None, &token).answer().await.assert_status(200);
    let stranger = of_a_stranger(&world);
    assert!(request(&world, &certificates, Some(&stranger), &token).send().await.is_err());
}

#[tokio::test]
async fn a_server_certificate_is_none_of_a_client() {
    let (world, certificates) = asking("optional").await;
    let server = certificates.server();

    assert!(request(&world, &certificates, Some(&server), &world.valid_token()).send().await.is_err());
}

#[tokio::test]
async fn other_authorities_vouch_for_clients_as_soon_as_the_file_says_so() {
    let (mut given, certificates) = given_asking("required").await;
    let ca = given.directory().join("agents.pem");
    std::fs::copy(certificates.ca(), &ca).unwrap();
    given.config["listeners"][0]["tls"]["client_ca"] = json!(ca);
    let world = given.start().await;
    let token = world.valid_token();
    let (agent, stranger) = (certificates.client("agent"), of_a_stranger(&world));
    assert!(request(&world, &certificates, Some(&stranger), &token).send().await.is_err());

    std::fs::copy(world.directory().join("stranger/ca.pem"), &ca).unwrap();

    request(&world, &certificates, Some(&stranger), &token).answer().await.assert_status(200);
    assert!(request(&world, &certificates, Some(&agent), &token).send().await.is_err());
}

#[tokio::test]
async fn rfc8705_s3_a_bound_token_is_good_with_its_certificate_alone() {
    let (world, certificates) = asking("optional").await;
    let (own, other) = (certificates.client("own"), certificates.client("other"));
    let token = world.authorization_server.issue(json!({ "cnf": { "x5t#S256": own.thumbprint() } }));

    request(&world, &certificates, Some(&own), &token).answer().await.assert_status(200);
    for shown in [Some(&other), None] {
        let answer = request(&world, &certificates, shown, &token).answer().await;
        answer.assert_status(401).assert_challenge_error("invalid_token");
    }
    // From the cache, too.
    request(&world, &certificates, Some(&own), &token).answer().await.assert_status(200);
    assert_eq!(world.upstream.received().len(), 2);
    world.gateway.logged(&["inactive_token", "bound to a key that the request does not prove"]).await;
}

#[tokio::test]
async fn rfc8705_s3_a_bound_jwt_is_good_with_its_certificate_alone() {
    let (mut given, certificates) = given_asking("optional").await;
    given.config["routes"][0]["accepts"] = json!(["jwt"]);
    let world = given.start().await;
    let (own, other) = (certificates.client("own"), certificates.client("other"));
    let token = world.authorization_server.issue_jwt(&json!({ "cnf": { "x5t#S256": own.thumbprint() } }));

    request(&world, &certificates, Some(&own), &token).answer().await.assert_status(200);
    for shown in [Some(&other), None] {
        let answer = request(&world, &certificates, shown, &token).answer().await;
        answer.assert_status(401).assert_challenge_error("invalid_token");
    }
}

#[tokio::test]
async fn a_token_that_is_also_bound_to_something_else_is_refused() {
    let (world, certificates) = asking("optional").await;
    let own = certificates.client("own");
    let token = world.authorization_server.issue(json!({ "cnf": { "x5t#S256": own.thumbprint(), "jkt": "a" } }));

    request(&world, &certificates, Some(&own), &token).answer().await.assert_status(401);
}

#[tokio::test]
async fn a_certificate_holds_for_every_request_of_its_connection() {
    let (world, certificates) = asking("required").await;
    let own = certificates.client("own");
    let token = world.authorization_server.issue(json!({ "cnf": { "x5t#S256": own.thumbprint() } }));
    let builder = client(&certificates, world.gateway.address(), &["localhost"]).identity(own.for_client());
    let (h1, h2) = (builder.http1_only().build().unwrap(), {
        let builder = client(&certificates, world.gateway.address(), &["localhost"]);
        builder.identity(own.for_client()).http2_prior_knowledge().build().unwrap()
    });
    for client in [h1, h2] {
        for _ in 0..3 {
            client.get(url(&world, "localhost")).bearer_auth(&token).answer().await.assert_status(200);
        }
    }
}

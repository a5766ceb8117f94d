//! Certificates by name, versions, protocols, and files that change.

use e2e::{AnswerExt, Certificates, Identity, World, within};
use reqwest::Version;
use serde_json::json;

use super::{client, files, get, given, shown, url};

#[tokio::test]
async fn agents_are_served_over_tls() {
    let (given, certificates) = given().await;
    let world = given.start().await;
    let token = world.valid_token();

    let response = get(&world, &certificates, &token).await.unwrap();

    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn alpn_says_which_http_is_spoken() {
    let (given, certificates) = given().await;
    let world = given.start().await;
    for (builder, version) in [
        (client(&certificates, world.gateway.address(), &["localhost"]).http1_only(), Version::HTTP_11),
        (client(&certificates, world.gateway.address(), &["localhost"]).http2_prior_knowledge(), Version::HTTP_2),
    ] {
        let request = builder.build().unwrap().get(url(&world, "localhost")).bearer_auth(world.valid_token());
        let response = within("an answer", request.send()).await.unwrap();

        assert_eq!((response.status().as_u16(), response.version()), (200, version));
    }
}

#[tokio::test]
async fn a_certificate_is_shown_by_the_name_that_is_asked_for() {
    let (mut given, certificates) = given().await;
    let first = certificates.server_for("first", &["edge.example", "127.0.0.1"]);
    let exact = certificates.server_for("exact", &["mcp.example"]);
    let wildcard = certificates.server_for("wildcard", &["*.api.example"]);
    let mut tls = files(&first);
    tls["certificates"] = json!([files(&exact), files(&wildcard)]);
    given.config["listeners"][0]["tls"] = tls;
    let world = given.start().await;
    let token = world.valid_token();
    let hosts = ["edge.example", "mcp.example", "users.api.example", "127.0.0.1"];
    let client = client(&certificates, world.gateway.address(), &hosts).build().unwrap();

    for (host, identity) in hosts.into_iter().zip([&first, &exact, &wildcard, &first]) {
        let response = client.get(url(&world, host)).bearer_auth(&token).send().await.unwrap();

        assert_eq!(response.status(), 200, "{host}");
        assert_eq!(shown(&response), identity.der().as_ref(), "{host}");
    }
    // The first answers, and this client does not take it.
    let unknown = super::client(&certificates, world.gateway.address(), &["x.y.api.example"]).build().unwrap();
    assert!(unknown.get(url(&world, "x.y.api.example")).bearer_auth(&token).send().await.unwrap_err().is_connect());
}

/// Whether a client that speaks nothing newer than TLS 1.2 is served.
async fn serves_tls_1_2(world: &World, certificates: &Certificates) -> bool {
    let client = client(certificates, world.gateway.address(), &["localhost"]);
    let client = client.tls_version_max(reqwest::tls::Version::TLS_1_2).build().unwrap();
    let response = client.get(url(world, "localhost")).bearer_auth(world.valid_token()).send().await;
    response.is_ok_and(|response| response.status() == 200)
}

#[tokio::test]
async fn tls_1_2_is_spoken_unless_the_listener_says_1_3() {
    let (given, certificates) = given().await;
    let world = given.start().await;
    assert!(serves_tls_1_2(&world, &certificates).await);

    let (mut given, certificates) = super::given().await;
    given.config["listeners"][0]["tls"]["min_version"] = json!("1.3");
    let world = given.start().await;
    assert!(!serves_tls_1_2(&world, &certificates).await);
    assert_eq!(get(&world, &certificates, &world.valid_token()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_no_tls_is_turned_away_and_counted_and_harms_nobody() {
    let (given, certificates) = given().await;
    let world = given.start().await;

    assert!(world.get("/mcp").send().await.is_err());

    let listener = world.gateway.address().to_string();
    let labels = [("listener", listener.as_str())];
    world.metric_becomes("phantomgate_tls_handshake_failures_total", &labels, 1.0).await;
    assert_eq!(get(&world, &certificates, &world.valid_token()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn metrics_tell_when_a_certificate_expires() {
    let (given, _certificates) = given().await;
    let world = given.start().await;

    let expiry = world.metric("phantomgate_certificate_expiry_timestamp_seconds", &[("name", "localhost")]).await;

    assert!(expiry > e2e::now() as f64, "{expiry}");
    let described = world.metrics().await.contains("# HELP phantomgate_certificate_expiry_timestamp_seconds ");
    assert!(described);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_on_new_connections_and_ends_no_other() {
    let (given, certificates) = given().await;
    let world = given.start().await;
    let token = world.valid_token();
    let earlier = certificates.server().der();
    let kept = client(&certificates, world.gateway.address(), &["localhost"]).build().unwrap();
    let events = world.upstream.stream_next_answer();
    let mut stream = kept.get(url(&world, "localhost")).bearer_auth(&token).send().await.unwrap();

    let renewed = certificates.server_for("server", &["localhost", "renewed.example"]);

    let response = get(&world, &certificates, &token).await.unwrap();
    assert_eq!((response.status().as_u16(), shown(&response)), (200, renewed.der().to_vec()));
    let response = kept.get(url(&world, "localhost")).bearer_auth(&token).send().await.unwrap();
    assert_eq!((response.status().as_u16(), shown(&response)), (200, earlier.to_vec()), "the same connection");
    events.send("still here").await;
    let event = within("an event", stream.chunk()).await.unwrap().unwrap();
    assert_eq!(event, "data: still here\n\n");
}

#[tokio::test]
async fn requests_under_load_meet_no_renewal() {
    let (given, certificates) = given().await;
    let world = given.start().await;
    let token = world.valid_token();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut agents = tokio::task::JoinSet::new();
    for turn in 0..4 {
        let builder = client(&certificates, world.gateway.address(), &["localhost"]);
        // Half of them come with a new connection each time.
        let builder = if turn % 2 == 0 { builder.pool_max_idle_per_host(0) } else { builder };
        let request = builder.build().unwrap().get(url(&world, "localhost")).bearer_auth(&token);
        let stopped = stopped.clone();
        agents.spawn(async move {
            let mut count = 0;
            while !*stopped.borrow() {
                let response = request.try_clone().unwrap().send().await.unwrap();
                assert_eq!(response.status(), 200);
                response.bytes().await.unwrap();
                count += 1;
            }
            count
        });
    }

    for _ in 0..10 {
        let seen = world.upstream.received().len();
        certificates.server_for("server", &["localhost"]);
        world.upstream.receives(seen + 8).await;
    }
    stop.send(true).unwrap();

    while let Some(agent) = agents.join_next().await {
        assert!(agent.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_renewed_certificate_that_cannot_be_used_is_told_once_and_not_shown() {
    let (given, certificates) = given().await;
    let world = given.start().await;
    let token = world.valid_token();
    let Identity { certificate, private_key } = certificates.server();
    let good = [std::fs::read(&certificate).unwrap(), std::fs::read(&private_key).unwrap()];
    let earlier = certificates.server().der();

    for (bad_file, text, reason) in [
        (&certificate, "nothing of use".to_owned(), "server.pem: it does not hold certificates in PEM"),
        (&private_key, "nothing of use".to_owned(), "server.key: it does not hold a private key in PEM"),
        (
            &certificate,
            std::fs::read_to_string(certificates.expired("old").certificate).unwrap(),
            "server.key: its private key is not the one of the certificate",
        ),
    ] {
        std::fs::write(bad_file, &text).unwrap();
        for _ in 0..3 {
            let response = get(&world, &certificates, &token).await.unwrap();
            assert_eq!((response.status().as_u16(), shown(&response)), (200, earlier.to_vec()), "{reason}");
        }
        world.gateway.logged(&["changed files are of no use", reason]).await;
        let log = world.gateway.log();
        assert_eq!(log.lines().filter(|line| line.contains(reason)).count(), 1, "{log}");
        std::fs::write(&certificate, &good[0]).unwrap();
        std::fs::write(&private_key, &good[1]).unwrap();
        get(&world, &certificates, &token).await.unwrap();
    }
}

#[tokio::test]
async fn a_tls_listener_and_a_cleartext_one_serve_side_by_side() {
    let (mut given, certificates) = given().await;
    let cleartext = e2e::ReservedPort::new();
    given.config["listeners"].as_array_mut().unwrap().push(json!({ "address": cleartext.address() }));
    let world = given.start().await;
    world.gateway.logged(&["listening", &cleartext.address().to_string()]).await;

    let over_tls = get(&world, &certificates, &world.valid_token()).await.unwrap();
    let url = format!("http://{}/mcp", cleartext.address());
    let in_the_clear = reqwest::Client::new().get(url).bearer_auth(world.valid_token()).answer().await;

    assert_eq!(over_tls.status(), 200);
    in_the_clear.assert_status(200);
}

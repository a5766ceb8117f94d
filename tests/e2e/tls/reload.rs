//! A listener whose TLS another configuration changes: what has begun goes on, and what begins keeps to the new rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{AnswerExt, Certificates, EventStream, World, within};
use reqwest::{Client, Identity};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{client, files, given, shown, url};

/// Changes the TLS of the one listener, and has that put to work.
async fn reload(world: &mut World, change: impl FnOnce(&mut Value)) {
    world.configure(|config| change(&mut config["listeners"][0]));
    world.reload().await.assert_status(200);
}

/// A stream that began before something changes.
struct Begun {
    events: EventStream,
    answer: reqwest::Response,
}

impl Begun {
    async fn new(world: &World, client: &Client, url: String) -> Self {
        let events = world.upstream.stream_next_answer();
        let request = client.get(url).bearer_auth(world.valid_token());
        let answer = within("the head of a stream", request.send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        Self { events, answer }
    }

    /// It goes on, and ends well.
    async fn goes_on(mut self) {
        for data in ["still here", "and now"] {
            self.events.send(data).await;
            let event = within("an event", self.answer.chunk()).await.unwrap().unwrap();
            assert_eq!(event, format!("data: {data}\n\n"));
        }
        drop(self.events);
        assert_eq!(within("the end of the stream", self.answer.text()).await.unwrap(), "");
    }
}

/// The certificate that a new connection by this name is shown; none when the client does not take it.
async fn shown_to_new(world: &World, certificates: &Certificates, host: &str) -> Option<Vec<u8>> {
    let client = client(certificates, world.gateway.address(), &[host]).build().unwrap();
    let answer = client.get(url(world, host)).bearer_auth(world.valid_token()).send().await;
    match answer {
        Ok(answer) => {
            assert_eq!(answer.status(), 200);
            Some(shown(&answer))
        }
        Err(error) => {
            assert!(error.is_connect(), "{error:?}");
            None
        }
    }
}

#[tokio::test]
async fn certificates_come_and_go_with_the_configuration() {
    let (given, certificates) = given().await;
    let mut world = given.start().await;
    let address = world.gateway.address();
    let first = certificates.server();
    let more = certificates.server_for("more", &["mcp.example"]);
    let kept = client(&certificates, address, &["localhost"]).build().unwrap();
    let begun = Begun::new(&world, &kept, url(&world, "localhost")).await;
    assert_eq!(shown_to_new(&world, &certificates, "mcp.example").await, None);

    reload(&mut world, |listener| listener["tls"]["certificates"] = json!([files(&more)])).await;
    for _ in 0..10 {
        assert_eq!(shown_to_new(&world, &certificates, "mcp.example").await.unwrap(), more.der().as_ref());
        assert_eq!(shown_to_new(&world, &certificates, "localhost").await.unwrap(), first.der().as_ref());
    }
    let host = "mcp.example";
    let expiry = "phantomgate_certificate_expiry_timestamp_seconds";
    assert!(world.metric(expiry, &[("name", host)]).await > 0.0);

    reload(&mut world, |listener| listener["tls"]["certificates"] = json!([])).await;
    for _ in 0..10 {
        assert_eq!(shown_to_new(&world, &certificates, host).await, None);
    }
    begun.goes_on().await;
    // Nobody is to be woken when it expires now.
    world.metric_becomes(expiry, &[("name", host)], f64::INFINITY).await;
    let expires_at = world.metric(expiry, &[("name", "localhost")]).await;
    assert!(expires_at > 0.0 && expires_at.is_finite(), "{expires_at}");
}

#[tokio::test]
async fn another_lowest_version_counts_for_connections_that_begin_from_then_on() {
    let (given, certificates) = given().await;
    let mut world = given.start().await;
    let address = world.gateway.address();
    let old = || {
        let client = client(&certificates, address, &["localhost"]);
        client.tls_version_max(reqwest::tls::Version::TLS_1_2).build().unwrap()
    };
    let kept = old();
    let begun = Begun::new(&world, &kept, url(&world, "localhost")).await;

    reload(&mut world, |listener| listener["tls"]["min_version"] = json!("1.3")).await;

    for _ in 0..20 {
        let refused = old().get(url(&world, "localhost")).bearer_auth(world.valid_token()).send().await;
        assert!(refused.unwrap_err().is_connect());
    }
    assert!(shown_to_new(&world, &certificates, "localhost").await.is_some());
    begun.goes_on().await;
    reload(&mut world, |listener| listener["tls"]["min_version"] = json!("1.2")).await;
    old().get(url(&world, "localhost")).bearer_auth(world.valid_token()).answer().await.assert_status(200);
}

#[tokio::test]
async fn who_has_no_certificate_is_turned_away_from_the_moment_one_is_required() {
    let (given, certificates) = given().await;
    let mut world = given.start().await;
    let address = world.gateway.address();
    let agent: Identity = certificates.client("agent").for_client();
    let kept = client(&certificates, address, &["localhost"]).build().unwrap();
    let begun = Begun::new(&world, &kept, url(&world, "localhost")).await;

    reload(&mut world, |listener| {
        listener["tls"]["client_ca"] = json!(certificates.ca());
        listener["tls"]["client_certificate"] = json!("required");
    })
    .await;

    let seen = world.upstream.received().len();
    for _ in 0..20 {
        // With TLS 1.3 the client hears of it behind its own handshake.
        let stranger = client(&certificates, address, &["localhost"]).build().unwrap();
        stranger.get(url(&world, "localhost")).bearer_auth(world.valid_token()).send().await.unwrap_err();
    }
    assert_eq!(world.upstream.received().len(), seen);
    let known = client(&certificates, address, &["localhost"]).identity(agent).build().unwrap();
    known.get(url(&world, "localhost")).bearer_auth(world.valid_token()).answer().await.assert_status(200);
    begun.goes_on().await;
}

#[tokio::test]
async fn a_connection_that_began_under_other_rules_ends_with_its_next_answer() {
    let mut world = World::new().await;
    let certificates = Certificates::new(world.directory());
    let token = world.valid_token();
    let request = format!("GET /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut connection = world.raw().await;
    connection.send(&request).await;
    connection.response().await.unwrap().assert_status(200);

    reload(&mut world, |listener| listener["tls"] = files(&certificates.server())).await;

    connection.send(&request).await;
    let answer = connection.response().await.unwrap();
    assert_eq!(answer.assert_status(200).header("connection"), "close");
    assert!(connection.response().await.is_none());
}

#[tokio::test]
async fn a_listener_turns_from_cleartext_to_tls_and_back_on_the_same_address() {
    let mut world = World::new().await;
    let certificates = Certificates::new(world.directory());
    let identity = certificates.server();
    let cleartext = || reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |world: &World, client: Client, url: String| {
        client.get(url).bearer_auth(world.valid_token()).send().await.map(|answer| answer.status().as_u16())
    };
    let kept = cleartext();
    let begun = Begun::new(&world, &kept, world.url("/mcp")).await;

    reload(&mut world, |listener| listener["tls"] = files(&identity)).await;

    for _ in 0..10 {
        assert!(ask(&world, cleartext(), world.url("/mcp")).await.is_err());
        assert_eq!(shown_to_new(&world, &certificates, "localhost").await.unwrap(), identity.der().as_ref());
    }
    begun.goes_on().await;
    let kept = client(&certificates, world.gateway.address(), &["localhost"]).build().unwrap();
    let begun = Begun::new(&world, &kept, url(&world, "localhost")).await;

    reload(&mut world, |listener| {
        listener.as_object_mut().unwrap().remove("tls");
    })
    .await;

    for _ in 0..10 {
        assert_eq!(ask(&world, cleartext(), world.url("/mcp")).await.unwrap(), 200);
        assert_eq!(shown_to_new(&world, &certificates, "localhost").await, None);
    }
    begun.goes_on().await;
}

#[tokio::test]
async fn under_load_no_connection_is_refused_and_no_request_fails_when_the_rules_change() {
    let (given, certificates) = given().await;
    let mut world = given.start().await;
    let address = world.gateway.address();
    let more = certificates.server_for("more", &["mcp.example"]);
    let token = world.valid_token();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut agents = JoinSet::new();
    for turn in 0..4 {
        let builder = client(&certificates, address, &["localhost"]);
        // Half of them come with a new connection each time.
        let builder = if turn % 2 == 0 { builder.pool_max_idle_per_host(0) } else { builder };
        let request = builder.build().unwrap().get(url(&world, "localhost")).bearer_auth(&token);
        let is_over = is_over.clone();
        agents.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                request.try_clone().unwrap().answer().await.assert_status(200);
            }
        });
    }
    let is_done = is_over.clone();
    agents.spawn(async move {
        // No more at once than one address may have.
        let mut turns = tokio::time::interval(Duration::from_millis(2));
        while !is_done.load(Ordering::Relaxed) {
            turns.tick().await;
            TcpStream::connect(address).await.unwrap();
        }
    });

    for number in 0..10 {
        let seen = world.upstream.received().len();
        reload(&mut world, |listener| match number % 3 {
            0 => listener["tls"]["min_version"] = json!("1.3"),
            1 => listener["tls"]["certificates"] = json!([files(&more)]),
            _ => listener["tls"] = files(&certificates.server()),
        })
        .await;
        world.upstream.receives(seen + 8).await;
    }
    is_over.store(true, Ordering::Relaxed);

    while let Some(agent) = agents.join_next().await {
        agent.unwrap();
    }
}

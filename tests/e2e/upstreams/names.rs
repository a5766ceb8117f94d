//! Endpoints by name, and what happens when the name comes to stand for something else.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{AnswerExt, Given, Hosts, Upstream, within};
use serde_json::json;

use super::upstream;

/// A name that nobody else has (RFC 2606).
const NAME: &str = "users.test";

const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test]
async fn a_name_that_comes_to_stand_for_another_address_moves_new_requests_there_and_fails_none() {
    let mut given = Given::new().await;
    // The port may be somebody else's at the second address.
    let second = loop {
        match Upstream::start_at((SECOND, given.upstream.address().port()).into()).await {
            Ok(second) => break second,
            Err(error) if error.kind() == ErrorKind::AddrInUse => given.upstream = Upstream::start().await,
            Err(error) => panic!("{error}"),
        }
    };
    let port = given.upstream.address().port();
    given.upstream.add_header("x-served-by", "first");
    second.add_header("x-served-by", "second");
    let hosts = Hosts::new(given.directory());
    hosts.set(NAME, given.upstream.address().ip());
    given.hosts = Some(hosts.clone());
    given.config["upstreams"]["upstream"]["endpoints"] = json!([format!("http://{NAME}:{port}")]);
    let world = given.start().await;
    let token = world.valid_token();

    let release = world.upstream.hold();
    let under_way = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
    world.upstream.receives(1).await;
    world.upstream.hold().send_replace(true);
    let events = world.upstream.stream_next_answer();
    let mut stream = within("a stream", world.get("/mcp").bearer_auth(&token).send()).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (requests, was_over) = (world.get("/mcp").bearer_auth(&token), is_over.clone());
    let served_by = tokio::spawn(async move {
        let mut served_by = Vec::new();
        // All along, but leaving the machine to others.
        let mut turns = tokio::time::interval(Duration::from_millis(20));
        while !was_over.load(Ordering::Relaxed) {
            turns.tick().await;
            let answer = requests.try_clone().unwrap().answer().await;
            served_by.push(answer.assert_status(200).header("x-served-by").to_owned());
        }
        served_by
    });

    hosts.set(NAME, SECOND);

    world.gateway.logged(&["resolved", &format!("{SECOND}:{port}")]).await;
    let addresses = upstream(&world).await["endpoints"][0]["addresses"].clone();
    assert_eq!((&addresses[0]["address"], &addresses[1]), (&json!(format!("{SECOND}:{port}")), &json!(null)));
    let seen = second.received().len();
    second.receives(seen + 10).await;
    is_over.store(true, Ordering::Relaxed);
    let served_by = served_by.await.unwrap();
    let moved_at = served_by.iter().position(|name| name == "second").unwrap();
    assert!(moved_at > 0 && served_by[moved_at..].iter().all(|name| name == "second"), "{served_by:?}");
    // What began at the first ends there.
    events.send("still here").await;
    assert_eq!(within("an event", stream.chunk()).await.unwrap().unwrap(), "data: still here\n\n");
    drop(events);
    assert_eq!(within("the end of the stream", stream.text()).await.unwrap(), "");
    release.send_replace(true);
    assert_eq!(under_way.await.unwrap().assert_status(200).header("x-served-by"), "first");
    second.assert_no_agent_credential(&world.credentials);
}

//! What Prometheus sees: that it counts right, that nobody outside decides how much it is, and that the dashboard and the
//! alerts that come with the gateway ask for nothing that is not there.

use std::{collections::BTreeSet, path::Path};

use e2e::{AnswerExt, Collector, Given, World};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn requests_are_measured_by_route() {
    let world = World::new().await;
    let token = world.valid_token();
    for _ in 0..3 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }
    world.get("/mcp").answer().await.assert_status(401);
    world.get("/elsewhere").answer().await.assert_status(404);

    world.metric_becomes("phantomgate_request_seconds_count", &[("route", "mcp")], 4.0).await;
    world.metric_becomes("phantomgate_request_seconds_count", &[("route", "none")], 1.0).await;
    assert_eq!(world.metric("phantomgate_upstream_seconds_count", &[("route", "mcp")]).await, 3.0);
    assert_eq!(world.metric("phantomgate_responses_total", &[("route", "mcp"), ("class", "2xx")]).await, 3.0);
    assert_eq!(world.metric("phantomgate_responses_total", &[("class", "4xx")]).await, 2.0);
    assert_eq!(world.metric("phantomgate_requests_in_flight", &[]).await, 0.0);
    assert!(world.metric("process_resident_memory_bytes", &[]).await > 1e6);
    assert!(world.metric("process_open_fds", &[]).await > 3.0);
}

#[tokio::test]
async fn an_event_stream_counts_while_it_is_open() {
    let world = World::new().await;
    let events = world.upstream.stream_next_answer();
    let stream = world.get("/mcp").bearer_auth(world.valid_token()).send().await.unwrap();
    assert_eq!(stream.status(), 200);

    assert_eq!(world.metric("phantomgate_event_streams_open", &[("route", "mcp")]).await, 1.0);
    assert_eq!(world.metric("phantomgate_requests_in_flight", &[]).await, 1.0);
    drop(events);

    world.metric_becomes("phantomgate_event_streams_open", &[("route", "mcp")], 0.0).await;
    world.metric_becomes("phantomgate_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn exchanges_are_counted_by_outcome() {
    let mut given = Given::new().await;
    given.config["routes"][0]["credential"] =
        json!({ "kind": "exchange", "resource": "https://upstream.internal/mcp" });
    let world = given.start().await;

    world.get("/mcp").bearer_auth(world.valid_token()).answer().await;

    let outcomes = ["issued", "refused", "unavailable"];
    let mut sum = 0.0;
    for outcome in outcomes {
        sum += world.metric("phantomgate_token_exchanges_total", &[("outcome", outcome)]).await;
    }
    assert_eq!(sum, 1.0);
    assert_eq!(world.metric("phantomgate_token_exchange_seconds_count", &[]).await, 1.0);
}

#[tokio::test]
async fn a_client_cannot_make_up_labels() {
    let world = World::new().await;
    let token = world.authorization_server.issue(json!({ "sub": "subject-of-a-token", "client_id": "some-client" }));
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    let series = |metrics: &str| metrics.lines().filter(|line| !line.starts_with('#')).count();
    world.get("/nowhere/0").answer().await.assert_status(404);
    world.metric_becomes("phantomgate_request_seconds_count", &[("route", "none")], 1.0).await;
    let before = series(&world.metrics().await);

    for number in 1..20 {
        let method = Method::from_bytes(format!("METHOD{number}").as_bytes()).unwrap();
        world.request(method, &format!("/nowhere/{number}")).header("host", format!("host-{number}")).answer().await;
    }
    world.metric_becomes("phantomgate_request_seconds_count", &[("route", "none")], 20.0).await;

    let metrics = world.metrics().await;
    assert_eq!(series(&metrics), before, "{metrics}");
    for text in ["nowhere", "METHOD", "host-", "subject-of-a-token", "some-client"] {
        assert!(!metrics.contains(text), "{text} in {metrics}");
    }
}

/// All names in `text` that begin as names of metrics do.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    words.filter(|word| word.starts_with("phantomgate_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let collector = Collector::start().await;
    let mut given = Given::new().await;
    given.config["telemetry"] = json!({ "otlp": { "endpoint": collector.url() } });
    given.config["audit"] = json!([{ "to": "stdout" }]);
    let world = given.start().await;
    let _events = world.upstream.stream_next_answer();
    let _stream = world.get("/mcp").bearer_auth(world.valid_token()).send().await.unwrap();
    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);
    world.metric_becomes("phantomgate_request_seconds_count", &[("route", "mcp")], 1.0).await;
    let metrics = world.metrics().await;
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next().filter(|name| !name.is_empty()))
        .collect();

    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let dashboard = std::fs::read_to_string(packaging.join("grafana/phantomgate.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let alerts = std::fs::read_to_string(packaging.join("prometheus/phantomgate.rules.yml")).unwrap();
    for (file, text) in [("dashboard", dashboard.to_string()), ("alerts", alerts)] {
        let names = names_in(&text);
        assert!(names.len() > 5, "{file}: {names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{file}: {missing:?} in {metrics}");
    }
    // What is shown has a help text, so that whoever sees it knows what it is.
    let undescribed: Vec<_> = there
        .iter()
        .map(|name| name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count"))
        .filter(|name| !metrics.contains(&format!("# HELP {name} ")))
        .collect();
    assert!(undescribed.is_empty(), "{undescribed:?}");
    assert!(metrics.contains("# TYPE process_cpu_seconds_total counter\n"), "{metrics}");
}

//! OpenTelemetry: traces that begin before the gateway and go on behind it, and records as logs.

use std::collections::BTreeMap;

use e2e::{AnswerExt, Collector, Given, Span, World, attributes, hexadecimal};
use serde_json::json;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn traced(change: impl FnOnce(&mut Given, &Collector)) -> (World, Collector) {
    let collector = Collector::start().await;
    let mut given = Given::new().await;
    given.config["telemetry"] = json!({ "otlp": { "endpoint": collector.url() } });
    change(&mut given, &collector);
    (given.start().await, collector)
}

fn span<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no {name} among {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
}

/// The id of the trace and of the parent that the upstream was told.
fn told(world: &World) -> (String, String) {
    let traceparent = world.upstream.received().last().unwrap().header("traceparent").to_owned();
    let parts: Vec<_> = traceparent.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{traceparent}");
    (parts[1].to_owned(), parts[2].to_owned())
}

#[tokio::test]
async fn w3c_a_clients_trace_goes_on_through_the_gateway_to_the_upstream() {
    let (world, collector) = traced(|_, _| {}).await;
    let token = world.authorization_server.issue(json!({ "sub": "alice" }));

    let request = world.get("/mcp?secret=x").bearer_auth(&token).header("traceparent", PARENT);
    request.header("tracestate", "vendor=1").answer().await.assert_status(200);

    let spans = collector.receives("three spans", |signals| signals.spans.len() >= 3).await.spans;
    let (server, upstream) = (span(&spans, "GET /mcp"), span(&spans, "GET"));
    let introspection = span(&spans, "introspection");
    for span in &spans {
        assert_eq!(hexadecimal(&span.trace_id), TRACE_ID);
        assert_eq!(span.trace_state, "vendor=1");
        assert!(span.start_time_unix_nano >= server.start_time_unix_nano, "{span:#?}");
        assert!(span.end_time_unix_nano <= server.end_time_unix_nano, "{span:#?}");
    }
    assert_eq!(hexadecimal(&server.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(upstream.parent_span_id, server.span_id);
    assert_eq!(introspection.parent_span_id, server.span_id);
    assert_eq!(told(&world), (TRACE_ID.to_owned(), hexadecimal(&upstream.span_id)));
    assert_eq!(world.upstream.only_request().header("tracestate"), "vendor=1");
    assert_eq!((server.kind, upstream.kind, introspection.kind), (2, 3, 3));
    let attributes = attributes(&server.attributes);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/mcp"),
        ("url.path", "/mcp"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("phantomgate.decision", "allow"),
        ("phantomgate.reason", "granted"),
        ("user.id", "alice"),
    ] {
        assert_eq!(attributes.get(name).map(String::as_str), Some(value), "{name} in {attributes:#?}");
    }
}

#[tokio::test]
async fn the_authorization_server_has_a_span_only_when_it_was_asked() {
    let (world, collector) = traced(|_, _| {}).await;
    let token = world.valid_token();
    for _ in 0..2 {
        world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    }

    let spans = collector.receives("all spans", |signals| signals.spans.len() >= 5).await.spans;

    assert_eq!(spans.iter().filter(|span| span.name == "introspection").count(), 1);
    assert_eq!(spans.iter().filter(|span| span.name == "GET /mcp").count(), 2);
}

#[tokio::test]
async fn no_token_is_in_what_a_collector_gets() {
    let (world, collector) = traced(|given, _| given.config["audit"] = json!([{ "to": "otlp" }])).await;
    let (good, bad) = (world.valid_token(), world.authorization_server.unknown_token());
    world.get("/mcp").bearer_auth(&good).answer().await.assert_status(200);
    world.get(&format!("/mcp?access={bad}")).bearer_auth(&bad).answer().await.assert_status(401);

    let signals = collector.receives("all", |signals| signals.logs.len() >= 2 && signals.spans.len() >= 4).await;

    assert_eq!(world.credentials.any_in(&format!("{signals:?}")), None);
}

#[tokio::test]
async fn a_traceparent_that_does_not_hold_begins_a_new_trace() {
    let (world, collector) = traced(|_, _| {}).await;
    let wrong = PARENT.replace("00-4", "00-X");

    let request = world.get("/mcp").bearer_auth(world.valid_token()).header("traceparent", wrong);
    request.header("tracestate", "vendor=1").answer().await.assert_status(200);

    let spans = collector.receives("spans", |signals| signals.spans.len() >= 3).await.spans;
    let server = span(&spans, "GET /mcp");
    assert!(server.parent_span_id.is_empty());
    assert_eq!(told(&world).0, hexadecimal(&server.trace_id));
    assert!(!world.upstream.only_request().headers.contains_key("tracestate"));
}

#[tokio::test]
async fn where_traces_are_not_continued_each_request_begins_its_own() {
    let (world, collector) =
        traced(|given, _| given.config["telemetry"]["otlp"]["continue_traces"] = json!(false)).await;

    let request = world.get("/mcp").bearer_auth(world.valid_token()).header("traceparent", PARENT);
    request.answer().await.assert_status(200);

    let spans = collector.receives("spans", |signals| signals.spans.len() >= 3).await.spans;
    assert_ne!(hexadecimal(&span(&spans, "GET /mcp").trace_id), TRACE_ID);
    assert_ne!(told(&world).0, TRACE_ID);
}

#[tokio::test]
async fn what_is_not_sampled_is_still_told_to_the_upstream_and_the_record() {
    let (world, collector) = traced(|given, _| given.config["telemetry"]["otlp"]["sample"] = json!(0)).await;
    let token = world.valid_token();

    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);
    assert!(world.upstream.only_request().header("traceparent").ends_with("-00"));
    world.gateway.logged(&["audit", "trace_id=", &told(&world).0]).await;
    // A client that samples is followed, whatever our own share is: its spans are the first that come.
    world.get("/mcp").bearer_auth(&token).header("traceparent", PARENT).answer().await.assert_status(200);

    let spans = collector.receives("spans", |signals| signals.spans.len() >= 2).await.spans;
    assert!(spans.iter().all(|span| hexadecimal(&span.trace_id) == TRACE_ID), "{spans:#?}");
}

#[tokio::test]
async fn without_telemetry_nothing_is_said_of_traces() {
    let world = World::new().await;

    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);

    assert!(!world.upstream.only_request().headers.contains_key("traceparent"));
}

#[tokio::test]
async fn a_failed_attempt_at_an_upstream_is_a_span_of_its_own() {
    let (world, collector) = traced(|given, _| {
        let url = given.upstream.url();
        given.config["upstreams"]["upstream"]["endpoints"] = json!(["http://127.0.0.1:1", url]);
    })
    .await;

    world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);

    let spans = collector.receives("spans", |signals| signals.spans.len() >= 4).await.spans;
    let attempts: Vec<_> = spans.iter().filter(|span| span.name == "GET").collect();
    let failed: Vec<_> =
        attempts.iter().map(|span| span.status.as_ref().is_some_and(|status| status.code == 2)).collect();
    assert_eq!(failed, [true, false]);
    assert_eq!(told(&world).1, hexadecimal(&attempts[1].span_id));
}

#[tokio::test]
async fn records_are_logs_of_opentelemetry_and_none_is_lost_when_the_collector_is_away_for_a_moment() {
    let (mut world, collector) = traced(|given, collector| {
        let secret = given.directory().join("collector-key");
        std::fs::write(&secret, "key-of-the-collector").unwrap();
        given.credentials.gateway("key-of-the-collector");
        given.config["telemetry"]["otlp"]["headers"] = json!({ "x-api-key": { "file": secret } });
        given.config["telemetry"]["otlp"]["service_name"] = json!("edge");
        given.config["audit"] = json!([{ "to": "otlp" }]);
        collector.refuse_next(503);
    })
    .await;
    let token = world.valid_token();

    for _ in 0..20 {
        world.get("/mcp").bearer_auth(&token).header("traceparent", PARENT).answer().await.assert_status(200);
    }
    world.get("/mcp").answer().await.assert_status(401);
    world.gateway.terminate();
    world.gateway.exit().await;

    let signals = collector.received();
    assert_eq!(signals.logs.len(), 21);
    assert_eq!(signals.resource["service.name"], "edge");
    assert!(signals.headers.iter().all(|headers| headers["x-api-key"] == "key-of-the-collector"));
    let by_reason: BTreeMap<String, usize> = signals.logs.iter().fold(BTreeMap::new(), |mut counts, log| {
        *counts.entry(attributes(&log.attributes)["reason"].clone()).or_default() += 1;
        counts
    });
    assert_eq!(by_reason, BTreeMap::from([("granted".to_owned(), 20), ("missing_credential".to_owned(), 1)]));
    let granted = &signals.logs[0];
    assert_eq!((hexadecimal(&granted.trace_id).as_str(), granted.severity_text.as_str()), (TRACE_ID, "INFO"));
    let server = signals.spans.iter().find(|span| span.name == "GET /mcp" && span.span_id == granted.span_id);
    assert!(server.is_some(), "a log belongs to the span of its request");
}

#[tokio::test]
async fn what_is_wrong_with_telemetry_is_told_with_its_place() {
    let given = Given::new().await;
    let mut config = given.config.clone();
    config["telemetry"] = json!({ "otlp": { "endpoint": "collector:4318", "sample": 2 } });
    config["audit"] = json!([{ "to": "stdout", "queue": 0 }, { "to": "stdout" }, {}, { "to": "log", "queue": 1 }]);
    std::fs::write(given.directory().join("gateway.yaml"), config.to_string()).unwrap();

    let outcome = e2e::CommandLine::run(given.directory(), &["check", "-c", "gateway.yaml"]);

    assert_eq!(outcome.code(), 64);
    for error in [
        "telemetry.otlp.endpoint: \"collector:4318\" is no http or https URL",
        "telemetry.otlp.sample: 2 is no share; choose from 0 to 1",
        "audit[0].queue: 0 is out of range",
        "audit[1]: stdout is named twice",
        "audit[2]: give either `to` or `file`",
        "audit[3]: the log has no queue",
    ] {
        assert!(outcome.stderr().contains(error), "{error} in {}", outcome.stderr());
    }
}

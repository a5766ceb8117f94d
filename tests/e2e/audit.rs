//! The records of requests: what is in them, where they go, and that none is missing.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path};

use e2e::{AnswerExt, Given, Load, Process, World, phantomgate, within};
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

const FILE: &str = "audit.jsonl";

/// A gateway whose records go into a file.
async fn with_file(sink: Value) -> Given {
    let mut given = Given::new().await;
    let mut sink = sink;
    sink["file"] = json!(given.directory().join(FILE));
    given.config["audit"] = json!([sink]);
    given
}

fn records_in(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits until there are so many records in the file.
async fn records(path: &Path, count: usize) -> Vec<Value> {
    let enough = async {
        loop {
            let records = records_in(path);
            if records.len() >= count {
                return records;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the records", enough).await
}

#[tokio::test]
async fn a_record_says_who_asked_for_what_and_what_became_of_it() {
    let mut given = with_file(json!({})).await;
    given.config["routes"][0]["mcp"] = json!({ "tools": { "fetch": { "scopes": ["users:read"] } } });
    let world = given.start().await;
    let token = world
        .authorization_server
        .issue(json!({ "sub": "alice", "client_id": "agent", "scope": "mcp:read users:read more" }));
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "fetch" } });

    let request = world.post("/mcp?secret=in-the-query").bearer_auth(&token).header("accept", "application/json");
    request.header("content-type", "application/json").body(call.to_string()).answer().await.assert_status(200);

    let [record] = &records(&world.directory().join(FILE), 1).await[..] else { panic!("not one record") };
    for (field, value) in [
        ("decision", json!("allow")),
        ("reason", json!("granted")),
        ("status", json!(200)),
        ("route", json!("mcp")),
        ("method", json!("POST")),
        ("path", json!("/mcp")),
        ("mcp_method", json!("tools/call")),
        ("mcp_name", json!("fetch")),
        ("subject", json!("alice")),
        ("client_id", json!("agent")),
        ("scopes_required", json!("mcp:read users:read")),
        ("scopes_granted", json!("mcp:read users:read more")),
        ("token_lookup", json!("miss")),
        ("protocol", json!("HTTP/1.1")),
        ("upstream", json!("upstream")),
        ("endpoint", json!(world.upstream.address().to_string())),
        ("retries", json!(0)),
    ] {
        assert_eq!(record[field], value, "{field} of {record:#}");
    }
    assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record:#}");
    assert!(record["bytes_sent"].as_u64().unwrap() > 0 && record["bytes_received"].as_u64().unwrap() > 0, "{record:#}");
    let micros = |field: &str| record[field].as_u64().unwrap_or_else(|| panic!("no {field} in {record:#}"));
    let parts = ["introspection_us", "message_us", "credential_us", "decision_us", "upstream_us"].map(micros);
    assert!(parts.iter().sum::<u64>() <= micros("total_us"), "{record:#}");
    let received = world.upstream.only_request();
    assert_eq!(record["request_id"], received.header("x-request-id"));
    assert!(!record.to_string().contains("in-the-query"));
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone_and_the_log_does_not_repeat_it() {
    let world = with_file(json!({})).await.start().await;
    let path = world.directory().join(FILE);

    world.get("/mcp").answer().await.assert_status(401);
    records(&path, 1).await;

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!world.gateway.log().contains("missing_credential"), "{}", world.gateway.log());
}

#[tokio::test]
async fn nothing_that_a_client_sends_can_begin_a_line_or_show_a_token() {
    let world = with_file(json!({})).await.start().await;
    let token = world.authorization_server.issue(json!({ "sub": "a\n{\"decision\":\"allow\"}\u{1b}[2J", "scope": "" }));

    world.get(&format!("/mcp/{}", "long".repeat(500))).bearer_auth(&token).answer().await.assert_status(403);

    let path = world.directory().join(FILE);
    let [record] = &records(&path, 1).await[..] else { panic!("not one record") };
    assert_eq!(record["subject"], "a\n{\"decision\":\"allow\"}\u{1b}[2J");
    assert!(record["path"].as_str().unwrap().len() < 300, "{record:#}");
    assert_eq!(world.credentials.any_in(&std::fs::read_to_string(path).unwrap()), None);
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_begun_anew_without_a_word() {
    let world = with_file(json!({})).await.start().await;
    let (path, moved) = (world.directory().join(FILE), world.directory().join("audit.jsonl.1"));
    world.get("/first").answer().await;
    records(&path, 1).await;

    std::fs::rename(&path, &moved).unwrap();
    world.get("/second").answer().await;

    assert_eq!(records(&path, 1).await[0]["path"], "/second");
    assert_eq!(records_in(&moved).len(), 1);
}

#[tokio::test]
async fn records_may_go_to_several_places_and_to_the_log_as_well() {
    let mut given = with_file(json!({ "when_full": "drop" })).await;
    given.config["audit"].as_array_mut().unwrap().extend([json!({ "to": "stdout" }), json!({ "to": "log" })]);
    let world = given.start().await;

    world.get("/mcp").answer().await.assert_status(401);

    records(&world.directory().join(FILE), 1).await;
    world.gateway.logged(&["INFO audit:", "reason=\"missing_credential\""]).await;
    let line = world.gateway.logged(&["{\"time\":", "missing_credential"]).await;
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["status"], 401);
}

#[tokio::test]
async fn while_records_cannot_be_written_requests_wait_and_no_record_is_lost() {
    let mut given = Given::new().await;
    let folder = given.directory().join("records");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join(FILE);
    given.config["audit"] = json!([{ "file": path, "queue": 1 }]);
    let world = given.start().await;
    std::fs::remove_dir_all(&folder).unwrap();

    // The first is with the thread that writes, the second in the queue.
    world.get("/1").answer().await.assert_status(404);
    let sink = path.display().to_string();
    world.metric_becomes("phantomgate_audit_failing", &[("sink", &sink)], 1.0).await;
    world.get("/2").answer().await.assert_status(404);
    world.metric_becomes("phantomgate_audit_queue_records", &[("sink", &sink)], 1.0).await;
    let waiting = tokio::spawn(world.get("/3").send());
    world.metric_becomes("phantomgate_requests_in_flight", &[], 1.0).await;
    assert!(!waiting.is_finished());
    std::fs::create_dir(&folder).unwrap();

    assert_eq!(within("the request that waited", waiting).await.unwrap().unwrap().status(), 404);
    let paths: Vec<_> = records(&path, 3).await.iter().map(|record| record["path"].clone()).collect();
    assert_eq!(paths, ["/1", "/2", "/3"]);
}

/// Requests of every kind: granted ones, refused ones, ones whose client leaves, streams that are cut. Gives their number.
async fn all_kinds_of_requests(world: &World) -> usize {
    const CONNECTIONS: usize = 16;
    const EACH: usize = 60;
    let good: Vec<_> = (0..20).map(|_| world.valid_token()).collect();
    let bad = [world.authorization_server.unknown_token()];
    let address = world.gateway.address();
    let loads = [
        Load::run(address, "/mcp", CONNECTIONS, EACH, &good),
        Load::run(address, "/mcp", CONNECTIONS, EACH, &bad),
        Load::run(address, "/elsewhere", CONNECTIONS, EACH, &good),
    ];
    for load in join_all(loads).await {
        assert_eq!(load.answers.get(&0), None, "{load:?}");
    }
    let mut count = 3 * CONNECTIONS * EACH;

    let before = world.upstream.received().len();
    let held = world.upstream.hold();
    let leaving: Vec<_> = (0..10).map(|_| tokio::spawn(world.get("/mcp").bearer_auth(&good[0]).send())).collect();
    world.upstream.receives(before + leaving.len()).await;
    for client in &leaving {
        client.abort();
    }
    count += leaving.len();
    world.metric_becomes("phantomgate_requests_in_flight", &[], 0.0).await;
    drop(held);

    for number in 0..3 {
        let subject = format!("leaver-{number}");
        let token = world.authorization_server.issue(json!({ "sub": subject }));
        let _events = world.upstream.stream_next_answer();
        let mut stream = world.get("/mcp").bearer_auth(&token).send().await.unwrap();
        world.revoke(json!({ "subject": subject })).await;
        while let Ok(Some(_)) = within("the end of a stream", stream.chunk()).await {}
        count += 1;
    }
    count
}

#[tokio::test]
async fn with_block_there_are_as_many_records_as_requests() {
    let mut given = with_file(json!({ "when_full": "block", "queue": 10 })).await;
    given.log_level = "info";
    let mut world = given.start().await;

    let requests = all_kinds_of_requests(&world).await;
    // One more, under way when the gateway is told to stop.
    let held = world.upstream.hold();
    let token = world.valid_token();
    let before = world.upstream.received().len();
    let last = tokio::spawn(world.request(Method::GET, "/mcp").bearer_auth(&token).send());
    world.upstream.receives(before + 1).await;
    world.gateway.terminate();
    world.gateway.refuses_connections().await;
    drop(held);
    assert_eq!(last.await.unwrap().unwrap().status(), 200);
    world.gateway.exit().await;

    let records = records_in(&world.directory().join(FILE));
    let mut by_reason = BTreeMap::<String, usize>::new();
    for record in &records {
        *by_reason.entry(record["reason"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(records.len(), requests + 1, "{by_reason:?}");
    assert_eq!(by_reason["client_disconnected"], 10, "{by_reason:?}");
    assert_eq!(by_reason["stream_cut"], 3, "{by_reason:?}");
    let ids: std::collections::HashSet<_> = records.iter().map(|record| record["request_id"].to_string()).collect();
    assert_eq!(ids.len(), records.len());
}

#[tokio::test]
async fn with_drop_what_was_written_and_what_was_dropped_are_all_requests() {
    let mut given = with_file(json!({ "when_full": "drop", "queue": 1 })).await;
    given.log_level = "info";
    let world = given.start().await;

    let requests = all_kinds_of_requests(&world).await as f64;

    let all = async {
        loop {
            let written = world.metric("phantomgate_audit_records_total", &[]).await;
            let dropped = world.metric("phantomgate_audit_dropped_total", &[]).await;
            if written + dropped >= requests {
                return (written, dropped);
            }
        }
    };
    let (written, dropped) = within("all records to be counted", all).await;
    assert_eq!(written + dropped, requests);
    assert_eq!(records_in(&world.directory().join(FILE)).len() as f64, written);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_to_keeps_the_gateway_from_starting() {
    let given = Given::new().await;
    let file = given.directory().join("gateway.yaml");
    let mut config = given.config.clone();
    let folder = given.directory().join("records");
    config["audit"] = json!([{ "file": folder.join(FILE) }]);
    std::fs::write(&file, config.to_string()).unwrap();

    let outcome = e2e::CommandLine::run(given.directory(), &["check", "-c", "gateway.yaml"]);
    assert_eq!(outcome.code(), 64);
    assert!(outcome.stderr().contains("audit[0].file: there is no folder"), "{}", outcome.stderr());

    // As a check cannot tell it: it can be made, but is not a file.
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("/dev/null", folder.join(FILE)).unwrap();
    let outcome = e2e::CommandLine::run(given.directory(), &["run", "-c", "gateway.yaml"]);
    assert_eq!(outcome.code(), 1);
    assert!(outcome.stderr().contains("it is not a file"), "{}", outcome.stderr());
}

#[tokio::test]
async fn the_log_can_be_json_too() {
    let mut given = Given::new().await;
    given.config["listeners"][0]["address"] = json!("127.0.0.1:0");
    given.config["admin"]["address"] = json!("127.0.0.1:0");
    let file = given.directory().join("gateway.yaml");
    std::fs::write(&file, given.config.to_string()).unwrap();
    let mut command = phantomgate();
    command.args(["run", "--log-format", "json", "-c"]).arg(&file);

    let process = Process::spawn("phantomgate", command);

    let is_listening = |line: &Value| line["level"] == "INFO" && line["message"] == "listening";
    let object = |line: &str| serde_json::from_str(line).ok().filter(is_listening);
    let line = process.find_in_output("it listened", object).await;
    assert!(line["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
}

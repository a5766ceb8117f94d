//! The official conformance suite of MCP, run twice against each server: directly, and through the gateway. What it finds
//! must be the same, check by check: then the gateway is invisible to clients and servers, whatever the server's own
//! shortcomings are.
//!
//! The suite has no option for a token, so both runs go through a forwarder that adds one. Where the gateway is meant to
//! make a difference, [`Difference`] says which and why, and one that no longer shows fails the test too.

use std::{collections::BTreeMap, path::Path};

use e2e::{
    BearerInjector, Fixture, Given, Process, conformance_server, mcp_conformance, python_server, server_everything,
};
use serde_json::{Value, json};

/// A version of the suite, and what is run of it.
struct Suite {
    package: &'static str,
    options: &'static [&'static str],
}

/// All that the last stable version has; it ends with the revision 2025-11-25.
const STABLE: Suite = Suite { package: "mcp-conformance-0.1", options: &["--suite", "all"] };
/// What the next version asks of servers of the last revision with sessions.
const WITH_SESSIONS: Suite = Suite { package: "mcp-conformance-0.2", options: &["--requirements", "2025-11-25"] };
/// What it asks of servers of the first revision without them.
const STATELESS: Suite = Suite { package: "mcp-conformance-0.2", options: &["--requirements", "2026-07-28"] };

/// What the suite said about one thing: (scenario, check, how many of that check came before it).
type Findings = BTreeMap<(String, String, usize), Finding>;

#[derive(Clone, Debug, PartialEq)]
struct Finding {
    status: String,
    error: String,
}

/// A check that turns out better through the gateway, on purpose.
#[derive(Clone, Copy)]
struct Difference {
    scenario: &'static str,
    check: &'static str,
    reason: &'static str,
}

/// server-everything has no protection against DNS rebinding.
const FOREIGN_ORIGINS: Difference = Difference {
    scenario: "dns-rebinding-protection",
    check: "localhost-host-rebinding-rejected",
    reason: "the gateway refuses foreign origins, whether the server does or not",
};

/// server-everything answers 400 to a session that it has forgotten.
const ENDED_SESSIONS: Difference = Difference {
    scenario: "server-session-lifecycle",
    check: "server-session-terminated-returns-404",
    reason: "the gateway knows which sessions have ended, and answers what the specification says: 404",
};

/// server-everything knows nothing of the revision without sessions; the gateway does, and refuses by itself what that
/// forbids. What is allowed reaches the server, and fails there as it does directly.
const CHECKED_HERE: [Difference; 6] = {
    const fn checked(scenario: &'static str, check: &'static str) -> Difference {
        Difference { scenario, check, reason: "the gateway checks headers and metadata against each other itself" }
    }
    [
        checked("server-stateless", "sep-2575-http-server-error-jsonrpc-id"),
        checked("server-stateless", "sep-2575-http-server-header-mismatch-400"),
        checked("server-stateless", "sep-2575-request-meta-invalid-missing-meta"),
        checked("server-stateless", "sep-2575-request-meta-invalid-missing-protocol-version"),
        checked("server-stateless", "sep-2575-server-unsupported-version-error"),
        checked("tasks-request-headers", "tasks-headers-reject-mismatched-method"),
    ]
};

/// Runs `suite` against `server` twice; gives what it found, which but for `differences` is the same.
async fn compare(suite: &Suite, server: &Fixture, differences: &[Difference]) -> Findings {
    let mut given = Given::new().await;
    given.use_server(server);
    make_mcp_endpoint(&mut given.config["routes"][0]);
    given.log_level = "info";
    let world = given.start().await;

    let token = world.valid_token();
    let direct = BearerInjector::start(server.text("/url"), "of nobody").await;
    let proxied = BearerInjector::start(&world.url("/mcp"), &token).await;
    let direct = run(suite, &direct.url(), &world.directory().join("direct")).await;
    let proxied = run(suite, &proxied.url(), &world.directory().join("proxied")).await;

    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {} directly, {} through the gateway", summary(&direct), summary(&proxied));
    let mut wrong = differing(&direct, &proxied, differences);
    wrong.extend(differences.iter().filter_map(|difference| not_better(&direct, &proxied, difference)));
    assert!(wrong.is_empty(), "the gateway makes a difference:\n{}", wrong.join("\n"));
    direct
}

/// The gateway reads every message, and this suite's client may do all there is.
fn make_mcp_endpoint(route: &mut Value) {
    route["mcp"] = json!({ "default": "allow" });
}

async fn run(suite: &Suite, url: &str, results: &Path) -> Findings {
    let mut command = mcp_conformance(suite.package);
    command.args(["server", "--url", url]).args(suite.options).arg("--output-dir").arg(results);
    let mut process = Process::spawn(suite.package, command);
    process.exit().await; // its code tells only whether all checks passed
    let findings = read(results, url, &process.output());
    assert!(!findings.is_empty(), "the suite found nothing:\n{}", process.output());
    findings
}

/// One folder per scenario, named for it and the time; empty where the scenario broke off, which `printed` then tells.
fn read(results: &Path, url: &str, printed: &str) -> Findings {
    let mut findings = Findings::new();
    let here = url.trim_start_matches("http://").trim_end_matches("/mcp");
    for folder in std::fs::read_dir(results).unwrap().map(Result::unwrap) {
        let name = folder.file_name().into_string().unwrap();
        let timestamp = "-2026-11-21T19-01-49-983Z".len();
        let scenario = name.strip_prefix("server-").unwrap()[..name.len() - "server-".len() - timestamp].to_owned();
        let Ok(checks) = std::fs::read(folder.path().join("checks.json")) else {
            let broke_off = format!("Failed to run scenario {scenario}: ");
            let error = printed.lines().find_map(|line| line.strip_prefix(&broke_off)).unwrap();
            let finding = Finding { status: "BROKEN OFF".to_owned(), error: error.replace(here, "HERE") };
            findings.insert((scenario, String::new(), 0), finding);
            continue;
        };
        let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
        // What was sent and received, for people to read.
        for check in checks.iter().filter(|check| check["status"] != "INFO") {
            let text = |member: &str| check[member].as_str().unwrap_or_default().replace(here, "HERE");
            let mut finding = Finding { status: text("status"), error: text("errorMessage") };
            if text("id") == "wire-schema-valid" {
                finding.error.clear(); // all messages of the scenario, also those that the gateway may refuse itself
            }
            let earlier = (0..).find(|n| !findings.contains_key(&(scenario.clone(), text("id"), *n))).unwrap();
            findings.insert((scenario.clone(), text("id"), earlier), finding);
        }
    }
    findings
}

impl Difference {
    fn is_about(&self, (scenario, check, _): &(String, String, usize)) -> bool {
        self.scenario == scenario && self.check == check
    }
}

/// What was found otherwise than expected, but for `differences`.
fn differing(direct: &Findings, proxied: &Findings, differences: &[Difference]) -> Vec<String> {
    let keys = direct.keys().chain(proxied.keys().filter(|key| !direct.contains_key(key)));
    keys.filter(|key| direct.get(key) != proxied.get(key))
        .filter(|key| !differences.iter().any(|difference| difference.is_about(key)))
        .map(|key| format!("{} / {}: {:?}, directly {:?}", key.0, key.1, proxied.get(key), direct.get(key)))
        .collect()
}

/// Why a difference is none, or not one for the better.
fn not_better(direct: &Findings, proxied: &Findings, difference: &Difference) -> Option<String> {
    let of = |findings: &Findings| -> Vec<Finding> {
        findings.iter().filter(|(key, _)| difference.is_about(key)).map(|(_, finding)| finding.clone()).collect()
    };
    let failures = |findings: &[Finding]| findings.iter().filter(|finding| finding.status == "FAILURE").count();
    let (direct, proxied) = (of(direct), of(proxied));
    let Difference { scenario, check, reason } = difference;
    if direct == proxied {
        Some(format!("{scenario} / {check}: the same, although {reason}"))
    } else if failures(&proxied) > failures(&direct) {
        Some(format!("{scenario} / {check}: {proxied:?}, directly {direct:?}"))
    } else {
        None
    }
}

/// How many checks there were of each status.
fn summary(findings: &Findings) -> String {
    let mut counts = BTreeMap::new();
    for finding in findings.values() {
        *counts.entry(finding.status.as_str()).or_insert(0) += 1;
    }
    format!("{counts:?}")
}

/// The scenarios in which a check fails.
fn failing(findings: &Findings) -> Vec<&str> {
    let mut scenarios: Vec<_> =
        findings.iter().filter(|(_, found)| found.status == "FAILURE").map(|(key, _)| key.0.as_str()).collect();
    scenarios.dedup();
    scenarios
}

#[test]
fn a_check_that_turns_out_differently_is_named_and_so_are_missing_and_additional_ones() {
    let findings = |statuses: [(&str, &str); 2]| -> Findings {
        let found = |status: &str| Finding { status: status.to_owned(), error: String::new() };
        statuses.map(|(check, status)| (("ping".to_owned(), check.to_owned(), 0), found(status))).into()
    };
    let direct = findings([("same", "SUCCESS"), ("other", "SUCCESS")]);

    let changed = differing(&direct, &findings([("same", "SUCCESS"), ("other", "FAILURE")]), &[]);
    assert!(changed.len() == 1 && changed[0].starts_with("ping / other: Some("), "{changed:?}");
    let replaced = differing(&direct, &findings([("same", "SUCCESS"), ("new", "SUCCESS")]), &[]);
    assert_eq!(replaced.len(), 2, "{replaced:?}");
}

#[tokio::test]
async fn the_stable_suite_finds_server_everything_the_same() {
    compare(&STABLE, &server_everything().await, &[FOREIGN_ORIGINS]).await;
}

#[tokio::test]
async fn the_stable_suite_finds_a_python_server_the_same() {
    compare(&STABLE, &python_server().await, &[]).await;
}

#[tokio::test]
async fn the_stable_suite_finds_a_server_that_has_everything_the_same() {
    let findings = compare(&STABLE, &conformance_server().await, &[]).await;
    assert_eq!(failing(&findings), [""; 0], "{findings:#?}");
}

#[tokio::test]
async fn the_next_suite_finds_server_everything_the_same() {
    compare(&WITH_SESSIONS, &server_everything().await, &[FOREIGN_ORIGINS, ENDED_SESSIONS]).await;
}

#[tokio::test]
async fn the_next_suite_finds_a_python_server_the_same() {
    compare(&WITH_SESSIONS, &python_server().await, &[]).await;
}

#[tokio::test]
async fn the_next_suite_finds_a_server_that_has_everything_the_same() {
    let findings = compare(&WITH_SESSIONS, &conformance_server().await, &[]).await;
    assert_eq!(failing(&findings), [""; 0], "{findings:#?}");
}

#[tokio::test]
async fn the_stateless_suite_finds_server_everything_the_same() {
    compare(&STATELESS, &server_everything().await, &CHECKED_HERE).await;
}

#[tokio::test]
async fn the_stateless_suite_finds_a_python_server_the_same() {
    compare(&STATELESS, &python_server().await, &[]).await;
}

#[tokio::test]
async fn the_stateless_suite_finds_a_server_that_has_everything_the_same() {
    let findings = compare(&STATELESS, &conformance_server().await, &[]).await;
    // The tasks extension, which the Python SDK does not have.
    let failing: Vec<_> = failing(&findings).into_iter().filter(|scenario| !scenario.starts_with("tasks-")).collect();
    assert_eq!(failing, [""; 0], "{findings:#?}");
}

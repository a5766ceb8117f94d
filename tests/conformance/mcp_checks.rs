//! The check list of [`e2e::mcp_checks`]: phantomgate passes all of it, and servers that should not do not.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Output},
};

use axum::{Router, extract::Request, response::IntoResponse};
use e2e::{
    ReservedPort, Upstream, World,
    mcp_checks::{Outcome, Target, Verdict, run},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use crate::mcp::endpoint;

fn target(url: &str) -> Target {
    Target::new(Url::parse(url).unwrap())
}

/// A protected endpoint, with a token for it and one that has too few scopes.
async fn protected() -> (World, String, String) {
    let world = endpoint(json!({ "tools": { "echo": "allow" } })).await;
    let (token, insufficient) = (world.valid_token(), world.authorization_server.issue(json!({ "scope": "other" })));
    (world, token, insufficient)
}

/// A server that has tokens and a challenge, and everything about them wrong that can be.
async fn careless() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let url = Url::parse(&format!("{origin}/mcp")).unwrap();
    let answer = move |headers: HeaderMap, request: Request| {
        let origin = origin.clone();
        async move {
            match request.uri().path() {
                "/.well-known/oauth-protected-resource/mcp" => axum::Json(json!({
                    "resource": "https://elsewhere.example/mcp",
                    "authorization_servers": [origin],
                    "scopes_supported": ["read", "offline_access"],
                }))
                .into_response(),
                "/.well-known/oauth-authorization-server" => axum::Json(json!({
                    "issuer": "https://honest.example",
                    "token_endpoint": "http://honest.example/token",
                    "code_challenge_methods_supported": ["plain"],
                }))
                .into_response(),
                "/metadata" => "metadata".into_response(),
                _ => {
                    let token = headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
                    let challenge = format!("Bearer error=\"invalid_token\", resource_metadata=\"{origin}/metadata\"");
                    let refused = format!("refused: {token}");
                    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], refused).into_response()
                }
            }
        }
    };
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    url
}

fn failed(outcomes: &[Outcome]) -> BTreeSet<&'static str> {
    let failed = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    failed.map(|outcome| outcome.name).collect()
}

#[tokio::test]
async fn every_check_passes_against_phantomgate_and_none_is_skipped() {
    let (world, token, insufficient) = protected().await;
    let target = Target { token: Some(token), insufficient_token: Some(insufficient), ..target(&world.url("/mcp")) };

    let outcomes = run(&target).await;

    let others: Vec<_> = outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Passed).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(outcomes.len(), 28);
}

#[tokio::test]
async fn without_tokens_the_checks_that_need_them_are_skipped() {
    let (world, ..) = protected().await;

    let outcomes = run(&target(&world.url("/mcp"))).await;

    assert_eq!(failed(&outcomes), BTreeSet::new(), "{outcomes:#?}");
    let skipped = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Skipped(_))).count();
    assert_eq!(skipped, 8, "{outcomes:#?}");
}

#[tokio::test]
async fn each_check_fails_against_a_server_that_lacks_what_it_is_about() {
    let unprotected = Upstream::start().await;
    let with_tokens = |target| Target { token: Some("any".into()), insufficient_token: Some("less".into()), ..target };

    let unprotected = run(&with_tokens(target(&format!("{}/mcp", unprotected.url())))).await;
    let careless = run(&with_tokens(Target::new(careless().await))).await;

    let all: BTreeSet<_> = unprotected.iter().map(|outcome| outcome.name).collect();
    let failures = &failed(&unprotected) | &failed(&careless);
    let never: Vec<_> = all.difference(&failures).collect();
    // Both servers are on this machine.
    assert_eq!(never, [&"the server is reached over TLS, or on this machine"], "{unprotected:#?} {careless:#?}");
    let passed = |outcomes: &[Outcome]| outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Passed).count();
    assert!(passed(&unprotected) <= 5, "{unprotected:#?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_fails_at_once() {
    let nobody = ReservedPort::new();

    let outcomes = run(&target(&format!("http://{}/mcp", nobody.address()))).await;

    assert_eq!(failed(&outcomes), BTreeSet::from(["the server answers"]), "{outcomes:#?}");
}

// --- the command ------------------------------------------------------------------------------------------------------

/// Runs the command to its end, while the servers of the test go on.
async fn command(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-authorization"));
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn write(directory: &Path, name: &str, content: &str) -> String {
    let file = directory.join(name);
    std::fs::write(&file, content).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_command_prints_a_line_for_each_check_and_ends_with_0_when_none_failed() {
    let (world, token, insufficient) = protected().await;
    let token_file = write(world.directory(), "token", &format!("{token}\n"));
    let insufficient_file = write(world.directory(), "insufficient", &insufficient);

    let files = ["--token-file", &token_file, "--insufficient-token-file", &insufficient_file];
    let output = command(&[&[world.url("/mcp").as_str()], &files[..]].concat()).await;

    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("passed ")).count(), 28, "{text}");
    assert!(text.ends_with("28 passed, 0 failed, 0 skipped\n"), "{text}");
    assert!(!text.contains(&token) && !text.contains(&insufficient), "{text}");
}

#[tokio::test]
async fn the_command_says_what_it_saw_and_ends_with_1_when_a_check_failed() {
    let unprotected = Upstream::start().await;

    let output = command(&[&format!("{}/mcp", unprotected.url())]).await;

    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED   a request without a token is 401"), "{text}");
    assert!(text.contains("initialize: 200 OK instead of 401"), "{text}");
}

#[tokio::test]
async fn the_command_refuses_arguments_that_are_of_no_use() {
    let (world, token, _) = protected().await;
    let url = world.url("/mcp");
    let two_lines = write(world.directory(), "two-lines", &format!("{token}\n{token}"));
    let empty = write(world.directory(), "empty", "\n");
    for (arguments, reason) in [
        (&[][..], "URL"),
        (&["not a url"], "not a url"),
        (&["ftp://server.example"], "https://"),
        (&["https://user@server.example"], "user information"),
        (&[&url, "--token-file", "/nowhere/token"], "/nowhere/token"),
        (&[&url, "--token-file", &two_lines], "one token"),
        (&[&url, "--insufficient-token-file", &empty], "one token"),
        (&[&url, "--patience", "0"], "--patience"),
    ] {
        let output = command(arguments).await;

        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(reason) && !text.contains(&token), "{arguments:?}: {text}");
    }
    let help = command(&["--help"]).await;
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--token-file"));
}

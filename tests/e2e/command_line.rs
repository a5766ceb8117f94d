//! The `phantomgate` program as an operator meets it: exit codes, located errors, keys, and an orderly end.

use e2e::{AnswerExt, CommandLine, Given, World, phantomgate};
use serde_json::json;

/// A configuration file with the given text, in a folder of its own.
fn file(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("gateway.yaml"), text).unwrap();
    directory
}

const THREE_MISTAKES: &str = "\
listeners:
  - address: nowhere
authorization_servers:
  main:
    issuer: https://login.example.com
    client: { id: phantomgate, secret: { env: PATH }, authentication: client_secret_basic }
signing: { issuer: https://mcp.example.com, algorithm: ES256, keys: keys/, lifetime: 5m }
upstreams:
  search: { endpoints: [http://127.0.0.1:3000] }
routes:
  - name: search
    match: { path: /mcp }
    upstream: serch
    resource: https://mcp.example.com/mcp
    authorization_server: mian
    scopes: [mcp:read]
    credential: { kind: signed, audience: https://mcp.internal/search }
";

#[test]
fn check_reports_three_mistakes_where_they_are_and_exits_with_64() {
    let directory = file(THREE_MISTAKES);

    let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);

    assert_eq!(check.code(), 64, "{}", check.stderr());
    let output = check.stdout() + &check.stderr();
    let located: Vec<_> = output.lines().filter(|line| line.starts_with("gateway.yaml:")).collect();
    assert_eq!(located.len(), 3, "{output}");
    assert!(located[0].starts_with("gateway.yaml:2:"), "{output}");
    assert!(located.iter().any(|line| line.starts_with("gateway.yaml:13:") && line.contains("search")), "{output}");
    assert!(located.iter().any(|line| line.starts_with("gateway.yaml:15:") && line.contains("main")), "{output}");
}

#[test]
fn run_refuses_a_bad_configuration_in_the_same_words() {
    let directory = file(THREE_MISTAKES);

    let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);
    let run = CommandLine::run(directory.path(), &["run", "-c", "gateway.yaml"]);

    assert_eq!(run.code(), 64);
    for line in (check.stdout() + &check.stderr()).lines().filter(|line| line.starts_with("gateway.yaml:")) {
        assert!((run.stdout() + &run.stderr()).contains(line), "{line} is not in {}", run.stderr());
    }
}

#[test]
fn an_unknown_key_is_an_error_where_it_is() {
    let directory = file(
        &THREE_MISTAKES
            .replace("nowhere", "127.0.0.1:0")
            .replace("serch", "search")
            .replace("mian", "main")
            .replace("    scopes:", "    scope:"),
    );

    let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);

    assert_eq!(check.code(), 64);
    assert!((check.stdout() + &check.stderr()).contains("gateway.yaml:16:"), "{}", check.stderr());
}

#[test]
fn a_good_configuration_passes_the_check() {
    let directory =
        file(&THREE_MISTAKES.replace("nowhere", "127.0.0.1:0").replace("serch", "search").replace("mian", "main"));

    let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);

    assert_eq!(check.code(), 0, "{}{}", check.stdout(), check.stderr());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();

    let check = CommandLine::run(directory.path(), &["check", "-c", "missing.yaml"]);

    assert_eq!(check.code(), 64);
    assert!(check.stderr().contains("missing.yaml"), "{}", check.stderr());
}

#[test]
fn a_secret_is_never_in_an_error() {
    let directory = file(&THREE_MISTAKES.replace("{ env: PATH }", "hunter2-inline-secret"));

    let check = CommandLine::run(directory.path(), &["check", "-c", "gateway.yaml"]);

    assert_eq!(check.code(), 64);
    assert!(!(check.stdout() + &check.stderr()).contains("hunter2"), "{}", check.stderr());
}

#[test]
fn schema_prints_a_json_schema_that_knows_every_section() {
    let directory = tempfile::tempdir().unwrap();

    let schema = CommandLine::run(directory.path(), &["schema"]).json();

    for section in ["listeners", "authorization_servers", "signing", "upstreams", "routes"] {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[tokio::test]
async fn a_new_key_is_listed_and_published_before_it_signs() {
    let given = Given::new().await;
    let directory = given.directory().to_owned();
    std::fs::write(directory.join("gateway.yaml"), given.config.to_string()).unwrap();
    let keys = |command| CommandLine::run(&directory, &["keys", command, "-c", "gateway.yaml"]);
    assert_eq!(keys("new").code(), 0);
    assert_eq!(keys("new").code(), 0);

    let listed = keys("list").stdout();
    let world = given.start().await;
    let published = world.get("/.well-known/jwks.json").answer().await.json();
    let token = world.valid_token();
    world.get("/mcp").bearer_auth(&token).answer().await.assert_status(200);

    let ids: Vec<_> = published["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{published}");
    assert!(ids.iter().all(|id| listed.contains(id)), "{ids:?} in {listed}");
    let signed_with = jsonwebtoken::decode_header(world.upstream.only_request().jwt()).unwrap().kid.unwrap();
    let line = listed.lines().find(|line| line.contains(&signed_with)).unwrap();
    assert!(line.trim_end().ends_with("signs"), "{listed}");
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = phantomgate().arg("--help").output().unwrap();
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    let (_, list) = text.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn help_names_every_command() {
    let commands = commands();

    for name in ["run", "check", "schema", "keys", "manual", "completions"] {
        assert!(commands.iter().any(|command| command == name), "{name} is not in {commands:?}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let directory = tempfile::tempdir().unwrap();

    assert_eq!(CommandLine::run(directory.path(), &["manual", "share/man1"]).code(), 0);

    let page = |name: &str| std::fs::read_to_string(directory.path().join("share/man1").join(name)).unwrap();
    let overview = page("phantomgate.1").replace('\\', "");
    for command in commands() {
        assert!(overview.contains(&format!("phantomgate-{command}(1)")), "{command} is not in {overview}");
        assert!(page(&format!("phantomgate-{command}.1")).contains(".SH DESCRIPTION"), "{command}");
    }
    assert!(page("phantomgate-keys-rotate.1").contains("config"), "those below another have theirs too");
}

#[test]
fn shells_complete_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let commands = commands();
    for shell in ["bash", "zsh", "fish"] {
        let script = CommandLine::run(directory.path(), &["completions", shell]);

        assert_eq!(script.code(), 0, "{}", script.stderr());
        let script = script.stdout();
        assert!(commands.iter().all(|command| script.contains(command.as_str())), "{shell}: {script}");
        assert!(script.contains("rotate"), "{shell}: {script}");
    }
}

#[test]
fn the_reference_tells_type_and_default_of_a_key() {
    let directory = tempfile::tempdir().unwrap();

    let reference = CommandLine::run(directory.path(), &["schema", "--format", "markdown"]);

    assert_eq!(reference.code(), 0, "{}", reference.stderr());
    assert!(reference.stdout().contains("| `drain_timeout` | duration | `30s` |"), "{}", reference.stdout());
}

#[tokio::test]
async fn a_request_in_flight_ends_well_when_the_gateway_is_asked_to_stop() {
    let mut world = World::new().await;
    let token = world.valid_token();
    let release = world.upstream.hold();
    let answer = tokio::spawn(world.get("/mcp").bearer_auth(&token).answer());
    world.upstream.receives(1).await;

    world.gateway.terminate();
    world.gateway.refuses_connections().await;
    release.send(true).unwrap();

    answer.await.unwrap().assert_status(200);
    assert!(world.gateway.exit().await.success());
}

#[tokio::test]
async fn a_stream_that_never_ends_does_not_keep_a_gateway_that_was_asked_to_stop() {
    let mut given = Given::new().await;
    given.config["drain_timeout"] = json!("1s");
    let mut world = given.start().await;
    let token = world.valid_token();
    let events = world.upstream.stream_next_answer();
    let stream = world.get("/mcp").bearer_auth(&token).send().await.unwrap();

    world.gateway.terminate();

    assert!(world.gateway.exit().await.success());
    events.cancelled().await;
    drop(stream);
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let mut world = World::new().await;

    world.gateway.terminate();

    assert!(world.gateway.exit().await.success());
}

#[tokio::test]
async fn signing_keys_survive_a_restart() {
    let given = Given::new().await;
    let keys = given.directory().join("keys");
    let mut world = given.start().await;

    let published = world.get("/.well-known/jwks.json").answer().await.json();

    let kept: Vec<_> = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!kept.is_empty());
    for file in kept {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "{} is readable by others", file.display());
    }
    world.gateway.restart().await;
    assert_eq!(world.get("/.well-known/jwks.json").answer().await.json(), published);
}

#[tokio::test]
async fn a_busy_address_ends_the_gateway_with_an_error() {
    let given = Given::new().await;
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = given.config.clone();
    config["listeners"] = json!([{ "address": busy.local_addr().unwrap() }]);
    std::fs::write(given.directory().join("gateway.yaml"), config.to_string()).unwrap();

    let run = CommandLine::run(given.directory(), &["run", "-c", "gateway.yaml"]);

    assert_ne!(run.code(), 0);
    assert!(run.stderr().contains(&busy.local_addr().unwrap().to_string()), "{}", run.stderr());
}

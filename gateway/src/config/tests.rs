//! Golden files: each `bad/*.yaml` beside its `*.txt`, what `phantomgate check` says of it. To write them anew:
//! `UPDATE_EXPECT=1 cargo test -p phantomgate config`.

use std::path::{Path, PathBuf};

use expect_test::expect_file;

use super::*;

const MINIMAL: &str = "
listeners: [{ address: '127.0.0.1:8080' }]
authorization_servers:
  main:
    issuer: https://login.example.com
    client: { id: phantomgate, secret: { file: secret } }
signing: { issuer: https://mcp.example.com }
upstreams: { mcp: { endpoints: ['http://127.0.0.1:3000'] } }
routes:
  - name: mcp
    match: { host: MCP.example.com, path: /mcp/ }
    upstream: mcp
    resource: https://mcp.example.com/mcp
    authorization_server: main
    scopes: [mcp:read]
    credential: { kind: signed, audience: https://mcp.internal }
  - { name: site, upstream: mcp, public: true }
";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/bad")
}

#[test]
fn defaults_stand_in_for_what_is_left_out() {
    let config = parse(&folder().join("minimal.yaml"), MINIMAL).unwrap();
    let [mcp, site] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!(mcp.host.as_ref().unwrap().as_str(), "mcp.example.com");
    assert_eq!(mcp.path.as_str(), "/mcp");
    assert!(site.protection.is_none());
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.authorization_servers[0].cache.max_ttl, Duration::from_secs(300));
    assert_eq!(config.signing.unwrap().keys, folder().join("keys/"));
}

#[test]
fn a_route_is_protected_unless_it_says_public() {
    let text = MINIMAL.replace(", public: true", "");
    let report = parse(&folder().join("minimal.yaml"), &text).unwrap_err().to_string();
    assert!(report.contains("routes[1]: a protected route needs `resource`"), "{report}");
}

#[test]
fn every_bad_configuration_is_told_as_its_golden_file_says() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = Path::new(path.file_name().unwrap());
            let text = std::fs::read_to_string(&path).unwrap();
            let report = parse(name, &text).unwrap_err();
            expect_file![path.with_extension("txt")].assert_eq(&format!("{report}\n"));
            count += 1;
        }
    }
    assert!(count >= 5, "the golden files have gone");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let text = MINIMAL.replace("secret: { file: secret }", "secret: hunter2");
    let report = parse(&folder().join("minimal.yaml"), &text).unwrap_err().to_string();
    assert!(report.contains("authorization_servers.main.client.secret: this is a text"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn the_schema_in_the_repository_is_the_one_of_this_program() {
    // Stale? `cargo run --release -p phantomgate -- schema > conf/gateway.schema.json`
    let written = include_str!("../../../conf/gateway.schema.json");
    assert_eq!(written, format!("{:#}\n", schema()));
}

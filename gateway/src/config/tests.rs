//! Golden files: each `bad/*.yaml` beside its `*.txt`, what `phantomgate check` says of it. To write them anew:
//! `UPDATE_EXPECT=1 cargo test -p phantomgate config`.

use std::path::{Path, PathBuf};

use expect_test::expect_file;
use phantomgate_introspection::Vendor;
use strum::VariantArray as _;

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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn defaults_stand_in_for_what_is_left_out() {
    let config = parse(&folder().join("minimal.yaml"), MINIMAL).unwrap();
    let [mcp, site] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!(mcp.matches.host.to_string(), "mcp.example.com");
    assert_eq!(mcp.matches.path.as_str(), "/mcp");
    assert!(site.protection.is_none());
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.authorization_servers[0].cache.max_ttl, Duration::from_secs(300));
    assert_eq!(config.signing.unwrap().keys, folder().join("keys/"));
}

#[test]
fn thousands_of_routes_may_take_up_the_same_anchor() {
    let (head, _) = MINIMAL.split_once("routes:").unwrap();
    let first = "routes:\n  - &route { name: '0', match: { path: /0 }, upstream: mcp, public: true }\n";
    let others =
        (1..3_000).map(|number| format!("  - {{ <<: *route, name: '{number}', match: {{ path: /{number} }} }}\n"));
    let config = parse(&folder().join("minimal.yaml"), &format!("{head}{first}{}", others.collect::<String>()));
    assert_eq!(config.unwrap().routes.len(), 3_000);
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
            let text = std::fs::read_to_string(&path).unwrap();
            let report = parse(&path, &text).unwrap_err().to_string();
            let report = report.replace(&format!("{}/", folder().display()), "");
            expect_file![path.with_extension("txt")].assert_eq(&format!("{report}\n"));
            count += 1;
        }
    }
    assert!(count >= 5, "the golden files have gone");
}

#[test]
fn an_authorization_server_keeps_the_claims_that_its_routes_map() {
    let claims = "claims: { tenant: ext.tenant, team: team, where: ext.tenant }";
    let text = MINIMAL.replace("audience: https://mcp.internal }", &format!("audience: a, lifetime: 1m, {claims} }}"));
    let config = parse(&folder().join("minimal.yaml"), &text).unwrap();
    assert_eq!(config.authorization_servers[0].claims, ["team", "ext.tenant"]);
    let protection = config.routes[0].protection.as_ref().unwrap();
    let CredentialConfig::Signed(signed) = &protection.credential else { panic!("{protection:?}") };
    assert_eq!(signed.lifetime, Duration::from_secs(60));
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
    let schema = format!("{:#}\n", schema());
    expect_file![root().join("conf/gateway.schema.json")].assert_eq(&schema);
}

/// Reads `text` in a folder that has the secrets the shipped configurations name.
fn parse_with_secrets(text: &str) -> Result<Config, Report> {
    let temporary = tempfile::tempdir().unwrap();
    let write = |file: &str, content: &str| {
        let path = temporary.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    for secret in ["authorization-server", "admin", "actor", "legacy"] {
        write(&format!("secrets/{secret}"), "s3cret");
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["phantomgate".to_owned()]).unwrap().self_signed(&key).unwrap();
    for file in ["keys/partner.pem", "keys/decryption.pem", "certificates/phantomgate.key", "certificates/edge.key"] {
        write(file, &key.serialize_pem());
    }
    for file in ["certificates/ca.pem", "certificates/phantomgate.pem", "certificates/edge.pem"] {
        write(file, &certificate.pem());
    }
    let text = text.replace("PHANTOMGATE_CLIENT_SECRET", "PATH"); // a variable that is always set
    parse(&temporary.path().join("gateway.yaml"), &text)
}

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if !["target", ".git", "bad", "node_modules", "peers", "prometheus"].contains(&name.as_str()) => {
                yaml_files(&path, found)
            }
            false if name.ends_with(".yaml") || name.ends_with(".yml") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn every_configuration_in_the_repository_is_valid() {
    let mut files = Vec::new();
    yaml_files(&root(), &mut files);
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        if let Err(report) = parse_with_secrets(&std::fs::read_to_string(&file).unwrap()) {
            panic!("{}:\n{report}", file.display());
        }
    }
}

#[test]
fn the_route_in_the_readme_is_valid() {
    let readme = include_str!("../../../README.md");
    let (_, block) = readme.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let (head, _) = MINIMAL.split_once("upstreams:").unwrap();
    if let Err(report) = parse_with_secrets(&format!("{head}{block}").replace("{ file: secret }", "{ env: PATH }")) {
        panic!("{report}");
    }
}

#[test]
fn the_mcp_endpoint_in_the_documentation_is_valid() {
    let document = include_str!("../../../docs/mcp.md");
    let (_, block) = document.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let rest = "listeners: [{ address: '127.0.0.1:8080' }]\nsigning: { issuer: https://mcp.example.com }\n\
                upstreams: { users-mcp: { endpoints: ['http://127.0.0.1:3000'] } }\n";
    let text = format!("{rest}{block}").replace("{ file: secrets/main }", "{ env: PATH }");
    if let Err(report) = parse_with_secrets(&text) {
        panic!("{report}");
    }
}

#[test]
fn the_routes_in_the_documentation_are_valid() {
    let document = include_str!("../../../docs/routes.md");
    let (_, block) = document.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let (head, _) = MINIMAL.split_once("upstreams:").unwrap();
    let upstreams = "upstreams: { orders: { endpoints: ['http://127.0.0.1:3000'] } }\n";
    if let Err(report) =
        parse_with_secrets(&format!("{head}{upstreams}{block}").replace("{ file: secret }", "{ env: PATH }"))
    {
        panic!("{report}");
    }
}

#[test]
fn the_first_configuration_in_the_documentation_is_valid() {
    let document = include_str!("../../../docs/operations.md");
    let (_, block) = document.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    // Where the package keeps its records there is a folder; here there need not be.
    let block = block.replace("/var/log/phantomgate/", "");
    if let Err(report) = parse_with_secrets(&block) {
        panic!("{report}");
    }
}

#[test]
fn every_authorization_server_in_the_documentation_is_configured_validly() {
    let document = include_str!("../../../docs/authorization-servers.md");
    let mut blocks = document.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let common = blocks.next().unwrap();
    let mut count = 0;
    for block in blocks {
        if let Err(report) = parse_with_secrets(&format!("{common}{block}")) {
            panic!("{block}\n{report}");
        }
        count += 1;
    }
    assert_eq!(count, Vendor::VARIANTS.len() - 1, "one for each product, and none for `standard`");
}

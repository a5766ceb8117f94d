//! `phantomgate check` tells where a certificate or key is wrong.

use e2e::{Certificates, CommandLine, Given};
use serde_json::{Value, json};

use super::files;

/// What `check` says of the listener's `tls`, or else of the upstream's.
async fn check(change: impl FnOnce(&mut Value, &Certificates)) -> String {
    let mut given = Given::new().await;
    let certificates = Certificates::new(given.directory());
    given.config["listeners"][0]["tls"] = files(&certificates.server());
    change(&mut given.config, &certificates);
    let file = given.directory().join("gateway.yaml");
    std::fs::write(&file, serde_json::to_string_pretty(&given.config).unwrap()).unwrap();
    let check = CommandLine::run(given.directory(), &["check", "-c", "gateway.yaml"]);
    if check.code() == 0 {
        return "no errors".to_owned();
    }
    assert_eq!(check.code(), 64, "{}", check.stderr());
    let line = check.stderr().lines().next().unwrap().replace(&format!("{}/", given.directory().display()), "");
    assert!(line.starts_with("gateway.yaml:"), "it is located: {line}");
    line.split_once(": ").unwrap().1.to_owned()
}

#[tokio::test]
async fn what_is_wrong_with_the_files_of_a_listener_is_told_by_its_key() {
    assert_eq!(check(|_, _| {}).await, "no errors");
    for (key, value, expected) in [
        ("certificate", "absent.pem", "cannot read absent.pem"),
        ("certificate", "server.key", "server.key: it does not hold certificates in PEM"),
        ("private_key", "absent.key", "cannot read absent.key"),
        ("private_key", "server.pem", "server.pem: it does not hold a private key in PEM"),
        ("private_key", "other.key", "other.key: its private key is not the one of the certificate in"),
        ("client_ca", "absent.pem", "cannot read absent.pem"),
        ("client_ca", "server.key", "server.key: it does not hold certificates in PEM"),
        ("client_certificate", "optional", "needs `client_ca`"),
        ("min_version", "1.1", ""),
    ] {
        let told = check(|config, certificates| {
            certificates.client("other");
            config["listeners"][0]["tls"][key] = json!(value);
        })
        .await;
        assert!(told.starts_with(&format!("listeners[0].tls.{key}: ")), "{key}: {told}");
        assert!(told.contains(expected), "{key}: {told}");
    }
}

#[tokio::test]
async fn an_expired_certificate_is_an_error() {
    let told = check(|config, certificates| {
        config["listeners"][0]["tls"]["certificates"] = json!([files(&certificates.expired("old"))]);
    })
    .await;

    let expected = "listeners[0].tls.certificates[0].certificate: old.pem: its certificate has expired on 2001-12-31";
    assert!(told.starts_with(expected), "{told}");
}

#[tokio::test]
async fn a_certificate_that_would_never_be_chosen_is_an_error() {
    let told = check(|config, certificates| {
        let nameless = certificates.server_for("nameless", &["10.0.0.1"]);
        config["listeners"][0]["tls"]["certificates"] = json!([files(&nameless)]);
    })
    .await;

    assert!(told.contains("names no host, so it would never be chosen"), "{told}");
}

#[tokio::test]
async fn what_is_wrong_with_tls_to_an_upstream_is_told_by_its_key() {
    for (url, key, value, expected) in [
        ("https://127.0.0.1:1", "tls", json!({ "ca": "absent.pem" }), "tls.ca: cannot read absent.pem"),
        ("https://127.0.0.1:1", "tls", json!({ "server_name": "a b" }), "tls.server_name: \"a b\" is no host name"),
        ("https://127.0.0.1:1", "tls", json!({ "certificate": "server.pem" }), "tls: a `certificate` is of no use"),
        ("https://127.0.0.1:1", "tls", json!({ "private_key": "server.key" }), "tls: a `private_key` is of no use"),
        ("http://127.0.0.1:1", "tls", json!({ "ca": "ca.pem" }), "tls: is of no use: no endpoint is https"),
        ("http://127.0.0.1:1", "protocol", json!("auto"), "protocol: http://127.0.0.1:1 offers no choice"),
        ("http://127.0.0.1:1", "protocol", json!("http3"), "protocol: "),
    ] {
        let told = check(|config, _| {
            config["upstreams"]["upstream"]["endpoints"] = json!([url]);
            config["upstreams"]["upstream"][key] = value;
        })
        .await;
        assert!(told.starts_with(&format!("upstreams.upstream.{expected}")), "{told}");
    }
}

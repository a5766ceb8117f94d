//! TLS: on listeners, with clients' certificates, and to upstreams.

mod check;
mod clients;
mod listener;
mod reload;
mod upstream;

use std::net::SocketAddr;

use e2e::{Certificates, Given, Identity, World};
use reqwest::ClientBuilder;
use serde_json::{Value, json};

/// A gateway that has not started, whose listener speaks TLS, and the authority of its certificate.
async fn given() -> (Given, Certificates) {
    let mut given = Given::new().await;
    let certificates = Certificates::new(given.directory());
    given.config["listeners"][0]["tls"] = files(&certificates.server());
    (given, certificates)
}

fn files(identity: &Identity) -> Value {
    json!({ "certificate": identity.certificate, "private_key": identity.private_key })
}

/// A client that trusts the authority, and for which these hosts are the gateway.
fn client(certificates: &Certificates, gateway: SocketAddr, hosts: &[&str]) -> ClientBuilder {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(certificates.ca()).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).tls_info(true);
    hosts.iter().fold(client, |client, host| client.resolve(host, gateway))
}

/// A URL on the gateway, by one of the names of its certificates.
fn url(world: &World, host: &str) -> String {
    format!("https://{host}:{}/mcp", world.gateway.address().port())
}

/// A request over TLS, by the name `localhost`, with a connection of its own.
async fn get(world: &World, certificates: &Certificates, token: &str) -> reqwest::Result<reqwest::Response> {
    let client = client(certificates, world.gateway.address(), &["localhost"]).build().unwrap();
    client.get(url(world, "localhost")).bearer_auth(token).send().await
}

/// The certificate that an answer came with.
fn shown(response: &reqwest::Response) -> Vec<u8> {
    let info = response.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
    info.peer_certificate().unwrap().to_vec()
}

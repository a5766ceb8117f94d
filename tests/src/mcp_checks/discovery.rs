//! The metadata of the server, and of the authorization servers that it names.

use serde_json::Value;
use url::Url;

use super::{
    Verdict,
    probe::{self, Finding, Probe, failed, skipped},
};

pub(super) fn is_confidential(probe: &Probe<'_>) -> Finding {
    let url = &probe.target.url;
    if probe::is_confidential(url) { Ok(()) } else { failed(format!("whoever is between can read tokens: {url}")) }
}

// --- the server -------------------------------------------------------------------------------------------------------

pub(super) fn by_challenge(probe: &Probe<'_>) -> Finding {
    probe.metadata.clone().map(|_| ())
}

pub(super) fn by_well_known_path(probe: &Probe<'_>) -> Finding {
    let (url, metadata) = probe.well_known.clone()?;
    match &probe.metadata {
        Ok(other) if *other != metadata => failed(format!("{url} differs from what is where the challenge says")),
        _ => Ok(()),
    }
}

pub(super) fn is_about_target(probe: &Probe<'_>) -> Finding {
    let metadata = metadata(probe)?;
    let url = probe.target.url.as_str();
    match metadata.get("resource").and_then(Value::as_str) {
        // Without a path, the slash is not the writer's.
        Some(resource) if resource == url || (probe.target.url.path() == "/" && format!("{resource}/") == url) => {
            Ok(())
        }
        Some(resource) => failed(format!("resource is {resource}, and the URL is {url}")),
        None => failed("there is no resource in the metadata"),
    }
}

pub(super) fn names_authorization_server(probe: &Probe<'_>) -> Finding {
    issuers(metadata(probe)?).map(|_| ())
}

pub(super) fn has_no_offline_access(probe: &Probe<'_>) -> Finding {
    let scope = probe.challenge().ok().and_then(|challenge| challenge.get("scope").map(str::to_owned));
    if scope.is_some_and(|scope| scope.split(' ').any(|scope| scope == "offline_access")) {
        return failed("offline_access is in the challenge");
    }
    let Ok(metadata) = metadata(probe) else { return skipped("there is no metadata") };
    let supported = metadata.get("scopes_supported").and_then(Value::as_array);
    if supported.is_some_and(|scopes| scopes.iter().any(|scope| scope == "offline_access")) {
        return failed("offline_access is in scopes_supported");
    }
    Ok(())
}

/// The metadata from wherever it was found.
pub(super) fn metadata<'a>(probe: &'a Probe<'_>) -> Finding<&'a Value> {
    match (&probe.metadata, &probe.well_known) {
        (Ok(metadata), _) | (Err(_), Ok((_, metadata))) => Ok(metadata),
        (Err(_), Err(_)) => failed("there is no metadata"),
    }
}

fn issuers(metadata: &Value) -> Finding<Vec<&str>> {
    match metadata.get("authorization_servers").and_then(Value::as_array) {
        Some(servers) if !servers.is_empty() => {
            let text = |server: &'_ Value| format!("an authorization server is no URL: {server}");
            let issuer = |server| {
                let issuer = Value::as_str(server).filter(|issuer| Url::parse(issuer).is_ok());
                issuer.ok_or_else(|| Verdict::Failed(text(server)))
            };
            servers.iter().map(issuer).collect()
        }
        Some(_) => failed("authorization_servers is empty"),
        None => failed("there are no authorization_servers in the metadata"),
    }
}

// --- authorization servers --------------------------------------------------------------------------------------------

pub(super) async fn issuers_are_true(probe: &Probe<'_>) -> Finding {
    for (issuer, document) in authorization_servers(probe).await? {
        let document = document?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return failed(format!("the metadata of {issuer} says that it is {}", document["issuer"]));
        }
    }
    Ok(())
}

pub(super) async fn endpoints_are_confidential(probe: &Probe<'_>) -> Finding {
    for (issuer, document) in readable(authorization_servers(probe).await?)? {
        let endpoints = ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"];
        for name in endpoints {
            let Some(endpoint) = document.get(name).and_then(Value::as_str) else { continue };
            match Url::parse(endpoint) {
                Ok(url) if probe::is_confidential(&url) => {}
                _ => return failed(format!("{name} of {issuer} is {endpoint}")),
            }
        }
    }
    Ok(())
}

pub(super) async fn has_pkce(probe: &Probe<'_>) -> Finding {
    for (issuer, document) in readable(authorization_servers(probe).await?)? {
        let methods = document.get("code_challenge_methods_supported").and_then(Value::as_array);
        if !methods.is_some_and(|methods| methods.iter().any(|method| method == "S256")) {
            return failed(format!(
                "{issuer} has no S256 in code_challenge_methods_supported: clients must not proceed"
            ));
        }
    }
    Ok(())
}

/// Each issuer that the server names, with what it says of itself.
async fn authorization_servers<'a>(probe: &'a Probe<'_>) -> Finding<Vec<(&'a str, Finding<Value>)>> {
    let named = metadata(probe).and_then(issuers);
    let Ok(issuers) = named else { return skipped("no authorization server is named") };
    let mut servers = Vec::new();
    for issuer in issuers {
        servers.push((issuer, authorization_server(probe, issuer).await));
    }
    Ok(servers)
}

/// Those with a document; what is wrong with the others is another check's.
fn readable(servers: Vec<(&str, Finding<Value>)>) -> Finding<Vec<(&str, Value)>> {
    let all: Vec<_> = servers.into_iter().filter_map(|(issuer, document)| Some((issuer, document.ok()?))).collect();
    if all.is_empty() { skipped("no authorization server has metadata") } else { Ok(all) }
}

/// The metadata of `issuer`, at the first of the places where clients look.
async fn authorization_server(probe: &Probe<'_>, issuer: &str) -> Finding<Value> {
    let Ok(url) = Url::parse(issuer) else { return failed(format!("no URL: {issuer}")) };
    let path = url.path().trim_end_matches('/');
    let paths = [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ];
    for place in paths {
        let mut place_url = url.clone();
        place_url.set_path(&place);
        place_url.set_query(None);
        if let Ok(document) = probe.document(place_url).await {
            return Ok(document);
        }
    }
    failed(format!("{issuer} has no metadata at any place where clients look"))
}

//! What a client without a token is told.

use http::Method;

use super::{
    challenge::Challenge,
    discovery::metadata,
    probe::{Finding, Probe, failed, request, skipped},
};

pub(super) async fn without_a_token(probe: &Probe<'_>) -> Finding {
    probe.first.expect(&[401], "initialize")?;
    for method in ["ping", "tools/list", "server/discover"] {
        let message = request(method, serde_json::json!({}));
        probe.ask(probe.post(&message)).await?.expect(&[401], method)?;
    }
    Ok(())
}

pub(super) async fn other_methods_without_a_token(probe: &Probe<'_>) -> Finding {
    for method in [Method::GET, Method::DELETE] {
        probe.ask(probe.request(method.clone())).await?.expect(&[401, 405], method)?;
    }
    Ok(())
}

pub(super) fn is_one(probe: &Probe<'_>) -> Finding {
    let challenge = probe.challenge()?;
    match challenge.repeated() {
        Some(name) => failed(format!("{name} is in the challenge twice")),
        None => Ok(()),
    }
}

pub(super) fn has_no_error(probe: &Probe<'_>) -> Finding {
    match probe.challenge()?.get("error") {
        Some(error) => failed(format!("error=\"{error}\", though there was no token")),
        None => Ok(()),
    }
}

pub(super) fn has_metadata(probe: &Probe<'_>) -> Finding {
    has_metadata_in(&probe.challenge()?)
}

/// Whether a challenge has `resource_metadata`, and that is an absolute URL.
pub(super) fn has_metadata_in(challenge: &Challenge) -> Finding {
    match challenge.get("resource_metadata") {
        Some(address) if url::Url::parse(address).is_ok() => Ok(()),
        Some(address) => failed(format!("resource_metadata is no URL: {address}")),
        None => failed("the challenge has no resource_metadata"),
    }
}

pub(super) fn names_scopes(probe: &Probe<'_>) -> Finding {
    if let Some(scope) = probe.challenge()?.get("scope") {
        return if scope.trim().is_empty() { failed("the scope is empty") } else { Ok(()) };
    }
    match metadata(probe) {
        Ok(metadata) if metadata.get("scopes_supported").is_some() => {
            failed("no scope in the challenge, though the metadata has scopes_supported")
        }
        _ => skipped("neither the challenge nor the metadata names a scope: the server may have none"),
    }
}

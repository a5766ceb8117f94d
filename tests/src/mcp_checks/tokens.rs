//! Which tokens are taken, and from where.

use http::{Method, header};
use serde_json::json;

use super::{
    challenges::has_metadata_in,
    probe::{Finding, Probe, Reply, failed, initialize, request},
};

/// Tokens that nobody issued: an opaque one, and a JWT that is not signed.
fn made_up() -> [String; 2] {
    let opaque = format!("made-up-{}", uuid::Uuid::new_v4().simple());
    [opaque, "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJtYWxsb3J5IiwiZXhwIjo0MTAyNDQ0ODAwfQ.".to_owned()]
}

async fn ask_with(probe: &Probe<'_>, token: &str) -> Finding<Reply> {
    probe.ask(probe.post(&initialize()).bearer_auth(token)).await
}

pub(super) async fn garbage(probe: &Probe<'_>) -> Finding {
    for token in made_up() {
        let reply = ask_with(probe, &token).await?;
        reply.expect(&[401], "a token that nobody issued")?;
        let challenge = reply.challenge()?;
        match challenge.get("error") {
            Some("invalid_token") => has_metadata_in(&challenge)?,
            other => return failed(format!("the error of the challenge is {other:?}")),
        }
    }
    Ok(())
}

pub(super) async fn garbage_elsewhere(probe: &Probe<'_>) -> Finding {
    for token in made_up() {
        for method in [Method::GET, Method::DELETE] {
            let reply = probe.ask(probe.request(method.clone()).bearer_auth(&token)).await?;
            reply.expect(&[401, 405], method)?;
        }
    }
    Ok(())
}

pub(super) async fn is_not_repeated(probe: &Probe<'_>) -> Finding {
    for token in made_up() {
        let reply = ask_with(probe, &token).await?;
        if reply.body.contains(&token) || format!("{:?}", reply.headers).contains(&token) {
            return failed("the token is in the answer, and so in the logs of whoever keeps answers");
        }
    }
    Ok(())
}

pub(super) async fn valid(probe: &Probe<'_>) -> Finding {
    is_taken(&probe.enter(&format!("Bearer {}", probe.token()?)).await?)
}

pub(super) async fn scheme_in_any_case(probe: &Probe<'_>) -> Finding {
    let token = probe.token()?;
    for scheme in ["bearer", "BEARER"] {
        is_taken(&probe.enter(&format!("{scheme} {token}")).await?)?;
    }
    Ok(())
}

fn is_taken(reply: &Reply) -> Finding {
    if reply.status.is_success() { Ok(()) } else { failed(format!("{}: {:.200}", reply.status, reply.body)) }
}

pub(super) async fn changed(probe: &Probe<'_>) -> Finding {
    // Changed at its end and not elsewhere, so that its form stays what it was.
    ask_with(probe, &format!("{}x", probe.token()?)).await?.expect(&[401], "a changed token")
}

pub(super) async fn in_query(probe: &Probe<'_>) -> Finding {
    let token = probe.token()?;
    let reply = probe.ask(probe.post_with_token_in_query(&initialize(), token)).await?;
    // Where it is not even looked at, the request has no token; 400 says that it was seen and refused.
    reply.expect(&[400, 401], "a valid token in the query and none in the header")
}

pub(super) async fn two(probe: &Probe<'_>) -> Finding {
    let valid = probe.token()?;
    let [other, _] = made_up();
    // Whether a server looks at the first or at the last, one of these is a token that it would take.
    for (first, second) in [(valid, other.as_str()), (other.as_str(), valid)] {
        let both =
            probe.post(&initialize()).bearer_auth(first).header(header::AUTHORIZATION, format!("Bearer {second}"));
        probe.ask(both).await?.expect(&[400, 401], "two Authorization fields")?;
    }
    Ok(())
}

pub(super) async fn insufficient(probe: &Probe<'_>) -> Finding {
    let token = probe.insufficient_token()?;
    let authorization = format!("Bearer {token}");
    let mut reply = probe.enter(&authorization).await?;
    // Some let everybody begin who has a token.
    for method in ["tools/list", "resources/list", "prompts/list"] {
        if reply.status != 403 {
            reply = probe.ask(probe.post(&request(method, json!({}))).bearer_auth(token)).await?;
        }
    }
    if reply.status != 403 {
        return failed(format!("neither initialize nor a list is 403; the last was {}", reply.status));
    }
    let challenge = reply.challenge()?;
    match (challenge.get("error"), challenge.get("scope")) {
        (Some("insufficient_scope"), Some(scope)) if !scope.trim().is_empty() => has_metadata_in(&challenge),
        (Some("insufficient_scope"), _) => failed("the challenge does not say which scopes are needed"),
        (error, _) => failed(format!("the error of the challenge is {error:?}")),
    }
}

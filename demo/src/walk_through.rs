//! Owns the story: an agent, two people and a world, told step by step in plain words. Every step checks what it
//! claims, on the real messages, and the story ends at the first claim that does not hold.
//!
//! Never: a claim that is only printed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::World;
use crate::access_token::Claims;
use crate::agent::{self, Agent, AuthorizationServerMetadata, NAME, challenge_parameter};
use crate::console::Console;
use crate::mcp_server::TOOL;
use crate::recorder::Recorder;
use crate::users_api::{self, User};
use crate::world::{API_AUDIENCE, MCP_AUDIENCE};

/// phantomgate believes an answer for two seconds here; a revoked token that still works after so long is a failure.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What the agent knows once it has found its way, for whoever wants to go on from there.
pub struct Agreement {
    /// The agent.
    pub agent: Agent,
    /// The authorization server, as it describes itself.
    pub server: AuthorizationServerMetadata,
    /// Who the agent is there.
    pub client_id: String,
    /// What it asks for.
    pub scope: String,
}

/// Tells the whole story.
///
/// # Errors
/// Names the first step that did not go as told.
pub async fn play(world: &World, console: &mut Console) -> anyhow::Result<Agreement> {
    introduce(world, console)?;
    let scope_and_metadata = knock(world, console).await.context("knocking without a token")?;
    let agreement = find_the_way(world, console, scope_and_metadata).await.context("finding the way")?;
    let token = log_in(&agreement, console).await.context("logging in")?;
    call(world, &agreement, &token, console).await.context("calling the tool")?;
    show_both_tokens(world, &token, console).context("comparing the tokens")?;
    show_the_exchange(world, &token, console).context("showing the token exchange")?;
    refuse_the_guest(world, &agreement, console).await.context("refusing the guest")?;
    revoke(&agreement, &token, console).await.context("revoking the token")?;
    console.step("That is the whole idea")?;
    console.say(
        "The agent held a random string and learned nothing from it. The servers behind phantomgate got short-lived \
         JWTs, each made for one of them, and never saw what the agent holds. One place decided.",
    )?;
    Ok(agreement)
}

fn introduce(world: &World, console: &mut Console) -> anyhow::Result<()> {
    let urls = world.urls();
    console.title("phantomgate: an AI agent reaches an API, and no token says more than it must")?;
    console.say("Everybody in this story runs on your machine, right now:")?;
    console.table([
        ("the agent", "an AI assistant that wants a list of users; it starts knowing one URL"),
        ("phantomgate", &urls.resource),
        (
            "authorization server",
            &format!("{} (a demo: people log in here, without passwords)", urls.authorization_server),
        ),
        ("MCP server", &format!("{} (offers agents the tool {TOOL})", urls.mcp_server)),
        ("users API", &format!("{} (has the users)", urls.users_api)),
    ])?;
    Ok(())
}

struct Challenged {
    agent: Agent,
    metadata_url: String,
    scope: String,
}

async fn knock(world: &World, console: &mut Console) -> anyhow::Result<Challenged> {
    let urls = world.urls();
    let agent = Agent::new(&urls.resource)?;
    console.step("The agent knocks, with nothing in its hands")?;
    console.message("agent", "phantomgate", &format!("POST {}  (call {TOOL}; no token)", urls.resource))?;
    let answer = agent.call_plainly(None).await?;
    console.message("phantomgate", "agent", &answer.status.to_string())?;
    let challenge = answer.challenge.context("there is no WWW-Authenticate in the answer")?;
    console.detail(&format!("WWW-Authenticate: {challenge}"))?;
    console.say("No token, no entry. But the refusal says where to read on, and which permission is needed.")?;
    console.check(answer.status == StatusCode::UNAUTHORIZED, "a call without a token is refused with 401")?;
    console.check(
        challenge_parameter(&challenge, "error").is_none(),
        "the agent is not accused of anything: it did not bring a wrong token, it brought none",
    )?;
    console.check(world.received_by_mcp_server().count() == 0, "nothing has reached the MCP server")?;
    let parameter = |name: &str| {
        challenge_parameter(&challenge, name).map(str::to_owned).with_context(|| format!("the challenge has no {name}"))
    };
    Ok(Challenged { metadata_url: parameter("resource_metadata")?, scope: parameter("scope")?, agent })
}

async fn find_the_way(world: &World, console: &mut Console, challenged: Challenged) -> anyhow::Result<Agreement> {
    let Challenged { agent, metadata_url, scope } = challenged;
    console.step("The agent finds out whom to ask for a token, and introduces itself")?;
    console.message("agent", "phantomgate", &format!("GET {metadata_url}"))?;
    let resource = agent.protected_resource(&metadata_url).await?;
    let issuer = resource.authorization_servers.first().context("the resource names no authorization server")?;
    console.detail(&format!("authorization_servers: {issuer}"))?;
    console.check(
        *issuer == world.urls().authorization_server,
        "phantomgate names the real authorization server; it does not pretend to be one",
    )?;

    console.message(
        "agent",
        "authorization server",
        &format!("GET {issuer}/.well-known/oauth-authorization-server"),
    )?;
    let server = agent.authorization_server(issuer).await?;
    console.detail(&format!("log in at {}", server.authorization_endpoint))?;
    console.detail(&format!("get tokens at {}", server.token_endpoint))?;

    console.message("agent", "authorization server", &format!("POST {}", server.registration_endpoint))?;
    console.detail(&format!("\"I am {NAME}; send people back to {}\"", agent::REDIRECT_URI))?;
    let client_id = agent.register(&server).await?;
    console.message("authorization server", "agent", &format!("your client_id is {client_id}"))?;
    console.say("All of that was automatic: the agent only ever knew the one URL.")?;
    Ok(Agreement { agent, server, client_id, scope })
}

async fn log_in(agreement: &Agreement, console: &mut Console) -> anyhow::Result<String> {
    let Agreement { agent, server, client_id, scope } = agreement;
    console.step("A person, John Doe, logs in and says yes")?;
    console.say(
        "Not to the agent: to the authorization server, in a browser. Here the story opens the page and clicks for \
         him.",
    )?;
    let login = agent.begin_login(server, client_id, scope)?;
    console.message("John's browser", "authorization server", "GET /authorize")?;
    let parameters = |shown: &str| {
        login.url.query_pairs().find(|(name, _)| name == shown).map(|(_, value)| format!("{shown} = {value}"))
    };
    for parameter in ["scope", "resource", "code_challenge_method", "code_challenge"] {
        console.detail(&parameters(parameter).with_context(|| format!("the login has no {parameter}"))?)?;
    }
    let verifier = login.code_verifier().to_owned();
    console.check(
        !login.url.as_str().contains(&verifier),
        "the browser carries the hash of a secret that the agent keeps (PKCE): a stolen code is worthless",
    )?;
    let redirect = agent.visit(&login, "john").await?;
    console.message("authorization server", "John's browser", "back to the agent, with a code that works once")?;
    let token = agent.finish_login(server, client_id, login, &redirect).await?;
    console.message("agent", "authorization server", "POST /token  (the code, and the PKCE secret)")?;
    console.message("authorization server", "agent", "an access token:")?;
    console.detail(&token)?;
    console.say(
        "That is all the agent gets: an opaque token. It is random; it says nothing about John, and nothing about \
         what is behind phantomgate.",
    )?;
    console.check(
        !token.contains('.') && claims::<Value>(&token).is_none(),
        "the token is not a JWT: nothing can be read in it",
    )?;
    let status = agent.introspect(server, &token).await?;
    console.check(
        status == StatusCode::UNAUTHORIZED,
        "the agent cannot ask what it means either: the authorization server tells phantomgate alone",
    )?;
    Ok(token)
}

async fn call(world: &World, agreement: &Agreement, token: &str, console: &mut Console) -> anyhow::Result<()> {
    console.step("The agent calls the tool, with the opaque token")?;
    console.message("agent", "phantomgate", &format!("initialize, then tools/call {TOOL}"))?;
    console.detail(&format!("Authorization: Bearer {token}"))?;
    let result = agreement.agent.call_tool(token).await?;
    console.message("phantomgate", "authorization server", "what does this token mean? (introspection)")?;
    console.message("phantomgate", "MCP server", "the same call, with a JWT in place of the token")?;
    console.message(
        "MCP server",
        "authorization server",
        "this JWT for one that the API accepts, please (exchange)",
    )?;
    console.message("MCP server", "users API", "GET /users")?;
    let text = result.content.first().and_then(|content| content.as_text()).map(|text| text.text.clone());
    let text = text.context("the tool answered without text")?;
    console.message("phantomgate", "agent", "the users:")?;
    console.detail(&text)?;
    let users: Vec<User> = serde_json::from_str(&text).context("the tool did not answer a list of users")?;
    console.check(users == users_api::users(), "the agent has the users, John and Jane Doe")?;
    let introspections = world.received_by_authorization_server().received();
    let introspections = introspections.iter().filter(|asked| asked.target() == "/introspect" && asked.contains(token));
    // The agent has tried once itself, in vain.
    console.check(
        introspections.count() == 2 && world.received_by_mcp_server().count() > 1,
        "phantomgate asked once what the token means, although MCP takes more than one request for a call",
    )?;
    let nowhere = |recorder: &Recorder| {
        let received = recorder.received();
        !received.is_empty() && received.iter().all(|request| !request.contains(token))
    };
    console.check(
        nowhere(world.received_by_mcp_server()) && nowhere(world.received_by_users_api()),
        "the agent's token is nowhere in what the MCP server and the users API received: in no header, in no body",
    )
}

fn show_both_tokens(world: &World, token: &str, console: &mut Console) -> anyhow::Result<()> {
    console.step("One call, two tokens")?;
    let received = world.received_by_mcp_server().latest_with_bearer().context("the MCP server got no token")?;
    let jwt = received.bearer().context("the MCP server got no token")?;
    let mut left = vec![token.to_owned(), String::new()];
    left.extend(
        [
            "A random string.",
            "",
            "It means nothing to anybody",
            "but the authorization server,",
            "which can end it at any moment.",
        ]
        .map(str::to_owned),
    );
    console.side_by_side(("What the agent holds", &left), ("What the MCP server saw instead", &readable(jwt)?))?;
    console.say(
        "phantomgate signed the right one for this one MCP server. It says who is asking (sub), through which agent \
         (client_id), and what is allowed (scope); the MCP server can verify it without asking anybody. Stolen, it is \
         of          no use elsewhere (aud), and not for long (exp).",
    )?;
    let claims: Claims = claims(jwt).context("the MCP server did not get a JWT")?;
    let is_access_token = header(jwt).is_some_and(|header| header.get("typ") == Some(&Value::from("at+jwt")));
    console.check(is_access_token, "it is a JWT access token (RFC 9068)")?;
    console.check(claims.iss == world.urls().gateway, "phantomgate issued it")?;
    console.check(claims.aud.is_only(MCP_AUDIENCE), "it is for the MCP server and nobody else")?;
    console.check(claims.sub == "john", "it speaks for John")?;
    Ok(())
}

fn show_the_exchange(world: &World, token: &str, console: &mut Console) -> anyhow::Result<()> {
    console.step("And a third one, for the API")?;
    console.say(
        "The MCP server did not pass its JWT on: it is not for the API. It exchanged it at the authorization server, \
         which trusts phantomgate's keys, and got another one for the same person (RFC 8693).",
    )?;
    let seen = |recorder: &Recorder| recorder.latest_with_bearer().and_then(|got| got.bearer().map(str::to_owned));
    let by_mcp_server = seen(world.received_by_mcp_server()).context("the MCP server got no token")?;
    let by_api = seen(world.received_by_users_api()).context("the users API got no token")?;
    let left = [
        "For whom (aud) changed, and who",
        "signed it (iss).",
        "",
        "Who is asking (sub) did not.",
        "",
        "act names who acts for John:",
        "the MCP server.",
    ]
    .map(str::to_owned);
    console.side_by_side(("What is different", &left), ("What the users API saw", &readable(&by_api)?))?;
    let claims: Claims = claims(&by_api).context("the users API did not get a JWT")?;
    console.check(by_api != by_mcp_server && by_api != token, "no token was used twice")?;
    console.check(claims.aud.is_only(API_AUDIENCE), "it is for the users API and nobody else")?;
    console.check(
        claims.sub == "john" && claims.act.is_some_and(|act| act.sub == "users-mcp"),
        "users-mcp acts for John, and it says so",
    )
}

async fn refuse_the_guest(world: &World, agreement: &Agreement, console: &mut Console) -> anyhow::Result<()> {
    let Agreement { agent, server, client_id, scope } = agreement;
    console.step("Sam Guest logs in too, and may not read the users")?;
    let token = agent.log_in(server, client_id, "sam", scope).await?;
    let before = world.received_by_mcp_server().count();
    console.message("agent", "phantomgate", &format!("tools/call {TOOL}, with the token Sam agreed to"))?;
    let answer = agent.call_plainly(Some(&token)).await?;
    let challenge = answer.challenge.context("there is no WWW-Authenticate in the answer")?;
    console.message("phantomgate", "agent", &answer.status.to_string())?;
    console.detail(&format!("WWW-Authenticate: {challenge}"))?;
    console.detail(&answer.body.to_string())?;
    console.say("The token is good, but Sam cannot give the permission. The agent is told which one is missing.")?;
    let is_scope_error = challenge_parameter(&challenge, "error") == Some("insufficient_scope");
    console.check(
        answer.status == StatusCode::FORBIDDEN && is_scope_error,
        "a call without the permission is refused with 403 insufficient_scope",
    )?;
    console.check(
        challenge_parameter(&challenge, "scope") == Some(scope),
        "the refusal names the permission that is missing",
    )?;
    console.check(world.received_by_mcp_server().count() == before, "nothing of it has reached the MCP server")
}

async fn revoke(agreement: &Agreement, token: &str, console: &mut Console) -> anyhow::Result<()> {
    let Agreement { agent, server, client_id, .. } = agreement;
    console.step("John's token is revoked")?;
    let answer = agent.call_plainly(Some(token)).await?;
    console.check(answer.status == StatusCode::OK, "a moment ago it still works")?;
    console.message("agent", "authorization server", &format!("POST {}", server.revocation_endpoint))?;
    agent.revoke(server, client_id, token).await?;
    console.say(
        "phantomgate remembers what a token means for a little while, so as not to ask on every request. In this demo \
         for          two seconds at most: so long a revoked token may still pass. The agent tries until it does not.",
    )?;
    let revoked_at = Instant::now();
    let answer = loop {
        let answer = agent.call_plainly(Some(token)).await?;
        if answer.status != StatusCode::OK {
            break answer;
        }
        if revoked_at.elapsed() > REVOCATION_DEADLINE {
            bail!("the revoked token still works after {} s", REVOCATION_DEADLINE.as_secs());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    let seconds = revoked_at.elapsed().as_secs_f32();
    console.message("phantomgate", "agent", &format!("{}, {seconds:.1} s after the revocation", answer.status))?;
    let challenge = answer.challenge.context("there is no WWW-Authenticate in the answer")?;
    console.detail(&format!("WWW-Authenticate: {challenge}"))?;
    let is_token_error = challenge_parameter(&challenge, "error") == Some("invalid_token");
    console.check(
        answer.status == StatusCode::UNAUTHORIZED && is_token_error,
        "the same call with the same token is refused with 401 invalid_token",
    )
}

/// A JWT as a person can read it: header and claims, without the signature.
fn readable(jwt: &str) -> anyhow::Result<Vec<String>> {
    let header = header(jwt).context("the token has no readable header")?;
    let claims: Value = claims(jwt).context("the token has no readable claims")?;
    let text = format!("{}\n{}", serde_json::to_string(&header)?, serde_json::to_string_pretty(&claims)?);
    Ok(text.lines().map(str::to_owned).collect())
}

fn header(jwt: &str) -> Option<Value> {
    part(jwt, 0)
}

fn claims<T: DeserializeOwned>(jwt: &str) -> Option<T> {
    part(jwt, 1)
}

fn part<T: DeserializeOwned>(jwt: &str, position: usize) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(position)?).ok()?).ok()
}

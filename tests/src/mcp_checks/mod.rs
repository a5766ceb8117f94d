//! What any protected MCP server owes its clients, checked from outside, by its address alone.
//!
//! Nothing here knows phantomgate. A check asks one question of the authorization pages of MCP (and of what its transport
//! page says about who may come in), and ends as [`Verdict::Passed`], as [`Verdict::Failed`] with what was seen, or as
//! [`Verdict::Skipped`] with what it would have needed. Requirements are MUSTs unless the name of the check says SHOULD.
//!
//! ```text
//! run ─► Probe ─┬─► challenges  what a client is told that has no token, a bad one, or one with too little
//!               ├─► discovery   the metadata of the server, and of its authorization servers
//!               ├─► tokens      which tokens are taken, and from where
//!               └─► transport   what pages in browsers may do, and what is no message
//! ```
//!
//! The checks send `initialize`, `server/discover`, `ping` and lists; nothing that changes anything at the server. A session
//! that they begin is ended. Each answer is waited for as long as [`Target::patience`] says and read up to 256 KiB.

mod challenge;
mod challenges;
mod discovery;
mod probe;
mod tokens;
mod transport;

use std::{fmt, time::Duration};

use url::Url;

use probe::{Finding, Probe};

/// The server to check.
#[derive(Clone, Debug)]
pub struct Target {
    /// The URL of its MCP endpoint.
    pub url: Url,
    /// A token that it takes.
    pub token: Option<String>,
    /// A token that it takes, of somebody who may do too little.
    pub insufficient_token: Option<String>,
    /// The longest to wait for an answer.
    pub patience: Duration,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Passed,
    /// It is not; what was seen.
    Failed(String),
    /// It could not be told; why.
    Skipped(String),
}

/// A check, with what it found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What should be, as a sentence.
    pub name: &'static str,
    /// Where the specification says so: revision, page, section.
    pub section: &'static str,
    /// What was found.
    pub verdict: Verdict,
}

impl Target {
    /// The server at `url`, without tokens, waited for 10 seconds.
    pub fn new(url: Url) -> Self {
        Self { url, token: None, insufficient_token: None, patience: Duration::from_secs(10) }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, why) = match &self.verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Failed(why) => ("FAILED", Some(why)),
            Verdict::Skipped(why) => ("skipped", Some(why)),
        };
        write!(f, "{verdict:<8} {:<84} {}", self.name, self.section)?;
        match why {
            Some(why) => write!(f, "\n{:9}{why}", ""),
            None => Ok(()),
        }
    }
}

/// Runs every check, one after the other.
pub async fn run(target: &Target) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut note = |name, section, finding: Finding| {
        let verdict = finding.err().unwrap_or(Verdict::Passed);
        outcomes.push(Outcome { name, section, verdict });
    };

    let probe = match Probe::new(target).await {
        Ok(probe) => probe,
        Err(verdict) => {
            note("the server answers", "any", Err(verdict));
            return outcomes;
        }
    };

    note(
        "the server is reached over TLS, or on this machine",
        "2025-06-18 authorization, communication security",
        discovery::is_confidential(&probe),
    );
    note(
        "a request without a token is 401",
        "2025-03-26 authorization, overview",
        challenges::without_a_token(&probe).await,
    );
    note(
        "GET and DELETE without a token are 401, or 405 where there are none",
        "2025-03-26 authorization, token requirements",
        challenges::other_methods_without_a_token(&probe).await,
    );
    note("the 401 has exactly one Bearer challenge", "RFC 6750 section 3", challenges::is_one(&probe));
    note(
        "the challenge of a client without a token has no error (SHOULD)",
        "RFC 6750 section 3.1",
        challenges::has_no_error(&probe),
    );
    note(
        "the challenge says where the metadata is",
        "2025-06-18 authorization, authorization server location",
        challenges::has_metadata(&probe),
    );
    note(
        "the challenge names scopes, where there are any (SHOULD)",
        "2025-11-25 authorization, metadata discovery",
        challenges::names_scopes(&probe),
    );

    note(
        "the metadata is where the challenge says",
        "2025-06-18 authorization, authorization server location",
        discovery::by_challenge(&probe),
    );
    note(
        "the metadata is at the well-known path too, and is the same",
        "RFC 9728 section 3.1",
        discovery::by_well_known_path(&probe),
    );
    note(
        "the metadata is about the very URL of the server",
        "RFC 9728 section 3.3",
        discovery::is_about_target(&probe),
    );
    note(
        "the metadata names an authorization server",
        "2025-06-18 authorization, authorization server location",
        discovery::names_authorization_server(&probe),
    );
    note(
        "each authorization server has metadata, whose issuer is the one that was named",
        "2026-07-28 authorization, authorization server metadata",
        discovery::issuers_are_true(&probe).await,
    );
    note(
        "the endpoints of each authorization server are reached over TLS, or on this machine",
        "2025-06-18 authorization, communication security",
        discovery::endpoints_are_confidential(&probe).await,
    );
    note(
        "each authorization server says that it has PKCE with S256",
        "2025-11-25 authorization, code protection",
        discovery::has_pkce(&probe).await,
    );
    note(
        "offline_access is in no challenge and not in the metadata (SHOULD)",
        "2026-07-28 authorization, refresh tokens",
        discovery::has_no_offline_access(&probe),
    );

    note(
        "a token that nobody issued is 401 invalid_token, with the metadata",
        "2025-03-26 authorization, token handling",
        tokens::garbage(&probe).await,
    );
    note(
        "GET and DELETE with such a token are 401, or 405",
        "2025-03-26 authorization, token handling",
        tokens::garbage_elsewhere(&probe).await,
    );
    note(
        "a refused token is not repeated in the answer",
        "2025-06-18 authorization, token theft",
        tokens::is_not_repeated(&probe).await,
    );
    note("a valid token is taken", "2025-03-26 authorization, token handling", tokens::valid(&probe).await);
    note("the scheme Bearer is taken in any case", "RFC 9110 section 11.1", tokens::scheme_in_any_case(&probe).await);
    note(
        "a valid token with a character more is 401",
        "2025-03-26 authorization, token handling",
        tokens::changed(&probe).await,
    );
    note(
        "a valid token in the query is not taken",
        "2025-03-26 authorization, token requirements",
        tokens::in_query(&probe).await,
    );
    note("two credentials are refused (SHOULD)", "RFC 6750 section 3.1", tokens::two(&probe).await);
    note(
        "a token with too little is 403 insufficient_scope, with scopes and metadata (SHOULD)",
        "2025-11-25 authorization, scope challenge handling",
        tokens::insufficient(&probe).await,
    );

    note("a foreign origin is 403", "2025-11-25 transport, security", transport::foreign_origin(&probe).await);
    note(
        "a browser's preflight needs no token and allows no page to send cookies",
        "Fetch, CORS-preflight",
        transport::preflight(&probe).await,
    );
    note(
        "a version that nobody speaks is 400",
        "2025-06-18 transport, protocol version",
        transport::unknown_version(&probe).await,
    );
    note(
        "a batch is refused from 2025-06-18 on",
        "2025-06-18 transport, sending messages",
        transport::batch(&probe).await,
    );
    outcomes
}

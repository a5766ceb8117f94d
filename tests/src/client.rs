//! The agent's side: requests by reqwest, and answers that can be questioned.

use std::{future::Future, time::Duration};

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// The limit of anything a test waits for. Nothing takes this long; it only ends a test that would hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits for an event, and fails by name when it does not come.
pub async fn within<F: Future>(what: &str, event: F) -> F::Output {
    match tokio::time::timeout(LIMIT, event).await {
        Ok(output) => output,
        Err(_) => panic!("waited {LIMIT:?} for {what}"),
    }
}

/// Sends a request and reads the whole answer.
pub trait AnswerExt {
    /// The complete answer.
    fn answer(self) -> impl Future<Output = Response> + Send;
}

impl AnswerExt for reqwest::RequestBuilder {
    async fn answer(self) -> Response {
        let response = within("an answer", self.send()).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = within("the end of an answer", response.text()).await.expect("the whole answer");
        Response { status, headers, body }
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its content.
    pub body: String,
}

impl Response {
    /// Checks the status; the whole answer is in the message when it differs.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{self:#?}");
        self
    }

    /// Checks that the status is one of several.
    #[track_caller]
    pub fn assert_status_in(&self, statuses: &[u16]) -> &Self {
        assert!(statuses.contains(&self.status.as_u16()), "not one of {statuses:?}: {self:#?}");
        self
    }

    /// A field that occurs exactly once.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        only_value(&self.headers, name, self)
    }

    /// The parameters of the one `WWW-Authenticate: Bearer` challenge.
    #[track_caller]
    pub fn challenge(&self) -> Challenge {
        Challenge::parse(self.header("www-authenticate"))
    }

    /// Checks the `error` of the challenge.
    #[track_caller]
    pub fn assert_challenge_error(&self, error: &str) -> &Self {
        assert_eq!(self.challenge().get("error"), Some(error), "{self:#?}");
        self
    }

    /// The content as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// A Bearer challenge, strictly parsed: one line, each parameter once, every value quoted.
#[derive(Debug)]
pub struct Challenge(Vec<(String, String)>);

impl Challenge {
    #[track_caller]
    fn parse(header: &str) -> Self {
        let mut rest = header.strip_prefix("Bearer ").unwrap_or_else(|| panic!("not a Bearer challenge: {header}"));
        let mut parameters: Vec<(String, String)> = Vec::new();
        while !rest.is_empty() {
            let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no quoted value: {header}"));
            let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("no closing quote: {header}"));
            assert!(!parameters.iter().any(|(known, _)| known == name), "{name} twice: {header}");
            assert!(!value.contains('\\') && value.chars().all(|c| (' '..='~').contains(&c)), "unprintable: {header}");
            parameters.push((name.to_owned(), value.to_owned()));
            rest = after.strip_prefix(", ").unwrap_or(after);
        }
        Self(parameters)
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The value of a field that occurs exactly once in what is shown.
#[track_caller]
pub(crate) fn only_value<'a>(headers: &'a HeaderMap, name: &str, shown: &dyn std::fmt::Debug) -> &'a str {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    assert_eq!(values.len(), 1, "{name} in {shown:#?}");
    values[0].to_str().unwrap()
}

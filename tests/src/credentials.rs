//! Every secret string of a test, so that the end of each test can look for them where they must never be.

use std::sync::{Arc, Mutex};

/// The credentials of one world, shared by its servers.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    agent: Vec<String>,
    gateway: Vec<String>,
}

impl Credentials {
    /// What an agent holds: it may reach neither an upstream nor the gateway's output.
    pub fn agent(&self, credential: impl Into<String>) {
        self.0.lock().unwrap().agent.push(credential.into());
    }

    /// What the gateway holds (its client secret, the JWTs it signs): it may not reach the gateway's output.
    pub fn gateway(&self, credential: impl Into<String>) {
        self.0.lock().unwrap().gateway.push(credential.into());
    }

    /// The first agent credential within `text`.
    pub fn agent_credential_in(&self, text: &str) -> Option<String> {
        first_within(&self.0.lock().unwrap().agent, text)
    }

    /// The first credential of any kind within `text`.
    pub fn any_in(&self, text: &str) -> Option<String> {
        let known = self.0.lock().unwrap();
        first_within(&known.agent, text).or_else(|| first_within(&known.gateway, text))
    }
}

fn first_within(credentials: &[String], text: &str) -> Option<String> {
    credentials.iter().find(|credential| text.contains(*credential)).cloned()
}

//! What an upstream looks like at the moment, for its operator.

use schemars::JsonSchema;
use serde::Serialize;

/// An upstream at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UpstreamState {
    /// The name routes know it by.
    pub name: String,
    /// How one of its endpoints is selected.
    pub selection: &'static str,
    /// Requests under way, open streams among them.
    pub requests: usize,
    /// None of its endpoints is well: all of them get requests, because one may work all the same.
    pub panic: bool,
    /// In the order of the configuration.
    pub endpoints: Vec<EndpointState>,
}

/// An endpoint at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EndpointState {
    /// Its URL.
    pub url: String,
    /// Its share of the requests, in proportion to those of the others.
    pub weight: u32,
    /// What becomes of new requests.
    pub state: State,
    /// Requests under way, open streams among them.
    pub requests: usize,
    /// What its name stands for.
    pub addresses: Vec<AddressState>,
    /// Since this configuration of the upstream is in use.
    pub counts: Counts,
}

/// One address of an endpoint at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AddressState {
    /// IP address and port.
    pub address: String,
    /// What becomes of new requests.
    pub state: State,
    /// Requests under way.
    pub requests: usize,
}

/// What becomes of new requests to an endpoint.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::IntoStaticStr, strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// It gets its share.
    Healthy,
    /// It gets none for a while: requests to it failed.
    Ejected,
    /// It gets none: it does not answer health checks.
    Unhealthy,
    /// It gets none: the operator wants it so. Sessions that it has go on.
    Draining,
    /// It gets none: its name has no address.
    Unresolved,
}

/// What was counted of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Attempts to send a request to it.
    pub requests: u64,
    /// Of these, those that found no connection.
    pub connect_failures: u64,
    /// Of these, those that got no answer: the connection broke off, or nothing came in time.
    pub answer_failures: u64,
    /// How often it was ejected.
    pub ejections: u64,
    /// Health checks that it passed.
    pub checks_passed: u64,
    /// Health checks that it did not pass.
    pub checks_failed: u64,
}

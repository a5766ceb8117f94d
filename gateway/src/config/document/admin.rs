//! Where the operator's requests arrive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Where the operator's own requests are answered, and who may send them.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// IP address and port, apart from those of the listeners.
    pub(crate) address: String,
    /// What requests must carry as `Authorization: Bearer …`. Needed where the address is not a loopback one.
    pub(crate) token: Option<Secret>,
}

//! Where agents' requests arrive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One address to listen on.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// IP address and port: `0.0.0.0:8080`, `127.0.0.1:8080`, `[::]:8080`. Port 0 lets the system choose one.
    pub(crate) address: String,
}

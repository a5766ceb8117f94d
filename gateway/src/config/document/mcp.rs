//! An MCP endpoint as people write it: who may call what, by name.

use std::collections::BTreeMap;

use phantomgate_mcp::Revision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::values::{Choice, Size, Span};
use super::super::{ChallengeScopes, Lists};
use super::rule::Rule;

/// What makes a route an MCP endpoint: every message is read, and authorized by what it asks for.
///
/// Names in `tools`, `prompts`, `resources` and `methods` may contain `*`, which stands for any text. Of several rules that
/// a name fits, the one with the most other characters counts; of several with as many, all of them.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mcp {
    /// The revisions of MCP that are spoken here. `2024-11-05` (HTTP+SSE) only where it is named.
    pub(crate) revisions: Vec<Choice<Revision>>,
    /// The origins of browser clients, besides that of `resource`: `https://inspector.example.com`, or `*` alone for any.
    /// Requests of browsers from elsewhere are refused.
    pub(crate) origins: Vec<String>,
    /// What counts for tools, prompts, resources and methods that no rule is for. Not for what every session needs:
    /// `initialize`, `ping`, lists, notifications and such; these are for `methods` alone.
    pub(crate) default: Rule,
    /// Who may call which tool, by its name.
    pub(crate) tools: BTreeMap<String, Rule>,
    /// Who may get which prompt, and completions for it, by its name.
    pub(crate) prompts: BTreeMap<String, Rule>,
    /// Who may read which resource, subscribe to it, and get completions for it, by its URI or URI template.
    pub(crate) resources: BTreeMap<String, Rule>,
    /// Who may send which message at all, by its method. Counts in addition to the rules above.
    pub(crate) methods: BTreeMap<String, Rule>,
    /// Which items lists show.
    pub(crate) lists: Lists,
    /// Which scopes a client without a token is told to ask for.
    pub(crate) challenge: ChallengeScopes,
    /// The largest message, 1KiB to 64MiB.
    pub(crate) max_body: Size,
    /// How long sessions last (revisions up to 2025-11-25).
    pub(crate) sessions: Sessions,
    /// Answer `/.well-known/oauth-authorization-server` on this host with what the authorization server publishes, for
    /// clients of 2025-03-26, which look for it here. The same authorization server on all routes of a host.
    pub(crate) authorization_server_metadata: bool,
}

/// How long a session lasts. After its end a client is told that there is no such session, and begins a new one.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sessions {
    /// The longest time without a request, 1s to 7d.
    pub(crate) idle: Span,
    /// The longest time at all, 1s to 30d.
    pub(crate) max_life: Span,
}

impl Default for Mcp {
    fn default() -> Self {
        use Revision::{V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
        Self {
            revisions: [V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28].map(Choice).to_vec(),
            origins: Vec::new(),
            default: Rule::Deny,
            tools: BTreeMap::new(),
            prompts: BTreeMap::new(),
            resources: BTreeMap::new(),
            methods: BTreeMap::new(),
            lists: Lists::default(),
            challenge: ChallengeScopes::default(),
            max_body: Size::mebibytes(4),
            sessions: Sessions::default(),
            authorization_server_metadata: false,
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { idle: Span::seconds(30 * 60), max_life: Span::seconds(24 * 60 * 60) }
    }
}

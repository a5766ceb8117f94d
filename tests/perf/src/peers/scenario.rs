//! The work that all of them are given.

use serde::{Deserialize, Serialize};

use super::peer::Peer;
use crate::upstream;

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// GET with one token, answered with a few bytes
    OneToken,
    /// GET with one token, 64 at once and 150 times a second
    Bursts,
    /// GET, taking turns with 10 000 tokens
    ManyTokens,
    /// GET, answered with 1 KiB
    #[value(name = "body-1k")]
    #[serde(rename = "body-1k")]
    Body1k,
    /// GET, answered with 64 KiB
    #[value(name = "body-64k")]
    #[serde(rename = "body-64k")]
    Body64k,
    /// POST of 64 KiB, answered with a few bytes
    #[value(name = "post-64k")]
    #[serde(rename = "post-64k")]
    Post64k,
    /// GET over TLS and HTTP/2
    Http2Tls,
    /// POST of a `tools/call`, read and decided upon
    ToolsCall,
}

/// How many tokens requests take turns with at most.
pub(crate) const TOKENS: usize = 10_000;

/// A call of a tool that the route allows, of an ordinary size.
const TOOLS_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fetch-users","arguments":{"query":"everybody whose account was made since the beginning of the year and who has not been seen since","fields":["name","mail","department","manager","last_seen"],"order":"last_seen","limit":50,"include_disabled":false,"tenant":"example"},"_meta":{"progressToken":"b7b0a1f0-2c5e-4a70-9d7c-3f3a0f4f1c11"}}}"#;

impl Scenario {
    /// In the order of the document.
    pub(crate) const ALL: [Self; 8] = [
        Self::OneToken,
        Self::Bursts,
        Self::ManyTokens,
        Self::Body1k,
        Self::Body64k,
        Self::Post64k,
        Self::Http2Tls,
        Self::ToolsCall,
    ];

    /// Its name on the command line and in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneToken => "one-token",
            Self::Bursts => "bursts",
            Self::ManyTokens => "many-tokens",
            Self::Body1k => "body-1k",
            Self::Body64k => "body-64k",
            Self::Post64k => "post-64k",
            Self::Http2Tls => "http2-tls",
            Self::ToolsCall => "tools-call",
        }
    }

    /// What it is, over its table and chart.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::OneToken => "One token, a few bytes",
            Self::Bursts => "64 requests at once, 150 times a second",
            Self::ManyTokens => "10 000 tokens in turn",
            Self::Body1k => "Answers of 1 KiB",
            Self::Body64k => "Answers of 64 KiB",
            Self::Post64k => "Requests of 64 KiB",
            Self::Http2Tls => "TLS and HTTP/2 downstream",
            Self::ToolsCall => "MCP: tools/call, read and decided upon",
        }
    }

    /// Who can do it.
    pub(crate) fn peers(self) -> &'static [Peer] {
        match self {
            Self::ToolsCall => &[
                Peer::Phantomgate,
                Peer::PhantomgateWithoutAudit,
                Peer::PhantomgatePlainRoute,
                Peer::PlainPingora,
                Peer::Nginx,
            ],
            _ => &[
                Peer::Phantomgate,
                Peer::PhantomgateWithoutAudit,
                Peer::PlainPingora,
                Peer::NginxAuthRequest,
                Peer::EnvoyExtAuthz,
                Peer::EnvoyLua,
                Peer::TraefikForwardAuth,
                Peer::HaproxyLua,
                Peer::Nginx,
            ],
        }
    }

    /// How many tokens its requests take turns with.
    pub(crate) fn tokens(self) -> usize {
        if self == Self::ManyTokens { TOKENS } else { 1 }
    }

    /// How many requests each connection sends in a second, where that does not follow the answers. All proxies can answer so
    /// many but Traefik, just about.
    pub(crate) fn rate(self) -> Option<u32> {
        (self == Self::Bursts).then_some(150)
    }

    /// Whether the proxy is spoken to over TLS, and in HTTP/2.
    pub(crate) fn is_tls(self) -> bool {
        self == Self::Http2Tls
    }

    /// The path that is asked for. Only phantomgate, where it reads messages, has a route for /mcp.
    pub(crate) fn path(self, peer: Peer) -> &'static str {
        match (self, peer) {
            (Self::Body1k, _) => upstream::KIBIBYTE,
            (Self::Body64k, _) => upstream::KIBIBYTES_64,
            (Self::ToolsCall, Peer::Phantomgate | Peer::PhantomgateWithoutAudit) => upstream::MCP,
            (Self::ToolsCall, _) => upstream::TOOL,
            _ => upstream::SMALL,
        }
    }

    /// What is sent, if anything.
    pub(crate) fn body(self) -> Option<String> {
        match self {
            Self::Post64k => Some("x".repeat(64 * 1024)),
            Self::ToolsCall => Some(TOOLS_CALL.to_owned()),
            _ => None,
        }
    }

    /// The fields that go with it.
    pub(crate) fn headers(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Post64k => vec![("content-type", "text/plain")],
            Self::ToolsCall => vec![
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2025-06-18"),
            ],
            _ => Vec::new(),
        }
    }

    /// The least that an answer has.
    pub(crate) fn answer_length(self) -> usize {
        match self {
            Self::Body1k => 1024,
            Self::Body64k => 64 * 1024,
            _ => 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_scenario_has_one_name() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_possible_value().unwrap().get_name(), scenario.name());
            assert_eq!(serde_json::to_value(scenario).unwrap(), scenario.name());
        }
        assert_eq!(Scenario::value_variants(), Scenario::ALL);
    }
}

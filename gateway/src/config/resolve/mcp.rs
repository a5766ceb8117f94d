//! An MCP endpoint, resolved: rules that can be matched, limits within bounds.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use phantomgate_mcp::Revision;

use super::super::document;
use super::super::tree::Step;
use super::super::values::WebOrigin;
use super::super::{McpConfig, Origins, PolicyConfig, Rule, SessionLimits};
use super::{Resolver, below};

impl Resolver<'_> {
    /// The `mcp` section of a route to so many `endpoints`. On a `public` one there is no token that scopes could be asked of.
    pub(super) fn mcp(
        &mut self,
        index: usize,
        mcp: &document::Mcp,
        public: bool,
        endpoints: usize,
    ) -> Option<McpConfig> {
        let path = path!["routes", index, "mcp"];
        if mcp.revisions.is_empty() && !self.tree.was_removed(&below(&path, "revisions")) {
            self.fault::<()>(
                &below(&path, "revisions"),
                "is empty; name a revision, or leave it out for all current ones",
            );
        }
        let revisions: Vec<_> = mcp.revisions.iter().map(|revision| revision.0).collect();
        if revisions.contains(&Revision::V2024_11_05) && endpoints > 1 {
            let reason =
                "2024-11-05 tells us of no session that could stay at its endpoint; choose an upstream with one";
            self.fault::<()>(&below(&path, "revisions"), reason);
        }
        let policy = PolicyConfig {
            default: self.rule(&below(&path, "default"), &mcp.default, public),
            tools: self.rules(&below(&path, "tools"), &mcp.tools, public),
            prompts: self.rules(&below(&path, "prompts"), &mcp.prompts, public),
            resources: self.rules(&below(&path, "resources"), &mcp.resources, public),
            methods: self.rules(&below(&path, "methods"), &mcp.methods, public),
        };
        if public && mcp.authorization_server_metadata {
            let reason = "a public route has no authorization server; remove this, or `public: true`";
            self.fault::<()>(&below(&path, "authorization_server_metadata"), reason);
        }
        let origins = self.origins(&below(&path, "origins"), &mcp.origins);
        let max_body = self.max_body(&below(&path, "max_body"), mcp.max_body.0);
        let sessions = self.sessions(&below(&path, "sessions"), &mcp.sessions);
        Some(McpConfig {
            revisions,
            origins,
            policy,
            lists: mcp.lists,
            challenge: mcp.challenge,
            max_body: max_body?,
            sessions: sessions?,
            authorization_server_metadata: mcp.authorization_server_metadata,
        })
    }

    fn origins(&mut self, path: &[Step], texts: &[String]) -> Origins {
        if let Some(position) = texts.iter().position(|text| text == "*") {
            if texts.len() > 1 {
                self.fault::<()>(&below(path, position), "stands for any origin; write it alone, or leave it out");
            }
            return Origins::Any;
        }
        let mut origins = Vec::new();
        for (position, text) in texts.iter().enumerate() {
            origins.extend(self.parse::<WebOrigin>(&below(path, position), text));
        }
        Origins::These(origins)
    }

    fn rules(&mut self, path: &[Step], rules: &BTreeMap<String, document::Rule>, public: bool) -> Vec<(String, Rule)> {
        let mut resolved = Vec::new();
        for (name, rule) in rules {
            resolved.push((name.clone(), self.rule(&below(path, name.as_str()), rule, public)));
        }
        resolved
    }

    fn rule(&mut self, path: &[Step], rule: &document::Rule, public: bool) -> Rule {
        match rule {
            document::Rule::Allow => Rule::Allow,
            document::Rule::Deny => Rule::Deny,
            document::Rule::Scopes(_) if public => {
                self.fault::<()>(
                    path,
                    "a public route looks at no token; write allow or deny, or remove `public: true`",
                );
                Rule::Deny
            }
            document::Rule::Scopes(texts) if texts.is_empty() => {
                self.fault::<()>(
                    &below(path, "scopes"),
                    "is empty; name a scope, or write allow or deny in place of it",
                );
                Rule::Deny
            }
            document::Rule::Scopes(texts) => Rule::Scopes(self.demanded_scopes(&below(path, "scopes"), texts)),
        }
    }

    fn max_body(&mut self, path: &[Step], size: ByteSize) -> Option<usize> {
        let range = ByteSize::kib(1)..=ByteSize::mib(64);
        match usize::try_from(size.0) {
            Ok(bytes) if range.contains(&size) => Some(bytes),
            _ => self.fault(path, format!("{size} is out of range; choose from 1KiB to 64MiB")),
        }
    }

    fn sessions(&mut self, path: &[Step], sessions: &document::Sessions) -> Option<SessionLimits> {
        let idle = self.span(&below(path, "idle"), sessions.idle, "1s"..="7d");
        let max_life = self.span(&below(path, "max_life"), sessions.max_life, "1s"..="30d");
        Some(SessionLimits { idle: idle?.0, max_life: max_life?.0 })
    }
}

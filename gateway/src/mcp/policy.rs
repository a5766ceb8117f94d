//! Who may do what: rules by name, for what a message asks for.
//!
//! A rule is found by the name of what is used (a tool, a prompt, the URI of a resource), and one by the method; both
//! count. Where no rule is for a name, the default counts. What every session needs has no default: [`Operation::Protocol`]
//! and [`Operation::List`] are for rules by method alone.

use std::collections::HashMap;

use phantomgate_introspection::{ScopeHierarchy, ScopeSet};
use phantomgate_mcp::{ListKind, Message, Messages, Operation};
use regex::RegexSet;

use crate::config::{PolicyConfig, Rule};

/// The rules of a route.
pub struct Policy {
    default: Rule,
    tools: Rules,
    prompts: Rules,
    resources: Rules,
    methods: Rules,
}

/// What a caller was granted.
#[derive(Clone, Copy)]
pub enum Granted<'a> {
    /// No token is looked at.
    Nothing,
    /// By a token.
    Scopes {
        /// These scopes,
        scopes: &'a ScopeSet,
        /// and what they include.
        hierarchy: &'a ScopeHierarchy,
    },
}

/// Why a message may not pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody may do this.
    Denied,
    /// It takes these scopes, all of them.
    Scopes(ScopeSet),
}

impl Policy {
    /// The policy that `config` describes.
    ///
    /// # Errors
    /// When there are more patterns than can be matched at once.
    pub fn new(config: &PolicyConfig) -> Result<Self, regex::Error> {
        Ok(Self {
            default: config.default.clone(),
            tools: Rules::new(&config.tools)?,
            prompts: Rules::new(&config.prompts)?,
            resources: Rules::new(&config.resources)?,
            methods: Rules::new(&config.methods)?,
        })
    }

    /// Whether who was `granted` this may send all of `messages`, on a route that takes the scopes `route` for anything, if
    /// any.
    ///
    /// # Errors
    /// [`Refusal::Denied`] when one of them is for nobody; otherwise all scopes that are needed, the route's own included,
    /// so that a client that asks for them can pass.
    pub fn check(&self, messages: &Messages, route: Option<&ScopeSet>, granted: Granted<'_>) -> Result<(), Refusal> {
        let mut allowed = route.is_none_or(|route| granted.covers(route));
        for rule in messages.iter().flat_map(|message| self.rules(message)) {
            match rule {
                Rule::Allow => {}
                Rule::Deny => return Err(Refusal::Denied),
                Rule::Scopes(scopes) => allowed &= granted.covers(scopes),
            }
        }
        if allowed {
            return Ok(());
        }
        Err(Refusal::Scopes(self.needed(messages, route)))
    }

    /// All scopes that it takes to send all of `messages`, on a route that takes the scopes `route` for anything, if any.
    pub fn needed(&self, messages: &Messages, route: Option<&ScopeSet>) -> ScopeSet {
        let mut needed = route.cloned().unwrap_or_default();
        for rule in messages.iter().flat_map(|message| self.rules(message)) {
            if let Rule::Scopes(scopes) = rule {
                needed.extend(scopes);
            }
        }
        needed
    }

    /// Whether a list shows an item of this `kind` and `name` to who was `granted` this; if `obtainable`, also when more
    /// scopes would be needed to use it.
    pub fn shows(&self, kind: ListKind, name: &str, granted: Granted<'_>, obtainable: bool) -> bool {
        let rules = match kind {
            ListKind::Tools => &self.tools,
            ListKind::Prompts => &self.prompts,
            ListKind::Resources | ListKind::ResourceTemplates => &self.resources,
        };
        self.or_default(rules, name).into_iter().all(|rule| match rule {
            Rule::Allow => true,
            Rule::Deny => false,
            Rule::Scopes(scopes) => obtainable || granted.covers(scopes),
        })
    }

    /// Whether lists show all there is to everybody.
    pub fn hides_nothing(&self) -> bool {
        let all_allow = |rules: &Rules| rules.iter().all(|rule| *rule == Rule::Allow);
        self.default == Rule::Allow && [&self.tools, &self.prompts, &self.resources].into_iter().all(all_allow)
    }

    /// All rules that count for `message`.
    fn rules(&self, message: &Message) -> Vec<&Rule> {
        let by_method = message.method().map(|method| self.methods.find(method)).unwrap_or_default();
        let mut rules = match message.operation() {
            Operation::Tool(name) => self.or_default(&self.tools, name),
            Operation::Prompt(name) | Operation::CompletePrompt(name) => self.or_default(&self.prompts, name),
            Operation::Resource(uri) | Operation::CompleteResource(uri) => self.or_default(&self.resources, uri),
            Operation::Listen(uris) => uris.iter().flat_map(|uri| self.or_default(&self.resources, uri)).collect(),
            Operation::Other if by_method.is_empty() => vec![&self.default],
            Operation::Other | Operation::List(_) | Operation::Protocol | Operation::Response => Vec::new(),
        };
        rules.extend(by_method);
        rules
    }

    fn or_default<'a>(&'a self, rules: &'a Rules, name: &str) -> Vec<&'a Rule> {
        let found = rules.find(name);
        if found.is_empty() { vec![&self.default] } else { found }
    }
}

impl Granted<'_> {
    /// Whether that is all of `required`.
    pub fn covers(&self, required: &ScopeSet) -> bool {
        match self {
            Self::Nothing => required.is_empty(),
            Self::Scopes { scopes, hierarchy } => hierarchy.covers(scopes, required),
        }
    }
}

/// Rules for names and patterns of one kind.
struct Rules {
    exact: HashMap<String, Rule>,
    patterns: Patterns,
    /// For each pattern, the number of its characters beside `*`, and its rule.
    by_pattern: Vec<(usize, Rule)>,
}

impl Rules {
    fn new(rules: &[(String, Rule)]) -> Result<Self, regex::Error> {
        let (patterns, exact): (Vec<_>, Vec<_>) = rules.iter().partition(|(name, _)| name.contains('*'));
        let weight = |name: &str| name.chars().filter(|character| *character != '*').count();
        Ok(Self {
            exact: exact.into_iter().cloned().collect(),
            patterns: Patterns::new(patterns.iter().map(|(name, _)| name.as_str()).collect())?,
            by_pattern: patterns.into_iter().map(|(name, rule)| (weight(name), rule.clone())).collect(),
        })
    }

    fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.exact.values().chain(self.by_pattern.iter().map(|(_, rule)| rule))
    }

    /// The rules for `name`: the one that names it, else those of the patterns with the most characters that it fits.
    fn find(&self, name: &str) -> Vec<&Rule> {
        if let Some(rule) = self.exact.get(name) {
            return vec![rule];
        }
        if self.by_pattern.is_empty() {
            return Vec::new();
        }
        let mut heaviest = 0;
        let mut found = Vec::new();
        for (weight, rule) in self.patterns.matches(name).filter_map(|index| self.by_pattern.get(index)) {
            if *weight > heaviest {
                heaviest = *weight;
                found.clear();
            }
            if *weight == heaviest {
                found.push(rule);
            }
        }
        found
    }
}

/// Names with `*` in them, which stands for any text.
enum Patterns {
    /// Compared one by one. A set would take longer to make, and a hundred times the memory: there may be ten thousand routes.
    Few(Vec<Box<str>>),
    /// Compared all at once.
    Many(RegexSet),
}

impl Patterns {
    /// So many are compared one by one, at most.
    const FEW: usize = 16;

    fn new(patterns: Vec<&str>) -> Result<Self, regex::Error> {
        if patterns.len() <= Self::FEW {
            return Ok(Self::Few(patterns.into_iter().map(Into::into).collect()));
        }
        Self::all_at_once(&patterns)
    }

    fn all_at_once(patterns: &[&str]) -> Result<Self, regex::Error> {
        let expression = |pattern: &&str| {
            let literals: Vec<_> = pattern.split('*').map(regex::escape).collect();
            format!("(?s)^{}$", literals.join(".*"))
        };
        RegexSet::new(patterns.iter().map(expression)).map(Self::Many)
    }

    /// The positions of those that `name` fits.
    fn matches(&self, name: &str) -> impl Iterator<Item = usize> {
        let (few, many) = match self {
            Self::Few(patterns) => (Some(patterns), None),
            Self::Many(set) => (None, Some(set.matches(name))),
        };
        let few = few.into_iter().flatten().enumerate();
        let few = few.filter(move |(_, pattern)| fits(pattern, name)).map(|(position, _)| position);
        few.chain(many.into_iter().flatten())
    }
}

/// Whether `name` is `pattern` with any text in place of each `*`, of which there is one at least. What stands between two of
/// them is looked for as early as it can be: nothing later would leave more room for the rest.
fn fits(pattern: &str, name: &str) -> bool {
    let mut literals = pattern.split('*');
    let (Some(first), Some(last)) = (literals.next(), literals.next_back()) else { return pattern == name };
    let between = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let all = between.and_then(|rest| literals.try_fold(rest, |rest, literal| Some(rest.split_once(literal)?.1)));
    all.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(list: &str) -> ScopeSet {
        ScopeSet::from_granted(list)
    }

    fn rules(list: &[(&str, &str)]) -> Vec<(String, Rule)> {
        let rule = |text: &str| match text {
            "allow" => Rule::Allow,
            "deny" => Rule::Deny,
            list => Rule::Scopes(scopes(list)),
        };
        list.iter().map(|(name, text)| ((*name).to_owned(), rule(text))).collect()
    }

    fn policy(default: Rule, tools: &[(&str, &str)], methods: &[(&str, &str)]) -> Policy {
        let config = PolicyConfig {
            default,
            tools: rules(tools),
            prompts: rules(&[("greet", "allow")]),
            resources: rules(&[("file:///public/*", "allow"), ("file:///private/*", "files")]),
            methods: rules(methods),
        };
        Policy::new(&config).unwrap()
    }

    fn check(policy: &Policy, granted: &str, body: &str) -> Result<(), Refusal> {
        let hierarchy = ScopeHierarchy::new([("admin".parse().unwrap(), "write".parse().unwrap())]);
        let granted = scopes(granted);
        let granted = Granted::Scopes { scopes: &granted, hierarchy: &hierarchy };
        policy.check(&Messages::parse(body.as_bytes()).unwrap(), Some(&scopes("base")), granted)
    }

    fn message(method: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    }

    fn call(tool: &str) -> String {
        message("tools/call", &format!(r#"{{"name":"{tool}"}}"#))
    }

    #[test]
    fn the_exact_name_counts_before_patterns_and_the_longer_pattern_before_the_shorter() {
        let policy = policy(
            Rule::Deny,
            &[
                ("*", "any"),
                ("delete-*", "write"),
                ("delete-nothing", "allow"),
                ("*-all", "deny"),
                ("drop-*-x", "allow"),
            ],
            &[],
        );
        assert_eq!(check(&policy, "base", &call("delete-nothing")), Ok(()));
        assert_eq!(check(&policy, "base", &call("delete-user")), Err(Refusal::Scopes(scopes("base write"))));
        assert_eq!(check(&policy, "base write", &call("delete-user")), Ok(()));
        assert_eq!(check(&policy, "base any", &call("other\\nline")), Ok(()));
        assert_eq!(check(&policy, "base write any", &call("delete-all")), Ok(()), "7 characters against 4");
        assert_eq!(check(&policy, "base", &call("drop-x-x")), Ok(()));
        assert_eq!(check(&policy, "base", &call("drop-x")), Err(Refusal::Scopes(scopes("base any"))));
    }

    #[test]
    fn of_patterns_that_are_as_long_all_count() {
        let policy = policy(Rule::Allow, &[("a*", "one"), ("*b", "two"), ("*c", "deny")], &[]);
        assert_eq!(check(&policy, "base", &call("a-b")), Err(Refusal::Scopes(scopes("base one two"))));
        assert_eq!(check(&policy, "base one", &call("ac")), Err(Refusal::Denied));
    }

    #[test]
    fn a_pattern_has_no_meaning_beyond_its_stars() {
        let policy = policy(Rule::Deny, &[("a.c*", "allow"), ("(x|y)*", "allow")], &[]);
        assert_eq!(check(&policy, "base", &call("a.cd")), Ok(()));
        assert_eq!(check(&policy, "base", &call("abcd")), Err(Refusal::Denied));
        assert_eq!(check(&policy, "base", &call("xz")), Err(Refusal::Denied));
    }

    #[test]
    fn one_refusal_names_all_scopes_that_are_needed_and_implied_ones_are_not_missing() {
        let policy = policy(Rule::Deny, &[("update", "write"), ("erase", "erase")], &[("tools/call", "call")]);
        assert_eq!(check(&policy, "", &call("update")), Err(Refusal::Scopes(scopes("base write call"))));
        assert_eq!(check(&policy, "base call admin", &call("update")), Ok(()));
        let batch = format!("[{},{}]", call("update"), call("erase"));
        assert_eq!(check(&policy, "base write", &batch), Err(Refusal::Scopes(scopes("base write call erase"))));
    }

    #[test]
    fn one_member_of_a_batch_that_is_denied_denies_it_all() {
        let policy = policy(Rule::Deny, &[("echo", "allow")], &[]);
        assert_eq!(check(&policy, "base", &format!("[{},{}]", call("echo"), call("drop"))), Err(Refusal::Denied));
    }

    #[test]
    fn what_sessions_need_has_no_default_and_what_is_unknown_has() {
        let strict = policy(Rule::Deny, &[], &[("prompts/list", "deny"), ("x/known", "allow")]);
        for method in ["initialize", "ping", "tools/list", "tasks/get", "server/discover", "x/known"] {
            assert_eq!(check(&strict, "base", &message(method, "{}")), Ok(()), "{method}");
        }
        for method in ["prompts/list", "x/unknown"] {
            assert_eq!(check(&strict, "base", &message(method, "{}")), Err(Refusal::Denied), "{method}");
        }
        for body in
            [r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]
        {
            assert_eq!(check(&strict, "base", body), Ok(()), "{body}");
        }
    }

    #[test]
    fn resources_go_by_uri_and_completions_by_what_they_complete() {
        let policy = policy(Rule::Deny, &[], &[]);
        let read = |uri: &str| message("resources/read", &format!(r#"{{"uri":"{uri}"}}"#));
        assert_eq!(check(&policy, "base", &read("file:///public/a/b")), Ok(()));
        assert_eq!(check(&policy, "base", &read("file:///private/a")), Err(Refusal::Scopes(scopes("base files"))));
        assert_eq!(check(&policy, "base", &read("https://else")), Err(Refusal::Denied));
        let complete = |name: &str| {
            let reference = format!(r#"{{"type":"ref/prompt","name":"{name}"}}"#);
            message("completion/complete", &format!(r#"{{"ref":{reference},"argument":{{"name":"a","value":""}}}}"#))
        };
        assert_eq!(check(&policy, "base", &complete("greet")), Ok(()));
        assert_eq!(check(&policy, "base", &complete("other")), Err(Refusal::Denied));
    }

    #[test]
    fn lists_show_what_may_be_used() {
        let policy = policy(Rule::Deny, &[("echo", "allow"), ("update", "write"), ("drop", "deny")], &[]);
        let shown = |granted: &str, obtainable| {
            let granted = scopes(granted);
            let granted = Granted::Scopes { scopes: &granted, hierarchy: &ScopeHierarchy::default() };
            let tools = ["echo", "update", "drop", "unknown"];
            tools
                .into_iter()
                .filter(|name| policy.shows(ListKind::Tools, name, granted, obtainable))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown("", false), ["echo"]);
        assert_eq!(shown("write", false), ["echo", "update"]);
        assert_eq!(shown("", true), ["echo", "update"]);
        assert!(!policy.hides_nothing());
    }

    #[test]
    fn patterns_are_compared_one_by_one_as_they_are_all_at_once() {
        let patterns =
            ["*", "a*", "*a", "a*a", "a**b", "*ab*", "a*b*c", "*\n*", "ab*ba", "\u{e9}*", "a.*", "(*", "*a*a*"];
        let names = [
            "",
            "a",
            "aa",
            "ab",
            "aba",
            "abba",
            "abc",
            "acbcc",
            "a\nb",
            "\u{e9}t\u{e9}",
            "a.b",
            "(",
            "ba",
            "cab",
            "aXbYc",
            "abab",
        ];
        let few = Patterns::new(patterns.to_vec()).unwrap();
        let many = Patterns::all_at_once(&patterns).unwrap();
        assert!(matches!(few, Patterns::Few(_)));
        for name in names {
            assert_eq!(few.matches(name).collect::<Vec<_>>(), many.matches(name).collect::<Vec<_>>(), "{name:?}");
        }
        assert!(matches!(Patterns::new(vec!["*"; Patterns::FEW + 1]).unwrap(), Patterns::Many(_)));
    }
}

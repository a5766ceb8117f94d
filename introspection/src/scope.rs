//! Scopes (RFC 6749 §3.3): parsed once, compared as sets, written in the order they came.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One scope token: printable ASCII without space, `"` and `\` (RFC 6749 §3.3), so that it can stand in a challenge as
/// it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

/// Why a text is no scope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is printable ASCII without spaces, quotes and backslashes")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        if !text.is_empty() && text.bytes().all(allowed) { Ok(Self(text.into())) } else { Err(InvalidScope) }
    }
}

impl Scope {
    /// The scope as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// A set of scopes; its `Display` is the space-separated form of the wire. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Arc<[Scope]>);

impl ScopeSet {
    /// Adds the scopes of `others` that are not in it yet.
    pub fn extend(&mut self, others: &ScopeSet) {
        if !others.0.iter().all(|scope| self.0.contains(scope)) {
            *self = self.iter().chain(others.iter()).cloned().collect();
        }
    }

    /// True when there is no scope in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// The scopes named in a space-separated list. What is not a scope is left out: it can grant nothing.
    pub fn from_granted(list: &str) -> Self {
        list.split(' ').filter_map(|text| text.parse().ok()).collect()
    }
}

/// Which scopes include others, all the way down. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeHierarchy(Arc<HashMap<Scope, Vec<Scope>>>);

impl ScopeHierarchy {
    /// From pairs of a scope and one that it implies. What is implied implies in turn.
    pub fn new(pairs: impl IntoIterator<Item = (Scope, Scope)>) -> Self {
        let mut implied: HashMap<Scope, Vec<Scope>> = HashMap::new();
        for (scope, included) in pairs {
            implied.entry(scope).or_default().push(included);
        }
        let all = |scope: &Scope| {
            let mut found: Vec<Scope> = Vec::new();
            let mut next = vec![scope];
            while let Some(scope) = next.pop() {
                for scope in implied.get(scope).into_iter().flatten() {
                    if !found.contains(scope) {
                        found.push(scope.clone());
                        next.push(scope);
                    }
                }
            }
            found
        };
        Self(Arc::new(implied.keys().map(|scope| (scope.clone(), all(scope))).collect()))
    }

    /// Whether who was granted `granted` has all of `required`, if only because it is implied.
    pub fn covers(&self, granted: &ScopeSet, required: &ScopeSet) -> bool {
        required.0.iter().all(|scope| granted.0.contains(scope) || self.implies(granted, scope))
    }

    fn implies(&self, granted: &ScopeSet, required: &Scope) -> bool {
        let is_implied_by = |scope: &Scope| self.0.get(scope).is_some_and(|implied| implied.contains(required));
        !self.0.is_empty() && granted.0.iter().any(is_implied_by)
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut set = Vec::new();
        for scope in scopes {
            if !set.contains(&scope) {
                set.push(scope);
            }
        }
        Self(set.into())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, scope) in self.0.iter().enumerate() {
            if position > 0 {
                formatter.write_str(" ")?;
            }
            scope.fmt(formatter)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_granted_list_keeps_its_order_and_drops_what_is_no_scope() {
        let granted = ScopeSet::from_granted("users:write  users:read bad\"one users:write é");
        assert_eq!(granted.to_string(), "users:write users:read");
    }

    #[test]
    fn all_required_scopes_must_be_granted() {
        let granted = ScopeSet::from_granted("a b");
        let covers = |required| ScopeHierarchy::default().covers(&granted, &ScopeSet::from_granted(required));
        assert!(covers("b"));
        assert!(covers(""));
        assert!(!covers("b c"));
        assert!(!covers("B"), "scopes are case-sensitive");
    }

    #[test]
    fn a_scope_that_is_implied_counts_as_granted_and_the_other_way_round_it_does_not() {
        let pairs = [("admin", "write"), ("write", "read"), ("read", "ping"), ("loop", "loop2"), ("loop2", "loop")];
        let hierarchy =
            ScopeHierarchy::new(pairs.map(|(scope, implied)| (scope.parse().unwrap(), implied.parse().unwrap())));
        let covers =
            |granted, required| hierarchy.covers(&ScopeSet::from_granted(granted), &ScopeSet::from_granted(required));
        assert!(covers("admin", "read write ping"));
        assert!(covers("other write", "read"));
        assert!(covers("loop", "loop2") && covers("loop2", "loop"));
        assert!(!covers("read", "write"));
        assert!(!covers("other", "read"));
    }
}

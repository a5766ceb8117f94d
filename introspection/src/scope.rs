//! Scopes (RFC 6749 §3.3): parsed once, compared as sets, written in the order they came.

use std::fmt;
use std::str::FromStr;

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

/// A set of scopes; its `Display` is the space-separated form of the wire.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ScopeSet(Vec<Scope>);

impl ScopeSet {
    /// Whether every scope of `required` is in this set.
    pub fn contains_all(&self, required: &ScopeSet) -> bool {
        required.0.iter().all(|scope| self.0.contains(scope))
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

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut set = Vec::new();
        for scope in scopes {
            if !set.contains(&scope) {
                set.push(scope);
            }
        }
        Self(set)
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
        assert!(granted.contains_all(&ScopeSet::from_granted("b")));
        assert!(granted.contains_all(&ScopeSet::default()));
        assert!(!granted.contains_all(&ScopeSet::from_granted("b c")));
        assert!(!granted.contains_all(&ScopeSet::from_granted("B")), "scopes are case-sensitive");
    }
}

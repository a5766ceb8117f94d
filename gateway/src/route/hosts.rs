//! Whatever there is for hosts: for one of them, for all below a name, or for any.

use std::collections::HashMap;

use crate::config::HostPattern;

/// Values by [`HostPattern`]. Finding those for a host costs a look-up, and one for each of its labels where there are
/// patterns with a wildcard.
pub struct HostTable<T> {
    exactly: HashMap<String, T>,
    /// By the name that the hosts are below of.
    below: HashMap<String, T>,
    any: Option<T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { exactly: HashMap::new(), below: HashMap::new(), any: None }
    }
}

impl<T: Default> HostTable<T> {
    /// The value for `pattern`, put there when there is none.
    pub fn entry(&mut self, pattern: &HostPattern) -> &mut T {
        match pattern {
            HostPattern::Any => self.any.get_or_insert_default(),
            HostPattern::Below(host) => self.below.entry(host.as_str().to_owned()).or_default(),
            HostPattern::Exactly(host) => self.exactly.entry(host.as_str().to_owned()).or_default(),
        }
    }
}

impl<T> HostTable<T> {
    /// The values for `host`, the most specific first: its own, that of the longest name it is below of, and so on, and
    /// that of any host. A request that names no host has that alone.
    pub fn of<'table, 'host>(
        &'table self,
        host: Option<&'host str>,
    ) -> impl Iterator<Item = &'table T> + use<'table, 'host, T> {
        let exactly = host.and_then(|host| self.exactly.get(host));
        let names = host.filter(|_| !self.below.is_empty()).into_iter().flat_map(names_above);
        exactly.into_iter().chain(names.filter_map(|name| self.below.get(name))).chain(&self.any)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exactly.values().chain(self.below.values()).chain(&self.any)
    }

    /// The same with `make` of each value in its place.
    pub fn map<U>(self, mut make: impl FnMut(T) -> U) -> HostTable<U> {
        let Self { exactly, below, any } = self;
        HostTable {
            exactly: exactly.into_iter().map(|(host, value)| (host, make(value))).collect(),
            below: below.into_iter().map(|(host, value)| (host, make(value))).collect(),
            any: any.map(make),
        }
    }

    /// All values, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exactly.values_mut().chain(self.below.values_mut()).chain(&mut self.any)
    }
}

/// The names that `host` is below of, the longest first.
fn names_above(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').filter_map(|(position, _)| host.get(position + 1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], host: Option<&str>) -> Vec<String> {
        let mut table = HostTable::<String>::default();
        for pattern in patterns {
            let host = if *pattern == "any" { HostPattern::Any } else { pattern.parse().unwrap() };
            *table.entry(&host) = (*pattern).to_owned();
        }
        table.of(host).cloned().collect()
    }

    #[test]
    fn the_most_specific_host_is_first() {
        let patterns = ["any", "*.example.com", "*.b.example.com", "a.b.example.com", "*.com"];
        assert_eq!(
            found(&patterns, Some("a.b.example.com")),
            ["a.b.example.com", "*.b.example.com", "*.example.com", "*.com", "any"]
        );
        assert_eq!(found(&patterns, Some("x.example.com")), ["*.example.com", "*.com", "any"]);
        assert_eq!(found(&patterns, None), ["any"]);
    }

    #[test]
    fn a_wildcard_is_for_one_label_or_more_and_not_for_the_name_itself() {
        for host in ["a.example.com", "b.a.example.com", "c.b.a.example.com"] {
            assert_eq!(found(&["*.example.com"], Some(host)), ["*.example.com"], "{host}");
        }
        for host in ["example.com", "badexample.com", "a.example.com.evil.example", "com"] {
            assert!(found(&["*.example.com"], Some(host)).is_empty(), "{host}");
        }
    }
}

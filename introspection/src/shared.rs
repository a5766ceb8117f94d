//! What many tokens say alike is kept once for all of them: it takes less memory, and is likely to be near the processor when
//! one of them comes.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::response::ActiveToken;
use crate::scope::ScopeSet;

/// Sets of scopes, lists of audiences, and clients: those that came last, so many of each.
#[derive(Default)]
pub(crate) struct Shared {
    scopes: Known<ScopeSet>,
    audiences: Known<Arc<[String]>>,
    clients: Known<Arc<str>>,
}

impl Shared {
    /// Has `token` share what was seen before.
    pub(crate) fn share(&self, token: &mut ActiveToken) {
        self.scopes.share(&mut token.scope);
        self.audiences.share(&mut token.audience);
        if let Some(client) = &mut token.client_id {
            self.clients.share(client);
        }
    }
}

struct Known<T>(Mutex<HashSet<T>>);

/// How many are known before all of them are forgotten. Who shares them keeps them.
const MOST: usize = 1024;

impl<T: Clone + Eq + Hash> Known<T> {
    fn share(&self, value: &mut T) {
        let mut known = self.0.lock();
        if let Some(shared) = known.get(value) {
            *value = shared.clone();
            return;
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(value.clone());
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_the_same() {
        let shared = Shared::default();
        let token = |audience: &str| {
            let mut token = ActiveToken {
                scope: ScopeSet::from_granted("a b"),
                audience: [audience.to_owned()].into(),
                client_id: Some("agent".into()),
                ..ActiveToken::default()
            };
            shared.share(&mut token);
            token
        };
        let (one, same, other) = (token("x"), token("x"), token("y"));
        assert!(Arc::ptr_eq(&one.audience, &same.audience));
        assert!(Arc::ptr_eq(&one.client_id.unwrap(), &other.client_id.unwrap()));
        assert_eq!(*other.audience, ["y"]);
    }

    #[test]
    fn only_so_many_are_known() {
        let known = Known::<Arc<str>>::default();
        for number in 0..3 * MOST {
            known.share(&mut number.to_string().into());
            assert!(known.0.lock().len() <= MOST);
        }
    }
}

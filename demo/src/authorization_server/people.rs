//! Owns the three people who can log in, and what each may allow an agent to do.

use oauth_as::scope::ScopeSet;
use serde_json::{Value, json};

/// Everything an agent can ask for here.
pub(crate) const SCOPES: [&str; 2] = ["users:read", "profile"];

/// Somebody with an account.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// What the person is called in every token: `sub`.
    pub subject: &'static str,
    /// First name.
    pub given_name: &'static str,
    /// Last name.
    pub family_name: &'static str,
    /// Address.
    pub email: &'static str,
    /// Role, for the login page.
    pub role: &'static str,
    scopes: &'static [&'static str],
}

/// The accounts of the demo. There are no passwords: whoever opens the login page may be anybody.
pub const PEOPLE: [Person; 3] = [
    Person {
        subject: "john",
        given_name: "John",
        family_name: "Doe",
        email: "john.doe@customer.example",
        role: "may read the list of users",
        scopes: &["users:read", "profile"],
    },
    Person {
        subject: "jane",
        given_name: "Jane",
        family_name: "Doe",
        email: "jane.doe@customer.example",
        role: "may read the list of users",
        scopes: &["users:read", "profile"],
    },
    Person {
        subject: "sam",
        given_name: "Sam",
        family_name: "Guest",
        email: "sam.guest@customer.example",
        role: "a guest: may not read the list of users",
        scopes: &["profile"],
    },
];

impl Person {
    /// Who `subject` is.
    pub fn find(subject: &str) -> Option<&'static Person> {
        PEOPLE.iter().find(|person| person.subject == subject)
    }

    /// Of what an agent asked for, what this person may give. An agent that asked only for more than that gets
    /// `profile`, and is told so by `scope` in the token response (RFC 6749 §3.3).
    pub(crate) fn grant(&self, requested: &ScopeSet) -> ScopeSet {
        let allowed = self.scopes.iter().copied().filter(|scope| requested.contains(scope));
        match ScopeSet::from_tokens(allowed) {
            Ok(granted) if !granted.is_empty() => granted,
            Ok(_) | Err(_) => ScopeSet::from_tokens(["profile"]).unwrap_or_default(),
        }
    }

    /// What introspection tells a resource server about this person, besides the token itself.
    pub(crate) fn introspected(&self) -> Value {
        json!({
            "username": self.email,
            "given_name": self.given_name,
            "family_name": self.family_name,
            "email": self.email,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(subject: &str, requested: &str) -> String {
        Person::find(subject).unwrap().grant(&ScopeSet::parse(requested).unwrap()).to_string()
    }

    #[test]
    fn a_person_gives_no_more_than_was_asked_for_and_no_more_than_they_may() {
        assert_eq!(granted("john", "users:read"), "users:read");
        assert_eq!(granted("sam", "users:read profile"), "profile");
        assert_eq!(granted("sam", "users:read"), "profile");
    }
}

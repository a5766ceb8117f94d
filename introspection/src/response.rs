//! Reads an introspection response (RFC 7662 §2.2) into facts. Pure: the time is an argument.
//!
//! Real servers write the same fact in several ways (a list or a string, a number or a numeric string, `null` for what is
//! absent). They are made one here, so that nothing behind this module has to know.

use std::fmt;

use http::HeaderValue;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use crate::clock::NumericDate;
use crate::error::Unavailable;
use crate::scope::ScopeSet;

/// The answer of the authorization server about one token.
#[derive(Debug, Clone, PartialEq)]
pub enum Introspection {
    /// The token may be used, as far as the authorization server is concerned.
    Active(ActiveToken),
    /// It may not.
    Inactive(Inactive),
}

/// What an authorization server says of a token that is active.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveToken {
    /// `sub`, or `username` where there is no `sub`.
    pub subject: Option<String>,
    /// `client_id`, or what some servers call it: `azp`, `appid`, `cid`.
    pub client_id: Option<String>,
    /// `sid`: the person's session at the authorization server.
    pub session_id: Option<String>,
    /// `scope` or `scp`.
    pub scope: ScopeSet,
    /// `aud`; empty when the server names none.
    pub audience: Vec<String>,
    /// `exp`; in the future at the time of the answer.
    pub expires_at: Option<NumericDate>,
    /// `auth_time`: when the person last signed in (RFC 9068 §2.2.1).
    pub auth_time: Option<NumericDate>,
    /// `acr`: how strongly (RFC 9068 §2.2.1).
    pub acr: Option<String>,
    /// `amr`: by what means (RFC 9068 §2.2.1).
    pub amr: Vec<String>,
    /// The claims that [`Config::claims`](crate::Config::claims) asks to keep, by the names given there.
    pub claims: Vec<(String, Value)>,
    /// The JWT access token that the server gave in place of the opaque one ([`ResponseForm::Jwt`]), as the value of an
    /// `Authorization` header; marked sensitive.
    ///
    /// [`ResponseForm::Jwt`]: crate::config::ResponseForm::Jwt
    pub jwt: Option<HeaderValue>,
}

/// Why a token may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Inactive {
    /// `active` is false: unknown, expired, revoked. The server does not tell which (RFC 7662 §2.2).
    #[error("the authorization server says so")]
    Denied,
    /// Its `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// Active, but a refresh token or an ID token.
    #[error("it is not an access token")]
    NotAnAccessToken,
    /// Active, but bound to a key (RFC 8705, RFC 9449) and sent without the proof.
    #[error("it is bound to a key that the request does not prove")]
    SenderConstrained,
}

/// Reads the body of a 200 answer at the time `now`.
///
/// # Errors
/// [`Unavailable::Malformed`] when it is not an introspection response; the token is then neither active nor inactive.
pub fn parse(body: &[u8], now: NumericDate) -> Result<Introspection, Unavailable> {
    let document: Document = serde_json::from_slice(body).map_err(|error| Unavailable::Malformed(describe(&error)))?;
    Ok(document.into_introspection(now))
}

/// Where and of what kind, but none of the body: it may hold claims.
fn describe(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "JSON, but no introspection response",
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => "no JSON",
        serde_json::error::Category::Io => "unreadable",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

/// The members of RFC 7662 §2.2 and their variants in the field. A member that stands twice is an error.
#[derive(Deserialize)]
struct Document {
    active: bool,
    scope: Option<OneOrMany>,
    scp: Option<OneOrMany>,
    client_id: Option<String>,
    azp: Option<String>,
    appid: Option<String>,
    cid: Option<String>,
    username: Option<String>,
    sub: Option<String>,
    token_type: Option<String>,
    token_use: Option<String>,
    exp: Option<Seconds>,
    aud: Option<OneOrMany>,
    cnf: Option<IgnoredAny>,
    auth_time: Option<Seconds>,
    acr: Option<String>,
    amr: Option<OneOrMany>,
}

impl Document {
    fn into_introspection(self, now: NumericDate) -> Introspection {
        match self.obstacle(now) {
            Some(reason) => Introspection::Inactive(reason),
            None => Introspection::Active(self.into_active_token()),
        }
    }

    fn obstacle(&self, now: NumericDate) -> Option<Inactive> {
        if !self.active {
            return Some(Inactive::Denied);
        }
        if self.exp.as_ref().is_some_and(|expiry| expiry.0 <= now) {
            return Some(Inactive::Expired);
        }
        // A refresh token introspects as active too (RFC 7662 knows no token kinds); only its type tells.
        let is_type = |name: &str| self.token_type.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(name));
        if self.cnf.is_some() || (self.token_type.is_some() && is_type("DPoP")) {
            return Some(Inactive::SenderConstrained);
        }
        let is_access_token = self.token_use.as_deref().is_none_or(|own| matches!(own, "access_token" | "access"));
        if !is_type("Bearer") || !is_access_token {
            return Some(Inactive::NotAnAccessToken);
        }
        None
    }

    fn into_active_token(self) -> ActiveToken {
        let many = |list: Option<OneOrMany>| list.map_or_else(Vec::new, |list| list.0);
        let scope = self.scope.or(self.scp);
        ActiveToken {
            subject: self.sub.or(self.username),
            client_id: self.client_id.or(self.azp).or(self.appid).or(self.cid),
            scope: ScopeSet::from_granted(&many(scope).join(" ")),
            audience: many(self.aud),
            expires_at: self.exp.map(|seconds| seconds.0),
            auth_time: self.auth_time.map(|seconds| seconds.0),
            acr: self.acr,
            amr: many(self.amr),
            session_id: None,
            claims: Vec::new(),
            jwt: None,
        }
    }
}

/// A string, or a list of strings.
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = OneOrMany;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, one: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut many = Vec::new();
                while let Some(one) = list.next_element()? {
                    many.push(one);
                }
                Ok(OneOrMany(many))
            }
        }
        deserializer.deserialize_any(Strings)
    }
}

/// Seconds since the epoch as an integer, a float or a numeric string. The fraction is cut off.
struct Seconds(NumericDate);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("seconds since the epoch")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                Ok(Seconds(NumericDate::from_seconds(seconds)))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                self.visit_u64(u64::try_from(seconds).unwrap_or(0))
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "`as` saturates, which is what is meant"
            )]
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                self.visit_u64(seconds as u64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                let seconds: f64 = text.trim().parse().map_err(|_| E::custom("not a number"))?;
                self.visit_f64(seconds)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: NumericDate = NumericDate::from_seconds(1_000);

    fn active(body: &str) -> ActiveToken {
        match parse(body.as_bytes(), NOW).unwrap() {
            Introspection::Active(token) => token,
            Introspection::Inactive(reason) => panic!("inactive: {reason:?}"),
        }
    }

    fn inactive(body: &str) -> Inactive {
        match parse(body.as_bytes(), NOW).unwrap() {
            Introspection::Active(token) => panic!("active: {token:?}"),
            Introspection::Inactive(reason) => reason,
        }
    }

    #[test]
    fn rfc7662_s2_2_the_example_of_the_standard() {
        let token = active(
            r#"{"active":true,"client_id":"l238j323ds-23ij4","username":"jdoe","scope":"read write dolphin",
                "sub":"Z5O3upPC88QrAjx00dis","aud":"https://protected.example.net/resource",
                "iss":"https://server.example.com/","exp":1419356238,"iat":1419350238,
                "extension_field":"twenty-seven"}"#,
        );
        assert_eq!(token.subject.as_deref(), Some("Z5O3upPC88QrAjx00dis"));
        assert_eq!(token.client_id.as_deref(), Some("l238j323ds-23ij4"));
        assert_eq!(token.scope.to_string(), "read write dolphin");
        assert_eq!(token.audience, ["https://protected.example.net/resource"]);
        assert_eq!(token.expires_at, Some(NumericDate::from_seconds(1_419_356_238)));
    }

    #[test]
    fn rfc7662_s2_2_only_the_json_true_is_active() {
        assert_eq!(inactive(r#"{"active":false,"exp":2000}"#), Inactive::Denied);
        for body in [r#"{"active":"true"}"#, r#"{"active":1}"#, r#"{"active":null}"#, "{}", "true", "[]", "", "<html>"]
        {
            assert!(matches!(parse(body.as_bytes(), NOW), Err(Unavailable::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_malformed() {
        let body = br#"{"active":false,"active":true}"#;
        assert!(matches!(parse(body, NOW), Err(Unavailable::Malformed(_))));
    }

    #[test]
    fn a_malformed_answer_is_described_without_its_content() {
        let error = parse(br#"{"active":"secret-claim"}"#, NOW).unwrap_err();
        assert!(!error.to_string().contains("secret-claim"), "{error}");
    }

    #[test]
    fn expiry_in_every_notation_and_the_second_it_falls_on_is_too_late() {
        for exp in ["2000", "2000.9", "\"2000\"", "2e3"] {
            let token = active(&format!(r#"{{"active":true,"exp":{exp}}}"#));
            assert_eq!(token.expires_at, Some(NumericDate::from_seconds(2_000)), "{exp}");
        }
        for exp in ["1000", "1000.9", "\"999\"", "-5", "0"] {
            assert_eq!(inactive(&format!(r#"{{"active":true,"exp":{exp}}}"#)), Inactive::Expired, "{exp}");
        }
        assert_eq!(active(r#"{"active":true,"exp":null}"#).expires_at, None);
    }

    #[test]
    fn the_variants_of_real_servers_mean_the_same() {
        let token = active(r#"{"active":true,"scp":["a","b"],"azp":"agent","username":"jdoe","aud":["x","y"]}"#);
        assert_eq!(token.scope.to_string(), "a b");
        assert_eq!(token.client_id.as_deref(), Some("agent"));
        assert_eq!(token.subject.as_deref(), Some("jdoe"));
        assert_eq!(token.audience, ["x", "y"]);
    }

    #[test]
    fn refresh_and_id_tokens_are_no_access_tokens() {
        for kind in [
            r#""token_type":"refresh_token""#,
            r#""token_type":"N_A""#,
            r#""token_use":"refresh_token""#,
            r#""token_use":"id""#,
        ] {
            assert_eq!(inactive(&format!(r#"{{"active":true,{kind}}}"#)), Inactive::NotAnAccessToken, "{kind}");
        }
        for kind in [r#""token_type":"bearer""#, r#""token_type":null"#, r#""token_use":"access_token""#] {
            active(&format!(r#"{{"active":true,{kind}}}"#));
        }
    }

    #[test]
    fn a_bound_token_is_no_bearer_token() {
        for binding in [r#""cnf":{"jkt":"x"}"#, r#""cnf":{}"#, r#""token_type":"DPoP""#] {
            assert_eq!(inactive(&format!(r#"{{"active":true,{binding}}}"#)), Inactive::SenderConstrained, "{binding}");
        }
        active(r#"{"active":true,"cnf":null}"#);
    }
}

//! Claims as they came: a JSON object in which no member stands twice, and the ways real servers write one value.
//!
//! Introspection responses and JWTs are read through this, so that a list written as a string, a number written as text or
//! a `null` in place of nothing means the same wherever it stands.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::clock::NumericDate;

/// A set of claims.
#[derive(Clone, Default, PartialEq)]
pub struct Claims(Map<String, Value>);

/// A claim is there, but is not of the kind it should be. Names the claim, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the member {0:?} is not {1}")]
pub struct WrongKind(String, &'static str);

impl Claims {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// When it is none, or a member of it stands twice. Whose message never quotes the text.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The member `name`, as it is; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether the member `name` stands there, be it `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes the member `name` out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// The member at a path of names joined by dots. A member whose own name has the dots comes first
    /// (`https://example.com/tenant`).
    pub fn at(&self, path: &str) -> Option<&Value> {
        self.get(path).or_else(|| {
            let mut names = path.split('.');
            let first = self.get(names.next()?)?;
            names.try_fold(first, |value, name| value.get(name)).filter(|value| !value.is_null())
        })
    }

    /// A text; a number is taken as its digits (some servers count their users).
    ///
    /// # Errors
    /// [`WrongKind`] when it is anything else.
    pub fn text(&self, name: &str) -> Result<Option<String>, WrongKind> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(WrongKind(name.to_owned(), "a string")),
        }
    }

    /// A list of texts; a single text is a list of one.
    ///
    /// # Errors
    /// [`WrongKind`] when it is anything else.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, WrongKind> {
        let wrong = || WrongKind(name.to_owned(), "a string or a list of strings");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(list)) => {
                list.iter().map(|entry| entry.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Seconds since the epoch, as an integer, a float or a numeric text. The fraction is cut off, what lies before the
    /// epoch is the epoch.
    ///
    /// # Errors
    /// [`WrongKind`] when it is anything else.
    pub fn date(&self, name: &str) -> Result<Option<NumericDate>, WrongKind> {
        let wrong = || WrongKind(name.to_owned(), "a number of seconds since the epoch");
        let seconds = match self.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => seconds(number),
            Some(Value::String(text)) => text.trim().parse().ok().and_then(|number: f64| seconds_of_float(number)),
            Some(_) => None,
        };
        seconds.map(|seconds| Some(NumericDate::from_seconds(seconds))).ok_or_else(wrong)
    }

    /// The object that is the member `name`.
    pub fn object(&self, name: &str) -> Option<Self> {
        self.get(name)?.as_object().cloned().map(Self)
    }

    /// The names of all members.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn seconds(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().and_then(seconds_of_float))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, which is what is meant")]
fn seconds_of_float(seconds: f64) -> Option<u64> {
    // NaN is no date; JSON has none, but a text may say so.
    (!seconds.is_nan()).then_some(seconds as u64)
}

impl From<Map<String, Value>> for Claims {
    fn from(members: Map<String, Value>) -> Self {
        Self(members)
    }
}

impl fmt::Debug for Claims {
    /// The names alone: values are about people.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Claims;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Claims, A::Error> {
                object(members).map(Claims)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A JSON value whose objects name no member twice: two readers of one that does could see different things.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Unambiguous;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON value")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Unambiguous, E> {
                Ok(Unambiguous(value.into()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Unambiguous, E> {
                Ok(Unambiguous(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Unambiguous, E> {
                Ok(Unambiguous(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Unambiguous, E> {
                Ok(Unambiguous(value.into()))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Unambiguous, E> {
                Ok(Unambiguous(value.into()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Unambiguous, E> {
                Ok(Unambiguous(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unambiguous, A::Error> {
                let mut values = Vec::new();
                while let Some(Unambiguous(value)) = list.next_element()? {
                    values.push(value);
                }
                Ok(Unambiguous(Value::Array(values)))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Unambiguous, A::Error> {
                object(members).map(|members| Unambiguous(Value::Object(members)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn object<'de, A: MapAccess<'de>>(mut members: A) -> Result<Map<String, Value>, A::Error> {
    let mut object = Map::new();
    while let Some((name, Unambiguous(value))) = members.next_entry::<String, _>()? {
        if object.insert(name, value).is_some() {
            return Err(de::Error::custom("a member stands twice"));
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Claims {
        Claims::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[{"b":1,"b":1}]}"#] {
            assert!(Claims::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Claims::parse(br#"{"a":{"b":1},"b":1}"#).is_ok());
    }

    #[test]
    fn nothing_but_an_object_is_a_set_of_claims() {
        for text in ["", "1", "[]", "null", "true", "\"a\"", "{", "{}{}", "{\"a\":NaN}"] {
            assert!(Claims::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn one_value_in_the_ways_it_is_written() {
        let claims = claims(r#"{"one":"a","many":["a","b"],"none":null,"number":7,"wrong":{},"mixed":["a",1]}"#);
        assert_eq!(claims.texts("one").unwrap(), ["a"]);
        assert_eq!(claims.texts("many").unwrap(), ["a", "b"]);
        assert_eq!(claims.texts("none").unwrap(), [""; 0]);
        assert_eq!(claims.text("number").unwrap().unwrap(), "7");
        assert_eq!(claims.text("none").unwrap(), None);
        assert!(claims.text("wrong").is_err() && claims.text("many").is_err());
        assert!(claims.texts("mixed").is_err() && claims.texts("number").is_err());
    }

    #[test]
    fn dates_in_every_notation() {
        for (written, seconds) in
            [("2000", 2000), ("2000.9", 2000), ("\"2000\"", 2000), ("2e3", 2000), ("-5", 0), ("1e300", u64::MAX)]
        {
            let date = claims(&format!("{{\"exp\":{written}}}")).date("exp").unwrap();
            assert_eq!(date, Some(NumericDate::from_seconds(seconds)), "{written}");
        }
        for wrong in ["true", "\"soon\"", "\"NaN\"", "[2000]"] {
            assert!(claims(&format!("{{\"exp\":{wrong}}}")).date("exp").is_err(), "{wrong}");
        }
        assert_eq!(claims(r#"{"exp":null}"#).date("exp").unwrap(), None);
    }

    #[test]
    fn a_path_leads_into_objects_and_a_name_with_dots_comes_first() {
        let claims = claims(r#"{"ext":{"tenant":"t"},"https://a.example/x":"y","a.b":1,"a":{"b":2}}"#);
        assert_eq!(claims.at("ext.tenant").unwrap(), "t");
        assert_eq!(claims.at("https://a.example/x").unwrap(), "y");
        assert_eq!(claims.at("a.b").unwrap(), 1);
        assert!(claims.at("ext.other").is_none() && claims.at("a.b.c").is_none());
    }

    #[test]
    fn neither_debug_nor_errors_show_a_value() {
        let claims = claims(r#"{"sub":{"x":"hunter2"}}"#);
        assert!(!format!("{claims:?} {}", claims.text("sub").unwrap_err()).contains("hunter2"));
        assert!(!Claims::parse(br#"{"a":hunter2}"#).unwrap_err().to_string().contains("hunter2"));
    }
}

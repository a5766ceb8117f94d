//! A rule as people write it: `allow`, `deny`, or the scopes that it takes.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Who may do something, of those whom the route lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    Allow,
    Deny,
    /// Who was granted all of these.
    Scopes(Vec<String>),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Scopes {
    scopes: Vec<String>,
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Allow => serializer.serialize_str("allow"),
            Self::Deny => serializer.serialize_str("deny"),
            Self::Scopes(scopes) => Scopes { scopes: scopes.clone() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = Rule;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("allow, deny or { scopes: [...] }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rule, E> {
                match text {
                    "allow" => Ok(Rule::Allow),
                    "deny" => Ok(Rule::Deny),
                    _ => Err(E::unknown_variant(text, &["allow", "deny"])),
                }
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Rule, M::Error> {
                Scopes::deserialize(MapAccessDeserializer::new(map)).map(|rule| Rule::Scopes(rule.scopes))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Rule {
    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Who may do it, of those whom the route lets pass: all, nobody, or who was granted these scopes.",
            "oneOf": [
                { "type": "string", "enum": ["allow", "deny"] },
                {
                    "type": "object",
                    "properties": { "scopes": { "type": "array", "items": { "type": "string" } } },
                    "required": ["scopes"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::read::read_value;
    use super::*;

    #[test]
    fn a_rule_is_a_word_or_scopes() {
        assert_eq!(read_value("allow"), Ok(Rule::Allow));
        assert_eq!(read_value("deny"), Ok(Rule::Deny));
        assert_eq!(read_value("{ scopes: [a, b] }"), Ok(Rule::Scopes(vec!["a".into(), "b".into()])));
        assert!(read_value::<Rule>("allowed").unwrap_err().contains("did you mean \"allow\"?"));
        assert!(read_value::<Rule>("{ scope: [a] }").unwrap_err().contains("did you mean \"scopes\"?"));
        assert!(read_value::<Rule>("[a]").unwrap_err().contains("allow, deny or { scopes: [...] }"));
    }
}

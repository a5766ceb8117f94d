//! A YAML document as a tree that knows where everything stands.
//!
//! Nodes can be taken out again: an error is reported, what caused it is removed, and reading goes on with the rest. Paths
//! count what is still there; [`Node::describe`] tells them as the file has them.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_saphyr::Spanned;

use super::read::Fault;

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A step from a node to a node below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    place: Place,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Sequence(Vec<Child<()>>),
    Mapping(Vec<Child<Key>>),
}

#[derive(Debug)]
struct Child<K> {
    key: K,
    node: Node,
    removed: bool,
}

#[derive(Debug)]
struct Key {
    name: String,
    place: Place,
}

impl Node {
    /// Where `path` stands in the file, and how it is written there (`routes[2].upstream`). For what is not there, where
    /// it is missing.
    pub(crate) fn describe(&self, path: &[Step]) -> (Place, String) {
        let Some((step, rest)) = path.split_first() else { return (self.place, String::new()) };
        match (step, &self.value) {
            (Step::Key(name), Value::Mapping(entries)) => {
                let entry = entries.iter().find(|entry| !entry.removed && entry.key.name == *name);
                let Some(entry) = entry else { return (self.place, join(step, path, rest)) };
                let (place, below) = entry.node.describe(rest);
                let place = if rest.is_empty() || place == entry.node.place { entry.key.place } else { place };
                (place, prepend(name.clone(), &below))
            }
            (Step::Index(live), Value::Sequence(items)) => {
                let item = items.iter().enumerate().filter(|(_, item)| !item.removed).nth(*live);
                let Some((index, item)) = item else { return (self.place, join(step, path, rest)) };
                let (place, below) = item.node.describe(rest);
                (place, prepend(format!("[{index}]"), &below))
            }
            _ => (self.place, join(step, path, rest)),
        }
    }

    /// Takes what stands at `path` out. False when there is nothing.
    pub(crate) fn remove(&mut self, path: &[Step]) -> bool {
        let Some((step, rest)) = path.split_first() else { return false };
        let (node, removed) = match (step, &mut self.value) {
            (Step::Key(name), Value::Mapping(entries)) => {
                match entries.iter_mut().find(|entry| !entry.removed && entry.key.name == *name) {
                    Some(entry) => (&mut entry.node, &mut entry.removed),
                    None => return false,
                }
            }
            (Step::Index(live), Value::Sequence(items)) => {
                match items.iter_mut().filter(|item| !item.removed).nth(*live) {
                    Some(item) => (&mut item.node, &mut item.removed),
                    None => return false,
                }
            }
            _ => return false,
        };
        if rest.is_empty() {
            *removed = true;
            return true;
        }
        node.remove(rest)
    }

    /// Whether the file has something at the key `name` of the document, taken out or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(&self.value, Value::Mapping(entries) if entries.iter().any(|entry| entry.key.name == name))
    }

    /// Whether the file has something at `path` that was taken out, or whose parts were.
    pub(crate) fn was_removed(&self, path: &[Step]) -> bool {
        let Some((step, rest)) = path.split_first() else {
            return match &self.value {
                Value::Sequence(items) => items.iter().any(|item| item.removed),
                Value::Mapping(entries) => entries.iter().any(|entry| entry.removed),
                _ => false,
            };
        };
        match (step, &self.value) {
            (Step::Key(name), Value::Mapping(entries)) => entries
                .iter()
                .filter(|entry| entry.key.name == *name)
                .any(|entry| (rest.is_empty() && entry.removed) || entry.node.was_removed(rest)),
            (Step::Index(live), Value::Sequence(items)) => {
                items.iter().filter(|item| !item.removed).nth(*live).is_some_and(|item| item.node.was_removed(rest))
            }
            _ => false,
        }
    }
}

fn prepend(head: String, below: &str) -> String {
    match below {
        "" => head,
        below if below.starts_with('[') => head + below,
        below => format!("{head}.{below}"),
    }
}

/// The written form of a path none of which is in the tree.
fn join(step: &Step, path: &[Step], rest: &[Step]) -> String {
    debug_assert_eq!(path.len(), rest.len() + 1);
    let head = match step {
        Step::Key(name) => name.clone(),
        Step::Index(index) => format!("[{index}]"),
    };
    match rest.split_first() {
        Some((next, after)) => prepend(head, &join(next, rest, after)),
        None => head,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { place: place(&spanned), value: spanned.value })
    }
}

fn place<T>(spanned: &Spanned<T>) -> Place {
    Place { line: spanned.referenced.line(), column: spanned.referenced.column() }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a YAML value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                Value::deserialize(deserializer)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Boolean(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Integer(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                i64::try_from(value).map(Value::Integer).map_err(|_| E::custom("the number is too large"))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::String(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut sequence = Vec::new();
                while let Some(node) = items.next_element()? {
                    sequence.push(Child { key: (), node, removed: false });
                }
                Ok(Value::Sequence(sequence))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut mapping = Vec::new();
                while let Some(key) = entries.next_key::<Spanned<String>>()? {
                    let key = Key { place: place(&key), name: key.value };
                    mapping.push(Child { key, node: entries.next_value()?, removed: false });
                }
                Ok(Value::Mapping(mapping))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

/// The other direction: the tree as a source of values, so that documents are plain serde types. Errors keep their kind;
/// `serde_path_to_error` adds the path.
impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::Sequence(items) => {
                let items = items.iter().filter(|item| !item.removed).map(|item| &item.node);
                visitor.visit_seq(de::value::SeqDeserializer::new(items))
            }
            Value::Mapping(entries) => {
                let entries = entries.iter().filter(|entry| !entry.removed);
                let entries = entries.map(|entry| (entry.key.name.as_str(), &entry.node));
                visitor.visit_map(de::value::MapDeserializer::new(entries))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::String(variant) => {
                de::value::StrDeserializer::new(variant).deserialize_enum(name, variants, visitor)
            }
            _ => {
                Err(Fault::Type { found: self.kind().to_owned(), expected: format!("one of {}", variants.join(", ")) })
            }
        }
    }

    /// Only a mapping is a struct; serde would take a list for one, too.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::Mapping(_) => self.deserialize_any(visitor),
            _ => Err(Fault::Type { found: self.kind().to_owned(), expected: "a mapping of keys".to_owned() }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl Node {
    fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "empty",
            Value::Boolean(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::String(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl<'de> IntoDeserializer<'de, Fault> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

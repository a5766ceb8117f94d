//! From text to a [`Document`], past as many errors as there are.
//!
//! serde stops at the first error. Here each error is noted, what caused it is taken out of the tree, and the rest is read
//! again, until it can be read to the end. What depends on a part that was taken out is not reported again.

use std::fmt;

use serde::de;
use serde_path_to_error::Segment;
use serde_saphyr::Options;

use super::document::Document;
use super::findings::{Findings, did_you_mean};
use super::tree::{Node, Place, Step};

/// A document, the tree it was read from, and the errors met on the way.
pub(crate) struct Read {
    pub(crate) document: Document,
    pub(crate) tree: Node,
    pub(crate) findings: Findings,
}

/// After so many errors nobody reads on.
const MOST_FINDINGS: usize = 100;

pub(crate) fn read(text: &str) -> Result<Read, Findings> {
    let mut tree: Node = serde_saphyr::from_str_with_options(text, bounds()).map_err(|error| not_yaml(&error))?;
    let mut findings = Findings::default();
    loop {
        let error = match serde_path_to_error::deserialize::<_, Document>(&tree) {
            Ok(document) => return Ok(Read { document, tree, findings }),
            Err(error) => error,
        };
        let mut path = steps(error.path());
        let fault = error.into_inner();
        // A missing key is told of the mapping it is missing from, unless it is there but was wrong.
        let told_already = fault.missing_key().is_some_and(|key| {
            let missing: Vec<Step> = path.iter().cloned().chain([key.into()]).collect();
            tree.was_removed(&missing)
        });
        if !told_already {
            findings.add(&tree, &path, fault.to_string());
        }
        // The innermost part that can be taken out goes; the document itself cannot.
        while !path.is_empty() && !tree.remove(&path) {
            path.pop();
        }
        if path.is_empty() || findings.len() >= MOST_FINDINGS {
            return Err(findings);
        }
    }
}

/// What a file may ask of the parser: room for tens of thousands of routes, also where each takes up the same anchor. It is the
/// operator's own, so this guards against mistakes alone, such as aliases of aliases.
fn bounds() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 16_000_000,
            max_nodes: 4_000_000,
            max_aliases: 1_000_000,
            max_merge_keys: 1_000_000,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 4_000_000 },
    }
}

fn not_yaml(error: &serde_saphyr::Error) -> Findings {
    let place = error.location().map(|location| Place { line: location.line(), column: location.column() });
    // Without the snippet: it would repeat lines of the file, and somebody may have put a secret there.
    let error = error.without_snippet();
    let reason = match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {key:?} stands here twice; remove one of them")
        }
        error => {
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or_default();
            format!("this is not YAML that can be read: {what}")
        }
    };
    Findings::of_file(place, reason)
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().filter_map(step).collect()
}

/// What serde has to say, in words for an operator.
#[derive(Debug)]
pub(crate) enum Fault {
    UnknownKey { key: String, expected: &'static [&'static str] },
    MissingKey(&'static str),
    UnknownChoice { choice: String, expected: &'static [&'static str] },
    Type { found: String, expected: String },
    Other(String),
}

impl Fault {
    fn missing_key(&self) -> Option<&'static str> {
        match self {
            Self::MissingKey(key) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, expected } => match did_you_mean(key, expected.iter().copied()) {
                hint if hint.is_empty() => {
                    write!(formatter, "there is no such key; possible here: {}", expected.join(", "))
                }
                hint => write!(formatter, "there is no such key{hint}"),
            },
            Self::MissingKey(key) => write!(formatter, "the key {key:?} is missing; add it"),
            Self::UnknownChoice { choice, expected } => {
                let hint = did_you_mean(choice, expected.iter().copied());
                let lead = if hint.is_empty() { "; choose one of" } else { " Possible:" };
                write!(formatter, "{choice:?} is not possible{hint}{lead} {}", expected.join(", "))
            }
            Self::Type { found, expected } => write!(formatter, "this is {found}; write {expected}"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Other(text.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = match expected.to_string() {
            text if text == "a sequence" => "a list".to_owned(),
            text if text == "a string" => "a text".to_owned(),
            text if text == "a map" => "a mapping of names".to_owned(),
            text if text == "f64" => "a number".to_owned(),
            text if text == "a boolean" => "true or false".to_owned(),
            text if ["u16", "u32", "u64", "usize"].contains(&text.as_str()) => "a whole number".to_owned(),
            text if text.starts_with("a nonzero ") => "a whole number above 0".to_owned(),
            text => text,
        };
        let found = match found {
            de::Unexpected::Unit => "empty".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            de::Unexpected::Map => "a mapping".to_owned(),
            de::Unexpected::Str(_) => "a text".to_owned(),
            de::Unexpected::Bool(_) => "true or false".to_owned(),
            de::Unexpected::Signed(number) => format!("the number {number}"),
            other => format!("the {other}"),
        };
        Self::Type { found, expected }
    }

    fn unknown_field(key: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), expected }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey(key)
    }

    fn unknown_variant(choice: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownChoice { choice: choice.to_owned(), expected }
    }
}

/// A value of the kind a document holds, read from a text of its own: what [`values`](super::values) are tested with.
#[cfg(test)]
pub(crate) fn read_value<T: for<'de> de::Deserialize<'de>>(text: &str) -> Result<T, String> {
    let tree: Node = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    T::deserialize(&tree).map_err(|fault| fault.to_string())
}

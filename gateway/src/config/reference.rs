//! The reference for people, made from the JSON Schema: a table for each section of the file, in the order in which one
//! meets them. What is used in several places stands once, at the end.
//!
//! It knows the shapes that our own schema has: objects, lists, maps, enumerations, references, and alternatives of these.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

const HEAD: &str = "\
# Configuration reference

Made from the program: `phantomgate schema --format markdown`. [`conf/gateway.yaml`](../conf/gateway.yaml) is an example with
every key; [operations.md](operations.md) begins with a first one.

- A key in **bold** must be there. A dash in the column of defaults means that the key is left out, and so is what it is for.
- Unknown keys are errors. `phantomgate check -c FILE` tells all errors at once, each with its place.
- A *duration* has its unit: `500ms`, `30s`, `5m`, `1h 30m`, `7d`. So has a *size*: `512B`, `64KiB`, `4MiB`. A bare number is an
  error for either.
- Relative paths start from the folder of the configuration file.
- `[]` stands for each item of a list, `<name>` for a name of your choice.
";

/// The page for this schema.
pub(super) fn markdown(schema: &Value) -> String {
    let mut page = Page { definitions: schema.get("$defs").and_then(Value::as_object), uses: BTreeMap::new() };
    page.count_uses(schema);
    let mut text = HEAD.to_owned();
    page.section(&mut text, "", schema, 0);
    let shared = page.uses.iter().filter(|(_, uses)| **uses > 1).map(|(name, _)| *name);
    for (name, definition) in shared.filter_map(|name| Some((name, page.definition(name)?))) {
        if is_section(definition) {
            page.section(&mut text, name, definition, 0);
        }
    }
    text
}

/// What is known of the whole schema.
struct Page<'a> {
    definitions: Option<&'a Map<String, Value>>,
    /// How often each definition is referred to.
    uses: BTreeMap<&'a str, usize>,
}

impl<'a> Page<'a> {
    fn definition(&self, name: &str) -> Option<&'a Value> {
        self.definitions?.get(name)
    }

    fn count_uses(&mut self, value: &'a Value) {
        match value {
            Value::Object(members) => {
                if let Some(name) = reference(value) {
                    *self.uses.entry(name).or_default() += 1;
                }
                members.values().for_each(|member| self.count_uses(member));
            }
            Value::Array(items) => items.iter().for_each(|item| self.count_uses(item)),
            _ => {}
        }
    }

    /// The section of the object at `path`, and those of the objects in it.
    fn section(&self, text: &mut String, path: &str, object: &'a Value, depth: usize) {
        if !path.is_empty() {
            let _ = write!(text, "\n{} `{path}`\n", if depth > 1 { "###" } else { "##" });
            if let Some(description) = object.get("description").and_then(Value::as_str) {
                let _ = writeln!(text, "\n{}", paragraphs(description));
            }
        }
        let rows = properties(object);
        text.push_str("\n| key | type | default | what it is for |\n|---|---|---|---|\n");
        for Property { name, schema, required } in &rows {
            let key = if *required { format!("**`{name}`**") } else { format!("`{name}`") };
            let kind = self.kind(&join(path, name), schema);
            let default = match schema.get("default") {
                _ if *required => "",
                // Its own section has them.
                Some(Value::Object(keys))
                    if !keys.is_empty() && self.parts(path, schema).iter().any(|part| is_section(part.1)) =>
                {
                    "see there"
                }
                Some(value) if !value.is_null() => &format!("`{}`", yaml(value)),
                _ => "–",
            };
            let _ = writeln!(text, "| {key} | {} | {} | {} |", cell(&kind), cell(default), cell(&self.words(schema)));
        }
        for Property { name, schema, .. } in &rows {
            for (path, part) in self.parts(&join(path, name), schema) {
                if is_section(part) && !self.is_shared(schema_name(self.definitions, part)) {
                    self.section(text, &path, part, depth + 1);
                }
            }
        }
    }

    fn is_shared(&self, name: Option<&str>) -> bool {
        name.and_then(|name| self.uses.get(name)).is_some_and(|uses| *uses > 1)
    }

    /// All objects, enumerations and other definitions that a value at `path` may be, each with the path of its own.
    fn parts(&self, path: &str, schema: &'a Value) -> Vec<(String, &'a Value)> {
        if let Some(definition) = reference(schema).and_then(|name| self.definition(name)) {
            return match alternatives(definition) {
                Some(alternatives) if !is_enumeration(definition) => {
                    alternatives.flat_map(|alternative| self.parts(path, alternative)).collect()
                }
                _ => vec![(path.to_owned(), definition)],
            };
        }
        if let Some(alternatives) = alternatives(schema) {
            return alternatives.flat_map(|alternative| self.parts(path, alternative)).collect();
        }
        if let Some(items) = schema.get("items") {
            return self.parts(&format!("{path}[]"), items);
        }
        match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => self.parts(&join(path, "<name>"), values),
            None => vec![(path.to_owned(), schema)],
        }
    }

    /// What kind of value this is, in a few words.
    fn kind(&self, path: &str, schema: &'a Value) -> String {
        if let Some(name) = reference(schema) {
            return match self.definition(name) {
                _ if matches!(name, "Duration" | "Size") => name.to_lowercase(),
                Some(definition) if is_section(definition) => {
                    let section = if self.is_shared(Some(name)) { name } else { path };
                    format!("[section](#{})", anchor(section))
                }
                Some(definition) => self.kind(path, definition),
                None => String::new(),
            };
        }
        if let Some(names) = enumeration(schema) {
            return names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        }
        if let Some(alternatives) = alternatives(schema) {
            let kinds: Vec<_> = alternatives.map(|alternative| self.kind(path, alternative)).collect();
            return kinds.join(" or ");
        }
        if is_small(schema) {
            let members = properties(schema);
            let members = members.iter().map(|member| format!("`{}`: {}", member.name, self.kind(path, member.schema)));
            return format!("{{ {} }}", members.collect::<Vec<_>>().join(", "));
        }
        if is_section(schema) {
            return format!("[section](#{})", anchor(path));
        }
        let plain = match schema.get("type") {
            Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            Some(kind) => kind.as_str(),
            None => None,
        };
        match plain {
            Some("array") => {
                let items = schema.get("items").map(|items| self.kind(&format!("{path}[]"), items));
                format!("list of {}", items.unwrap_or_default())
            }
            Some("object") => {
                let values = schema.get("additionalProperties").filter(|values| values.is_object());
                format!("map: {}", values.map(|values| self.kind(&join(path, "<name>"), values)).unwrap_or_default())
            }
            Some("string") => "text".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some(number @ ("integer" | "number")) => {
                let bound = |key| schema.get(key).map(Value::to_string);
                let kind = if number == "integer" { "whole number" } else { "number" };
                match (bound("minimum").filter(|minimum| minimum != "0"), bound("maximum")) {
                    (Some(least), Some(most)) => format!("{kind}, {least} to {most}"),
                    (Some(least), None) => format!("{kind} from {least}"),
                    (None, Some(most)) => format!("{kind} up to {most}"),
                    (None, None) => kind.to_owned(),
                }
            }
            Some(_) | None => "any".to_owned(),
        }
    }

    /// What it is for, and what each of its values means.
    fn words(&self, schema: &'a Value) -> String {
        let mut words = schema.get("description").and_then(Value::as_str).map(paragraphs).unwrap_or_default();
        for (_, part) in self.parts("", schema) {
            for value in alternatives(part).into_iter().flatten() {
                if let (Some(name), Some(meaning)) =
                    (value.get("const").and_then(Value::as_str), value.get("description").and_then(Value::as_str))
                {
                    let _ = write!(words, "<br>`{name}`: {}", paragraphs(meaning));
                }
            }
        }
        words
    }
}

struct Property<'a> {
    name: &'a str,
    schema: &'a Value,
    required: bool,
}

/// The keys of an object: those that must be there first, in the order in which they are declared.
fn properties(object: &Value) -> Vec<Property<'_>> {
    let Some(members) = object.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required: Vec<_> = object.get("required").and_then(Value::as_array).into_iter().flatten().collect();
    let position = |name: &str| required.iter().position(|required| *required == name);
    let mut properties: Vec<_> =
        members.iter().map(|(name, schema)| Property { name, schema, required: position(name).is_some() }).collect();
    properties.sort_by_key(|property| position(property.name).unwrap_or(usize::MAX));
    properties
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

fn schema_name<'a>(definitions: Option<&'a Map<String, Value>>, schema: &Value) -> Option<&'a str> {
    definitions?.iter().find(|(_, definition)| std::ptr::eq(*definition, schema)).map(|(name, _)| name.as_str())
}

/// The alternatives that a value may be one of, without `null`: an optional key is left out.
fn alternatives(schema: &Value) -> Option<impl Iterator<Item = &Value>> {
    let all = schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()?;
    Some(all.iter().filter(|alternative| alternative.get("type").is_none_or(|kind| kind != "null")))
}

/// The values of an enumeration, however it is written.
fn enumeration(schema: &Value) -> Option<impl Iterator<Item = &str>> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let single = schema.get("const");
    let described = alternatives(schema).into_iter().flatten().filter_map(|value| value.get("const"));
    is_enumeration(schema).then(|| listed.chain(single).chain(described).filter_map(Value::as_str))
}

fn is_enumeration(schema: &Value) -> bool {
    let all_are_constant =
        || alternatives(schema).is_some_and(|mut alternatives| alternatives.all(|value| value.get("const").is_some()));
    schema.get("enum").is_some() || schema.get("const").is_some() || all_are_constant()
}

/// Whether this is an object with keys of ours, which gets a table.
fn is_section(schema: &Value) -> bool {
    schema.get("properties").is_some() && !is_small(schema)
}

/// Whether this is an object of one key without a name of its own: too little for a table.
fn is_small(schema: &Value) -> bool {
    schema.get("description").is_none() && properties(schema).len() == 1
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    heading.chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').flat_map(char::to_lowercase).collect()
}

/// Text of several lines, one line for each paragraph.
fn paragraphs(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("<br>")
}

/// A value as one would write it in the file.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All links into the page, and all headings as they are linked to.
    fn links_and_anchors(page: &str) -> (Vec<String>, Vec<String>) {
        let links = page.split("](#").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_owned());
        let headings = page.lines().filter_map(|line| line.strip_prefix("##")?.split('`').nth(1).map(anchor));
        (links.collect(), headings.collect())
    }

    #[test]
    fn every_link_leads_to_a_section_and_every_section_is_linked_to() {
        let (mut links, mut anchors) = links_and_anchors(&super::super::reference());
        assert!(anchors.len() > 15, "{anchors:?}");
        links.sort();
        links.dedup();
        anchors.sort();
        assert_eq!(links, anchors);
    }

    #[test]
    fn every_key_of_the_schema_has_a_row() {
        fn count(value: &Value) -> usize {
            let own = value.get("properties").and_then(Value::as_object).map_or(0, Map::len);
            let within = match value {
                Value::Object(members) => members.values().map(count).sum(),
                Value::Array(items) => items.iter().map(count).sum(),
                _ => 0,
            };
            own + within
        }
        let page = super::super::reference();
        let rows = page.lines().filter(|line| line.starts_with("| `") || line.starts_with("| **`")).count();
        // The one key of a rule stands in the text of its type.
        assert_eq!(rows, count(&super::super::schema()) - 1);
    }
}

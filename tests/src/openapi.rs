//! The description of the admin listener (OpenAPI 3.1), as something that answers can be held against.

use serde_json::Value;

use crate::{AnswerExt, Response, World};

/// What the admin listener says of itself.
pub struct Description(Value);

impl Description {
    /// Asks for it.
    pub async fn of(world: &World) -> Self {
        Self(world.admin("/v1/openapi.json").answer().await.assert_status(200).json())
    }

    /// The description as it came.
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// Every method and path that is described.
    pub fn operations(&self) -> Vec<(&str, &str)> {
        let paths = self.0["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (method.as_str(), path.as_str())))
            .collect()
    }

    /// Checks that an answer is one that is described, with no member that is not.
    #[track_caller]
    pub fn assert_describes(&self, method: &str, path: &str, answer: &Response) {
        let status = answer.status.as_str();
        let responses = &self.0["paths"][path][method]["responses"];
        let described = responses.get(status).unwrap_or(&self.0["components"]["responses"]["Problem"]);
        let media_type = answer.header("content-type");
        let content = &described["content"][media_type];
        assert!(content.is_object(), "{method} {path} answers {media_type}, not {described}");
        if !media_type.contains("json") {
            return;
        }
        if let Err(difference) = self.compare(&content["schema"], &answer.json(), "") {
            panic!("{method} {path} is not as it is described: {difference}\n{answer:#?}");
        }
    }

    /// Whether `value`, which stands at `place`, is what `schema` describes: of JSON Schema, what our descriptions use.
    /// What a schema does not name may not be there.
    fn compare(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(keywords) => keywords,
            _ => panic!("no schema: {schema}"),
        };
        let wrong = |what: &str| Err(format!("{place}: {value} {what} {schema}"));
        for (keyword, said) in keywords {
            let fits = |schema: &Value| self.compare(schema, value, place).is_ok();
            match keyword.as_str() {
                "$ref" => {
                    let pointer = said.as_str().unwrap().strip_prefix('#').unwrap();
                    self.compare(self.0.pointer(pointer).unwrap(), value, place)?;
                }
                "type" if !is_one_of(said, |name| has_type(value, name.as_str().unwrap())) => {
                    return wrong("is not of");
                }
                "enum" if !is_one_of(said, |one| one == value) => return wrong("is not in"),
                "const" if said != value => return wrong("is not"),
                "anyOf" if !is_one_of(said, fits) => return wrong("is nothing of"),
                "oneOf" if said.as_array().unwrap().iter().filter(|one| fits(one)).count() != 1 => {
                    return wrong("is none or several of");
                }
                "minimum" if value.as_f64() < said.as_f64() => return wrong("is less than"),
                "maximum" if value.as_f64() > said.as_f64() => return wrong("is more than"),
                "required"
                    if value.is_object()
                        && said.as_array().unwrap().iter().any(|name| value.get(name.as_str().unwrap()).is_none()) =>
                {
                    return wrong("has not all of");
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.compare(said, item, &format!("{place}/{index}"))?;
                    }
                }
                "properties" => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        let rest = schema.get("additionalProperties").unwrap_or(&Value::Null);
                        match said.get(name).unwrap_or(rest) {
                            Value::Null => return Err(format!("{place}/{name} is not described")),
                            schema => self.compare(schema, member, &format!("{place}/{name}"))?,
                        }
                    }
                }
                "type" | "enum" | "const" | "anyOf" | "oneOf" | "minimum" | "maximum" | "required" => {}
                "additionalProperties" | "description" | "title" | "format" | "default" => {}
                _ => panic!("{keyword} is a keyword that is not known here: {schema}"),
            }
        }
        Ok(())
    }
}

/// Whether `wanted` is true of one of them, or of the one.
fn is_one_of(said: &Value, wanted: impl Fn(&Value) -> bool) -> bool {
    said.as_array().map_or_else(|| wanted(said), |several| several.iter().any(&wanted))
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("no type of JSON: {name}"),
    }
}

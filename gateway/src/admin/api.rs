//! What can be asked of the admin listener, and the description of that (OpenAPI 3.1).
//!
//! An [`Api`] takes an operation together with its description, and there is no other way to add one: nothing is answered
//! that is not described. Schemas are made from the types that are sent, as the configuration's own schema is; OpenAPI 3.1
//! takes JSON Schema as it is.

use std::future;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use bytes::Bytes;
use http::{StatusCode, header};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Operations;
use super::problem::ProblemDetails;

/// Operations and their description.
pub(super) struct Api {
    router: Router<Arc<Operations>>,
    paths: Map<String, Value>,
    schemas: Schemas,
}

/// Makes schemas: of what is sent and of what is taken, in which a member with a default need not be.
struct Schemas {
    sent: SchemaGenerator,
    taken: SchemaGenerator,
}

/// The description of one operation, in the making.
pub(super) struct Operation<'api> {
    schemas: &'api mut Schemas,
    parameters: Vec<Value>,
    members: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Api {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
        let sent = settings.clone().with(|settings| settings.definitions_path = "/components/schemas".into());
        let taken = settings.with(|settings| settings.inline_subschemas = true);
        let schemas =
            Schemas { sent: sent.for_serialize().into_generator(), taken: taken.for_deserialize().into_generator() };
        Self { router: Router::new(), paths: Map::new(), schemas }
    }

    /// Adds a GET operation.
    pub(super) fn get<H: Handler<T, Arc<Operations>>, T: 'static>(
        self,
        path: &str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self {
        self.add("get", path, routing::get(handler), describe)
    }

    /// Adds a POST operation.
    pub(super) fn post<H: Handler<T, Arc<Operations>>, T: 'static>(
        self,
        path: &str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self {
        self.add("post", path, routing::post(handler), describe)
    }

    fn add(
        mut self,
        method: &str,
        path: &str,
        handler: MethodRouter<Arc<Operations>>,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self {
        self.describe(method, path, describe);
        Self { router: self.router.route(path, handler), ..self }
    }

    fn describe(&mut self, method: &str, path: &str, describe: impl FnOnce(Operation) -> Operation) {
        let operation = describe(Operation {
            schemas: &mut self.schemas,
            parameters: names_in(path).map(path_parameter).collect(),
            members: Map::new(),
            responses: Map::new(),
        });
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.to_owned(), operation.finish());
        }
    }

    /// All operations, and at `path` the description of all of them, itself included.
    pub(super) fn finish(mut self, path: &str) -> Router<Arc<Operations>> {
        self.describe("get", path, |it| it.summary("This description").json::<Value>(StatusCode::OK, "OpenAPI 3.1"));
        let content_type = [(header::CONTENT_TYPE, "application/json")];
        let description = Bytes::from(self.description().to_string());
        self.router.route(path, routing::get(move || future::ready((content_type, description))))
    }

    fn description(&mut self) -> Value {
        self.schemas.sent.subschema_for::<ProblemDetails>();
        json!({
            "openapi": "3.1.1",
            "info": {
                "title": "phantomgate",
                "summary": "The admin listener",
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            // With the token where one is configured, without one otherwise.
            "security": [{ "token": [] }, {}],
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.sent.take_definitions(true),
                "responses": { "Problem": {
                    "description": "What is wrong with the request, or here (RFC 9457)",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                } },
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            },
        })
    }
}

impl Operation<'_> {
    /// What it is for, in a line.
    pub(super) fn summary(mut self, text: &str) -> Self {
        self.members.insert("summary".to_owned(), text.into());
        self
    }

    /// What else there is to know.
    pub(super) fn description(mut self, text: &str) -> Self {
        self.members.insert("description".to_owned(), text.into());
        self
    }

    /// It takes the members of `T` as parameters of the query.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        let schema = self.schemas.taken.subschema_for::<T>().to_value();
        let members = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        self.parameters.extend(members.map(|(name, schema)| {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            json!({ "name": name, "in": "query", "description": description, "schema": schema })
        }));
        self
    }

    /// It takes a `T` as JSON.
    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        let schema = self.schemas.taken.subschema_for::<T>();
        let body = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        self.members.insert("requestBody".to_owned(), body);
        self
    }

    /// It answers with a `T` as JSON.
    pub(super) fn json<T: JsonSchema>(self, status: StatusCode, description: &str) -> Self {
        let schema = self.schemas.sent.subschema_for::<T>().to_value();
        self.answer(status, description, "application/json", &schema)
    }

    /// It answers with a `T` as problem details.
    pub(super) fn problem<T: JsonSchema>(self, status: StatusCode, description: &str) -> Self {
        let schema = self.schemas.sent.subschema_for::<T>().to_value();
        self.answer(status, description, "application/problem+json", &schema)
    }

    /// It answers with text of this media type.
    pub(super) fn text(self, status: StatusCode, description: &str, media_type: &str) -> Self {
        self.answer(status, description, media_type, &json!({ "type": "string" }))
    }

    fn answer(mut self, status: StatusCode, description: &str, media_type: &str, schema: &Value) -> Self {
        let answer = json!({ "description": description, "content": { media_type: { "schema": schema } } });
        self.responses.insert(status.as_str().to_owned(), answer);
        self
    }

    fn finish(self) -> Value {
        let Self { mut members, mut responses, parameters, .. } = self;
        responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
        members.insert("responses".to_owned(), responses.into());
        if !parameters.is_empty() {
            members.insert("parameters".to_owned(), parameters.into());
        }
        members.into()
    }
}

/// The names between braces.
fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

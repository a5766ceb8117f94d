//! Our own documents, answered before any credential is asked for: protected resource metadata (RFC 9728) for each route,
//! and the public keys of our JWTs (RFC 7517).
//!
//! Built once from the configuration. Nothing in them comes from the request: `resource` is what the operator wrote, never
//! what a `Host` header says.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::request_target::RequestTarget;
use crate::route::{Protection, RouteTable};
use crate::signing::Signer;

const PREFIX: &str = "/.well-known/";
const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
const JWKS: &str = "/.well-known/jwks.json";

/// How long clients may keep a document.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The documents of one configuration.
#[derive(Default)]
pub struct WellKnown {
    /// By host (none for routes of any host), then by path.
    metadata: HashMap<Option<String>, HashMap<String, Bytes>>,
}

impl WellKnown {
    /// The metadata of the protected routes in `routes`. With a single one on a host, its metadata answers for the root
    /// form too, which some clients try.
    pub fn new(routes: &RouteTable) -> Self {
        let mut metadata: HashMap<Option<String>, HashMap<String, Bytes>> = HashMap::new();
        for route in routes.iter() {
            if let Some(protection) = &route.protection {
                let host = route.host.as_ref().map(|host| host.as_str().to_owned());
                let document = Bytes::from(document(&route.name, protection).to_string());
                metadata.entry(host).or_default().insert(protection.resource.metadata_path(), document);
            }
        }
        for documents in metadata.values_mut() {
            if let [only] = &documents.values().collect::<Vec<_>>()[..] {
                let only = Bytes::clone(only);
                documents.entry(PROTECTED_RESOURCE.to_owned()).or_insert(only);
            }
        }
        Self { metadata }
    }

    /// The answer to a request for one of the documents; none when it is for something else.
    pub fn answer(
        &self,
        request: &request::Parts,
        target: &RequestTarget<'_>,
        signer: Option<&Signer>,
    ) -> Option<Answer> {
        if !target.path.starts_with(PREFIX) {
            return None;
        }
        let (body, content_type) = match target.path {
            JWKS => (signer?.key_set(), "application/jwk-set+json"),
            _ => (self.metadata(target)?, "application/json"),
        };
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let allow = vec![(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
            return Some(Answer { status: StatusCode::METHOD_NOT_ALLOWED, headers: allow, body: Bytes::new() });
        }
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            // Public documents, which browser clients read from other origins.
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        ];
        Some(Answer { status: StatusCode::OK, headers, body })
    }

    fn metadata(&self, target: &RequestTarget<'_>) -> Option<Bytes> {
        let by_host = target.host.as_deref().and_then(|host| self.metadata.get(&Some(host.to_owned())));
        let find = |documents: &HashMap<String, Bytes>| documents.get(target.path).cloned();
        by_host.and_then(find).or_else(|| self.metadata.get(&None).and_then(find))
    }
}

/// Protected resource metadata (RFC 9728 §2). Empty lists are left out (RFC 9728 §3.2).
fn document(name: &str, protection: &Protection) -> Value {
    let mut document = json!({
        "resource": protection.resource.as_str(),
        "resource_name": name,
        "authorization_servers": [protection.authorization_server],
        "bearer_methods_supported": ["header"],
    });
    // A refresh token is between the client and its authorization server: no scope of a resource.
    let scopes: Vec<_> =
        protection.scopes.iter().map(|scope| scope.as_str()).filter(|scope| *scope != "offline_access").collect();
    if let (false, Some(members)) = (scopes.is_empty(), document.as_object_mut()) {
        members.insert("scopes_supported".to_owned(), json!(scopes));
    }
    document
}

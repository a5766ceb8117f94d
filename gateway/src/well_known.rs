//! Public documents, answered before any credential is asked for: protected resource metadata (RFC 9728) for each route,
//! the public keys of our JWTs (RFC 7517), and, where a route says so, the metadata of its authorization server (RFC 8414).
//!
//! The first two are ours, built once from the configuration. Nothing in them comes from the request: `resource` is what
//! the operator wrote, never what a `Host` header says. The third is passed on as it was published: we are no
//! authorization server, and its `issuer` stays true.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request};
use phantomgate_introspection::{AuthorizationServer, ScopeSet};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cross_origin;
use crate::rejection::Rejection;
use crate::request_target::RequestTarget;
use crate::route::hosts::HostTable;
use crate::route::{Protection, Route, RouteTable};
use crate::signing::Signer;

const PREFIX: &str = "/.well-known/";
const PROTECTED_RESOURCE: &str = "oauth-protected-resource";
const AUTHORIZATION_SERVER: &str = "oauth-authorization-server";
const JSON: &str = "application/json";
const JWKS: &str = "/.well-known/jwks.json";

/// How long clients may keep a document.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The documents of one configuration.
#[derive(Default)]
pub struct WellKnown {
    /// By host, then by path.
    documents: HostTable<HashMap<String, Document>>,
}

/// A document, or where it is to be had.
#[derive(Clone)]
enum Document {
    /// Ours.
    Own { body: Bytes, content_type: &'static str },
    /// The metadata of an authorization server, which it alone knows.
    AuthorizationServer(Arc<AuthorizationServer>),
}

impl WellKnown {
    /// The documents that `routes` call for. With the metadata of a single resource on a host, that answers for the root
    /// form too, which some clients try.
    pub fn new(routes: &RouteTable) -> Self {
        let mut routes: Vec<_> = routes.iter().collect();
        // Where several are for one resource, the one for most of it gives the name.
        let order = |route: &&Arc<Route>| (route.matches.path.as_str().to_owned(), route.name.clone());
        routes.sort_by_cached_key(order);
        let mut resources = HostTable::<HashMap<String, Resource<'_>>>::default();
        for (route, protection) in protected(&routes) {
            let path = protection.resource.well_known_path(PROTECTED_RESOURCE);
            let first = || Resource { name: &route.name, protection, scopes: ScopeSet::default() };
            let resource = resources.entry(&route.matches.host).entry(path).or_insert_with(first);
            resource.scopes.extend(&protection.scopes_supported);
        }
        let documents_of = |resources: HashMap<String, Resource<'_>>| {
            resources.into_iter().map(|(path, resource)| (path, Document::json(&resource.document()))).collect()
        };
        let mut documents: HostTable<HashMap<String, Document>> = resources.map(documents_of);
        for on_host in documents.values_mut() {
            if let [only] = &on_host.values().collect::<Vec<_>>()[..] {
                let only = Document::clone(only);
                on_host.entry(format!("{PREFIX}{PROTECTED_RESOURCE}")).or_insert(only);
            }
        }
        for (route, protection) in
            protected(&routes).filter(|(_, protection)| protection.publishes_authorization_server)
        {
            let server = Document::AuthorizationServer(protection.introspector.authorization_server().clone());
            let on_host = documents.entry(&route.matches.host);
            // The configuration was checked to have one authorization server on a host.
            on_host.insert(format!("{PREFIX}{AUTHORIZATION_SERVER}"), server.clone());
            on_host.insert(protection.resource.well_known_path(AUTHORIZATION_SERVER), server);
        }
        Self { documents }
    }

    /// The answer to a request for one of the documents; none when it is for something else.
    ///
    /// # Errors
    /// [`Rejection::MetadataUnavailable`] when an authorization server does not tell.
    pub async fn answer(
        &self,
        request: &request::Parts,
        target: &RequestTarget<'_>,
        signer: Option<&Signer>,
    ) -> Result<Option<Answer>, Rejection> {
        if !is_below(target.path) {
            return Ok(None);
        }
        let document = match target.path {
            JWKS => signer.map(Document::key_set),
            _ => self.find(target),
        };
        let Some(document) = document else { return Ok(None) };
        if let Some(answer) = cross_origin::preflight_of_document(request) {
            return Ok(Some(answer));
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let allow = vec![(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
            return Ok(Some(Answer { status: StatusCode::METHOD_NOT_ALLOWED, headers: allow, body: Bytes::new() }));
        }
        let (body, content_type) = match document {
            Document::Own { body, content_type } => (body, content_type),
            Document::AuthorizationServer(server) => (published_by(&server).await?, JSON),
        };
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            cross_origin::PUBLIC,
        ];
        Ok(Some(Answer { status: StatusCode::OK, headers, body }))
    }

    fn find(&self, target: &RequestTarget<'_>) -> Option<Document> {
        self.documents.of(target.host.as_deref()).find_map(|documents| documents.get(target.path).cloned())
    }
}

/// Whether public documents are looked for at `path`. Clients try several of these addresses, and go on to the next when one
/// is 404; in a browser they see that only where any page may read the answer.
pub fn is_below(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// The answer to a preflight for a document that is not there, so that a page learns that it is not.
pub fn preflight(request: &request::Parts, target: &RequestTarget<'_>) -> Option<Answer> {
    is_below(target.path).then(|| cross_origin::preflight_of_document(request)).flatten()
}

impl Document {
    fn json(value: &Value) -> Self {
        Self::Own { body: value.to_string().into(), content_type: JSON }
    }

    fn key_set(signer: &Signer) -> Self {
        Self::Own { body: signer.key_set(), content_type: "application/jwk-set+json" }
    }
}

fn protected<'a>(routes: &[&'a Arc<Route>]) -> impl Iterator<Item = (&'a Route, &'a Protection)> {
    routes.iter().filter_map(|route| route.protection.as_ref().map(|protection| (&***route, protection)))
}

async fn published_by(server: &AuthorizationServer) -> Result<Bytes, Rejection> {
    server.published_metadata().await.map_err(|unavailable| Rejection::MetadataUnavailable(Arc::new(unavailable)))
}

/// A protected resource, perhaps of several routes. The configuration was checked to have one authorization server for it.
struct Resource<'a> {
    name: &'a str,
    protection: &'a Protection,
    /// What any of its routes may ask for.
    scopes: ScopeSet,
}

impl Resource<'_> {
    /// Protected resource metadata (RFC 9728 §2). Empty lists are left out (RFC 9728 §3.2).
    fn document(&self) -> Value {
        let mut document = json!({
            "resource": self.protection.resource.as_str(),
            "resource_name": self.name,
            "authorization_servers": [self.protection.authorization_server],
            "bearer_methods_supported": ["header"],
        });
        let scopes: Vec<_> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        if let (false, Some(members)) = (scopes.is_empty(), document.as_object_mut()) {
            members.insert("scopes_supported".to_owned(), json!(scopes));
        }
        document
    }
}

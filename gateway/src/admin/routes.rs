//! `GET /v1/routes`: which requests go where, and what they need.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::Operations;
use crate::config::{HostPattern, RequestMatch};
use crate::route::{Protection, Route};
use crate::upstream_credential::CredentialKind;

/// All routes.
#[derive(Serialize, JsonSchema)]
pub(super) struct Routes {
    /// By name.
    routes: Vec<RouteView>,
}

/// One route, without its secrets.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Route")]
struct RouteView {
    /// Its name in logs and the audit.
    name: String,
    /// The host it is for, or `*.` and a host for all below it; any when null.
    host: Option<String>,
    /// The path it is for, and everything below it.
    path: String,
    /// Whether it is for that path alone.
    exact: bool,
    /// The methods it takes; all when null.
    methods: Option<Vec<String>>,
    /// What stands in place of that path at the upstream; the path stays when null.
    rewrite: Option<String>,
    /// The name of the upstream that its requests go to.
    upstream: String,
    /// Who may pass; anybody when null.
    protection: Option<ProtectionView>,
    /// The revisions of MCP that are spoken; null when it is no MCP endpoint.
    mcp_revisions: Option<Vec<&'static str>>,
}

/// Who may pass.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Protection")]
struct ProtectionView {
    /// The public URL, and the audience a token must carry.
    resource: String,
    /// Further audiences that will do.
    audiences: Vec<String>,
    /// The issuer of the tokens.
    authorization_server: String,
    /// What a token must have been granted.
    scopes: Vec<String>,
    /// The forms of tokens that are taken: `opaque`, `jwt`.
    accepts: Vec<&'static str>,
    /// What the upstream gets in place of the token: `jwt`, `signed`, `exchange`, `header` or `none`.
    credential: &'static str,
}

pub(super) async fn routes(State(operations): State<Arc<Operations>>) -> Json<Routes> {
    let mut routes: Vec<_> = operations.current.get().routes.iter().map(|route| RouteView::of(route)).collect();
    routes.sort_by(|one, other| one.name.cmp(&other.name));
    Json(Routes { routes })
}

impl RouteView {
    fn of(route: &Route) -> Self {
        let RequestMatch { host, path, methods } = &route.matches;
        Self {
            name: route.name.to_string(),
            host: (*host != HostPattern::Any).then(|| host.to_string()),
            path: path.to_string(),
            exact: path.is_exact(),
            methods: methods.as_ref().map(|methods| methods.iter().map(ToString::to_string).collect()),
            rewrite: route.rewrite.as_ref().map(ToString::to_string),
            upstream: route.upstream.name().to_string(),
            protection: route.protection.as_ref().map(ProtectionView::of),
            mcp_revisions: route.mcp.as_ref().map(|mcp| mcp.revisions.iter().map(|one| one.as_str()).collect()),
        }
    }
}

impl ProtectionView {
    fn of(protection: &Protection) -> Self {
        let accepts = [("opaque", protection.accepts.opaque), ("jwt", protection.accepts.jwt)];
        Self {
            resource: protection.resource.as_str().to_owned(),
            audiences: protection.audiences.to_vec(),
            authorization_server: protection.authorization_server.clone(),
            scopes: protection.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            accepts: accepts.into_iter().filter(|(_, taken)| *taken).map(|(form, _)| form).collect(),
            credential: match protection.credential.as_ref().map(|source| &source.kind) {
                None => "none",
                Some(CredentialKind::Jwt) => "jwt",
                Some(CredentialKind::Signed(_)) => "signed",
                Some(CredentialKind::Exchange(_)) => "exchange",
                Some(CredentialKind::Header(_)) => "header",
            },
        }
    }
}

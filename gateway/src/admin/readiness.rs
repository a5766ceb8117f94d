//! Whether requests of agents can be served, and if not, what is missing.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use phantomgate_introspection::NumericDate;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::task::JoinSet;

use super::Operations;
use crate::gateway::Gateway;

/// How long is waited for an authorization server that has not been reached yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether requests of agents can be served.
#[derive(Serialize, JsonSchema)]
pub(super) struct Readiness {
    /// Whether they can.
    ready: bool,
    /// What is not ready; empty when all is.
    not_ready: Vec<Missing>,
}

/// Something that is not ready.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
struct Missing {
    /// What it is: `gateway`, `authorization server`, `signing`, `upstream`.
    what: &'static str,
    /// What the configuration calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Why it is not ready.
    reason: String,
}

pub(super) async fn readiness(State(operations): State<Arc<Operations>>) -> (StatusCode, Json<Readiness>) {
    let mut not_ready = operations.missing().await;
    not_ready.sort();
    let ready = not_ready.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, not_ready }))
}

impl Operations {
    async fn missing(&self) -> Vec<Missing> {
        let gateway = self.current.get();
        let mut missing = unprepared_authorization_servers(&gateway).await;
        if self.stopping.has_begun() {
            let reason = "requests under way are finished, and no others taken".to_owned();
            missing.push(Missing { what: "gateway", name: None, reason });
        }
        if gateway.signer.as_ref().is_some_and(|signer| !signer.can_sign(NumericDate::now())) {
            missing.push(Missing { what: "signing", name: None, reason: "there is no signing key".to_owned() });
        }
        let unresolved = gateway.upstreams.iter().filter(|upstream| !upstream.is_resolved());
        missing.extend(unresolved.map(|upstream| Missing {
            what: "upstream",
            name: Some(upstream.name().to_owned()),
            reason: "no endpoint has an address".to_owned(),
        }));
        missing
    }
}

/// All at once: one that hangs does not hide another.
async fn unprepared_authorization_servers(gateway: &Gateway) -> Vec<Missing> {
    let mut checks = JoinSet::new();
    for server in &gateway.authorization_servers {
        let (name, server) = (server.name.clone(), server.introspector.authorization_server().clone());
        checks.spawn(async move {
            let reason = match tokio::time::timeout(PATIENCE, server.prepare()).await {
                Ok(Ok(())) => return None,
                Ok(Err(unavailable)) => unavailable.to_string(),
                Err(_elapsed) => format!("no answer within {PATIENCE:?}"),
            };
            Some(Missing { what: "authorization server", name: Some(name), reason })
        });
    }
    checks.join_all().await.into_iter().flatten().collect()
}

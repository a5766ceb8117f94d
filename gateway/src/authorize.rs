//! ⑥ The decision: does this token, on this route, pass? And its proof, the [`Grant`].

use std::sync::Arc;

use phantomgate_introspection::CachedToken;

use crate::rejection::Rejection;
use crate::route::{Protection, Route};
use crate::upstream_credential::DerivedCredentials;

/// Proof that a request may go to the upstream of its route. Only this file makes one; choosing a peer and swapping the
/// token take it by reference.
pub struct Grant {
    route: Arc<Route>,
    token: Option<Arc<CachedToken<DerivedCredentials>>>,
}

impl Grant {
    /// The route it is for.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The token it was given for; none on a public route.
    pub fn token(&self) -> Option<&Arc<CachedToken<DerivedCredentials>>> {
        self.token.as_ref()
    }
}

/// Lets anybody pass a route that is public. None when it is not.
pub fn authorize_public(route: &Arc<Route>) -> Option<Grant> {
    route.protection.is_none().then(|| Grant { route: route.clone(), token: None })
}

/// Lets a request with an active `token` pass `route`, whose protection is `protection`.
///
/// # Errors
/// [`Rejection::WrongAudience`] when the token was not issued for this resource (RFC 8707, RFC 9728),
/// [`Rejection::InsufficientScope`] when it was not granted what the route asks for.
pub fn authorize(
    route: &Arc<Route>,
    protection: &Protection,
    token: Arc<CachedToken<DerivedCredentials>>,
) -> Result<Grant, Rejection> {
    let active = token.active();
    let is_ours =
        |audience: &String| audience == protection.resource.as_str() || protection.audiences.contains(audience);
    if !active.audience.iter().any(is_ours) {
        return Err(Rejection::WrongAudience);
    }
    if !protection.scope_hierarchy.covers(&active.scope, &protection.scopes) {
        return Err(Rejection::InsufficientScope(protection.scopes.clone()));
    }
    Ok(Grant { route: route.clone(), token: Some(token) })
}

//! ②–⑥ as one function: a request for a route becomes a [`Grant`] or a [`Rejection`].
//!
//! Knows nothing of Pingora, so that another front door can call the same code.

use std::sync::Arc;

use http::request;
use phantomgate_introspection::NumericDate;

use crate::authorize::{Grant, authorize, authorize_public};
use crate::credential;
use crate::rejection::{MalformedRequest, Rejection};
use crate::route::Route;

/// Decides whether `request` may go to the upstream of `route`, at the time `now`.
///
/// # Errors
/// The [`Rejection`] to answer with.
pub async fn admit(route: &Arc<Route>, request: &request::Parts, now: NumericDate) -> Result<Grant, Rejection> {
    let Some(protection) = &route.protection else { return admit_anybody(route, request) };
    let token = credential::from(request)?; // 400, 401
    let token = protection.introspector.introspect(token, protection.accepts, now).await?; // 401, 503
    authorize(route, protection, token) // a grant, or 401, 403
}

/// A public route looks at no token, and passes none on: its upstream must not get one by way of the query either.
fn admit_anybody(route: &Arc<Route>, request: &request::Parts) -> Result<Grant, Rejection> {
    if credential::has_access_token(request) {
        return Err(MalformedRequest::TokenInQuery.into());
    }
    authorize_public(route).ok_or(Rejection::NoRoute)
}

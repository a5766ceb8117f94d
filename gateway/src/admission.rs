//! ②–⑤: who asks. A request for a route becomes a [`Caller`] or a [`Rejection`]; what they may do, [`authorize`] says.
//!
//! Knows nothing of Pingora, so that another front door can call the same code.
//!
//! [`authorize`]: crate::authorize::authorize

use std::sync::Arc;

use http::request;
use phantomgate_introspection::{Lookup, NumericDate};

use crate::authorize::Caller;
use crate::credential;
use crate::listener::ClientCertificate;
use crate::rejection::{MalformedRequest, Rejection};
use crate::route::Route;

/// Whoever sends `request` to `route`, at the time `now`, over a connection on which they have shown `certificate`. Notes in
/// `lookup` how their token was known.
///
/// # Errors
/// The [`Rejection`] to answer with.
pub async fn admit(
    route: &Arc<Route>,
    request: &request::Parts,
    certificate: Option<&ClientCertificate>,
    now: NumericDate,
    lookup: &mut Option<Lookup>,
) -> Result<Caller, Rejection> {
    let Some(protection) = &route.protection else { return admit_anybody(route, request) };
    let token = credential::from(request)?; // 400, 401
    let token = protection.introspector.look_up(token, protection.accepts, now, lookup).await?; // 401, 503
    Caller::with_token(route, protection, token, certificate) // 401
}

/// A public route looks at no token, and passes none on: its upstream must not get one by way of the query either.
fn admit_anybody(route: &Arc<Route>, request: &request::Parts) -> Result<Caller, Rejection> {
    if credential::has_access_token(request) {
        return Err(MalformedRequest::TokenInQuery.into());
    }
    Caller::anybody(route).ok_or(Rejection::NoRoute)
}

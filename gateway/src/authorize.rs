//! ⑥ The decision: may this caller do this here? And its proof, the [`Grant`].

use std::sync::Arc;

use phantomgate_introspection::{CachedToken, Inactive};
use phantomgate_mcp::Messages;

use crate::listener::ClientCertificate;
use crate::mcp::granted;
use crate::mcp::policy::Refusal;
use crate::rejection::Rejection;
use crate::route::{Protection, Route};
use crate::upstream_credential::DerivedCredentials;

/// Who asks, on a route: somebody with an active token that was issued for it, or, where it is public, anybody.
pub struct Caller {
    route: Arc<Route>,
    token: Option<Arc<CachedToken<DerivedCredentials>>>,
}

/// Proof that a request may go to the upstream of its route. Only this file makes one; choosing a peer and swapping the
/// token take it by reference.
pub struct Grant(Caller);

impl Caller {
    /// Anybody, on a route that is public. None when it is not.
    pub fn anybody(route: &Arc<Route>) -> Option<Self> {
        route.protection.is_none().then(|| Self { route: route.clone(), token: None })
    }

    /// Whoever has this active `token`, on `route`, whose protection is `protection`, and has shown `certificate`.
    ///
    /// # Errors
    /// [`Inactive::SenderConstrained`] when the token is bound to another certificate (RFC 8705 §3);
    /// [`Rejection::WrongAudience`] when the token was not issued for this resource (RFC 8707, RFC 9728).
    pub fn with_token(
        route: &Arc<Route>,
        protection: &Protection,
        token: Arc<CachedToken<DerivedCredentials>>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Self, Rejection> {
        let bound_to = token.active().certificate.as_ref();
        if bound_to.is_some() && bound_to != certificate.map(|certificate| &certificate.thumbprint) {
            return Err(Rejection::InactiveToken(Inactive::SenderConstrained));
        }
        let is_ours =
            |audience: &String| audience == protection.resource.as_str() || protection.audiences.contains(audience);
        if !token.active().audience.iter().any(is_ours) {
            return Err(Rejection::WrongAudience);
        }
        Ok(Self { route: route.clone(), token: Some(token) })
    }

    /// The token it has; none on a public route.
    pub fn token(&self) -> Option<&Arc<CachedToken<DerivedCredentials>>> {
        self.token.as_ref()
    }
}

impl Grant {
    /// The route it is for.
    pub fn route(&self) -> &Arc<Route> {
        &self.0.route
    }

    /// The token it was given for; none on a public route.
    pub fn token(&self) -> Option<&Arc<CachedToken<DerivedCredentials>>> {
        self.0.token.as_ref()
    }
}

/// Lets `caller` do what `messages` say; without messages, what needs no more than the route itself.
///
/// # Errors
/// [`Rejection::InsufficientScope`] with all that is needed, when the token was granted less;
/// [`Rejection::ToolDenied`] when the route lets nobody do this.
pub fn authorize(caller: Caller, messages: Option<&Messages>) -> Result<Grant, Rejection> {
    let route = &caller.route;
    let granted = granted(route, caller.token.as_deref());
    let needed = route.protection.as_ref().map(|protection| &protection.scopes);
    let outcome = match (&route.mcp, messages) {
        (Some(mcp), Some(messages)) => mcp.policy.check(messages, needed, granted),
        _ if needed.is_none_or(|needed| granted.covers(needed)) => Ok(()),
        _ => Err(Refusal::Scopes(needed.cloned().unwrap_or_default())),
    };
    match outcome {
        Ok(()) => Ok(Grant(caller)),
        Err(Refusal::Denied) => Err(Rejection::ToolDenied),
        Err(Refusal::Scopes(scopes)) => Err(Rejection::InsufficientScope(scopes)),
    }
}

//! ⑦ The token swap: every credential and identity the client sent is taken out, and the upstream's own put in.
//!
//! Runs on the header that goes upstream, on each attempt anew, and takes a [`Grant`]: without one there is nothing to
//! send.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};
use parking_lot::RwLock;
use phantomgate_introspection::NumericDate;
use pingora::http::RequestHeader;

use crate::authorize::Grant;
use crate::signing::{JwtAccessToken, SigningError};

/// What was made from a token for upstreams: it is kept with the token's cache entry, and ends with it.
#[derive(Debug, Default)]
pub struct DerivedCredentials(RwLock<Vec<(Arc<str>, Arc<JwtAccessToken>)>>);

/// What goes upstream in place of the agent's token.
#[derive(Debug, Clone)]
pub enum UpstreamCredential {
    /// This `Authorization` header.
    Authorization(HeaderValue),
    /// Nothing.
    None,
}

/// The header that names the request in our log, given to the upstream too.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The credential that `grant` entitles to: one made before, or a new one.
///
/// # Errors
/// [`SigningError`] when it cannot be made.
pub fn credential(grant: &Grant, now: NumericDate) -> Result<UpstreamCredential, SigningError> {
    let signed = grant.route().protection.as_ref().and_then(|protection| protection.credential.as_ref());
    let (Some(signed), Some(token)) = (signed, grant.token()) else { return Ok(UpstreamCredential::None) };
    let derived = token.derived();
    if let Some(jwt) = derived.get(&signed.audience, now) {
        return Ok(UpstreamCredential::Authorization(jwt));
    }
    let jwt = Arc::new(signed.signer.sign(token.active(), &signed.audience, now)?);
    derived.put(signed.audience.clone(), jwt.clone());
    Ok(UpstreamCredential::Authorization(jwt.header.clone()))
}

impl DerivedCredentials {
    fn get(&self, audience: &str, now: NumericDate) -> Option<HeaderValue> {
        let all = self.0.read();
        let (_, jwt) = all.iter().find(|(own, _)| **own == *audience)?;
        (now < jwt.reusable_until).then(|| jwt.header.clone())
    }

    /// One per audience, so never more than there are routes.
    fn put(&self, audience: Arc<str>, jwt: Arc<JwtAccessToken>) {
        let mut all = self.0.write();
        match all.iter_mut().find(|(own, _)| *own == audience) {
            Some((_, old)) => *old = jwt,
            None => all.push((audience, jwt)),
        }
    }
}

/// Makes `header` fit for the upstream: what the client may not say is gone, what the upstream needs is there.
///
/// # Errors
/// When Pingora refuses a header value.
pub fn swap(
    _granted: &Grant,
    credential: &UpstreamCredential,
    authority: &str,
    request_id: &str,
    header: &mut RequestHeader,
) -> pingora::Result<()> {
    let untrusted: Vec<HeaderName> =
        header.headers.keys().filter(|name| is_untrusted(name.as_str())).cloned().collect();
    for name in &untrusted {
        header.remove_header(name);
    }
    if let UpstreamCredential::Authorization(value) = credential {
        header.insert_header(header::AUTHORIZATION, value.clone())?;
    }
    header.insert_header(header::HOST, authority)?;
    use_origin_form(header)?;
    header.insert_header(REQUEST_ID, request_id)
}

/// Of a whole URL only the path was decided on, and only that goes on; Pingora would send it as it came.
fn use_origin_form(header: &mut RequestHeader) -> pingora::Result<()> {
    let path = match header.uri.path_and_query() {
        Some(path) if !header.raw_path().starts_with(b"/") => path.clone(),
        _ => return Ok(()),
    };
    header.set_raw_path(path.as_str().as_bytes())
}

/// Headers that servers behind proxies take for facts about who is asking, and credentials of every kind. A client that
/// sends one speaks for itself.
fn is_untrusted(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "authorization",
        "proxy-authorization",
        "dpop",
        "txn-token",
        "client-cert",
        "client-cert-chain",
        "forwarded",
        "from",
        "remote-user",
        "x-real-ip",
        "x-user",
        "x-userinfo",
        "x-access-token",
        "x-id-token",
        "x-original-url",
        "x-rewrite-url",
    ];
    const PREFIXES: [&str; 16] = [
        "x-forwarded-",
        "x-auth-",
        "x-authenticated-",
        "x-remote-",
        "remote-",
        "x-user-",
        "x-client-cert",
        "x-ssl-",
        "ssl-",
        "x-jwt-",
        "x-amzn-oidc-",
        "x-goog-authenticated-",
        "x-goog-iap-",
        "x-ms-client-principal",
        "x-ms-token-",
        "cf-access-",
    ];
    // `X_Forwarded_User` becomes the same variable as `X-Forwarded-User` in CGI, WSGI and their heirs.
    name.contains('_') || NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_of_identity_is_untrusted() {
        for name in [
            "authorization",
            "proxy-authorization",
            "dpop",
            "txn-token",
            "client-cert",
            "x-forwarded-user",
            "x-forwarded-for",
            "x_forwarded_user",
            "remote-user",
            "x-remote-user",
            "x-auth-request-email",
            "x-client-cert-sha256",
            "x-original-url",
        ] {
            assert!(is_untrusted(name), "{name}");
        }
        for name in
            ["accept", "content-type", "mcp-session-id", "mcp-param-user", "x-api-version", "cookie", "user-agent"]
        {
            assert!(!is_untrusted(name), "{name}");
        }
    }

    #[test]
    fn a_credential_is_reused_until_it_is_due_and_replaced_then() {
        let at = NumericDate::from_seconds;
        let jwt = |text: &'static str, until| {
            Arc::new(JwtAccessToken { header: HeaderValue::from_static(text), reusable_until: at(until) })
        };
        let derived = DerivedCredentials::default();
        derived.put("a".into(), jwt("one", 100));
        derived.put("b".into(), jwt("other", 100));
        assert_eq!(derived.get("a", at(99)).unwrap(), "one");
        assert!(derived.get("a", at(100)).is_none());
        derived.put("a".into(), jwt("two", 200));
        assert_eq!(derived.get("a", at(100)).unwrap(), "two");
        assert_eq!(derived.0.read().len(), 2);
    }
}

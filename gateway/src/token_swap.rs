//! ⑧ The token swap: every credential and identity the client sent is taken out, and the upstream's own put in.
//!
//! Says what is changed in the head that goes upstream, on each attempt anew, and takes a [`Grant`]: without one there is
//! nothing to send.

use std::borrow::Cow;

use http::header::{HeaderName, HeaderValue, InvalidHeaderValue};
use http::{HeaderMap, header};
use uuid::Uuid;

use crate::authorize::Grant;
use crate::cross_origin;
use crate::forward::Changes;
use crate::upstream_credential::UpstreamCredential;

/// The header that names the request in our log, given to the upstream too.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes what was `received` fit for the upstream: what the client may not say is gone, what the upstream needs is there.
///
/// # Errors
/// The `authority` cannot be said in a field.
pub fn swap<'a>(
    granted: &Grant,
    credential: &'a UpstreamCredential,
    authority: &str,
    request_id: Uuid,
    received: &HeaderMap,
    changes: &mut Changes<'a>,
) -> Result<(), InvalidHeaderValue> {
    for name in received.keys().filter(|name| is_untrusted(name.as_str())) {
        changes.remove(name);
    }
    if granted.route().mcp.is_some() {
        for name in &cross_origin::REQUEST_FIELDS {
            changes.remove(name);
        }
    }
    // In place of one of the same name, whatever it is called: a client may not send it.
    if let UpstreamCredential::Header(name, value) = credential {
        changes.insert(name.clone(), Cow::Borrowed(value));
    }
    changes.insert(header::HOST, Cow::Owned(HeaderValue::from_str(authority)?));
    let request_id = HeaderValue::from_str(request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))?;
    changes.insert(REQUEST_ID, Cow::Owned(request_id));
    Ok(())
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
}

//! ⑧ The token swap: every credential and identity the client sent is taken out, and the upstream's own put in.
//!
//! Runs on the header that goes upstream, on each attempt anew, and takes a [`Grant`]: without one there is nothing to
//! send.

use http::{HeaderName, header};
use pingora::http::RequestHeader;
use uuid::Uuid;

use crate::authorize::Grant;
use crate::cross_origin;
use crate::upstream_credential::UpstreamCredential;

/// The header that names the request in our log, given to the upstream too.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes `header` fit for the upstream: what the client may not say is gone, what the upstream needs is there.
///
/// # Errors
/// When Pingora refuses a header value.
pub fn swap(
    granted: &Grant,
    credential: &UpstreamCredential,
    authority: &str,
    request_id: Uuid,
    header: &mut RequestHeader,
) -> pingora::Result<()> {
    let credential = match credential {
        UpstreamCredential::Header(name, value) => Some((name, value)),
        UpstreamCredential::None => None,
    };
    // What is put in place of one of the same name need not be taken out: a client may not send it, whatever it is called.
    let is_replaced = |name: &HeaderName| credential.is_some_and(|(credential, _)| credential == name);
    let untrusted = |name: &&HeaderName| is_untrusted(name.as_str()) && !is_replaced(name);
    let untrusted: Vec<HeaderName> = header.headers.keys().filter(untrusted).cloned().collect();
    for name in &untrusted {
        header.remove_header(name);
    }
    if granted.route().mcp.is_some() {
        for name in &cross_origin::REQUEST_FIELDS {
            header.remove_header(name);
        }
    }
    if let Some((name, value)) = credential {
        header.insert_header(name, value.clone())?;
    }
    header.insert_header(header::HOST, authority)?;
    use_origin_form(header)?;
    header.insert_header(REQUEST_ID, request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
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
}

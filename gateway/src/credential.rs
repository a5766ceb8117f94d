//! ④ The credential of a request: exactly one, from the `Authorization` header only (RFC 6750 §2.1).

use http::header::AUTHORIZATION;
use http::request;
use phantomgate_introspection::OpaqueToken;
use phantomgate_introspection::token::InvalidToken;

use crate::rejection::{MalformedRequest, Rejection};

/// The bearer token of `request`.
///
/// # Errors
/// [`Rejection::MissingCredential`] when there is none (a token in the query counts for nothing),
/// [`Rejection::MalformedRequest`] when there are two (RFC 6750 §2), [`Rejection::MalformedToken`] when what is there
/// cannot be a token.
pub fn from(request: &request::Parts) -> Result<OpaqueToken<'_>, Rejection> {
    let mut fields = request.headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Err(Rejection::MissingCredential) };
    if fields.next().is_some() || has_access_token(request) {
        return Err(MalformedRequest::TwoCredentials.into());
    }
    let field = field.to_str().map_err(|_| Rejection::MalformedToken)?;
    let (scheme, token) = field.split_once(' ').unwrap_or((field, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Rejection::MissingCredential);
    }
    // RFC 9110 §11.6.2: 1*SP between scheme and token.
    OpaqueToken::parse(token.trim_start_matches(' ')).map_err(|error| match error {
        InvalidToken::Syntax => Rejection::MalformedToken,
        InvalidToken::TooLong => MalformedRequest::TokenTooLong.into(),
    })
}

/// Whether the query has a member `access_token` (RFC 6750 §2.3), however its name is encoded.
pub fn has_access_token(request: &request::Parts) -> bool {
    let query = request.uri.query().unwrap_or_default();
    // Most queries have neither an underscore nor anything encoded.
    query.contains(['_', '%']) && url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn outcome(uri: &str, fields: &[&str]) -> Result<(), Rejection> {
        let mut builder = Request::get(uri);
        for field in fields {
            builder = builder.header(AUTHORIZATION, *field);
        }
        from(&builder.body(()).unwrap().into_parts().0).map(|_| ())
    }

    #[test]
    fn rfc9110_s11_1_the_scheme_is_case_insensitive() {
        for field in ["Bearer abc", "bearer abc", "bEaReR abc", "Bearer   abc"] {
            assert!(outcome("/", &[field]).is_ok(), "{field}");
        }
    }

    #[test]
    fn rfc6750_s3_another_scheme_or_none_is_no_credential() {
        for fields in [&[][..], &["Basic abc"], &["Basic x Bearer y"], &["DPoP abc"], &["Bearerabc"], &[""]] {
            assert!(matches!(outcome("/", fields), Err(Rejection::MissingCredential)), "{fields:?}");
        }
        assert!(matches!(outcome("/?access_token=abc", &[]), Err(Rejection::MissingCredential)));
    }

    #[test]
    fn rfc6750_s2_two_credentials_are_malformed() {
        for (uri, fields) in [
            ("/", &["Bearer abc", "Bearer abc"][..]),
            ("/", &["Bearer abc", "Basic abc"]),
            ("/?x=1&access_token=def", &["Bearer abc"]),
            ("/?access%5Ftoken=def", &["Bearer abc"]),
        ] {
            let outcome = outcome(uri, fields);
            assert!(
                matches!(outcome, Err(Rejection::MalformedRequest(MalformedRequest::TwoCredentials))),
                "{uri} {fields:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_before_anybody_is_asked() {
        for field in ["Bearer", "Bearer ", "Bearer a b", "Bearer tok&token_type_hint=x", "Bearer a,Bearer b"] {
            assert!(matches!(outcome("/", &[field]), Err(Rejection::MalformedToken)), "{field}");
        }
        let long = format!("Bearer {}", "a".repeat(64 * 1024));
        let outcome = outcome("/", &[&long]);
        assert!(matches!(outcome, Err(Rejection::MalformedRequest(MalformedRequest::TokenTooLong))));
    }
}

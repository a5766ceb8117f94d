//! All answers side by side.

use std::fmt::Write as _;

use expect_test::expect_file;
use phantomgate_introspection::{Accepts, Config, Introspector, Issuer, ScopeHierarchy};
use strum::VariantArray as _;

use super::*;

fn protection() -> Protection {
    let issuer = Issuer::parse("https://login.example.com").unwrap();
    Protection {
        resource: "https://mcp.example.com/mcp".parse().unwrap(),
        audiences: [].into(),
        authorization_server: issuer.to_string(),
        introspector: Introspector::new(&Config::new(issuer)).unwrap(),
        accepts: Accepts::default(),
        scopes: ScopeSet::from_granted("users:read users:write"),
        scopes_supported: ScopeSet::default(),
        publishes_authorization_server: false,
        scope_hierarchy: ScopeHierarchy::default(),
        challenge_scopes: ScopeSet::from_granted("users:read users:write"),
        credential: None,
    }
}

/// One of each. The match has no wildcard, so that a variant that is not listed here does not compile.
fn all() -> Vec<Rejection> {
    use MalformedRequest::{Host, Http, Method, Path, TokenInQuery, TokenTooLong, TwoCredentials};
    let all = vec![
        Rejection::NoRoute,
        Rejection::MalformedRequest(Method),
        Rejection::MalformedRequest(Host),
        Rejection::MalformedRequest(Path),
        Rejection::MalformedRequest(TwoCredentials),
        Rejection::MalformedRequest(TokenInQuery),
        Rejection::MalformedRequest(TokenTooLong),
        Rejection::MalformedRequest(Http),
        Rejection::MissingCredential,
        Rejection::MalformedToken,
        Rejection::InactiveToken(Inactive::Denied),
        Rejection::WrongAudience,
        Rejection::InsufficientScope(ScopeSet::from_granted("users:read")),
        Rejection::IntrospectionUnavailable(Arc::new(Unavailable::Status { status: 500, retry_after: None })),
        Rejection::UpstreamUnavailable(UpstreamFault::Unreachable),
        Rejection::UpstreamUnavailable(UpstreamFault::Tls),
        Rejection::UpstreamUnavailable(UpstreamFault::Timeout),
        Rejection::Internal("a test"),
        Rejection::InsufficientClaims(ClaimsChallenge::parse(r#"{"access_token":{"acrs":{"value":"c1"}}}"#).unwrap()),
        Rejection::ExchangeRefused(Refusal::ErrorCode("invalid_target".to_owned())),
        Rejection::ExchangeRefused(Refusal::Unfit("token_type is not Bearer")),
        Rejection::ExchangeRefused(Refusal::Wider("scope")),
        Rejection::UpstreamUnavailable(UpstreamFault::Unfilterable),
        Rejection::UpstreamOverloaded,
        Rejection::MethodNotAllowed(HeaderValue::from_static("GET, HEAD")),
        Rejection::UnsupportedMediaType,
        Rejection::BodyTooLarge,
        Rejection::MalformedMessage(Malformed::Json),
        Rejection::MalformedMessage(Malformed::DuplicateMember),
        Rejection::MalformedMessage(Malformed::Batch),
        Rejection::MalformedMessage(Malformed::Meta),
        Rejection::HeaderMismatch("Mcp-Name"),
        Rejection::UnsupportedVersion(UnsupportedVersion {
            supported: vec![Revision::V2025_11_25, Revision::V2026_07_28],
            requested: "2030-01-01".to_owned(),
        }),
        Rejection::SessionNotFound(SessionFault::Foreign),
        Rejection::ToolDenied,
        Rejection::ForeignOrigin,
        Rejection::HeaderTooLarge,
        Rejection::RequestTimeout,
        Rejection::RateLimited { per: Per::Client, retry_after: Duration::from_millis(1001) },
        Rejection::TooManyStreams,
        Rejection::ConcurrencyLimited,
        Rejection::AuditUnavailable,
        Rejection::MetadataUnavailable(Arc::new(Unavailable::Status { status: 500, retry_after: None })),
        Rejection::Stopping,
    ];
    for rejection in &all {
        match rejection {
            Rejection::MalformedRequest(Method | Host | Path | TwoCredentials | TokenInQuery | TokenTooLong | Http)
            | Rejection::UpstreamUnavailable(
                UpstreamFault::Unreachable | UpstreamFault::Tls | UpstreamFault::Timeout | UpstreamFault::Unfilterable,
            )
            | Rejection::MethodNotAllowed(_)
            | Rejection::AuditUnavailable
            | Rejection::UnsupportedMediaType
            | Rejection::BodyTooLarge
            | Rejection::HeaderTooLarge
            | Rejection::RequestTimeout
            | Rejection::RateLimited { per: Per::Client | Per::Subject | Per::Route | Per::Address, .. }
            | Rejection::TooManyStreams
            | Rejection::ConcurrencyLimited
            | Rejection::MalformedMessage(_)
            | Rejection::HeaderMismatch(_)
            | Rejection::UnsupportedVersion(_)
            | Rejection::SessionNotFound(_)
            | Rejection::ToolDenied
            | Rejection::NoRoute
            | Rejection::MissingCredential
            | Rejection::MalformedToken
            | Rejection::InactiveToken(_)
            | Rejection::WrongAudience
            | Rejection::InsufficientScope(_)
            | Rejection::ForeignOrigin
            | Rejection::IntrospectionUnavailable(_)
            | Rejection::MetadataUnavailable(_)
            | Rejection::InsufficientClaims(_)
            | Rejection::ExchangeRefused(Refusal::ErrorCode(_) | Refusal::Unfit(_) | Refusal::Wider(_))
            | Rejection::Stopping
            | Rejection::UpstreamOverloaded
            | Rejection::Internal(_) => {}
        }
    }
    all
}

#[tokio::test]
async fn every_rejection_is_answered_as_the_golden_file_says() {
    let protection = protection();
    let mut golden = String::new();
    for rejection in all() {
        let id = Id::Number(7.into());
        let plain = rejection.answer(Some(&protection), None);
        let json_rpc = rejection.answer(Some(&protection), Some(&id));
        assert_eq!(plain.status, json_rpc.status);
        let _ = writeln!(golden, "{rejection:?}\n  {}", plain.status);
        for (name, value) in &plain.headers {
            let _ = writeln!(golden, "  {name}: {}", value.to_str().unwrap());
        }
        for answer in [&plain, &json_rpc] {
            let _ = writeln!(golden, "  {}", std::str::from_utf8(&answer.body).unwrap());
        }
    }
    expect_file!["../rejection.golden"].assert_eq(&golden);
}

#[tokio::test]
async fn without_a_route_there_is_no_challenge() {
    for rejection in all() {
        assert!(!rejection.answer(None, None).headers.iter().any(|(name, _)| name == header::WWW_AUTHENTICATE));
    }
}

#[test]
fn every_reason_of_a_refusal_is_given_by_some_rejection() {
    let given: Vec<_> = all().iter().map(|rejection| rejection.decision().1).collect();
    for reason in Reason::VARIANTS {
        let is_no_refusal = matches!(reason, Reason::Granted | Reason::OwnEndpoint | Reason::ClientDisconnected);
        assert!(is_no_refusal || given.contains(reason), "{reason:?}");
    }
}

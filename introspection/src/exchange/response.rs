//! Reads the answer to an exchange (RFC 8693 §2.2, RFC 6749 §5.2). Pure: the time is an argument.
//!
//! # Whose fault an error is
//! | the authorization server says | what it means here |
//! |---|---|
//! | `invalid_grant` | the agent's token is no longer taken: 401, and what is known of it is forgotten |
//! | `invalid_grant`, `interaction_required` with `claims` (Entra) | the person has to do something: 401 with the claims |
//! | `invalid_request` | 502. RFC 8693 §2.2.2 has it for bad subject tokens *and* for requests that are our mistake; a token that is really revoked becomes 401 when its cache entry ends, while agents that log in again for our mistake would do so for ever |
//! | `invalid_client`, 401, 403 without a code | we are refused: 503, and the operator is told |
//! | `invalid_target`, `invalid_scope`, `unauthorized_client`, `unsupported_grant_type` and all others | 502, with the code as the cause |
//! | 429, 5xx, no OAuth error at all | it is not well: 503 |
//!
//! An `invalid_grant` that names the actor cannot be told from one that names the subject, so with an actor it is a 502 too.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode};
use zeroize::Zeroizing;

use super::{ClaimsChallenge, Exchange, ExchangeError, IssuedToken, Refusal, TokenExchange, TokenType};
use crate::authorization_server::Answer;
use crate::claims::{Claims, WrongKind};
use crate::clock::NumericDate;
use crate::error::Unavailable;
use crate::response::ActiveToken;
use crate::scope::{Scope, ScopeSet};
use crate::token::OpaqueToken;

/// The longest error code that is repeated to the operator, in bytes.
const LONGEST_CODE: usize = 64;

/// Reads `answer` to `exchange` at the time `now`, for a token of which `subject` is known.
///
/// # Errors
/// [`ExchangeError`]; which one, says the table at the head of this module.
pub fn read(
    answer: &Answer,
    exchange: &Exchange,
    subject: &ActiveToken,
    now: NumericDate,
) -> Result<IssuedToken, ExchangeError> {
    if answer.status != StatusCode::OK {
        return Err(error(answer, exchange));
    }
    let members = Claims::parse(&answer.body)
        .map_err(|_| Unavailable::Malformed("the answer to an exchange is no JSON object".to_owned()))?;
    Ok(issued(&members, exchange, subject, now)?)
}

/// RFC 8693 §2.2.1. A refresh token that came along is dropped with the rest of the answer.
fn issued(
    members: &Claims,
    exchange: &Exchange,
    subject: &ActiveToken,
    now: NumericDate,
) -> Result<IssuedToken, Refusal> {
    let text = |name| members.text(name).map(Option::unwrap_or_default);
    let token_type = text("token_type").map_err(|_| Refusal::Unfit("token_type"))?;
    if !token_type.eq_ignore_ascii_case("Bearer") {
        return Err(Refusal::Unfit("token_type is not Bearer"));
    }
    if let Exchange::TokenExchange(asked) = exchange {
        let issued = text("issued_token_type").map_err(|_| Refusal::Unfit("issued_token_type"))?;
        if issued != asked.requested_token_type.identifier() {
            return Err(Refusal::Unfit("issued_token_type is not the one asked for"));
        }
    }
    let token = Zeroizing::new(text("access_token").map_err(|_| Refusal::Unfit("access_token"))?);
    if OpaqueToken::parse(&token).is_err() {
        return Err(Refusal::Unfit("access_token is not of the form token68"));
    }
    check_scopes(members, exchange, subject, "scope")?;

    let mut ends = Ends(subject.expires_at);
    if let Some(lifetime) = members.date("expires_in").map_err(|_| Refusal::Unfit("expires_in"))? {
        ends.at(now.after(Duration::from_secs(lifetime.seconds())));
    }
    match payload(&token)? {
        Some(claims) => ends.check(&claims, exchange, subject, now)?,
        None if is_jwt_asked_for(exchange) => return Err(Refusal::Unfit("access_token is no JWT")),
        None => {}
    }
    let authorization = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let mut authorization =
        HeaderValue::from_str(&authorization).map_err(|_| Refusal::Unfit("access_token fits into no header"))?;
    authorization.set_sensitive(true);
    Ok(IssuedToken { authorization, expires_at: ends.0 })
}

/// The earliest end that was named.
struct Ends(Option<NumericDate>);

impl Ends {
    fn at(&mut self, end: NumericDate) {
        self.0 = Some(self.0.map_or(end, |known| known.min(end)));
    }

    /// What a JWT says of itself. It is not verified, because it came over the authenticated connection and is for the
    /// upstream to verify; but we can read it, so we do.
    fn check(
        &mut self,
        claims: &Claims,
        exchange: &Exchange,
        subject: &ActiveToken,
        now: NumericDate,
    ) -> Result<(), Refusal> {
        if let Some(expiry) = claims.date("exp").map_err(|_| Refusal::Unfit("the exp of the JWT"))? {
            if expiry <= now {
                return Err(Refusal::Unfit("the JWT has expired"));
            }
            self.at(expiry);
        }
        // Entra names its audiences otherwise than those who ask for a scope of theirs.
        if let Exchange::TokenExchange(asked) = exchange {
            check_audience(claims, asked)?;
        }
        check_scopes(claims, exchange, subject, "scope")?;
        check_scopes(claims, exchange, subject, "scp")
    }
}

fn check_audience(claims: &Claims, asked: &TokenExchange) -> Result<(), Refusal> {
    let audience = claims.texts("aud").map_err(unfit_audience)?;
    let targets = [&asked.audience, &asked.resource];
    let is_asked = |name: &String| targets.iter().any(|target| target.as_ref() == Some(name));
    if audience.iter().all(is_asked) { Ok(()) } else { Err(Refusal::Wider("audience")) }
}

fn unfit_audience(_: WrongKind) -> Refusal {
    Refusal::Unfit("the aud of the JWT")
}

/// The scopes in the member `name` are among those asked for. When none were, among those of the token that was
/// exchanged. An absent member says: as asked (RFC 8693 §2.2.1).
fn check_scopes(
    members: &Claims,
    exchange: &Exchange,
    subject: &ActiveToken,
    name: &'static str,
) -> Result<(), Refusal> {
    let granted = members.texts(name).map_err(|_| Refusal::Unfit("scope"))?;
    let granted = ScopeSet::from_granted(&granted.join(" "));
    let is_allowed = |scope: &Scope| match exchange {
        Exchange::TokenExchange(asked) if asked.scopes.is_empty() => subject.scope.iter().any(|own| own == scope),
        Exchange::TokenExchange(asked) => asked.scopes.iter().any(|own| own == scope),
        Exchange::OnBehalfOf { scopes } => is_on_behalf_of(scopes, scope),
    };
    if granted.iter().all(is_allowed) { Ok(()) } else { Err(Refusal::Wider("scope")) }
}

/// Entra answers `User.Read` to `https://graph.microsoft.com/User.Read`, whatever was consented to for a resource to
/// `…/.default`, and adds the scopes of OpenID Connect, which open nothing at an upstream.
fn is_on_behalf_of(asked: &ScopeSet, granted: &Scope) -> bool {
    let granted = granted.as_str();
    let is_openid = matches!(granted, "openid" | "profile" | "email" | "offline_access");
    let covers = |asked: &Scope| {
        let name = asked.as_str().rsplit_once('/').map_or(asked.as_str(), |(_, name)| name);
        asked.as_str() == granted || name == granted || name == ".default"
    };
    is_openid || asked.iter().any(covers)
}

fn is_jwt_asked_for(exchange: &Exchange) -> bool {
    matches!(exchange, Exchange::TokenExchange(asked) if asked.requested_token_type == TokenType::Jwt)
}

/// The claims of a token that is a JWT (RFC 7519 §7.2). What only looks like one is refused: an upstream might read it
/// otherwise than we do.
fn payload(token: &str) -> Result<Option<Claims>, Refusal> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok().and_then(|json| Claims::parse(&json).ok());
    match decode(header) {
        Some(header) if header.get("alg").is_some() => {
            decode(payload).map(Some).ok_or(Refusal::Unfit("access_token is a JWT that cannot be read"))
        }
        _ => Ok(None),
    }
}

fn error(answer: &Answer, exchange: &Exchange) -> ExchangeError {
    let status = answer.status;
    let is_unwell = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || !status.is_client_error();
    let members = Claims::parse(&answer.body).unwrap_or_default();
    let code = members.text("error").ok().flatten().filter(|_| !is_unwell);
    let suberror = members.text("suberror").ok().flatten();
    match (code.as_deref(), status) {
        (Some("invalid_client"), _) | (_, StatusCode::UNAUTHORIZED) | (None, StatusCode::FORBIDDEN) => {
            Unavailable::ClientRefused(status.as_u16()).into()
        }
        (None | Some("temporarily_unavailable" | "server_error"), _) => {
            Unavailable::Status { status: status.as_u16(), retry_after: answer.retry_after }.into()
        }
        (Some("invalid_grant" | "interaction_required"), _) if claims_challenge(&members).is_some() => {
            claims_challenge(&members).map_or(ExchangeError::SubjectTokenInvalid, ExchangeError::InsufficientClaims)
        }
        // An operator has to consent, nobody else can.
        (Some("invalid_grant"), _) if suberror.as_deref() == Some("consent_required") => {
            Refusal::ErrorCode("invalid_grant (consent_required)".to_owned()).into()
        }
        (Some("invalid_grant"), _) if !has_actor(exchange) => ExchangeError::SubjectTokenInvalid,
        (Some(code), _) => Refusal::ErrorCode(printable(code)).into(),
    }
}

fn has_actor(exchange: &Exchange) -> bool {
    matches!(exchange, Exchange::TokenExchange(asked) if asked.actor.is_some())
}

/// The claims that Entra wants to see in the agent's next authorization request: a JSON object in a text.
fn claims_challenge(members: &Claims) -> Option<ClaimsChallenge> {
    ClaimsChallenge::parse(&members.text("claims").ok()??)
}

/// An error code as RFC 6749 §5.2 allows it; anything else is not repeated.
fn printable(code: &str) -> String {
    let allowed = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    match !code.is_empty() && code.len() <= LONGEST_CODE && code.bytes().all(allowed) {
        true => code.to_owned(),
        false => "a code that cannot be shown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Actor;
    use super::*;
    use crate::Secret;

    const NOW: NumericDate = NumericDate::from_seconds(1_000);
    const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

    fn at(seconds: u64) -> Option<NumericDate> {
        Some(NumericDate::from_seconds(seconds))
    }

    fn asked() -> TokenExchange {
        TokenExchange {
            audience: Some("users".to_owned()),
            resource: None,
            scopes: ScopeSet::from_granted("a b"),
            requested_token_type: TokenType::AccessToken,
            actor: None,
        }
    }

    fn subject() -> ActiveToken {
        ActiveToken { scope: ScopeSet::from_granted("own"), expires_at: at(5_000), ..ActiveToken::default() }
    }

    fn answer(status: u16, body: &[u8]) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, content_type: None, retry_after: None, body: body.to_vec() }
    }

    fn good() -> Value {
        json!({ "access_token": "issued", "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer" })
    }

    /// A good answer with the members in `other` in place of its own.
    fn with(other: Value) -> Value {
        let mut members = good();
        for (name, value) in other.as_object().unwrap() {
            members[name] = value.clone();
        }
        members
    }

    fn read_as(exchange: &Exchange, status: u16, body: &Value) -> Result<IssuedToken, ExchangeError> {
        read(&answer(status, body.to_string().as_bytes()), exchange, &subject(), NOW)
    }

    fn exchanged(body: &Value) -> Result<IssuedToken, ExchangeError> {
        read_as(&Exchange::TokenExchange(asked()), 200, body)
    }

    fn jwt(claims: &Value) -> String {
        let encode = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.c2ln", encode(json!({ "alg": "ES256", "typ": "at+jwt" })), encode(claims.clone()))
    }

    fn refusal(result: Result<IssuedToken, ExchangeError>) -> String {
        match result {
            Err(ExchangeError::Refused(refusal)) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rfc8693_s2_2_1_a_good_answer_is_a_bearer_token_that_ends_with_the_subject_token() {
        let issued = exchanged(&good()).unwrap();
        assert_eq!(issued.authorization, "Bearer issued");
        assert!(issued.authorization.is_sensitive());
        assert_eq!(issued.expires_at, at(5_000));
        assert!(exchanged(&with(json!({ "token_type": "bearer", "refresh_token": "r" }))).is_ok());
    }

    #[test]
    fn rfc8693_s2_2_1_the_earliest_end_counts() {
        let end = |members: Value| exchanged(&with(members)).unwrap().expires_at;
        assert_eq!(end(json!({ "expires_in": 60 })), at(1_060));
        assert_eq!(end(json!({ "expires_in": "60" })), at(1_060));
        assert_eq!(end(json!({ "expires_in": 999_999 })), at(5_000));
        assert_eq!(end(json!({ "expires_in": 60, "access_token": jwt(&json!({ "exp": 1_030 })) })), at(1_030));
        assert!(exchanged(&with(json!({ "access_token": jwt(&json!({ "exp": 1_000 })) }))).is_err());
    }

    #[test]
    fn rfc8693_s2_2_1_types_are_required_and_must_be_what_was_asked_for() {
        for members in [
            json!({ "token_type": null }),
            json!({ "token_type": "N_A" }),
            json!({ "token_type": "DPoP" }),
            json!({ "issued_token_type": null }),
            json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token" }),
            json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:jwt" }),
            json!({ "access_token": null }),
            json!({ "access_token": "a b" }),
            json!({ "access_token": "a\r\nx-admin: 1" }),
            json!({ "access_token": { "a": 1 } }),
        ] {
            refusal(exchanged(&with(members)));
        }
    }

    #[test]
    fn rfc8693_s3_who_asks_for_a_jwt_gets_one() {
        let asked = TokenExchange { requested_token_type: TokenType::Jwt, ..asked() };
        let exchange = Exchange::TokenExchange(asked);
        let jwt_type = "urn:ietf:params:oauth:token-type:jwt";
        let good = with(json!({ "issued_token_type": jwt_type, "access_token": jwt(&json!({ "aud": "users" })) }));
        assert!(read_as(&exchange, 200, &good).is_ok());
        refusal(read_as(&exchange, 200, &with(json!({ "issued_token_type": jwt_type }))));
    }

    #[test]
    fn a_result_that_is_wider_than_asked_is_refused() {
        for (members, what) in [
            (json!({ "scope": "a b c" }), "scope"),
            (json!({ "scope": "own" }), "scope"),
            (json!({ "access_token": jwt(&json!({ "scope": "a c" })) }), "scope"),
            (json!({ "access_token": jwt(&json!({ "scp": ["a", "c"] })) }), "scope"),
            (json!({ "access_token": jwt(&json!({ "aud": "other" })) }), "audience"),
            (json!({ "access_token": jwt(&json!({ "aud": ["users", "other"] })) }), "audience"),
        ] {
            assert!(refusal(exchanged(&with(members.clone()))).ends_with(what), "{members}");
        }
        for members in [
            json!({ "scope": "b" }),
            json!({ "scope": "" }),
            json!({ "access_token": jwt(&json!({ "aud": ["users"], "scope": "a" })) }),
        ] {
            assert!(exchanged(&with(members.clone())).is_ok(), "{members}");
        }
    }

    #[test]
    fn when_no_scope_is_asked_for_those_of_the_subject_token_are_the_bound() {
        let exchange = Exchange::TokenExchange(TokenExchange { scopes: ScopeSet::default(), ..asked() });
        assert!(read_as(&exchange, 200, &with(json!({ "scope": "own" }))).is_ok());
        refusal(read_as(&exchange, 200, &with(json!({ "scope": "own a" }))));
    }

    #[test]
    fn a_jwt_that_cannot_be_read_is_refused_and_dots_alone_make_no_jwt() {
        let (header, _) = jwt(&json!({})).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let twice = BASE64_URL_SAFE_NO_PAD.encode(r#"{"aud":"users","aud":"other"}"#);
        refusal(exchanged(&with(json!({ "access_token": format!("{header}.{twice}.c2ln") }))));
        refusal(exchanged(&with(json!({ "access_token": format!("{header}.AAAA.c2ln") }))));
        assert!(exchanged(&with(json!({ "access_token": "a.b.c" }))).is_ok());
    }

    #[test]
    fn on_behalf_of_has_no_issued_token_type_and_scopes_by_their_short_names() {
        let read = |asked: &str, scope: &str| {
            let exchange = Exchange::OnBehalfOf { scopes: ScopeSet::from_granted(asked) };
            let body =
                json!({ "token_type": "Bearer", "access_token": jwt(&json!({ "aud": "00000003" })), "scope": scope });
            read_as(&exchange, 200, &body)
        };
        assert!(read("https://graph.microsoft.com/User.Read", "User.Read openid profile").is_ok());
        assert!(read("https://graph.microsoft.com/.default", "User.Read Mail.Read").is_ok());
        refusal(read("https://graph.microsoft.com/User.Read", "User.Read Mail.Read"));
    }

    #[test]
    fn an_error_is_told_by_who_is_at_fault() {
        let error = |status, code: &str| {
            read_as(&Exchange::TokenExchange(asked()), status, &json!({ "error": code })).unwrap_err()
        };
        assert!(matches!(error(400, "invalid_grant"), ExchangeError::SubjectTokenInvalid));
        for code in
            ["invalid_request", "invalid_target", "invalid_scope", "unauthorized_client", "unsupported_grant_type"]
        {
            assert!(error(400, code).to_string().ends_with(code));
            assert!(matches!(error(403, code), ExchangeError::Refused(_)), "{code}");
        }
        for (status, code) in [(400, "invalid_client"), (401, "invalid_client"), (401, "whatever"), (403, "")] {
            let body = if code.is_empty() { json!({}) } else { json!({ "error": code }) };
            let error = read_as(&Exchange::TokenExchange(asked()), status, &body).unwrap_err();
            let ExchangeError::Unavailable(reason) = error else { panic!("{error:?}") };
            assert!(matches!(*reason, Unavailable::ClientRefused(_)), "{status} {code}");
        }
        for (status, code) in [(429, "invalid_grant"), (500, "invalid_grant"), (302, "x"), (400, "server_error")] {
            assert!(matches!(error(status, code), ExchangeError::Unavailable(_)), "{status} {code}");
        }
    }

    #[test]
    fn what_is_no_oauth_answer_says_nothing_of_the_token() {
        for (status, body) in [(200, "<html>"), (200, "[]"), (400, "<html>"), (400, "{}"), (404, ""), (204, "")] {
            let answer = answer(status, body.as_bytes());
            let result = read(&answer, &Exchange::TokenExchange(asked()), &subject(), NOW);
            assert!(matches!(result, Err(ExchangeError::Unavailable(_))), "{status} {body}");
        }
    }

    #[test]
    fn with_an_actor_an_invalid_grant_may_be_the_actors() {
        let actor = Actor { token: Secret::fixed(Zeroizing::new("a".to_owned())), token_type: TokenType::Jwt };
        let exchange = Exchange::TokenExchange(TokenExchange { actor: Some(actor), ..asked() });
        refusal(read_as(&exchange, 400, &json!({ "error": "invalid_grant" })));
    }

    #[test]
    fn entra_asks_for_claims_and_they_are_passed_on_in_base64url() {
        let exchange = Exchange::OnBehalfOf { scopes: ScopeSet::from_granted("api://x/y") };
        let claims = r#"{"access_token":{"capolids":{"essential":true}}}"#;
        let body = |claims: &str| json!({ "error": "interaction_required", "claims": claims, "error_description": "AADSTS50079\r\nTrace" });
        let Err(ExchangeError::InsufficientClaims(challenge)) = read_as(&exchange, 400, &body(claims)) else {
            panic!()
        };
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(challenge.as_str()).unwrap(), claims.as_bytes());
        for unfit in ["", "not json", &format!("{{\"a\":\"{}\"}}", "x".repeat(ClaimsChallenge::MAX_LENGTH))] {
            assert!(refusal(read_as(&exchange, 400, &body(unfit))).ends_with("interaction_required"));
        }
        let consent = json!({ "error": "invalid_grant", "suberror": "consent_required" });
        refusal(read_as(&exchange, 400, &consent));
    }

    #[test]
    fn a_code_that_is_none_is_not_repeated() {
        for code in ["a\r\nb", "a\"b", "é", &"x".repeat(65)] {
            let error = read_as(&Exchange::TokenExchange(asked()), 400, &json!({ "error": code })).unwrap_err();
            assert!(error.to_string().ends_with("a code that cannot be shown"), "{error}");
        }
    }
}

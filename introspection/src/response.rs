//! From what an authorization server says of a token, be it an introspection response (RFC 7662 §2.2) or the claims of a
//! JWT access token (RFC 9068 §2.2), to facts. Pure: the time is an argument.
//!
//! Real servers write the same fact in several ways. They are made one here, after the table in [`vendor`](crate::vendor),
//! so that nothing behind this module has to know.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use http::HeaderValue;
use serde_json::Value;

use crate::claims::{Claims, WrongKind};
use crate::clock::NumericDate;
use crate::config::Config;
use crate::error::Unavailable;
use crate::scope::ScopeSet;
use crate::vendor::{Quirks, spelling};

/// The answer about one token.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is moved once, into its cache entry")]
pub enum Introspection {
    /// The token may be used, as far as the authorization server is concerned.
    Active(ActiveToken),
    /// It may not.
    Inactive(Inactive),
}

/// What an authorization server says of a token that is active. What each request looks at comes first.
#[derive(Debug, Clone, Default, PartialEq)]
#[repr(C)]
pub struct ActiveToken {
    /// `exp`; in the future at the time of the answer.
    pub expires_at: Option<NumericDate>,
    /// `aud`; empty when the server names none.
    pub audience: Arc<[String]>,
    /// What was granted.
    pub scope: ScopeSet,
    /// `sub`, or `username` where there is no `sub`.
    pub subject: Option<Arc<str>>,
    /// `client_id`, or what some servers call it.
    pub client_id: Option<Arc<str>>,
    /// `cnf` with `x5t#S256` alone: SHA-256 over the certificate that who sends it must have shown (RFC 8705 §3.1). None: whoever
    /// has the token may use it.
    pub certificate: Option<[u8; 32]>,
    /// `sid`: the person's session at the authorization server.
    pub session_id: Option<String>,
    /// `iat`.
    pub issued_at: Option<NumericDate>,
    /// `auth_time`: when the person last signed in (RFC 9068 §2.2.1).
    pub auth_time: Option<NumericDate>,
    /// `acr`: how strongly (RFC 9068 §2.2.1).
    pub acr: Option<String>,
    /// `amr`: by what means (RFC 9068 §2.2.1).
    pub amr: Vec<String>,
    /// The claims that [`Config::claims`] asks to keep, by the names given there.
    pub claims: Vec<(String, Value)>,
    /// The JWT access token that the server gave in place of the opaque one ([`ResponseForm::Jwt`]), as the value of an
    /// `Authorization` header; marked sensitive.
    ///
    /// [`ResponseForm::Jwt`]: crate::config::ResponseForm::Jwt
    pub jwt: Option<HeaderValue>,
}

/// Why a token may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Inactive {
    /// `active` is false: unknown, expired, revoked. The server does not tell which (RFC 7662 §2.2).
    #[error("the authorization server says so")]
    Denied,
    /// Its `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// Active, but a refresh token or an ID token.
    #[error("it is not an access token")]
    NotAnAccessToken,
    /// Active, but bound to a certificate (RFC 8705) that the connection does not have, or to a key (RFC 9449).
    #[error("it is bound to a key that the request does not prove")]
    SenderConstrained,
    /// A JWT that does not verify. The text names the check.
    #[error("the JWT is not valid: {0}")]
    Unverified(&'static str),
    /// A JWT that verifies, but was revoked here.
    #[error("it was revoked")]
    Revoked,
    /// No JWT, where only those are taken.
    #[error("it is no JWT, and the route takes nothing else")]
    NotAccepted,
}

/// Reads what one authorization server says.
#[derive(Debug, Clone)]
pub struct Reader {
    quirks: &'static Quirks,
    /// The claims to keep.
    keep: Vec<String>,
}

impl Reader {
    /// For the authorization server of `config`.
    pub fn new(config: &Config) -> Self {
        Self { quirks: config.vendor.quirks(), keep: config.claims.clone() }
    }

    /// Reads the body of a 200 answer in JSON at the time `now`.
    ///
    /// # Errors
    /// [`Unavailable::Malformed`] when it is no introspection response; the token is then neither active nor inactive.
    pub fn introspection_response(&self, body: &[u8], now: NumericDate) -> Result<Introspection, Unavailable> {
        self.introspection(&parse(body)?, now)
    }

    /// The same, of members that were read already.
    ///
    /// # Errors
    /// As above.
    pub fn introspection(&self, response: &Claims, now: NumericDate) -> Result<Introspection, Unavailable> {
        if is_active(response)? {
            self.token(response, now).map_err(|error| Unavailable::Malformed(error.to_string()))
        } else {
            Ok(Introspection::Inactive(Inactive::Denied))
        }
    }

    /// Reads the claims of a JWT that its issuer vouches for, at the time `now`.
    ///
    /// # Errors
    /// [`WrongKind`] when a claim is not what it should be.
    pub fn token(&self, claims: &Claims, now: NumericDate) -> Result<Introspection, WrongKind> {
        let expires_at = claims.date("exp")?;
        if expires_at.is_some_and(|expiry| expiry <= now) {
            return Ok(Introspection::Inactive(Inactive::Expired));
        }
        if let Some(reason) = self.is_of_another_kind(claims)? {
            return Ok(Introspection::Inactive(reason));
        }
        let Ok(certificate) = bound_to(claims) else {
            return Ok(Introspection::Inactive(Inactive::SenderConstrained));
        };
        Ok(Introspection::Active(ActiveToken {
            certificate,
            subject: first_text(claims, spelling::SUBJECT)?.map(Into::into),
            client_id: first_text(claims, spelling::CLIENT)?.map(Into::into),
            session_id: claims.text("sid")?,
            scope: self.scope(claims)?,
            audience: self.audience(claims)?.into(),
            expires_at,
            // Of no use but to a JWT, whose verification has looked at it.
            issued_at: claims.date("iat").unwrap_or_default(),
            auth_time: claims.date("auth_time")?,
            acr: claims.text("acr")?,
            amr: claims.texts("amr")?,
            claims: self
                .keep
                .iter()
                .filter_map(|path| Some((path.clone(), self.kept(claims, path)?.clone())))
                .collect(),
            jwt: None,
        }))
    }

    /// A refresh token introspects as active too (RFC 7662 knows no token kinds); only its type tells.
    fn is_of_another_kind(&self, claims: &Claims) -> Result<Option<Inactive>, WrongKind> {
        let token_type = claims.text("token_type")?;
        let is_type = |name: &str| token_type.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        if is_type("DPoP") {
            return Ok(Some(Inactive::SenderConstrained));
        }
        let of_other_type = token_type.is_some() && !is_type("Bearer");
        let token_use = claims.text("token_use")?;
        let of_other_use = token_use.is_some_and(|own| !matches!(own.as_str(), "access_token" | "access"));
        let of_other_kind = match self.quirks.kind {
            Some((name, access_token)) => {
                claims.text(name)?.is_some_and(|own| !access_token.iter().any(|kind| own.eq_ignore_ascii_case(kind)))
            }
            None => false,
        };
        Ok((of_other_type || of_other_use || of_other_kind).then_some(Inactive::NotAnAccessToken))
    }

    fn scope(&self, claims: &Claims) -> Result<ScopeSet, WrongKind> {
        let spelled = spelling::SCOPE.iter().copied().find(|name| claims.get(name).is_some());
        let mut granted = Vec::new();
        for name in spelled.into_iter().chain(self.quirks.permissions) {
            granted.extend(claims.texts(name)?);
        }
        Ok(ScopeSet::from_granted(&granted.join(" ")))
    }

    fn audience(&self, claims: &Claims) -> Result<Vec<String>, WrongKind> {
        let audience = claims.texts("aud")?;
        match self.quirks.audience {
            Some(instead) if audience.is_empty() => claims.texts(instead),
            _ => Ok(audience),
        }
    }

    fn kept<'a>(&self, claims: &'a Claims, path: &str) -> Option<&'a Value> {
        claims.at(path).or_else(|| claims.at(&format!("{}.{path}", self.quirks.extension?)))
    }
}

/// Reads a JSON object that an authorization server sent. Where it is wrong and how is told, but nothing of the text: it may
/// hold claims.
pub(crate) fn parse(body: &[u8]) -> Result<Claims, Unavailable> {
    Claims::parse(body).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Data => "JSON, but no object without doubled members",
            serde_json::error::Category::Syntax | serde_json::error::Category::Eof => "no JSON",
            serde_json::error::Category::Io => "unreadable",
        };
        Unavailable::Malformed(format!("{kind} (line {}, column {})", error.line(), error.column()))
    })
}

/// `active` (RFC 7662 §2.2): a boolean and nothing else.
pub(crate) fn is_active(response: &Claims) -> Result<bool, Unavailable> {
    match response.get("active") {
        Some(Value::Bool(active)) => Ok(*active),
        _ => Err(Unavailable::Malformed("the member \"active\" is not a boolean".to_owned())),
    }
}

/// The last character has two bits more than 32 bytes need, which the standard's own example does not set to zero.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// The certificate that a token is bound to, if any. An error: it is bound to something else, or also to something else, which is
/// not proven here.
fn bound_to(claims: &Claims) -> Result<Option<[u8; 32]>, ()> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let members = confirmation.as_object().filter(|members| members.len() == 1).ok_or(())?;
    let thumbprint = members.get("x5t#S256").and_then(Value::as_str).ok_or(())?;
    let thumbprint = BASE64URL.decode(thumbprint).map_err(|_| ())?;
    thumbprint.try_into().map(Some).map_err(|_| ())
}

fn first_text(claims: &Claims, names: &[&str]) -> Result<Option<String>, WrongKind> {
    for name in names {
        if let Some(text) = claims.text(name)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;
    use crate::{Issuer, Vendor};

    const NOW: NumericDate = NumericDate::from_seconds(1_000);

    fn reader(vendor: Vendor) -> Reader {
        Reader::new(&Config { vendor, ..Config::new(Issuer::parse("https://login.example.com").unwrap()) })
    }

    fn read(vendor: Vendor, body: &str) -> Result<Introspection, Unavailable> {
        reader(vendor).introspection_response(body.as_bytes(), NOW)
    }

    fn active_at(vendor: Vendor, body: &str) -> ActiveToken {
        match read(vendor, body).unwrap() {
            Introspection::Active(token) => token,
            Introspection::Inactive(reason) => panic!("inactive: {reason:?}"),
        }
    }

    fn active(body: &str) -> ActiveToken {
        active_at(Vendor::Standard, body)
    }

    fn inactive_at(vendor: Vendor, body: &str) -> Inactive {
        match read(vendor, body).unwrap() {
            Introspection::Active(token) => panic!("active: {token:?}"),
            Introspection::Inactive(reason) => reason,
        }
    }

    fn inactive(body: &str) -> Inactive {
        inactive_at(Vendor::Standard, body)
    }

    #[test]
    fn rfc7662_s2_2_the_example_of_the_standard() {
        let token = active(
            r#"{"active":true,"client_id":"l238j323ds-23ij4","username":"jdoe","scope":"read write dolphin",
                "sub":"Z5O3upPC88QrAjx00dis","aud":"https://protected.example.net/resource",
                "iss":"https://server.example.com/","exp":1419356238,"iat":1419350238,
                "extension_field":"twenty-seven"}"#,
        );
        assert_eq!(token.subject.as_deref(), Some("Z5O3upPC88QrAjx00dis"));
        assert_eq!(token.client_id.as_deref(), Some("l238j323ds-23ij4"));
        assert_eq!(token.scope.to_string(), "read write dolphin");
        assert_eq!(*token.audience, ["https://protected.example.net/resource"]);
        assert_eq!(token.expires_at, Some(NumericDate::from_seconds(1_419_356_238)));
    }

    #[test]
    fn rfc7662_s2_2_only_the_json_true_is_active() {
        assert_eq!(inactive(r#"{"active":false,"exp":2000}"#), Inactive::Denied);
        for body in [r#"{"active":"true"}"#, r#"{"active":1}"#, r#"{"active":null}"#, "{}", "true", "[]", "", "<html>"]
        {
            assert!(matches!(read(Vendor::Standard, body), Err(Unavailable::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_malformed() {
        let body = r#"{"active":false,"active":true}"#;
        assert!(matches!(read(Vendor::Standard, body), Err(Unavailable::Malformed(_))));
    }

    #[test]
    fn a_malformed_answer_is_described_without_its_content() {
        for body in [r#"{"active":"secret-claim"}"#, r#"{"active":true,"exp":"secret-claim"}"#, "secret-claim"] {
            let error = read(Vendor::Standard, body).unwrap_err();
            assert!(!error.to_string().contains("secret-claim"), "{error}");
        }
    }

    #[test]
    fn the_second_that_exp_falls_on_is_too_late() {
        assert_eq!(active(r#"{"active":true,"exp":1001}"#).expires_at, Some(NumericDate::from_seconds(1_001)));
        for exp in ["1000", "1000.9", "\"999\"", "-5", "0"] {
            assert_eq!(inactive(&format!(r#"{{"active":true,"exp":{exp}}}"#)), Inactive::Expired, "{exp}");
        }
        assert_eq!(active(r#"{"active":true,"exp":null}"#).expires_at, None);
    }

    #[test]
    fn the_spellings_of_the_field_mean_the_same_everywhere() {
        let token = active(r#"{"active":true,"scp":["a","b"],"azp":"agent","username":"jdoe","aud":["x","y"]}"#);
        assert_eq!(token.scope.to_string(), "a b");
        assert_eq!(token.client_id.as_deref(), Some("agent"));
        assert_eq!(token.subject.as_deref(), Some("jdoe"));
        assert_eq!(*token.audience, ["x", "y"]);
        for (name, value) in [("client_id", "\"c\""), ("appid", "\"c\""), ("cid", "\"c\"")] {
            let token = active(&format!(r#"{{"active":true,"{name}":{value}}}"#));
            assert_eq!(token.client_id.as_deref(), Some("c"), "{name}");
        }
        assert_eq!(active(r#"{"active":true,"sub":42}"#).subject.as_deref(), Some("42"));
    }

    #[test]
    fn refresh_and_id_tokens_are_no_access_tokens() {
        for kind in [
            r#""token_type":"refresh_token""#,
            r#""token_type":"N_A""#,
            r#""token_use":"refresh_token""#,
            r#""token_use":"id""#,
        ] {
            assert_eq!(inactive(&format!(r#"{{"active":true,{kind}}}"#)), Inactive::NotAnAccessToken, "{kind}");
        }
        for kind in [r#""token_type":"bearer""#, r#""token_type":null"#, r#""token_use":"access_token""#] {
            active(&format!(r#"{{"active":true,{kind}}}"#));
        }
    }

    #[test]
    fn a_bound_token_is_no_bearer_token() {
        for binding in [r#""cnf":{"jkt":"x"}"#, r#""cnf":{}"#, r#""token_type":"DPoP""#] {
            assert_eq!(inactive(&format!(r#"{{"active":true,{binding}}}"#)), Inactive::SenderConstrained, "{binding}");
        }
        assert_eq!(active(r#"{"active":true,"cnf":null}"#).certificate, None);
    }

    #[test]
    fn rfc8705_s3_1_a_token_may_be_bound_to_a_certificate_and_to_nothing_else() {
        let example = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
        let bound = |cnf: &str| format!(r#"{{"active":true,"cnf":{cnf}}}"#);
        let token = active(&bound(&format!(r#"{{"x5t#S256":"{example}"}}"#)));
        assert_eq!(token.certificate.map(|thumbprint| thumbprint[..3].to_vec()), Some(vec![0x6f, 0x07, 0x0a]));
        for cnf in [
            format!(r#"{{"x5t#S256":"{example}","jkt":"x"}}"#),
            format!(r#"{{"x5t#S256":"{example}A"}}"#),
            format!(r#"{{"x5t#S256":"{example}="}}"#),
            r#"{"x5t#S256":""}"#.to_owned(),
            r#"{"x5t#S256":["a"]}"#.to_owned(),
            r#"{"x5t#S256":null}"#.to_owned(),
            "[]".to_owned(),
            "\"x\"".to_owned(),
        ] {
            assert_eq!(inactive(&bound(&cnf)), Inactive::SenderConstrained, "{cnf}");
        }
        let dpop = format!(r#"{{"active":true,"token_type":"DPoP","cnf":{{"x5t#S256":"{example}"}}}}"#);
        assert_eq!(inactive(&dpop), Inactive::SenderConstrained);
    }

    #[test]
    fn the_claims_asked_for_are_kept_and_no_others() {
        let mut config = Config::new(Issuer::parse("https://login.example.com").unwrap());
        config.claims = ["department", "org.unit", "absent"].map(str::to_owned).to_vec();
        let body = br#"{"active":true,"department":["a",1],"org":{"unit":"u","other":2},"email":"x"}"#;
        let Introspection::Active(token) = Reader::new(&config).introspection_response(body, NOW).unwrap() else {
            panic!("inactive")
        };
        let kept: Vec<_> = token.claims.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
        assert_eq!(kept, [("department", "[\"a\",1]".to_owned()), ("org.unit", "\"u\"".to_owned())]);
    }

    // --- the table of vendors, row by row -----------------------------------------------------------------------------

    #[test]
    fn auth0_permissions_count_as_scopes() {
        let body = r#"{"active":true,"scope":"openid","permissions":["read:users"],"azp":"agent"}"#;
        assert_eq!(active_at(Vendor::Auth0, body).scope.to_string(), "openid read:users");
        assert_eq!(active(body).scope.to_string(), "openid");
    }

    #[test]
    fn cognito_names_the_client_where_others_name_the_audience() {
        let body = r#"{"active":true,"token_use":"access","client_id":"pool-client"}"#;
        assert_eq!(*active_at(Vendor::Cognito, body).audience, ["pool-client"]);
        assert_eq!(*active(body).audience, [""; 0]);
        let bound = r#"{"active":true,"token_use":"access","client_id":"pool-client","aud":"https://api.example"}"#;
        assert_eq!(*active_at(Vendor::Cognito, bound).audience, ["https://api.example"]);
        let id_token = r#"{"active":true,"token_use":"id","aud":"pool-client"}"#;
        assert_eq!(inactive_at(Vendor::Cognito, id_token), Inactive::NotAnAccessToken);
    }

    #[test]
    fn curity_tells_the_purpose() {
        active_at(Vendor::Curity, r#"{"active":true,"purpose":"access_token"}"#);
        let refresh = r#"{"active":true,"purpose":"refresh_token"}"#;
        assert_eq!(inactive_at(Vendor::Curity, refresh), Inactive::NotAnAccessToken);
    }

    #[test]
    fn django_oauth_toolkit_has_a_username_and_a_list_of_audiences() {
        let body = r#"{"active":true,"scope":"mcp:read","exp":2000,"client_id":"a","username":"alice",
            "aud":["https://mcp.example.test/mcp"]}"#;
        let token = active_at(Vendor::DjangoOauthToolkit, body);
        assert_eq!(token.subject.as_deref(), Some("alice"));
        assert_eq!(*token.audience, ["https://mcp.example.test/mcp"]);
    }

    #[test]
    fn entra_roles_of_an_application_count_as_scopes() {
        let delegated = active_at(Vendor::Entra, r#"{"active":true,"scp":"Users.Read","appid":"app"}"#);
        assert_eq!(delegated.scope.to_string(), "Users.Read");
        let application = active_at(Vendor::Entra, r#"{"active":true,"roles":["Users.Read.All"],"azp":"app"}"#);
        assert_eq!(application.scope.to_string(), "Users.Read.All");
        assert_eq!(application.client_id.as_deref(), Some("app"));
    }

    #[test]
    fn glewlwyd_tells_the_type_and_means_inactive_by_an_empty_400() {
        active_at(Vendor::Glewlwyd, r#"{"active":true,"token_type":"bearer","type":"access_token"}"#);
        let refresh = r#"{"active":true,"token_type":"refresh_token","aud":"agent"}"#;
        assert_eq!(inactive_at(Vendor::Glewlwyd, refresh), Inactive::NotAnAccessToken);
        let quirks = Vendor::Glewlwyd.quirks();
        assert_eq!(quirks.bad_request, crate::vendor::BadRequest::EmptyIsInactive);
        assert!(!quirks.signs_for_the_asker && !quirks.form_decodes_basic);
    }

    #[test]
    fn hydra_has_further_claims_under_ext() {
        let mut config = Config::new(Issuer::parse("https://login.example.com").unwrap());
        (config.vendor, config.claims) = (Vendor::Hydra, vec!["tenant".to_owned()]);
        let body = br#"{"active":true,"token_use":"access_token","ext":{"tenant":"t"}}"#;
        let Introspection::Active(token) = Reader::new(&config).introspection_response(body, NOW).unwrap() else {
            panic!("inactive")
        };
        assert_eq!(token.claims, [("tenant".to_owned(), Value::from("t"))]);
        let refresh = r#"{"active":true,"token_use":"refresh_token"}"#;
        assert_eq!(inactive_at(Vendor::Hydra, refresh), Inactive::NotAnAccessToken);
    }

    #[test]
    fn keycloak_tells_the_kind_in_a_claim_named_typ() {
        let token = active_at(Vendor::Keycloak, r#"{"active":true,"typ":"Bearer","azp":"agent","sid":"s"}"#);
        assert_eq!((token.client_id.as_deref(), token.session_id.as_deref()), (Some("agent"), Some("s")));
        for kind in ["Refresh", "Offline", "ID"] {
            let body = format!(r#"{{"active":true,"typ":"{kind}"}}"#);
            assert_eq!(inactive_at(Vendor::Keycloak, &body), Inactive::NotAnAccessToken, "{kind}");
        }
    }

    #[test]
    fn okta_has_its_own_names() {
        let token = active_at(Vendor::Okta, r#"{"active":true,"token_type":"Bearer","cid":"agent","scp":["a","b"]}"#);
        assert_eq!((token.client_id.as_deref(), token.scope.to_string().as_str()), (Some("agent"), "a b"));
    }

    #[test]
    fn authentik_and_zitadel_say_all_in_the_registered_names() {
        for vendor in [Vendor::Authentik, Vendor::Zitadel, Vendor::OidcProvider] {
            let token = active_at(vendor, r#"{"active":true,"client_id":"c","sub":"s","scope":"a b","aud":["x"]}"#);
            assert_eq!(token.client_id.as_deref(), Some("c"), "{vendor}");
        }
    }

    #[test]
    fn in_every_row_an_access_token_is_told_from_an_id_token_and_has_an_end() {
        for vendor in Vendor::VARIANTS {
            let quirks = vendor.quirks();
            assert!(quirks.access_token_claims.contains(&"exp"), "{vendor}");
            assert!(!quirks.id_token_claims.is_empty(), "{vendor}");
        }
    }
}

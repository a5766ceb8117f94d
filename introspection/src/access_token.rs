//! JWT access tokens (RFC 9068), verified here instead of being introspected: for authorization servers that have no
//! introspection, on routes that say so.

use crate::authorization_server::AuthorizationServer;
use crate::claims::Claims;
use crate::clock::NumericDate;
use crate::config::Config;
use crate::error::Unavailable;
use crate::jwt::{Expected, VerificationError};
use crate::response::{Inactive, Introspection, Reader};
use crate::vendor::{Quirks, spelling};

/// How the JWT access tokens of one authorization server are verified.
pub(crate) struct Verifier {
    types: Vec<String>,
    quirks: &'static Quirks,
    reader: Reader,
}

impl Verifier {
    pub(crate) fn new(config: &Config) -> Self {
        let quirks = config.vendor.quirks();
        let mut types = config.jwt.types.clone();
        types.extend(quirks.access_token_types.iter().map(|&typ| typ.to_owned()));
        Self { types, quirks, reader: Reader::new(config) }
    }

    /// What `token` says, if `server` signed it (RFC 9068 §4). Its audience is for the caller to compare.
    ///
    /// # Errors
    /// [`Unavailable`] when the keys cannot be had; that the token is not valid is an answer.
    pub(crate) async fn verify(
        &self,
        server: &AuthorizationServer,
        token: &str,
        now: NumericDate,
    ) -> Result<Introspection, Unavailable> {
        let types: Vec<&str> = self.types.iter().map(String::as_str).collect();
        let expected = Expected { types: &types, audience: None, must_expire: true };
        let outcome = match server.verify(token, &expected, now).await {
            Ok(claims) => self.read(&claims, now),
            Err(VerificationError::Invalid(reason)) => Err(Inactive::Unverified(reason)),
            Err(VerificationError::Unavailable(unavailable)) => return Err(unavailable),
        };
        Ok(outcome.unwrap_or_else(Introspection::Inactive))
    }

    fn read(&self, claims: &Claims, now: NumericDate) -> Result<Introspection, Inactive> {
        // With a relaxed `typ` an ID token would look like an access token.
        if self.quirks.id_token_claims.iter().any(|name| claims.get(name).is_some()) {
            return Err(Inactive::NotAnAccessToken);
        }
        let is_there = |name: &&str| claims.get(name).is_some();
        if !self.quirks.access_token_claims.iter().all(is_there) || !spelling::CLIENT.iter().any(is_there) {
            return Err(Inactive::Unverified("a claim that access tokens must have is missing"));
        }
        self.reader.token(claims, now).map_err(|_| Inactive::Unverified("a claim is of the wrong kind"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::{Issuer, Vendor};

    const NOW: NumericDate = NumericDate::from_seconds(1_000);

    fn read(vendor: Vendor, claims: &Value) -> Result<Introspection, Inactive> {
        let config = Config { vendor, ..Config::new(Issuer::parse("https://login.example.com").unwrap()) };
        Verifier::new(&config).read(&Claims::from(claims.as_object().unwrap().clone()), NOW)
    }

    fn complete() -> Map<String, Value> {
        json!({ "exp": 2000, "aud": "a", "sub": "s", "client_id": "c", "iat": 900, "jti": "j", "scope": "x" })
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn rfc9068_s2_2_each_required_claim_is_required() {
        assert!(matches!(read(Vendor::Standard, &Value::Object(complete())), Ok(Introspection::Active(_))));
        for name in ["exp", "aud", "sub", "client_id", "iat", "jti"] {
            let mut claims = complete();
            claims.remove(name);
            assert!(matches!(read(Vendor::Standard, &Value::Object(claims)), Err(Inactive::Unverified(_))), "{name}");
        }
    }

    #[test]
    fn an_id_token_is_no_access_token() {
        for mark in ["at_hash", "c_hash", "nonce"] {
            let mut claims = complete();
            claims.insert(mark.to_owned(), json!("x"));
            assert_eq!(read(Vendor::Standard, &Value::Object(claims)), Err(Inactive::NotAnAccessToken), "{mark}");
        }
    }

    #[test]
    fn what_each_product_leaves_out_is_not_required_there() {
        let base = json!({ "exp": 2000, "aud": "a", "sub": "s", "iat": 900 });
        for (vendor, more) in [
            (Vendor::Auth0, json!({ "azp": "c", "permissions": ["p"] })),
            (Vendor::Authentik, json!({ "azp": "c" })),
            (Vendor::Curity, json!({ "client_id": "c", "jti": "j" })),
            (Vendor::Entra, json!({ "appid": "c", "scp": "p" })),
            (Vendor::Keycloak, json!({ "azp": "c", "jti": "j", "typ": "Bearer", "nonce": "n" })),
            (Vendor::Okta, json!({ "cid": "c", "jti": "j", "scp": ["p"] })),
        ] {
            let mut claims = base.as_object().unwrap().clone();
            claims.extend(more.as_object().unwrap().clone());
            let outcome = read(vendor, &Value::Object(claims));
            assert!(matches!(outcome, Ok(Introspection::Active(_))), "{vendor}: {outcome:?}");
        }
        let cognito = json!({ "exp": 2000, "sub": "s", "iat": 9, "jti": "j", "client_id": "c", "token_use": "access" });
        assert!(matches!(read(Vendor::Cognito, &cognito), Ok(Introspection::Active(_))));
        let entra_id_token = json!({ "exp": 2000, "aud": "a", "sub": "s", "iat": 900, "tid": "t" });
        assert!(read(Vendor::Entra, &entra_id_token).is_err());
    }
}

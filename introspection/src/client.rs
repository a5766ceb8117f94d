//! One question about one token, in each form that an authorization server may answer in. Whatever is signed is verified
//! before it is looked at, and nothing but a verified JWT ever goes further.

use http::{HeaderValue, StatusCode};

use crate::authorization_server::{Answer, AuthorizationServer, Endpoint};
use crate::claims::Claims;
use crate::clock::NumericDate;
use crate::config::{Config, ResponseForm};
use crate::error::Unavailable;
use crate::jwt::{Expected, VerificationError};
use crate::response::{Inactive, Introspection, Reader, is_active, parse};
use crate::vendor::{BadRequest, Quirks};

/// Asks one authorization server.
pub(crate) struct IntrospectionClient {
    form: ResponseForm,
    types: Vec<String>,
    quirks: &'static Quirks,
    reader: Reader,
}

const JSON: &str = "application/json";
const JWT: &str = "application/jwt";
const SIGNED: &str = "application/token-introspection+jwt";

impl IntrospectionClient {
    pub(crate) fn new(config: &Config) -> Self {
        let quirks = config.vendor.quirks();
        let types = match config.introspection.response {
            ResponseForm::Signed => vec!["token-introspection+jwt".to_owned()],
            ResponseForm::Json | ResponseForm::Jwt => {
                let more = quirks.access_token_types.iter().map(|&typ| typ.to_owned());
                config.jwt.types.iter().cloned().chain(more).collect()
            }
        };
        Self { form: config.introspection.response, types, quirks, reader: Reader::new(config) }
    }

    /// One introspection (RFC 7662 §2.1).
    pub(crate) async fn introspect(
        &self,
        server: &AuthorizationServer,
        token: &str,
    ) -> Result<Introspection, Unavailable> {
        let form = [("token", token), ("token_type_hint", "access_token")];
        let answer = server.post(Endpoint::Introspection, self.accept(), &form).await?;
        let now = NumericDate::now();
        match answer.status {
            StatusCode::OK => match (self.form, answer.content_type.as_deref()) {
                (ResponseForm::Json, _) => self.reader.introspection_response(&answer.body, now),
                (ResponseForm::Jwt, Some(JWT)) => self.jwt(server, text(&answer.body)?, now).await,
                (ResponseForm::Jwt, _) => self.jwt_member(server, &answer.body, now).await,
                (ResponseForm::Signed, Some(SIGNED)) => self.signed(server, text(&answer.body)?, now).await,
                (ResponseForm::Signed, _) => unsigned(&answer.body),
            },
            StatusCode::NO_CONTENT if self.form == ResponseForm::Jwt => Ok(Introspection::Inactive(Inactive::Denied)),
            StatusCode::BAD_REQUEST if self.is_about_the_token(&answer) => {
                Ok(Introspection::Inactive(Inactive::Denied))
            }
            refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(Unavailable::ClientRefused(refused.as_u16()))
            }
            other => Err(Unavailable::Status { status: other.as_u16(), retry_after: answer.retry_after }),
        }
    }

    /// Exactly one media type: Keycloak and Glewlwyd compare the header as a whole.
    fn accept(&self) -> &'static str {
        match self.form {
            ResponseForm::Json => JSON,
            ResponseForm::Jwt => JWT,
            ResponseForm::Signed => SIGNED,
        }
    }

    fn is_about_the_token(&self, answer: &Answer) -> bool {
        match self.quirks.bad_request {
            BadRequest::Failure => false,
            BadRequest::UnsupportedTypeIsInactive => parse(&answer.body)
                .is_ok_and(|members| members.get("error").is_some_and(|error| error == "unsupported_token_type")),
            BadRequest::EmptyIsInactive => self.form != ResponseForm::Json && answer.body.is_empty(),
        }
    }

    /// A JWT access token in place of the opaque one.
    async fn jwt(
        &self,
        server: &AuthorizationServer,
        jwt: &str,
        now: NumericDate,
    ) -> Result<Introspection, Unavailable> {
        let claims = self.verify(server, jwt, None, now).await?;
        let introspection =
            self.reader.token(&claims, now).map_err(|error| Unavailable::Malformed(error.to_string()))?;
        Ok(match introspection {
            Introspection::Active(mut token) => {
                let mut header = HeaderValue::try_from(format!("Bearer {jwt}"))
                    .map_err(|_| Unavailable::Malformed("the JWT does not fit into a header".to_owned()))?;
                header.set_sensitive(true);
                token.jwt = Some(header);
                Introspection::Active(token)
            }
            inactive @ Introspection::Inactive(_) => inactive,
        })
    }

    /// The same in the member `jwt` of a JSON response (Keycloak). That a token is inactive needs no signature: nobody
    /// gains by saying so.
    async fn jwt_member(
        &self,
        server: &AuthorizationServer,
        body: &[u8],
        now: NumericDate,
    ) -> Result<Introspection, Unavailable> {
        let response = parse(body)?;
        if !is_active(&response)? {
            return Ok(Introspection::Inactive(Inactive::Denied));
        }
        let jwt = response.text("jwt").map_err(|error| Unavailable::Malformed(error.to_string()))?;
        let jwt = jwt.ok_or_else(|| Unavailable::Malformed("a JWT was asked for and is not there".to_owned()))?;
        self.jwt(server, &jwt, now).await
    }

    /// A signed response (RFC 9701 §5), encrypted to us before that or not. It is no access token, and goes nowhere.
    async fn signed(
        &self,
        server: &AuthorizationServer,
        response: &str,
        now: NumericDate,
    ) -> Result<Introspection, Unavailable> {
        let us = server.client_id().filter(|_| self.quirks.signs_for_the_asker);
        let is_encrypted = response.bytes().filter(|byte| *byte == b'.').count() == 4;
        let claims = if is_encrypted {
            let decrypted = server.decrypt(response).map_err(malformed)?;
            self.verify(server, text(&decrypted)?, us, now).await?
        } else {
            self.verify(server, response, us, now).await?
        };
        let missing = |what: &str| Unavailable::Malformed(format!("the signed response has no {what}"));
        claims.get("iat").ok_or_else(|| missing("iat"))?;
        let response = claims.object("token_introspection").ok_or_else(|| missing("token_introspection"))?;
        self.reader.introspection(&response, now)
    }

    async fn verify(
        &self,
        server: &AuthorizationServer,
        jwt: &str,
        audience: Option<&str>,
        now: NumericDate,
    ) -> Result<Claims, Unavailable> {
        let types: Vec<&str> = self.types.iter().map(String::as_str).collect();
        let expected = Expected { types: &types, audience, must_expire: self.form == ResponseForm::Jwt };
        server.verify(jwt, &expected, now).await.map_err(malformed)
    }
}

/// JSON where a signed response was asked for: believed when it says no, and nothing else.
fn unsigned(body: &[u8]) -> Result<Introspection, Unavailable> {
    if is_active(&parse(body)?)? {
        return Err(Unavailable::Malformed("it is not signed".to_owned()));
    }
    Ok(Introspection::Inactive(Inactive::Denied))
}

fn text(body: &[u8]) -> Result<&str, Unavailable> {
    std::str::from_utf8(body).map(str::trim).map_err(|_| Unavailable::Malformed("no JWT".to_owned()))
}

fn malformed(error: VerificationError) -> Unavailable {
    match error {
        VerificationError::Invalid(reason) => Unavailable::Malformed(format!("the JWT does not verify: {reason}")),
        VerificationError::Unavailable(unavailable) => unavailable,
    }
}

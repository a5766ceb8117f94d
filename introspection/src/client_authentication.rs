//! How the gateway proves to the authorization server who is asking (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use http::HeaderValue;
use jsonwebtoken::Algorithm;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Client authentication at the endpoints of an authorization server, by its registered names.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: in the `Authorization` header.
    ClientSecretBasic(Secret),
    /// `client_secret_post`: in the form.
    ClientSecretPost(Secret),
    /// `private_key_jwt`: an assertion that we sign (RFC 7523 §2.2).
    PrivateKeyJwt(PrivateKeyJwt),
    /// `tls_client_auth`: by the certificate of the connection (RFC 8705 §2.1).
    TlsClientAuth,
}

/// How client assertions are made.
#[derive(Debug, Clone)]
pub struct PrivateKeyJwt {
    /// The private key: PEM, PKCS #8.
    pub key: Secret,
    /// Its algorithm: one of ES256, ES384, EdDSA, RS256, PS256.
    pub algorithm: Algorithm,
    /// `kid`, where the server wants one.
    pub key_id: Option<String>,
    /// `aud`.
    pub audience: AssertionAudience,
    /// `typ`.
    pub typ: String,
}

/// The audience of a client assertion: servers differ (RFC 7523 §3 names the token endpoint; its revision the issuer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer identifier.
    Issuer,
    /// The URL the request goes to.
    Endpoint,
    /// The URL of the token endpoint, wherever the request goes.
    TokenEndpoint,
    /// This.
    Fixed(String),
}

impl ClientAuthentication {
    /// The `Authorization` header that goes with a request of `client_id`, if this method uses one. Identifier and
    /// secret are form-encoded before they are joined (RFC 6749 §2.3.1). The value is marked sensitive.
    pub(crate) fn authorization_header(&self, client_id: &str) -> Option<HeaderValue> {
        let Self::ClientSecretBasic(secret) = self else { return None };
        let mut pair = Zeroizing::new(String::new());
        pair.extend(byte_serialize(client_id.as_bytes()));
        pair.push(':');
        pair.extend(byte_serialize(secret.current().as_bytes()));
        let header = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&header).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Adds what this method puts into the form of a request of `client_id`.
    pub(crate) fn append_to(&self, client_id: &str, form: &mut Serializer<'_, String>) {
        match self {
            Self::ClientSecretBasic(_) | Self::PrivateKeyJwt(_) => {}
            Self::ClientSecretPost(secret) => {
                form.append_pair("client_id", client_id);
                form.append_pair("client_secret", &secret.current());
            }
            Self::TlsClientAuth => {
                form.append_pair("client_id", client_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::fixed(Zeroizing::new(text.to_owned()))
    }

    fn form(authentication: &ClientAuthentication) -> String {
        let mut form = Serializer::new(String::new());
        authentication.append_to("gate:way", &mut form);
        form.finish()
    }

    #[test]
    fn rfc6749_s2_3_1_basic_form_encodes_before_it_joins() {
        let basic = ClientAuthentication::ClientSecretBasic(secret("s3cr:t+/ %basic"));
        let header = basic.authorization_header("gate:way").unwrap();
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), b"gate%3Away:s3cr%3At%2B%2F+%25basic");
        assert_eq!(form(&basic), "");
    }

    #[test]
    fn post_puts_both_into_the_form_and_nothing_into_the_header() {
        let post = ClientAuthentication::ClientSecretPost(secret("a&b=c d"));
        assert!(post.authorization_header("g").is_none());
        assert_eq!(form(&post), "client_id=gate%3Away&client_secret=a%26b%3Dc+d");
    }

    #[test]
    fn secrets_show_themselves_nowhere() {
        let basic = ClientAuthentication::ClientSecretBasic(secret("hunter2"));
        assert!(!format!("{basic:?}").contains("hunter2"));
        assert!(!format!("{:?}", basic.authorization_header("g")).contains("Basic"));
    }
}

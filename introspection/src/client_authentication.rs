//! How the gateway proves to the authorization server who is asking (RFC 6749 §2.3.1).

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use form_urlencoded::byte_serialize;
use http::HeaderValue;
use zeroize::Zeroizing;

/// A client secret. Shown to nobody, wiped when dropped.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// Takes `secret` as it is.
    pub fn new(secret: Zeroizing<String>) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientSecret(hidden)")
    }
}

/// Client authentication at the endpoints of an authorization server, by its registered names.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: in the `Authorization` header.
    ClientSecretBasic(ClientSecret),
    /// `client_secret_post`: in the form.
    ClientSecretPost(ClientSecret),
}

impl ClientAuthentication {
    /// The `Authorization` header that goes with a request of `client_id`, if this method uses one. Identifier and
    /// secret are form-encoded before they are joined (RFC 6749 §2.3.1). The value is marked sensitive.
    pub(crate) fn authorization_header(&self, client_id: &str) -> Option<HeaderValue> {
        let Self::ClientSecretBasic(secret) = self else { return None };
        let mut pair = Zeroizing::new(String::new());
        pair.extend(byte_serialize(client_id.as_bytes()));
        pair.push(':');
        pair.extend(byte_serialize(secret.0.as_bytes()));
        let header = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&header).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The form fields that go with a request of `client_id`, if this method uses the form.
    pub(crate) fn form_fields<'a>(&'a self, client_id: &'a str) -> Vec<(&'static str, &'a str)> {
        match self {
            Self::ClientSecretBasic(_) => Vec::new(),
            Self::ClientSecretPost(secret) => vec![("client_id", client_id), ("client_secret", &secret.0)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> ClientSecret {
        ClientSecret::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn rfc6749_s2_3_1_basic_form_encodes_before_it_joins() {
        let basic = ClientAuthentication::ClientSecretBasic(secret("s3cr:t+/ %basic"));
        let header = basic.authorization_header("gate:way").unwrap();
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), b"gate%3Away:s3cr%3At%2B%2F+%25basic");
        assert!(basic.form_fields("gate:way").is_empty());
    }

    #[test]
    fn post_puts_both_into_the_form_and_nothing_into_the_header() {
        let post = ClientAuthentication::ClientSecretPost(secret("s"));
        assert!(post.authorization_header("g").is_none());
        assert_eq!(post.form_fields("g"), [("client_id", "g"), ("client_secret", "s")]);
    }

    #[test]
    fn secrets_show_themselves_nowhere() {
        let basic = ClientAuthentication::ClientSecretBasic(secret("hunter2"));
        assert!(!format!("{basic:?}").contains("hunter2"));
        assert!(!format!("{:?}", basic.authorization_header("g")).contains("Basic"));
    }
}

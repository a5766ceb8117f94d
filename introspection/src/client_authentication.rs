//! How the gateway proves to the authorization server who is asking (RFC 6749 §2.3.1, RFC 7523 §2.2, RFC 8705 §2).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use form_urlencoded::byte_serialize;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::NumericDate;
use crate::config::Client;
use crate::error::{BuildError, Unavailable};
use crate::secret::{FromSecret, Secret};
use crate::vendor::Quirks;

/// Client authentication at the endpoints of an authorization server, by its registered names.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Who we are to an authorization server, and the proof of it.
pub(crate) struct Authenticator {
    client: Client,
    /// For `private_key_jwt`.
    key: Option<FromSecret<EncodingKey>>,
    /// Whether the server form-decodes what `client_secret_basic` sends.
    form_decodes_basic: bool,
}

/// What goes with a request.
#[derive(Default)]
pub(crate) struct Credentials {
    /// The value of an `Authorization` header; marked sensitive.
    pub(crate) header: Option<HeaderValue>,
    /// Fields of the form.
    pub(crate) form: Vec<(&'static str, Zeroizing<String>)>,
}

impl Authenticator {
    /// Whether what `client` needs is at hand and usable: a key that signs, or, `with_certificate`, one for the connection.
    pub(crate) fn new(client: &Client, with_certificate: bool, quirks: &Quirks) -> Result<Self, BuildError> {
        let key = match &client.authentication {
            ClientAuthentication::PrivateKeyJwt(assertions) => {
                let algorithm = assertions.algorithm;
                let key = FromSecret::new(assertions.key.clone(), move |pem| private_key(algorithm, pem));
                Some(key.ok_or(BuildError::AssertionKey(algorithm))?)
            }
            ClientAuthentication::TlsClientAuth if !with_certificate => return Err(BuildError::NoCertificate),
            ClientAuthentication::ClientSecretBasic(_)
            | ClientAuthentication::ClientSecretPost(_)
            | ClientAuthentication::TlsClientAuth => None,
        };
        Ok(Self { client: client.clone(), key, form_decodes_basic: quirks.form_decodes_basic })
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client.id
    }

    /// Whether the certificate of the connection is the proof (RFC 8705 §2).
    pub(crate) fn is_by_certificate(&self) -> bool {
        matches!(self.client.authentication, ClientAuthentication::TlsClientAuth)
    }

    /// Whom assertions are for, where any are made.
    pub(crate) fn assertion_audience(&self) -> Option<&AssertionAudience> {
        match &self.client.authentication {
            ClientAuthentication::PrivateKeyJwt(assertions) => Some(&assertions.audience),
            _ => None,
        }
    }

    /// The proof that goes with a request at the time `now`; an assertion is for `audience`.
    pub(crate) fn credentials(&self, audience: &str, now: NumericDate) -> Result<Credentials, Unavailable> {
        let id = || ("client_id", Zeroizing::new(self.client.id.clone()));
        Ok(match &self.client.authentication {
            ClientAuthentication::ClientSecretBasic(secret) => {
                let header = basic(&self.client.id, &secret.current(), self.form_decodes_basic);
                Credentials { header, form: vec![] }
            }
            ClientAuthentication::ClientSecretPost(secret) => {
                let secret = Zeroizing::new(secret.current().as_str().to_owned());
                Credentials { header: None, form: vec![id(), ("client_secret", secret)] }
            }
            // RFC 7521 §4.2: who we are stands in the assertion.
            ClientAuthentication::PrivateKeyJwt(assertions) => {
                let key = self.key.as_ref().ok_or(Unavailable::Unsigned)?.current();
                let assertion = assertions.sign(&key, &self.client.id, audience, now).ok_or(Unavailable::Unsigned)?;
                let kind = Zeroizing::new("urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned());
                let form = vec![("client_assertion_type", kind), ("client_assertion", assertion)];
                Credentials { header: None, form }
            }
            ClientAuthentication::TlsClientAuth => Credentials { header: None, form: vec![id()] },
        })
    }
}

/// Identifier and secret are form-encoded before they are joined (RFC 6749 §2.3.1), where the server knows that.
fn basic(client_id: &str, secret: &str, form_encode: bool) -> Option<HeaderValue> {
    let mut pair = Zeroizing::new(String::new());
    if form_encode {
        pair.extend(byte_serialize(client_id.as_bytes()));
        pair.push(':');
        pair.extend(byte_serialize(secret.as_bytes()));
    } else {
        pair.extend([client_id, ":", secret]);
    }
    let header = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&header).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// How long an assertion counts: it is used at once, and clocks differ.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

impl PrivateKeyJwt {
    /// RFC 7523 §3.
    fn sign(&self, key: &EncodingKey, client_id: &str, audience: &str, now: NumericDate) -> Option<Zeroizing<String>> {
        let mut header = json!({ "alg": self.algorithm, "typ": self.typ });
        if let (Some(id), Some(header)) = (&self.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), id.as_str().into());
        }
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": Uuid::new_v4(),
            "iat": now.seconds(),
            "exp": now.after(ASSERTION_LIFETIME).seconds(),
        });
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, self.algorithm).ok()?;
        Some(Zeroizing::new(format!("{signed}.{signature}")))
    }
}

/// The key in `pem`, if it signs by `algorithm`.
fn private_key(algorithm: Algorithm, pem: &str) -> Option<EncodingKey> {
    let read = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem,
        Algorithm::EdDSA => EncodingKey::from_ed_pem,
        Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_pem,
        _ => return None,
    };
    let key = read(pem.as_bytes()).ok()?;
    // Whether its curve or size will do is seen when it signs.
    jsonwebtoken::crypto::sign(b"", &key, algorithm).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::KeySize;

    use super::*;
    use crate::Vendor;
    use crate::jwt::SignedJwt;
    use crate::key_set::KeySet;
    use crate::testing::{Signer, key_set};

    const NOW: NumericDate = NumericDate::from_seconds(1_000);

    fn secret(text: &str) -> Secret {
        Secret::fixed(Zeroizing::new(text.to_owned()))
    }

    fn authenticator(authentication: ClientAuthentication) -> Result<Authenticator, BuildError> {
        Authenticator::new(&Client { id: "gate:way".to_owned(), authentication }, true, Vendor::Standard.quirks())
    }

    fn credentials(authentication: ClientAuthentication) -> Credentials {
        authenticator(authentication).unwrap().credentials("https://login.example.com", NOW).unwrap()
    }

    fn form(credentials: &Credentials) -> Vec<(&str, &str)> {
        credentials.form.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    fn assertions(key: Secret, algorithm: Algorithm) -> ClientAuthentication {
        ClientAuthentication::PrivateKeyJwt(PrivateKeyJwt {
            key,
            algorithm,
            key_id: Some("k".to_owned()),
            audience: AssertionAudience::Issuer,
            typ: "client-authentication+jwt".to_owned(),
        })
    }

    #[test]
    fn rfc6749_s2_3_1_basic_form_encodes_before_it_joins() {
        let credentials = credentials(ClientAuthentication::ClientSecretBasic(secret("s3cr:t+/ %basic")));
        let header = credentials.header.as_ref().unwrap();
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), b"gate%3Away:s3cr%3At%2B%2F+%25basic");
        assert_eq!(form(&credentials), []);
    }

    #[test]
    fn post_puts_both_into_the_form_and_nothing_into_the_header() {
        let credentials = credentials(ClientAuthentication::ClientSecretPost(secret("a&b=c d")));
        assert!(credentials.header.is_none());
        assert_eq!(form(&credentials), [("client_id", "gate:way"), ("client_secret", "a&b=c d")]);
    }

    #[test]
    fn rfc8705_s2_1_who_comes_with_a_certificate_says_which_client_it_is() {
        let credentials = credentials(ClientAuthentication::TlsClientAuth);
        assert!(credentials.header.is_none());
        assert_eq!(form(&credentials), [("client_id", "gate:way")]);
        let client = Client { id: "g".to_owned(), authentication: ClientAuthentication::TlsClientAuth };
        assert!(matches!(
            Authenticator::new(&client, false, Vendor::Standard.quirks()),
            Err(BuildError::NoCertificate)
        ));
    }

    #[test]
    fn rfc7523_s3_an_assertion_says_who_we_are_to_whom_and_for_how_long() {
        use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
        for algorithm in [ES256, ES384, EdDSA, PS256, RS256] {
            let signer = Signer::new(algorithm);
            let credentials = credentials(assertions(secret(&signer.pem), algorithm));
            let [(_, kind), (_, assertion)] = form(&credentials)[..] else { panic!("two fields") };
            assert_eq!(kind, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            let jwt = SignedJwt::parse(assertion, &["client-authentication+jwt"], &[algorithm]).unwrap();
            let keys = KeySet::parse(key_set(&[signer.jwk("k")]).as_bytes()).unwrap();
            let claims = jwt.verify(&keys).unwrap().expect("kid and signature are right");
            for (name, value) in [("iss", "gate:way"), ("sub", "gate:way"), ("aud", "https://login.example.com")] {
                assert_eq!(claims.get(name).unwrap(), value);
            }
            assert_eq!(claims.date("iat").unwrap(), Some(NOW));
            assert_eq!(claims.date("exp").unwrap(), Some(NumericDate::from_seconds(1_060)));
        }
    }

    #[test]
    fn no_two_assertions_are_the_same() {
        let signer = Signer::new(Algorithm::EdDSA);
        let authenticator = authenticator(assertions(secret(&signer.pem), Algorithm::EdDSA)).unwrap();
        let one = authenticator.credentials("a", NOW).unwrap();
        assert_ne!(form(&one), form(&authenticator.credentials("a", NOW).unwrap()));
    }

    #[test]
    fn a_key_that_does_not_fit_its_algorithm_is_refused_at_the_start() {
        let [p256, p384, ed25519] = [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA].map(Signer::new);
        let rsa = Signer::rsa(Algorithm::RS256, KeySize::Rsa2048);
        for (pem, algorithm) in [
            (&p256.pem, Algorithm::ES384),
            (&p384.pem, Algorithm::ES256),
            (&p256.pem, Algorithm::EdDSA),
            (&ed25519.pem, Algorithm::RS256),
            (&rsa.pem, Algorithm::ES256),
            (&rsa.pem, Algorithm::RS512),
            (&rsa.pem, Algorithm::HS256),
            (&"no key".to_owned(), Algorithm::ES256),
        ] {
            let refused = authenticator(assertions(secret(pem), algorithm)).err().unwrap();
            assert!(matches!(refused, BuildError::AssertionKey(named) if named == algorithm), "{algorithm:?}");
        }
    }

    #[test]
    fn secrets_show_themselves_nowhere() {
        let basic = ClientAuthentication::ClientSecretBasic(secret("hunter2"));
        assert!(!format!("{basic:?}").contains("hunter2"));
        assert!(!format!("{:?}", credentials(basic).header).contains("Basic"));
    }
}

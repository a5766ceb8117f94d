//! JWTs that a test signs itself, so that each part of them can be wrong.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

/// A key pair for ES256.
#[derive(Clone)]
pub struct SigningKey {
    private_pem: String,
    public_pem: String,
    jwk: Value,
}

impl SigningKey {
    /// A new key, known by a new `kid`.
    pub fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        // An uncompressed point: 4, then two coordinates.
        let (x, y) = pair.der_bytes()[1..].split_at(32);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": uuid::Uuid::new_v4().to_string(),
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        Self { private_pem: pair.serialize_pem(), public_pem: pair.public_key_pem(), jwk }
    }

    /// Its public half, as it is published.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// Its private half, PKCS #8.
    pub fn private_pem(&self) -> &str {
        &self.private_pem
    }

    /// Its public half in the form that is most often taken for a secret by mistake.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }
}

impl Default for SigningKey {
    fn default() -> Self {
        Self::new()
    }
}

/// A JWT that is not signed yet.
#[derive(Clone, Debug)]
pub struct Jwt {
    header: Value,
    claims: Value,
}

impl Jwt {
    /// With this `typ` and these claims.
    pub fn new(media_type: &str, claims: Value) -> Self {
        Self { header: json!({ "typ": media_type }), claims }
    }

    /// With a member of its header set; `null` removes it.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.header, name, value.into());
        self
    }

    /// With a claim set; `null` removes it.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, value.into());
        self
    }

    /// Signed with ES256. `alg` and, unless the header has one already, `kid` say so.
    pub fn sign(&self, key: &SigningKey) -> String {
        let private = EncodingKey::from_ec_pem(key.private_pem.as_bytes()).unwrap();
        let mut header = self.header.clone();
        if header.get("kid").is_none() {
            header["kid"] = key.jwk["kid"].clone();
        }
        self.serialize(header, "ES256", |message| sign(message, &private, Algorithm::ES256).unwrap())
    }

    /// Not signed at all.
    pub fn unsigned(&self) -> String {
        self.serialize(self.header.clone(), "none", |_| String::new())
    }

    /// With a MAC that anybody who knows `secret` can make.
    pub fn authenticate(&self, secret: &str) -> String {
        let secret = EncodingKey::from_secret(secret.as_bytes());
        self.serialize(self.header.clone(), "HS256", |message| sign(message, &secret, Algorithm::HS256).unwrap())
    }

    fn serialize(&self, mut header: Value, algorithm: &str, signature: impl Fn(&[u8]) -> String) -> String {
        header["alg"] = algorithm.into();
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&header), encode(&self.claims));
        let signature = signature(message.as_bytes());
        format!("{message}.{signature}")
    }
}

/// The header and the claims of a JWT, believed as they are.
#[track_caller]
pub fn decode_jwt(jwt: &str) -> (Value, Value) {
    let decode = |part: &str| {
        let json = URL_SAFE_NO_PAD.decode(part).unwrap_or_else(|error| panic!("{error} in {jwt}"));
        serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{error} in {jwt}"))
    };
    let mut parts = jwt.split('.');
    (decode(parts.next().unwrap()), decode(parts.next().unwrap_or_default()))
}

/// The value of a Basic `Authorization` field whose parts are form-encoded (RFC 6749 section 2.3.1).
pub(crate) fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

/// Lays members over those of an object; `null` removes one.
pub(crate) fn overlay(object: &mut Value, members: &Value) {
    for (name, value) in members.as_object().expect("members are an object") {
        set(object, name, value.clone());
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

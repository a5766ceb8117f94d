//! The token as the agent sent it, and the digest it is known by from then on.
//!
//! An [`OpaqueToken`] shows its content to nobody but the introspection request. Whatever is kept (cache entries, audit
//! records) is keyed by a [`TokenDigest`].

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use sha2::digest::block_api::BlockSizeUser as _;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// An access token as it stands in the request: borrowed, so that nothing of it is left behind when the request ends.
///
/// Parsed, not validated: there is no other way to make one, so what is in it is `token68` (RFC 9110 §11.2, the
/// `b64token` of RFC 6750 §2.1) and no longer than [`OpaqueToken::MAX_LENGTH`].
#[derive(Clone, Copy)]
pub struct OpaqueToken<'request>(&'request str);

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It has a character that `token68` does not allow, or nothing before its padding.
    #[error("the token is not of the form token68")]
    Syntax,
    /// It is longer than [`OpaqueToken::MAX_LENGTH`].
    #[error("the token is longer than {} bytes", OpaqueToken::MAX_LENGTH)]
    TooLong,
}

impl<'request> OpaqueToken<'request> {
    /// The longest token taken, in bytes. Opaque tokens have about 40; JWTs of large organizations a few thousand.
    pub const MAX_LENGTH: usize = 8 * 1024;

    /// Takes `text` for a token if it has the form of one.
    ///
    /// # Errors
    /// [`InvalidToken`] when it has not.
    pub fn parse(text: &'request str) -> Result<Self, InvalidToken> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidToken::TooLong);
        }
        let content = text.trim_end_matches('=');
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if content.is_empty() || !content.bytes().all(allowed) {
            return Err(InvalidToken::Syntax);
        }
        Ok(Self(text))
    }

    /// Whether it has the form of a signed JWT (RFC 7515 §7.1): three parts, of which the first is a JSON object. Says
    /// nothing of what is in it.
    pub fn looks_like_jwt(self) -> bool {
        // `eyJ` is `{"` in base64url, and no JSON object that is a JOSE header begins otherwise in the field.
        self.0.starts_with("eyJ") && self.0.split('.').count() == 3 && !self.0.split('.').any(str::is_empty)
    }

    /// A copy that outlives the request, for the introspection request; wiped when dropped.
    pub(crate) fn to_owned(self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_owned())
    }
}

impl fmt::Debug for OpaqueToken<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OpaqueToken(hidden)")
    }
}

/// What a token is known by in caches and records: SHA-256 over whatever changes the answer about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenDigest([u8; 32]);

impl fmt::Debug for TokenDigest {
    /// The first 64 bits in hexadecimal: enough to find one token's records, of no use for anything else.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.prefix())
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl TokenDigest {
    /// The first 64 bits: what is shown of it.
    pub(crate) fn prefix(self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A hasher for keys that are digests already: takes their first eight bytes. Equality still compares all of them.
#[derive(Default)]
pub(crate) struct DigestHasher(u64);

pub(crate) type BuildDigestHasher = BuildHasherDefault<DigestHasher>;

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes digests in one domain: the same token at another authorization server, asked about as another client, or verified
/// instead of introspected, has another digest.
#[derive(Clone)]
pub(crate) struct Digester(Sha256);

impl Digester {
    /// The domain of what is learnt in the way `how` at the authorization server `issuer`, as its client `client_id`.
    pub(crate) fn new(how: &str, issuer: &str, client_id: &str) -> Self {
        let mut digester = Self(Sha256::new());
        let fields = ["phantomgate token digest", how, issuer, client_id];
        for field in fields {
            digester.field(field);
        }
        // To the end of a block, so that what is hashed once is not hashed again with each token.
        let length: usize = fields.iter().map(|field| size_of::<u64>() + field.len()).sum();
        digester.0.update(vec![0; length.next_multiple_of(Sha256::block_size()) - length]);
        digester
    }

    pub(crate) fn digest(&self, token: OpaqueToken<'_>) -> TokenDigest {
        let mut digester = self.clone();
        digester.field(token.0);
        TokenDigest(digester.0.finalize().into())
    }

    /// Each field with its length before it: no two lists of fields give the same bytes.
    fn field(&mut self, field: &str) {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> OpaqueToken<'_> {
        OpaqueToken::parse(text).unwrap()
    }

    #[test]
    fn rfc6750_s2_1_b64token_and_nothing_else() {
        for good in ["a", "mF_9.B5f-4.1JqM", "abc==", "A-._~+/9"] {
            assert!(OpaqueToken::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "=", "a b", "tok&token_type_hint=x", "a=b", "é", "a\"", "a,b", "a\r\nb"] {
            assert_eq!(OpaqueToken::parse(bad).unwrap_err(), InvalidToken::Syntax, "{bad}");
        }
    }

    #[test]
    fn the_longest_token_is_taken_and_one_byte_more_is_not() {
        assert!(OpaqueToken::parse(&"a".repeat(OpaqueToken::MAX_LENGTH)).is_ok());
        let longer = "a".repeat(OpaqueToken::MAX_LENGTH + 1);
        assert_eq!(OpaqueToken::parse(&longer).unwrap_err(), InvalidToken::TooLong);
    }

    #[test]
    fn a_signed_jwt_is_known_by_its_form() {
        assert!(token("eyJhbGciOiJFUzI1NiJ9.e30.c2ln").looks_like_jwt());
        for other in ["a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJh.e30", "eyJh.a.b.c.d", "opaque", "eyJh..c"] {
            assert!(!token(other).looks_like_jwt(), "{other}");
        }
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert!(!format!("{:?}", token("verysecret")).contains("verysecret"));
    }

    #[test]
    fn the_domain_is_part_of_the_digest() {
        let here = Digester::new("introspected", "https://as.example", "gateway");
        assert_eq!(here.digest(token("t")), here.digest(token("t")));
        assert_ne!(here.digest(token("t")), here.digest(token("u")));
        assert_ne!(
            here.digest(token("t")),
            Digester::new("introspected", "https://other.example", "gateway").digest(token("t"))
        );
        assert_ne!(
            here.digest(token("t")),
            Digester::new("introspected", "https://as.example", "other").digest(token("t"))
        );
        assert_ne!(
            here.digest(token("t")),
            Digester::new("verified", "https://as.example", "gateway").digest(token("t"))
        );
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        let one = Digester::new("introspected", "https://as.example/a", "b").digest(token("t"));
        let two = Digester::new("introspected", "https://as.example/", "ab").digest(token("t"));
        assert_ne!(one, two);
    }
}

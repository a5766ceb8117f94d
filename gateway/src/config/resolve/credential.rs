//! Credentials for upstreams, resolved: each kind has what it needs and nothing that it has no use for.

use http::{HeaderName, HeaderValue};
use phantomgate_introspection::Secret;
use phantomgate_introspection::exchange::{Actor, Exchange, TokenExchange, TokenType};
use url::Url;

use super::super::document::{self, Credential, CredentialKind};
use super::super::tree::Step;
use super::super::values::Span;
use super::super::{CredentialConfig, HeaderConfig, SignedConfig, SigningConfig};
use super::{Parts, Resolver, all_or_nothing, below};

/// Claims that are ours to set in a JWT that we sign.
const OUR_CLAIMS: [&str; 12] =
    ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "auth_time", "acr", "amr"];

/// Headers that are about the message or its connection, or that we set ourselves.
const OUR_HEADERS: [&str; 16] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

impl Resolver<'_> {
    pub(super) fn credential(
        &mut self,
        index: usize,
        credential: &Credential,
        parts: &Parts<'_>,
    ) -> Option<CredentialConfig> {
        let path = path!["routes", index, "credential"];
        let fits = self.has_only_what_it_needs(&path, credential);
        let resolved = match credential.kind {
            CredentialKind::Jwt => Some(CredentialConfig::Jwt),
            CredentialKind::Signed => self.signed(&path, credential, parts.signing).map(CredentialConfig::Signed),
            CredentialKind::Exchange => self.exchange(&path, credential).map(CredentialConfig::Exchange),
            CredentialKind::OnBehalfOf => self.on_behalf_of(&path, credential).map(CredentialConfig::Exchange),
            CredentialKind::Header => self.header(&path, credential).map(CredentialConfig::Header),
            CredentialKind::None => Some(CredentialConfig::None),
        };
        resolved.filter(|_| fits)
    }

    /// A key that the kind has no use for is a mistake: in the key, or in the kind.
    fn has_only_what_it_needs(&mut self, path: &[Step], credential: &Credential) -> bool {
        use CredentialKind::{Exchange, Header, OnBehalfOf, Signed};
        let keys: [(&str, bool, &[CredentialKind]); 10] = [
            ("audience", credential.audience.is_some(), &[Signed, Exchange]),
            ("lifetime", credential.lifetime.is_some(), &[Signed]),
            ("claims", !credential.claims.is_empty(), &[Signed]),
            ("resource", credential.resource.is_some(), &[Exchange]),
            ("scopes", !credential.scopes.is_empty(), &[Exchange, OnBehalfOf]),
            ("requested_token_type", credential.requested_token_type.is_some(), &[Exchange]),
            ("actor", credential.actor.is_some(), &[Exchange]),
            ("name", credential.name.is_some(), &[Header]),
            ("secret", credential.secret.is_some(), &[Header]),
            ("prefix", credential.prefix.is_some(), &[Header]),
        ];
        let mut fits = true;
        for (key, stands_here, kinds) in keys {
            if stands_here && !kinds.contains(&credential.kind) {
                let reason =
                    format!("a credential of the kind `{}` has no `{key}`; remove one of them", credential.kind);
                self.fault::<()>(&below(path, key), reason);
                fits = false;
            }
        }
        fits
    }

    fn signed(
        &mut self,
        path: &[Step],
        credential: &Credential,
        signing: Option<&SigningConfig>,
    ) -> Option<SignedConfig> {
        let is_written = self.tree.has("signing");
        if signing.is_none() && !is_written {
            return self.fault(path, "a signed credential needs our keys; add the section `signing`");
        }
        let audience = self.needed(path, "audience", credential.audience.as_ref(), CredentialKind::Signed);
        let audience = audience.and_then(|audience| self.present(&below(path, "audience"), audience));
        let lifetime = match (credential.lifetime, signing) {
            (None, Some(signing)) => Some(signing.lifetime),
            (Some(own), Some(signing)) => {
                let longest = Span(signing.lifetime).to_string();
                self.span(&below(path, "lifetime"), own, "10s"..=longest.as_str()).map(|span| span.0)
            }
            (_, None) => None, // what is wrong with `signing` has been told
        };
        let mut claims = Vec::new();
        for (name, claim) in &credential.claims {
            let claim_path = below(&below(path, "claims"), name.as_str());
            if OUR_CLAIMS.contains(&name.as_str()) {
                let reason = "phantomgate sets this claim itself; choose another name";
                self.fault::<()>(&claim_path, reason);
            } else if name.is_empty() || claim.is_empty() {
                self.fault::<()>(&claim_path, "is empty; write the name of a claim on both sides");
            } else {
                claims.push((name.clone(), claim.clone()));
            }
        }
        Some(SignedConfig { audience: audience?, lifetime: lifetime?, claims })
    }

    fn exchange(&mut self, path: &[Step], credential: &Credential) -> Option<Exchange> {
        let asks_for_nothing = credential.audience.is_none() && credential.resource.is_none();
        let was_removed = ["audience", "resource"].iter().any(|key| self.tree.was_removed(&below(path, *key)));
        if asks_for_nothing && !was_removed {
            self.fault::<()>(path, "an exchange needs an `audience` or a `resource`; add one");
        }
        let audience = credential.audience.as_ref().map(|text| self.present(&below(path, "audience"), text));
        let resource = credential.resource.as_ref().map(|text| self.resource(&below(path, "resource"), text));
        let scopes = self.scopes(&below(path, "scopes"), &credential.scopes);
        let actor = credential.actor.as_ref().map(|actor| {
            let token = self.secret(&below(&below(path, "actor"), "token"), &actor.token)?;
            Some(Actor { token, token_type: token_type(actor.typ) })
        });
        Some(Exchange::TokenExchange(TokenExchange {
            audience: all_or_nothing(audience)?,
            resource: all_or_nothing(resource)?,
            scopes,
            requested_token_type: token_type(credential.requested_token_type.unwrap_or_default()),
            actor: all_or_nothing(actor)?,
        }))
    }

    /// RFC 8707 §2: an absolute URI without fragment.
    fn resource(&mut self, path: &[Step], text: &str) -> Option<String> {
        match Url::parse(text) {
            Ok(url) if url.fragment().is_none() => Some(text.to_owned()),
            _ => self.fault(path, format!("{text:?} is no absolute URI without fragment; write the upstream's")),
        }
    }

    fn on_behalf_of(&mut self, path: &[Step], credential: &Credential) -> Option<Exchange> {
        let scopes_path = below(path, "scopes");
        if credential.scopes.is_empty() && !self.tree.was_removed(&scopes_path) {
            return self.fault(path, "a credential of the kind `on_behalf_of` needs `scopes`; add at least one");
        }
        Some(Exchange::OnBehalfOf { scopes: self.scopes(&scopes_path, &credential.scopes) })
    }

    fn header(&mut self, path: &[Step], credential: &Credential) -> Option<HeaderConfig> {
        let name = self.needed(path, "name", credential.name.as_ref(), CredentialKind::Header);
        let name = name.and_then(|name| self.header_name(&below(path, "name"), name));
        let source = self.needed(path, "secret", credential.secret.as_ref(), CredentialKind::Header);
        let prefix = credential.prefix.clone().unwrap_or_default();
        let secret = source.and_then(|source| {
            let secret = self.secret(&below(path, "secret"), source)?;
            if !fits_into_a_header(&prefix, &secret) {
                let source = self.source(source);
                let reason = format!("{source}: the secret, or the prefix, has characters that no header can have");
                return self.fault(&below(path, "secret"), reason);
            }
            Some(secret)
        });
        Some(HeaderConfig { name: name?, prefix, secret: secret? })
    }

    fn header_name(&mut self, path: &[Step], text: &str) -> Option<HeaderName> {
        match HeaderName::try_from(text) {
            Ok(name) if OUR_HEADERS.contains(&name.as_str()) => {
                self.fault(path, format!("{text:?} is not for a secret; name a header of the upstream's own"))
            }
            Ok(name) => Some(name),
            Err(_) => self.fault(path, format!("{text:?} is no name of a header; write one such as X-Api-Key")),
        }
    }

    /// What a kind of credential must have.
    fn needed<T>(&mut self, path: &[Step], key: &str, value: Option<T>, kind: CredentialKind) -> Option<T> {
        if value.is_none() && !self.tree.was_removed(&below(path, key)) {
            return self.fault(path, format!("a credential of the kind `{kind}` needs `{key}`; add it"));
        }
        value
    }
}

fn token_type(written: document::TokenType) -> TokenType {
    match written {
        document::TokenType::AccessToken => TokenType::AccessToken,
        document::TokenType::Jwt => TokenType::Jwt,
    }
}

fn fits_into_a_header(prefix: &str, secret: &Secret) -> bool {
    let value = zeroize::Zeroizing::new(format!("{prefix}{}", secret.current().as_str()));
    HeaderValue::from_str(&value).is_ok()
}

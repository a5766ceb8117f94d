//! What real authorization servers do that the standards do not say, or say otherwise. All of it is in this file: the
//! spellings that one claim has in the field, and a row for each product. Nothing elsewhere asks for a product by name.

/// Whose product an authorization server is.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
    strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Vendor {
    /// Anybody's who does as the standards say.
    #[default]
    Standard,
    /// Auth0.
    Auth0,
    /// authentik.
    Authentik,
    /// Amazon Cognito.
    Cognito,
    /// Curity Identity Server.
    Curity,
    /// django-oauth-toolkit.
    DjangoOauthToolkit,
    /// Microsoft Entra ID.
    Entra,
    /// Glewlwyd.
    Glewlwyd,
    /// Ory Hydra.
    Hydra,
    /// Keycloak.
    Keycloak,
    /// oidc-provider.
    OidcProvider,
    /// Okta.
    Okta,
    /// ZITADEL.
    Zitadel,
}

/// The spellings of a claim, the registered one first. They are tried in order at every authorization server: none of them
/// means anything else anywhere.
pub(crate) mod spelling {
    /// Who: django-oauth-toolkit has no `sub`.
    pub(crate) const SUBJECT: &[&str] = &["sub", "username"];
    /// The client: Keycloak and Auth0 say `azp`, Entra `azp` or `appid`, Okta `cid`.
    pub(crate) const CLIENT: &[&str] = &["client_id", "azp", "appid", "cid"];
    /// What was granted: Entra, Okta and Hydra's JWTs say `scp`.
    pub(crate) const SCOPE: &[&str] = &["scope", "scp"];
}

/// How a product differs.
#[derive(Debug)]
pub(crate) struct Quirks {
    /// Values of `typ` that its JWT access tokens have, beyond RFC 9068's `at+jwt`. An empty text: there is no `typ`.
    pub(crate) access_token_types: &'static [&'static str],
    /// Claims that its JWT access tokens always have, in the spelling of the product. RFC 9068 §2.2 where it keeps to it.
    pub(crate) access_token_claims: &'static [&'static str],
    /// Claims that only its ID tokens have.
    pub(crate) id_token_claims: &'static [&'static str],
    /// A claim that says what kind of token it is, and the values that say an access token.
    pub(crate) kind: Option<(&'static str, &'static [&'static str])>,
    /// A claim with permissions that count as scopes, beside those in [`spelling::SCOPE`].
    pub(crate) permissions: Option<&'static str>,
    /// A claim that stands in for `aud` where there is none.
    pub(crate) audience: Option<&'static str>,
    /// An object that holds the claims which the product did not define itself.
    pub(crate) extension: Option<&'static str>,
    /// What the status 400 says of a token.
    pub(crate) bad_request: BadRequest,
    /// Whether it form-decodes identifier and secret in an `Authorization` header, as RFC 6749 §2.3.1 has them encoded.
    pub(crate) form_decodes_basic: bool,
    /// Whether `aud` of a signed response (RFC 9701 §5) is the one who asked. Otherwise it is the token's own.
    pub(crate) signs_for_the_asker: bool,
}

/// What the status 400 in answer to an introspection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadRequest {
    /// That something is wrong with us.
    Failure,
    /// That the token is not active, if the error is that it is of a type which is not supported (RFC 7009 §2.2.1).
    UnsupportedTypeIsInactive,
    /// That the token is not active, if the body is empty.
    EmptyIsInactive,
}

/// RFC 9068 §2.2: what a JWT access token must have.
const RFC9068: &[&str] = &["exp", "aud", "sub", "client_id", "iat", "jti"];

const STANDARD: Quirks = Quirks {
    access_token_types: &[],
    access_token_claims: RFC9068,
    id_token_claims: &["at_hash", "c_hash", "nonce"],
    kind: None,
    permissions: None,
    audience: None,
    extension: None,
    bad_request: BadRequest::Failure,
    form_decodes_basic: true,
    signs_for_the_asker: true,
};

impl Vendor {
    /// The row of this product.
    pub(crate) fn quirks(self) -> &'static Quirks {
        match self {
            Self::Standard | Self::DjangoOauthToolkit => &STANDARD,
            // Its own profile of access tokens, which is the default, has neither `client_id` nor `jti`; permissions of
            // its role model are not scopes, but are what its APIs are told to check.
            Self::Auth0 => &Quirks {
                access_token_types: &["JWT"],
                access_token_claims: &["exp", "aud", "sub", "azp", "iat"],
                permissions: Some("permissions"),
                ..STANDARD
            },
            // Its access tokens are made like its ID tokens, and may have a `nonce`.
            Self::Authentik => &Quirks {
                access_token_types: &["JWT"],
                id_token_claims: &["at_hash", "c_hash"],
                access_token_claims: &["exp", "aud", "sub", "azp", "iat"],
                ..STANDARD
            },
            // No `typ`, and no `aud` unless the client asked for a resource; ID tokens are told by `token_use`.
            Self::Cognito => &Quirks {
                access_token_types: &[""],
                access_token_claims: &["exp", "sub", "client_id", "iat", "jti", "token_use"],
                kind: Some(("token_use", &["access"])),
                audience: Some("client_id"),
                ..STANDARD
            },
            Self::Curity => &Quirks {
                access_token_types: &["JWT", ""],
                access_token_claims: &["exp", "aud", "sub", "iat", "jti"],
                kind: Some(("purpose", &["access_token"])),
                ..STANDARD
            },
            // Delegated permissions are in `scp`, those of applications in `roles`; `uti` instead of `jti`.
            Self::Entra => &Quirks {
                access_token_types: &["JWT"],
                access_token_claims: &["exp", "aud", "sub", "iat"],
                permissions: Some("roles"),
                ..STANDARD
            },
            // Answers 400 without a body when a JWT was asked for a token that is not active; its JWTs are typed as
            // introspection responses, and both kinds are made out to the token's audience; takes what Basic holds as it
            // is.
            Self::Glewlwyd => &Quirks {
                access_token_types: &["token-introspection+jwt"],
                kind: Some(("type", &["access_token"])),
                bad_request: BadRequest::EmptyIsInactive,
                form_decodes_basic: false,
                signs_for_the_asker: false,
                ..STANDARD
            },
            Self::Hydra => &Quirks {
                access_token_types: &["JWT"],
                kind: Some(("token_use", &["access_token"])),
                extension: Some("ext"),
                ..STANDARD
            },
            // The claim `typ` tells access tokens (`Bearer`) from refresh (`Refresh`, `Offline`) and ID tokens (`ID`);
            // old versions have a `nonce` in access tokens.
            Self::Keycloak => &Quirks {
                access_token_types: &["JWT"],
                access_token_claims: &["exp", "aud", "sub", "azp", "iat", "jti"],
                id_token_claims: &["at_hash", "c_hash"],
                kind: Some(("typ", &["Bearer", "DPoP"])),
                ..STANDARD
            },
            // A token that begins like a JWT is of a type that it does not support, whoever made it up.
            Self::OidcProvider => &Quirks { bad_request: BadRequest::UnsupportedTypeIsInactive, ..STANDARD },
            Self::Okta => &Quirks {
                access_token_types: &["okta-internal-at+jwt", "JWT", ""],
                access_token_claims: &["exp", "aud", "sub", "cid", "iat", "jti"],
                ..STANDARD
            },
            Self::Zitadel => &Quirks {
                access_token_types: &["JWT"],
                access_token_claims: &["exp", "aud", "sub", "client_id", "iat", "jti"],
                ..STANDARD
            },
        }
    }
}

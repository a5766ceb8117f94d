//! What real authorization servers do that the standards do not say: one row for each.

/// Whose product an authorization server is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
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

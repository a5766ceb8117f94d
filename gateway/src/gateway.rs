//! What a configuration becomes: everything that requests run on, built once and shared.

use std::sync::Arc;

use phantomgate_introspection::{BuildError, Introspector, NumericDate};
use phantomgate_upstreams::Upstream;

use crate::config::{
    ChallengeScopes, Config, CredentialConfig, McpConfig, ProtectionConfig, RouteConfig, SigningConfig,
};
use crate::cross_origin::CrossOrigin;
use crate::mcp::McpEndpoint;
use crate::mcp::policy::Policy;
use crate::mcp::session::Sessions;
use crate::metrics::RequestCounters;
use crate::route::{Protection, Route, RouteTable};
use crate::signing::{KeyError, SignedCredential, Signer};
use crate::upstream_credential::{
    CredentialKey, CredentialKind, CredentialSource, DerivedCredentials, ExchangeCredential,
};
use crate::well_known::WellKnown;

/// A configuration at work.
pub struct Gateway {
    /// Which requests go where.
    pub routes: RouteTable,
    /// Our own documents.
    pub well_known: WellKnown,
    /// Signs our JWTs; none when no route needs it.
    pub signer: Option<Arc<Signer>>,
    /// All authorization servers.
    pub authorization_servers: Vec<AuthorizationServer>,
    /// All upstreams.
    pub upstreams: Vec<Arc<Upstream>>,
}

/// An authorization server of the configuration.
pub struct AuthorizationServer {
    /// What the configuration calls it.
    pub name: String,
    /// Knows its tokens.
    pub introspector: Introspector<DerivedCredentials>,
}

/// Why a valid configuration cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The signing keys.
    #[error("signing.keys: {0}")]
    Keys(#[from] KeyError),
    /// An authorization server.
    #[error("authorization server {issuer}: {error}")]
    AuthorizationServer {
        /// Which one.
        issuer: String,
        /// What is wrong.
        error: BuildError,
    },
    /// A part that the configuration was checked to have is not there.
    #[error("the configuration is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// The rules of a route are too many to be matched at once.
    #[error("route {route}: mcp: {error}")]
    Rules {
        /// Which one.
        route: String,
        /// What is wrong.
        error: regex::Error,
    },
}

impl Gateway {
    /// Builds all that `config` describes. Makes the first signing key when there is none.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn build(config: &Config, now: NumericDate) -> Result<Self, GatewayError> {
        let signer = config.signing.as_ref().map(|signing| open_signer(signing, now)).transpose()?;
        let authorization_servers: Vec<_> =
            config.authorization_servers.iter().map(authorization_server).collect::<Result<Vec<_>, _>>()?;
        let upstreams: Vec<_> = config
            .upstreams
            .iter()
            .zip(0..)
            .map(|(upstream, group)| Arc::new(Upstream::new(upstream.clone(), group)))
            .collect();
        let sessions = upstreams.iter().map(|_| Arc::default()).collect::<Vec<_>>();
        let parts = Parts {
            config,
            sessions: &sessions,
            signer: signer.as_ref(),
            authorization_servers: &authorization_servers,
            upstreams: &upstreams,
        };
        let routes = config
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| parts.route(index, route))
            .collect::<Result<_, _>>()?;
        Ok(Self { well_known: WellKnown::new(&routes), routes, signer, authorization_servers, upstreams })
    }
}

fn open_signer(signing: &SigningConfig, now: NumericDate) -> Result<Arc<Signer>, GatewayError> {
    Ok(Arc::new(Signer::open(signing, now)?))
}

fn authorization_server(config: &phantomgate_introspection::Config) -> Result<AuthorizationServer, GatewayError> {
    match Introspector::new(config) {
        Ok(introspector) => Ok(AuthorizationServer { name: config.name.clone(), introspector }),
        Err(error) => Err(GatewayError::AuthorizationServer { issuer: config.issuer.to_string(), error }),
    }
}

/// What routes are put together from.
struct Parts<'a> {
    config: &'a Config,
    signer: Option<&'a Arc<Signer>>,
    authorization_servers: &'a [AuthorizationServer],
    upstreams: &'a [Arc<Upstream>],
    /// Of each upstream.
    sessions: &'a [Arc<Sessions>],
}

impl Parts<'_> {
    fn route(&self, index: usize, route: &RouteConfig) -> Result<Arc<Route>, GatewayError> {
        let upstream = self.upstreams.get(route.upstream).ok_or(GatewayError::Inconsistent("an upstream"))?;
        let mcp = route.mcp.as_ref().map(|mcp| self.mcp(route, mcp)).transpose()?;
        let protection = route.protection.as_ref();
        let protection =
            protection.map(|protection| self.protection(index, protection, route.mcp.as_ref())).transpose()?;
        Ok(Arc::new(Route {
            name: route.name.clone(),
            host: route.host.clone(),
            path: route.path.clone(),
            upstream: upstream.clone(),
            protection,
            mcp,
            counters: RequestCounters::new(&route.name),
        }))
    }

    fn mcp(&self, route: &RouteConfig, mcp: &McpConfig) -> Result<McpEndpoint, GatewayError> {
        let policy =
            Policy::new(&mcp.policy).map_err(|error| GatewayError::Rules { route: route.name.clone(), error })?;
        let sessions = self.sessions.get(route.upstream).ok_or(GatewayError::Inconsistent("an upstream"))?;
        Ok(McpEndpoint {
            revisions: mcp.revisions.clone(),
            policy,
            lists: mcp.lists,
            max_body: mcp.max_body,
            session_limits: mcp.sessions,
            sessions: sessions.clone(),
            cross_origin: CrossOrigin::new(
                &mcp.origins,
                route.protection.as_ref().map(|protection| &protection.resource),
            ),
        })
    }

    fn protection(
        &self,
        route: usize,
        protection: &ProtectionConfig,
        mcp: Option<&McpConfig>,
    ) -> Result<Protection, GatewayError> {
        let missing = || GatewayError::Inconsistent("an authorization server");
        let index = protection.authorization_server;
        let server = self.config.authorization_servers.get(index).ok_or_else(missing)?;
        let AuthorizationServer { introspector, .. } = self.authorization_servers.get(index).ok_or_else(missing)?;
        let mut scopes_supported = protection.scopes.clone();
        if let Some(mcp) = mcp {
            scopes_supported.extend(&mcp.policy.scopes());
        }
        let challenge_scopes = match mcp.map(|mcp| mcp.challenge) {
            Some(ChallengeScopes::All) => scopes_supported.clone(),
            Some(ChallengeScopes::Required) | None => protection.scopes.clone(),
        };
        Ok(Protection {
            resource: protection.resource.clone(),
            audiences: protection.audiences.clone(),
            authorization_server: server.issuer.to_string(),
            introspector: introspector.clone(),
            accepts: protection.accepts,
            scopes: protection.scopes.clone(),
            scopes_supported,
            publishes_authorization_server: mcp.is_some_and(|mcp| mcp.authorization_server_metadata),
            scope_hierarchy: protection.scope_hierarchy.clone(),
            challenge_scopes,
            credential: self.credential(route, &protection.credential, introspector)?,
        })
    }

    fn credential(
        &self,
        route: usize,
        credential: &CredentialConfig,
        introspector: &Introspector<DerivedCredentials>,
    ) -> Result<Option<CredentialSource>, GatewayError> {
        let kind = match credential {
            CredentialConfig::None => return Ok(None),
            CredentialConfig::Jwt => CredentialKind::Jwt,
            CredentialConfig::Signed(terms) => {
                let signer = self.signer.ok_or(GatewayError::Inconsistent("the signing keys"))?.clone();
                CredentialKind::Signed(SignedCredential { signer, terms: terms.clone() })
            }
            CredentialConfig::Exchange(exchange) => {
                CredentialKind::Exchange(ExchangeCredential::new(exchange.clone(), introspector.clone()))
            }
            CredentialConfig::Header(header) => CredentialKind::Header(header.clone()),
        };
        Ok(Some(CredentialSource { key: self.key(route, credential), kind }))
    }

    /// Routes whose upstreams get the same JWT share it.
    fn key(&self, route: usize, credential: &CredentialConfig) -> CredentialKey {
        let CredentialConfig::Signed(own) = credential else { return CredentialKey(route) };
        let is_same = |other: &RouteConfig| match other.protection.as_ref().map(|protection| &protection.credential) {
            Some(CredentialConfig::Signed(other)) => other == own,
            _ => false,
        };
        CredentialKey(self.config.routes.iter().position(is_same).unwrap_or(route))
    }
}

//! What a configuration becomes: everything that requests run on, built once and shared.

use std::collections::HashMap;
use std::sync::Arc;

use phantomgate_introspection::{BuildError, Introspector, NumericDate};
use phantomgate_upstreams::Upstream;

use crate::config::{Config, CredentialConfig, ProtectionConfig, RouteConfig, SignedConfig, SigningConfig};
use crate::route::{Protection, Route, RouteTable};
use crate::signing::{KeyError, SignedCredential, Signer};
use crate::token_swap::DerivedCredentials;
use crate::well_known::WellKnown;

/// A configuration at work.
pub struct Gateway {
    /// Which requests go where.
    pub routes: RouteTable,
    /// Our own documents.
    pub well_known: WellKnown,
    /// Signs our JWTs; none when no route needs it.
    pub signer: Option<Arc<Signer>>,
    /// All upstreams.
    pub upstreams: Vec<Arc<Upstream>>,
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
}

impl Gateway {
    /// Builds all that `config` describes. Makes the first signing key when there is none.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn build(config: &Config, now: NumericDate) -> Result<Self, GatewayError> {
        let signer = config.signing.as_ref().map(|signing| open_signer(signing, now)).transpose()?;
        let introspectors = config.authorization_servers.iter().map(introspector).collect::<Result<Vec<_>, _>>()?;
        let upstreams: Vec<_> = config
            .upstreams
            .iter()
            .zip(0..)
            .map(|(upstream, group)| Arc::new(Upstream::new(upstream.clone(), group)))
            .collect();
        let parts = Parts { config, signer: signer.as_ref(), introspectors, upstreams: &upstreams };
        let mut audiences = HashMap::new();
        let routes =
            config.routes.iter().map(|route| parts.route(route, &mut audiences)).collect::<Result<RouteTable, _>>()?;
        Ok(Self { well_known: WellKnown::new(&routes), routes, signer, upstreams })
    }
}

type Introspectors = Vec<Introspector<DerivedCredentials>>;

fn open_signer(signing: &SigningConfig, now: NumericDate) -> Result<Arc<Signer>, GatewayError> {
    Ok(Arc::new(Signer::open(signing, now)?))
}

fn introspector(config: &phantomgate_introspection::Config) -> Result<Introspector<DerivedCredentials>, GatewayError> {
    Introspector::new(config)
        .map_err(|error| GatewayError::AuthorizationServer { issuer: config.issuer.to_string(), error })
}

/// What routes are put together from.
struct Parts<'a> {
    config: &'a Config,
    signer: Option<&'a Arc<Signer>>,
    introspectors: Introspectors,
    upstreams: &'a [Arc<Upstream>],
}

impl Parts<'_> {
    /// `audiences` lets routes with the same audience share its text, and so their JWTs.
    fn route(
        &self,
        route: &RouteConfig,
        audiences: &mut HashMap<String, Arc<str>>,
    ) -> Result<Arc<Route>, GatewayError> {
        let upstream = self.upstreams.get(route.upstream).ok_or(GatewayError::Inconsistent("an upstream"))?;
        let protection =
            route.protection.as_ref().map(|protection| self.protection(protection, audiences)).transpose()?;
        Ok(Arc::new(Route {
            name: route.name.clone(),
            host: route.host.clone(),
            path: route.path.clone(),
            upstream: upstream.clone(),
            protection,
        }))
    }

    fn protection(
        &self,
        protection: &ProtectionConfig,
        audiences: &mut HashMap<String, Arc<str>>,
    ) -> Result<Protection, GatewayError> {
        let missing = || GatewayError::Inconsistent("an authorization server");
        let index = protection.authorization_server;
        let server = self.config.authorization_servers.get(index).ok_or_else(missing)?;
        let credential = match &protection.credential {
            CredentialConfig::None => None,
            CredentialConfig::Signed(SignedConfig { audience, .. }) => Some(SignedCredential {
                signer: self.signer.ok_or(GatewayError::Inconsistent("the signing keys"))?.clone(),
                audience: audiences.entry(audience.clone()).or_insert_with(|| audience.as_str().into()).clone(),
            }),
            CredentialConfig::Jwt | CredentialConfig::Exchange(_) | CredentialConfig::Header(_) => {
                return Err(GatewayError::Inconsistent("a credential of a kind that is not served yet"));
            }
        };
        Ok(Protection {
            resource: protection.resource.clone(),
            authorization_server: server.issuer.to_string(),
            introspector: self.introspectors.get(index).ok_or_else(missing)?.clone(),
            audiences: protection.audiences.clone(),
            accepts: protection.accepts,
            scopes: protection.scopes.clone(),
            credential,
        })
    }
}

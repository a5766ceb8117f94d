//! What a configuration becomes: everything that requests run on, built once and shared.
//!
//! A new configuration takes the place of the old one while requests are under way. What it leaves unchanged is taken
//! over, with all that it knows: token caches, revocations, sessions, connections to upstreams. A request runs to its end on
//! the configuration it began with.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use phantomgate_introspection::{BuildError, Introspector, NumericDate, ScopeSet};
use phantomgate_upstreams::Upstream;

use crate::audit::{Audit, AuditError};
use crate::config::{
    ChallengeScopes, Config, CredentialConfig, McpConfig, ProtectionConfig, RouteConfig, SignedConfig, SigningConfig,
};
use crate::cross_origin::CrossOrigin;
use crate::limits::RouteLimits;
use crate::mcp::McpEndpoint;
use crate::mcp::policy::Policy;
use crate::mcp::session::Sessions;
use crate::metrics::RequestCounters;
use crate::route::{Protection, Route, RouteTable};
use crate::signing::{KeyError, SignedCredential, Signer};
use crate::telemetry::Tracing;
use crate::upstream_credential::{
    CredentialKey, CredentialKind, CredentialSource, DerivedCredentials, ExchangeCredential,
};
use crate::well_known::WellKnown;

/// How long the last records and traces may take to be delivered.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// A configuration at work.
pub struct Gateway {
    /// What it was built from.
    pub config: Config,
    /// Which one it is: they are counted from 1.
    pub generation: u64,
    /// Which requests go where.
    pub routes: RouteTable,
    /// Our own documents.
    pub well_known: WellKnown,
    /// Signs our JWTs; none when no route needs it.
    pub signer: Option<Arc<Signer>>,
    /// All authorization servers, in the order of the configuration.
    pub authorization_servers: Vec<AuthorizationServer>,
    /// All upstreams, in the order of the configuration.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The sessions at each upstream.
    sessions: Vec<Arc<Sessions>>,
    /// All routes, in the order of the configuration.
    all_routes: Vec<Arc<Route>>,
    /// Under which keys signed credentials are kept.
    signed_keys: HashMap<SignedConfig, CredentialKey>,
    /// Keeps the records of requests.
    pub audit: Arc<Audit>,
    /// Traces requests, where that is configured.
    pub tracing: Option<Arc<Tracing>>,
}

/// An authorization server of the configuration.
pub struct AuthorizationServer {
    /// What the configuration calls it.
    pub name: String,
    /// Knows its tokens.
    pub introspector: Introspector<DerivedCredentials>,
}

/// The configuration at work now. Another may take its place at any moment: whoever needs several things of it asks once.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Gateway>>);

impl Current {
    /// Begins with `gateway`.
    pub fn new(gateway: Gateway) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(gateway)))
    }

    /// What is at work now.
    pub fn get(&self) -> Arc<Gateway> {
        self.0.load_full()
    }

    /// Puts `gateway` to work.
    pub fn replace(&self, gateway: Gateway) {
        self.0.store(Arc::new(gateway));
    }
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
    /// A place for audit records.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The system gives no thread to send traces with.
    #[error("telemetry: {0}")]
    Thread(io::Error),
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
    pub fn build(config: Config, now: NumericDate) -> Result<Self, GatewayError> {
        Self::after(None, config, now)
    }

    /// Builds what takes the place of this one. Nothing of this one changes: it can go on if the other is not wanted.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn succeed(&self, config: Config, now: NumericDate) -> Result<Self, GatewayError> {
        Self::after(Some(self), config, now)
    }

    fn after(previous: Option<&Self>, config: Config, now: NumericDate) -> Result<Self, GatewayError> {
        let previous = previous.map(Previous::new);
        let previous = previous.as_ref();
        let kept_signer = previous.filter(|previous| previous.gateway.config.signing == config.signing);
        let signer = match kept_signer {
            Some(previous) => previous.gateway.signer.clone(),
            None => config.signing.as_ref().map(|signing| open_signer(signing, now)).transpose()?,
        };
        let authorization_servers: Vec<_> = config
            .authorization_servers
            .iter()
            .map(|server| authorization_server(server, previous))
            .collect::<Result<Vec<_>, _>>()?;
        let upstreams: Vec<_> = config.upstreams.iter().map(|upstream| upstream_of(upstream, previous)).collect();
        let sessions: Vec<_> = config
            .upstreams
            .iter()
            .map(|upstream| previous.and_then(|previous| previous.sessions(&upstream.name)).unwrap_or_default())
            .collect();
        let mut parts = Parts {
            config: &config,
            previous,
            keeps_signer: kept_signer.is_some(),
            sessions: &sessions,
            signer: signer.as_ref(),
            authorization_servers: &authorization_servers,
            upstreams: &upstreams,
            signed_keys: HashMap::new(),
            audiences: HashSet::new(),
            scopes: HashSet::new(),
        };
        let all_routes: Vec<_> = config.routes.iter().map(|route| parts.route(route)).collect::<Result<_, _>>()?;
        let signed_keys = parts.signed_keys;
        let routes = all_routes.iter().cloned().collect();
        let audit = Arc::new(Audit::open(&config, previous.map(|previous| &*previous.gateway.audit))?);
        let traced = previous.and_then(|previous| previous.gateway.tracing.as_ref());
        let tracing = Tracing::open(config.traces.as_ref(), traced, audit.threads()).map_err(GatewayError::Thread)?;
        Ok(Self {
            generation: previous.map_or(0, |previous| previous.gateway.generation) + 1,
            well_known: WellKnown::new(&routes),
            routes,
            signer,
            authorization_servers,
            upstreams,
            sessions,
            all_routes,
            signed_keys,
            audit,
            tracing,
            config,
        })
    }

    /// The process ends: writes and sends what is still to be kept of requests, as long as that is possible. Blocks.
    pub fn finish(&self) {
        self.audit.close();
        if let Some(tracing) = &self.tracing {
            tracing.close();
        }
        if !self.audit.threads().end_within(FLUSH_PATIENCE) {
            tracing::error!("stopped before all records and traces could be delivered");
        }
    }

    /// Ends what goes on with tokens of authorization servers that `next` does not know any more.
    pub fn retire(&self, next: &Self) {
        let issuers: Vec<_> = next.config.authorization_servers.iter().map(|server| &server.issuer).collect();
        for (config, server) in self.config.authorization_servers.iter().zip(&self.authorization_servers) {
            if !issuers.contains(&&config.issuer) {
                server.introspector.retire();
            }
        }
    }
}

fn open_signer(signing: &SigningConfig, now: NumericDate) -> Result<Arc<Signer>, GatewayError> {
    Ok(Arc::new(Signer::open(signing, now)?))
}

fn authorization_server(
    config: &phantomgate_introspection::Config,
    previous: Option<&Previous<'_>>,
) -> Result<AuthorizationServer, GatewayError> {
    let introspector = match previous.and_then(|previous| previous.authorization_server(config)) {
        Some((old, introspector)) if old == config => Ok(introspector.clone()),
        Some((_, introspector)) => introspector.succeed(config),
        None => Introspector::new(config),
    };
    match introspector {
        Ok(introspector) => Ok(AuthorizationServer { name: config.name.clone(), introspector }),
        Err(error) => Err(GatewayError::AuthorizationServer { issuer: config.issuer.to_string(), error }),
    }
}

fn upstream_of(config: &phantomgate_upstreams::Config, previous: Option<&Previous<'_>>) -> Arc<Upstream> {
    match previous.and_then(|previous| previous.upstream(&config.name)) {
        Some((old, upstream)) if old == config => upstream.clone(),
        Some((_, upstream)) => Arc::new(Upstream::replacing(upstream, config.clone())),
        None => Arc::new(Upstream::new(config.clone())),
    }
}

/// What was at work before, by name.
struct Previous<'a> {
    gateway: &'a Gateway,
    authorization_servers: HashMap<&'a str, usize>,
    upstreams: HashMap<&'a str, usize>,
    routes: HashMap<&'a str, usize>,
}

impl<'a> Previous<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        let Config { authorization_servers, upstreams, routes, .. } = &gateway.config;
        Self {
            gateway,
            authorization_servers: authorization_servers.iter().map(|server| server.name.as_str()).zip(0..).collect(),
            upstreams: upstreams.iter().map(|upstream| &*upstream.name).zip(0..).collect(),
            routes: routes.iter().map(|route| route.name.as_str()).zip(0..).collect(),
        }
    }

    /// The one of the same name, if it is the same server.
    fn authorization_server(
        &self,
        config: &phantomgate_introspection::Config,
    ) -> Option<(&'a phantomgate_introspection::Config, &'a Introspector<DerivedCredentials>)> {
        let index = *self.authorization_servers.get(config.name.as_str())?;
        let old = self.gateway.config.authorization_servers.get(index)?;
        let server = self.gateway.authorization_servers.get(index)?;
        (old.issuer == config.issuer).then_some((old, &server.introspector))
    }

    fn upstream(&self, name: &str) -> Option<(&'a phantomgate_upstreams::Config, &'a Arc<Upstream>)> {
        let index = *self.upstreams.get(name)?;
        Some((self.gateway.config.upstreams.get(index)?, self.gateway.upstreams.get(index)?))
    }

    /// They outlive a change of their upstream: it is the same server to its clients.
    fn sessions(&self, upstream: &str) -> Option<Arc<Sessions>> {
        self.gateway.sessions.get(*self.upstreams.get(upstream)?).cloned()
    }

    fn route(&self, name: &str) -> Option<(&'a RouteConfig, &'a Arc<Route>)> {
        let index = *self.routes.get(name)?;
        Some((self.gateway.config.routes.get(index)?, self.gateway.all_routes.get(index)?))
    }
}

/// What routes are put together from.
struct Parts<'a> {
    config: &'a Config,
    previous: Option<&'a Previous<'a>>,
    keeps_signer: bool,
    signer: Option<&'a Arc<Signer>>,
    authorization_servers: &'a [AuthorizationServer],
    upstreams: &'a [Arc<Upstream>],
    /// Of each upstream.
    sessions: &'a [Arc<Sessions>],
    signed_keys: HashMap<SignedConfig, CredentialKey>,
    /// What many routes say alike they share: then it is likely to be near the processor when one of them is asked for.
    audiences: HashSet<Arc<[String]>>,
    scopes: HashSet<ScopeSet>,
}

impl Parts<'_> {
    fn route(&mut self, route: &RouteConfig) -> Result<Arc<Route>, GatewayError> {
        let upstream = self.upstreams.get(route.upstream).ok_or(GatewayError::Inconsistent("an upstream"))?;
        if let Some(kept) = self.kept(route, upstream) {
            return Ok(kept);
        }
        let mcp = route.mcp.as_ref().map(|mcp| self.mcp(route, mcp)).transpose()?;
        let protection = route.protection.as_ref().map(|protection| self.protection(route, protection)).transpose()?;
        let before = self.previous.and_then(|previous| previous.route(&route.name));
        Ok(Arc::new(Route {
            name: route.name.as_str().into(),
            matches: route.matches.clone(),
            rewrite: route.rewrite.clone().map(Box::new),
            upstream: upstream.clone(),
            protection,
            mcp: mcp.map(Box::new),
            limits: RouteLimits::new(&route.name, &route.limits, before.map(|(_, before)| &before.limits)),
            counters: RequestCounters::new(&route.name),
        }))
    }

    /// The route as it was, if nothing has changed of it and of what it refers to.
    fn kept(&mut self, route: &RouteConfig, upstream: &Arc<Upstream>) -> Option<Arc<Route>> {
        let (old, kept) = self.previous?.route(&route.name)?;
        if !Arc::ptr_eq(&kept.upstream, upstream) || !is_same(old, route) {
            return None;
        }
        if let (Some(config), Some(protection)) = (&route.protection, &kept.protection) {
            let server = self.authorization_servers.get(config.authorization_server)?;
            if !server.introspector.is_same(&protection.introspector) {
                return None;
            }
            if let CredentialConfig::Signed(signed) = &config.credential {
                let key = protection.credential.as_ref().filter(|_| self.keeps_signer)?.key;
                self.signed_keys.insert(signed.clone(), key);
            }
        }
        Some(kept.clone())
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

    fn protection(&mut self, route: &RouteConfig, protection: &ProtectionConfig) -> Result<Protection, GatewayError> {
        let mcp = route.mcp.as_ref();
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
            audiences: shared(&mut self.audiences, protection.audiences.as_slice().into()),
            authorization_server: server.issuer.to_string(),
            introspector: introspector.clone(),
            accepts: protection.accepts,
            scopes: shared(&mut self.scopes, protection.scopes.clone()),
            scopes_supported,
            publishes_authorization_server: mcp.is_some_and(|mcp| mcp.authorization_server_metadata),
            scope_hierarchy: protection.scope_hierarchy.clone(),
            challenge_scopes,
            credential: self.credential(route, &protection.credential, introspector)?,
        })
    }

    fn credential(
        &mut self,
        route: &RouteConfig,
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
        Ok(Some(CredentialSource { key: self.key(route, credential, introspector), kind }))
    }

    /// What the credential is kept under: what it was kept under before, if it is the same. Routes whose upstreams get the
    /// same JWT share it.
    fn key(
        &mut self,
        route: &RouteConfig,
        credential: &CredentialConfig,
        introspector: &Introspector<DerivedCredentials>,
    ) -> CredentialKey {
        if let CredentialConfig::Signed(signed) = credential {
            let before = self.previous.filter(|_| self.keeps_signer);
            let before = before.and_then(|previous| previous.gateway.signed_keys.get(signed).copied());
            return *self.signed_keys.entry(signed.clone()).or_insert(before.unwrap_or_else(CredentialKey::unused));
        }
        let before = self.previous.and_then(|previous| previous.route(&route.name)).and_then(|(config, route)| {
            let (config, protection) = (config.protection.as_ref()?, route.protection.as_ref()?);
            let is_same = config.credential == *credential && protection.introspector.is_same(introspector);
            Some(protection.credential.as_ref().filter(|_| is_same)?.key)
        });
        before.unwrap_or_else(CredentialKey::unused)
    }
}

/// What equals `value` in `all`, which it is put into if there is nothing.
fn shared<T: Clone + Eq + Hash>(all: &mut HashSet<T>, value: T) -> T {
    let shared = all.get(&value).cloned().unwrap_or(value);
    all.insert(shared.clone());
    shared
}

/// Whether two routes are written alike. What they refer to may have moved in the configuration.
fn is_same(one: &RouteConfig, other: &RouteConfig) -> bool {
    let mut one = one.clone();
    one.upstream = other.upstream;
    if let (Some(one), Some(other)) = (&mut one.protection, &other.protection) {
        one.authorization_server = other.authorization_server;
    }
    one == *other
}

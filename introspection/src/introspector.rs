//! From a token to the facts about it: the cache, else a flight that is under way, else a question of one's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::access_token::Verifier;
use crate::authorization_server::AuthorizationServer;
use crate::cache::{CachedToken, Known, TokenCache};
use crate::client::IntrospectionClient;
use crate::clock::NumericDate;
use crate::config::Config;
use crate::error::{BuildError, IntrospectionError, Unavailable};
use crate::exchange::{ExchangeError, IssuedToken};
use crate::flight::{Boarding, Flights};
use crate::metrics::{LookupCounts, Metrics};
use crate::response::{Inactive, Introspection};
use crate::revocation::{Mark, Revocation};
use crate::token::{Digester, OpaqueToken, TokenDigest};

/// Knows the tokens of one authorization server, as one client of it. Cheap to clone; clones share their cache.
///
/// `D` is what the caller derives from an active token and wants to end with it; see [`CachedToken::derived`].
pub struct Introspector<D>(Arc<Inner<D>>);

struct Inner<D> {
    introspected: Digester,
    verified: Digester,
    client: IntrospectionClient,
    verifier: Verifier,
    server: Arc<AuthorizationServer>,
    cache: TokenCache<D>,
    flights: Flights<Outcome<D>>,
    metrics: Metrics,
}

type Outcome<D> = Result<Arc<CachedToken<D>>, IntrospectionError>;

/// Which tokens a route takes, and for how long it believes what it was told of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// Opaque tokens, and whatever else the authorization server introspects.
    pub opaque: bool,
    /// JWT access tokens (RFC 9068), verified here. Without it a JWT is a token like any other, and introspected.
    pub jwt: bool,
    /// The longest life of an answer for this route; the cache's own is never exceeded.
    pub max_ttl: Duration,
}

impl Default for Accepts {
    fn default() -> Self {
        Self { opaque: true, jwt: false, max_ttl: Duration::MAX }
    }
}

/// What a token cache holds, and what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheState {
    /// Active tokens that are known.
    pub entries: u64,
    /// How many may be.
    pub capacity: u64,
    /// Inactive tokens that are known.
    pub inactive_entries: u64,
    /// How many may be.
    pub inactive_capacity: u64,
    /// What it was asked.
    pub lookups: LookupCounts,
}

/// How it came to be known what there is to know of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Lookup {
    /// It was known to be active.
    Hit,
    /// It was known to be inactive.
    Negative,
    /// It was asked about.
    Miss,
    /// Another request had asked about it already.
    Coalesced,
    /// It was asked about in vain, and what was known before stands in.
    Stale,
    /// Too many waited already.
    Refused,
}

impl Lookup {
    /// Whether an answer of the authorization server was waited for; for a JWT that is verified here, its keys at most.
    pub fn has_waited(self) -> bool {
        matches!(self, Self::Miss | Self::Coalesced | Self::Stale)
    }
}

/// How a token is learnt about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Introspect,
    Verify,
}

/// How many questions may be under way.
const FLIGHTS: usize = 16 * 1024;

/// How long revoked JWTs stay refused that are verified here: longer than access tokens should live.
const KEEP_REVOCATIONS: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a request asks anew because the answer it waited for was revoked before it came.
const ATTEMPTS: usize = 3;

impl<D> Clone for Introspector<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Default + Send + Sync + 'static> Introspector<D> {
    /// Sets up an introspector; nothing is sent yet.
    ///
    /// # Errors
    /// [`BuildError`] when no HTTP client can be had for `config`.
    pub fn new(config: &Config) -> Result<Self, BuildError> {
        Self::with_room(config, FLIGHTS, None)
    }

    /// Sets up an introspector that takes the place of this one, for the same authorization server configured otherwise. It
    /// knows no tokens yet, but all that was revoked; and what is revoked with it ends what goes on with this one.
    ///
    /// # Errors
    /// As [`Introspector::new`].
    pub fn succeed(&self, config: &Config) -> Result<Self, BuildError> {
        Self::with_room(config, FLIGHTS, Some(&self.0.cache))
    }

    fn with_room(config: &Config, flights: usize, succeeds: Option<&TokenCache<D>>) -> Result<Self, BuildError> {
        let client_id = config.client.as_ref().map_or("", |client| client.id.as_str());
        let digester = |how| Digester::new(how, config.issuer.as_str(), client_id);
        let metrics = Metrics::new(&config.name);
        Ok(Self(Arc::new(Inner {
            introspected: digester("introspected"),
            verified: digester("verified"),
            client: IntrospectionClient::new(config),
            verifier: Verifier::new(config),
            server: Arc::new(AuthorizationServer::new(config)?),
            cache: TokenCache::new(
                &config.cache,
                config.introspection.timeout,
                if config.verifies_jwts { KEEP_REVOCATIONS } else { Duration::ZERO },
                succeeds,
                metrics.evictions.clone(),
            ),
            flights: Flights::new(flights),
            metrics,
        })))
    }

    /// Whether both are clones of the same one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The authorization server that is asked.
    pub fn authorization_server(&self) -> &Arc<AuthorizationServer> {
        &self.0.server
    }

    /// What is known of `token` at the time `now`: from the cache, from somebody else's question that is under way, or by
    /// asking.
    ///
    /// # Errors
    /// [`IntrospectionError::Inactive`] when the token may not be used, [`IntrospectionError::Unavailable`] when that
    /// cannot be told.
    pub async fn introspect(
        &self,
        token: OpaqueToken<'_>,
        accepts: Accepts,
        now: NumericDate,
    ) -> Result<Arc<CachedToken<D>>, IntrospectionError> {
        self.look_up(token, accepts, now, &mut None).await
    }

    /// As [`Self::introspect`]; notes in `lookup` how it came to be known, where it has the form of a token that is taken.
    ///
    /// # Errors
    /// As [`Self::introspect`].
    pub async fn look_up(
        &self,
        token: OpaqueToken<'_>,
        accepts: Accepts,
        now: NumericDate,
        lookup: &mut Option<Lookup>,
    ) -> Result<Arc<CachedToken<D>>, IntrospectionError> {
        let way = Way::of(token, accepts).ok_or(IntrospectionError::Inactive(Inactive::NotAccepted))?;
        let digest = self.0.digest(token, way);
        let lookups = &self.0.metrics.lookups;
        let stand_in = match self.0.cache.get(&digest, accepts.max_ttl, now) {
            Known::Active(token) => {
                lookups.hit.increment();
                *lookup = Some(Lookup::Hit);
                return Ok(token);
            }
            Known::Due(known) => {
                lookups.hit.increment();
                *lookup = Some(Lookup::Hit);
                self.refresh(&known, token, way);
                return Ok(known);
            }
            Known::Inactive(inactive) => {
                lookups.negative.increment();
                *lookup = Some(Lookup::Negative);
                return Err(IntrospectionError::Inactive(inactive));
            }
            Known::Over(token) => Some(token),
            Known::Nothing => None,
        };
        let outcome = self.learn(digest, token, way, accepts, now, lookup).await;
        match (outcome, stand_in) {
            (Err(IntrospectionError::Unavailable(_)), Some(old))
                if self.0.cache.may_stand_in(&old, accepts.max_ttl, NumericDate::now()) =>
            {
                lookups.stale.increment();
                *lookup = Some(Lookup::Stale);
                Ok(old)
            }
            (outcome, _) => outcome,
        }
    }

    /// Forgets what `revocation` says, at once and for all answers that are still on their way. Gives the number of
    /// answers that were known. JWTs that are verified here and were issued until now stay refused for a day.
    ///
    /// Goes through the whole cache: call it where blocking for a moment is allowed.
    pub fn revoke(&self, revocation: &Revocation) -> u64 {
        self.0.metrics.revoked(revocation);
        self.0.cache.revoke(self.0.marks(revocation), NumericDate::now())
    }

    /// Forgets all tokens, for good: their authorization server is not trusted any more. What goes on with one of them
    /// ends.
    pub fn retire(&self) {
        self.0.cache.revoke_all(NumericDate::now());
    }

    /// Forgets one token, which has turned out not to be what is known of it. The authorization server is asked at its next
    /// use.
    pub fn forget(&self, token: &CachedToken<D>) {
        self.0.cache.forget(&token.digest());
    }

    pub(crate) fn cache(&self) -> &TokenCache<D> {
        &self.0.cache
    }

    /// Counts an exchange of a token at the authorization server, which took so long.
    pub fn exchanged(&self, outcome: &Result<IssuedToken, ExchangeError>, took: Duration) {
        self.0.metrics.exchanged(outcome, took);
    }

    /// Brings the gauges of the cache up to date.
    pub fn report(&self) {
        let (active, inactive) = self.0.cache.count();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats, and no cache has 2^52 entries")]
        let set = |gauge: &metrics::Gauge, count: u64| gauge.set(count as f64);
        set(&self.0.metrics.entries, active);
        set(&self.0.metrics.inactive_entries, inactive);
    }

    /// What the cache holds, and what it was asked. Looks after the cache as it does: call it now and then, not for each
    /// request.
    pub fn state(&self) -> CacheState {
        let (entries, inactive_entries) = self.0.cache.count();
        let (capacity, inactive_capacity) = self.0.cache.capacity();
        let lookups = self.0.metrics.lookups.counts();
        CacheState { entries, capacity, inactive_entries, inactive_capacity, lookups }
    }

    /// What the cache was asked.
    pub fn lookups(&self) -> LookupCounts {
        self.0.metrics.lookups.counts()
    }

    /// Waits for the answer about a token of which nothing is known.
    async fn learn(
        &self,
        digest: TokenDigest,
        token: OpaqueToken<'_>,
        way: Way,
        accepts: Accepts,
        now: NumericDate,
        lookup: &mut Option<Lookup>,
    ) -> Outcome<D> {
        let lookups = &self.0.metrics.lookups;
        for _ in 0..ATTEMPTS {
            let known = || match self.0.cache.get(&digest, accepts.max_ttl, now) {
                Known::Active(token) | Known::Due(token) => Some(Ok(token)),
                Known::Inactive(inactive) => Some(Err(IntrospectionError::Inactive(inactive))),
                Known::Over(_) | Known::Nothing => None,
            };
            let flight = match self.0.flights.board(digest, known, || self.ask(digest, token, way)) {
                Boarding::Started(flight) => {
                    lookups.miss.increment();
                    *lookup = Some(Lookup::Miss);
                    flight
                }
                Boarding::Joined(flight) => {
                    lookups.coalesced.increment();
                    *lookup = Some(Lookup::Coalesced);
                    flight
                }
                Boarding::Known(outcome) => {
                    lookups.coalesced.increment();
                    *lookup = Some(Lookup::Coalesced);
                    return outcome;
                }
                Boarding::Full => {
                    lookups.refused.increment();
                    *lookup = Some(Lookup::Refused);
                    return Err(Unavailable::Overloaded.into());
                }
            };
            match flight.outcome().await {
                // Somebody's question from before a revocation: what it brought counts for nobody any more.
                Some(Ok(token)) if !self.0.cache.stands(&token) => {}
                Some(outcome) => return outcome,
                None => break,
            }
        }
        Err(Unavailable::Abandoned.into())
    }

    /// Asks about a token in use before its entry is over. Nobody waits for it; if it fails, the entry lives on to its end.
    fn refresh(&self, known: &CachedToken<D>, token: OpaqueToken<'_>, way: Way) {
        if known.start_refresh() {
            let boarding = self.0.flights.board(known.digest(), || None, || self.ask(known.digest(), token, way));
            if matches!(boarding, Boarding::Started(_)) {
                self.0.metrics.refreshes.increment(1);
            }
        }
    }

    /// One question, and the keeping of its answer.
    fn ask(
        &self,
        digest: TokenDigest,
        token: OpaqueToken<'_>,
        way: Way,
    ) -> impl Future<Output = Outcome<D>> + Send + use<D> {
        let inner = self.0.clone();
        let token = token.to_owned();
        async move { inner.ask(digest, token, way).await }
    }
}

impl<D: Default + Send + Sync + 'static> Inner<D> {
    async fn ask(&self, digest: TokenDigest, token: Zeroizing<String>, way: Way) -> Outcome<D> {
        let asked_in = self.cache.generation();
        let started = Instant::now();
        let answer = match way {
            Way::Introspect => {
                let answer = self.client.introspect(&self.server, &token).await;
                self.metrics.asked(&answer, started.elapsed(), self.server.is_given_up());
                answer
            }
            Way::Verify => match self.verifier.verify(&self.server, &token, NumericDate::now()).await {
                Ok(Introspection::Active(active)) if self.cache.denies(digest, &active) => {
                    Ok(Introspection::Inactive(Inactive::Revoked))
                }
                answer => answer,
            },
        };
        match answer {
            Ok(Introspection::Active(active)) => Ok(self.cache.put(digest, active, asked_in, NumericDate::now())),
            Ok(Introspection::Inactive(inactive)) => {
                self.cache.put_inactive(digest, inactive);
                Err(IntrospectionError::Inactive(inactive))
            }
            Err(unavailable) => Err(unavailable.into()),
        }
    }

    fn digest(&self, token: OpaqueToken<'_>, way: Way) -> TokenDigest {
        match way {
            Way::Introspect => self.introspected.digest(token),
            Way::Verify => self.verified.digest(token),
        }
    }

    fn marks(&self, revocation: &Revocation) -> Vec<Mark> {
        match revocation {
            Revocation::Token(token) => match OpaqueToken::parse(token) {
                Ok(token) => [&self.introspected, &self.verified]
                    .map(|digester| Mark::Digest(digester.digest(token).prefix()))
                    .to_vec(),
                Err(_never_accepted) => Vec::new(),
            },
            Revocation::TokenDigest(digest) => u64::from_str_radix(digest, 16).map(Mark::Digest).into_iter().collect(),
            Revocation::Subject(subject) => vec![Mark::Subject(subject.as_str().into())],
            Revocation::Client(client) => vec![Mark::Client(client.as_str().into())],
            Revocation::Session(session) => vec![Mark::Session(session.as_str().into())],
        }
    }
}

impl Way {
    /// How a route that takes these tokens learns about `token`; none when it takes no such token.
    fn of(token: OpaqueToken<'_>, accepts: Accepts) -> Option<Self> {
        match accepts {
            Accepts { jwt: true, .. } if token.looks_like_jwt() => Some(Self::Verify),
            Accepts { opaque: true, .. } => Some(Self::Introspect),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use zeroize::Zeroizing;

    use super::*;
    use crate::config::{Client, Endpoints, Introspection};
    use crate::{ClientAuthentication, Issuer, Secret};

    #[tokio::test]
    async fn when_too_many_wait_one_more_is_told_at_once_and_clients_that_left_count() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let secret = Secret::fixed(Zeroizing::new("s".to_owned()));
        let config = Config {
            client: Some(Client {
                id: "gateway".to_owned(),
                authentication: ClientAuthentication::ClientSecretBasic(secret),
            }),
            endpoints: Endpoints { introspection: Some(url.parse().unwrap()), ..Endpoints::default() },
            introspection: Introspection { timeout: Duration::from_secs(60), ..Introspection::default() },
            ..Config::new(Issuer::parse(&url).unwrap())
        };
        let introspector = Introspector::<()>::with_room(&config, 1, None).unwrap();
        let ask = |token: &'static str| {
            let introspector = introspector.clone();
            let token = OpaqueToken::parse(token).unwrap();
            async move { introspector.introspect(token, Accepts::default(), NumericDate::now()).await.map(|_| ()) }
        };
        let leaving = tokio::spawn(ask("one"));
        let _asked = silent.accept().await.unwrap();
        leaving.abort();
        assert!(leaving.await.unwrap_err().is_cancelled());

        let outcome = ask("two").await;

        let Err(IntrospectionError::Unavailable(reason)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(*reason, Unavailable::Overloaded), "{reason}");
    }

    #[test]
    fn a_jwt_is_verified_only_where_the_route_says_so() {
        let jwt = OpaqueToken::parse("eyJhbGciOiJFUzI1NiJ9.e30.c2ln").unwrap();
        let opaque = OpaqueToken::parse("opaque").unwrap();
        let way = |token, opaque, jwt| Way::of(token, Accepts { opaque, jwt, ..Accepts::default() });
        assert_eq!(way(jwt, true, false), Some(Way::Introspect));
        assert_eq!(way(jwt, true, true), Some(Way::Verify));
        assert_eq!(way(jwt, false, true), Some(Way::Verify));
        assert_eq!(way(opaque, true, true), Some(Way::Introspect));
        assert_eq!(way(opaque, false, true), None);
    }
}

//! Limits: what nobody can have more of, so that nobody can exhaust the gateway or an upstream.
//!
//! ```text
//! connection ─► stream (in time?) ─► head ─► RouteLimits::enter ─► token ─► of_caller ─► message ─► of_batch ─► of_stream
//!  how many?                                  size, rate by         rate by               its other   open event
//!  in all, per address                        address and route,    client and subject    members     streams
//!                                             requests at once
//! ```
//! What a request takes while it lasts is in its [`Held`], and is given back when that is dropped.

pub mod connections;
pub mod counts;
mod keys;
pub mod rate;
pub mod stream;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use metrics::{Counter, counter};
use phantomgate_introspection::CachedToken;
use pingora::http::RequestHeader;
use pingora::protocols::http::server::Session;
use pingora::{Error, ErrorType};

use crate::config::{Per, RateConfig, RouteLimitsConfig};
use crate::rejection::Rejection;
use crate::upstream_credential::DerivedCredentials;
use counts::{Count, CountByKey, Counted, CountedByKey};
use rate::Rate;

/// What an error says when a body is larger than its route takes.
pub const BODY_TOO_LARGE: ErrorType = ErrorType::Custom("request body too large");

/// What an error says when a subject has too many event streams open.
pub const TOO_MANY_STREAMS: ErrorType = ErrorType::Custom("too many event streams");

/// When to come again where nobody can tell.
pub const SOON: Duration = Duration::from_secs(1);

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// A token, as far as limits care.
type Token = CachedToken<DerivedCredentials>;

/// The limits of a route, and what of them is in use.
#[repr(C)]
pub struct RouteLimits {
    config: RouteLimitsConfig,
    rates: Vec<RouteRate>,
    requests: Count,
    streams: CountByKey,
    refused: Refused,
}

struct RouteRate {
    rate: Arc<Rate>,
    refused: Refused,
}

/// What a request has taken of the limits of its route.
#[derive(Default)]
pub struct Held {
    request: Option<Counted>,
    stream: Option<CountedByKey>,
    body: u64,
}

/// Whose requests are counted together.
#[derive(Hash)]
enum Key<'a> {
    /// Everybody's.
    Route,
    Address(Option<IpAddr>),
    /// All tokens that name no client are one.
    Client(Option<&'a str>),
    Subject(&'a str),
}

impl RouteLimits {
    /// The limits of the route `name`. What is in use, and what has been used of rates that stay as they were, is taken over
    /// from the limits it had `before`.
    pub fn new(name: &str, config: &RouteLimitsConfig, before: Option<&Self>) -> Self {
        let mut old: Vec<_> = before.iter().flat_map(|before| &before.rates).map(|rate| rate.rate.clone()).collect();
        let mut rate = |config: &RateConfig| {
            let unchanged = old.iter().position(|old| old.config() == config);
            let rate = unchanged.map_or_else(|| Arc::new(Rate::new(*config)), |position| old.swap_remove(position));
            RouteRate { rate, refused: Refused::new(name) }
        };
        Self {
            rates: config.rate.iter().map(&mut rate).collect(),
            requests: before.map(|before| before.requests.clone()).unwrap_or_default(),
            streams: before.map(|before| before.streams.clone()).unwrap_or_default(),
            refused: Refused::new(name),
            config: config.clone(),
        }
    }

    /// Whether a request may enter, by its head and where it comes from.
    ///
    /// # Errors
    /// The [`Rejection`] to answer with.
    pub fn enter(&self, session: &Session, held: &mut Held) -> Result<(), Rejection> {
        let request = session.req_header();
        self.of_rates(false, ONE, || address(session), None)?;
        if size(request) > self.config.header {
            self.refused.count(Limit::Header);
            return Err(Rejection::HeaderTooLarge);
        }
        if let Some(most) = self.config.body
            && announced(request).is_some_and(|length| length > most)
        {
            self.refused.count(Limit::Body);
            return Err(Rejection::BodyTooLarge);
        }
        if let Some(most) = self.config.concurrent {
            held.request = self.requests.enter(most.get());
            if held.request.is_none() {
                self.refused.count(Limit::Concurrent);
                return Err(Rejection::ConcurrencyLimited);
            }
        }
        Ok(())
    }

    /// Whether whoever has this `token` may send a request now.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`].
    pub fn of_caller(&self, token: Option<&Arc<Token>>) -> Result<(), Rejection> {
        self.of_rates(true, ONE, || None, token.map(Arc::as_ref))
    }

    /// Whether the `members` of a batch may pass, of which the first has been counted.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`].
    pub fn of_batch(&self, members: usize, session: &Session, token: Option<&Arc<Token>>) -> Result<(), Rejection> {
        let more = u32::try_from(members.saturating_sub(1)).unwrap_or(u32::MAX);
        let Some(more) = NonZeroU32::new(more) else { return Ok(()) };
        self.of_rates(false, more, || address(session), None)?;
        self.of_rates(true, more, || None, token.map(Arc::as_ref))
    }

    /// Checks those rates that need a token, or those that need none.
    fn of_rates(
        &self,
        needs_token: bool,
        requests: NonZeroU32,
        address: impl Fn() -> Option<IpAddr>,
        token: Option<&Token>,
    ) -> Result<(), Rejection> {
        for RouteRate { rate, refused } in &self.rates {
            let per = rate.config().per;
            if per.needs_token() != needs_token {
                continue;
            }
            let key = match per {
                Per::Route => Key::Route,
                Per::Address => Key::Address(address().map(network)),
                Per::Client => Key::Client(token.and_then(|token| token.active().client_id.as_deref())),
                Per::Subject => subject(token),
            };
            if let Err(retry_after) = rate.check(key, requests) {
                refused.count(Limit::Rate(per));
                return Err(Rejection::RateLimited { per, retry_after });
            }
        }
        Ok(())
    }

    /// Whether a request may pass whose answer may be an event stream. One that asks for nothing else holds its place from
    /// here on; any other only when its answer turns out to be one.
    ///
    /// # Errors
    /// [`Rejection::TooManyStreams`]
    pub fn of_stream(
        &self,
        request: &RequestHeader,
        token: Option<&Arc<Token>>,
        held: &mut Held,
    ) -> Result<(), Rejection> {
        let Some(most) = self.config.streams_per_subject else { return Ok(()) };
        if !accepts_event_stream(request) {
            return Ok(());
        }
        let key = subject(token.map(Arc::as_ref));
        let may_pass = if request.method == Method::GET {
            held.stream = self.streams.enter(key, most.get());
            held.stream.is_some()
        } else {
            !self.streams.is_full(key, most.get())
        };
        if may_pass { Ok(()) } else { Err(self.too_many_streams()) }
    }

    /// Notes whether the answer is an event stream.
    ///
    /// # Errors
    /// With [`TOO_MANY_STREAMS`], when others were faster.
    pub fn answered(&self, is_stream: bool, token: Option<&Arc<Token>>, held: &mut Held) -> pingora::Result<()> {
        let Some(most) = self.config.streams_per_subject else { return Ok(()) };
        if !is_stream {
            held.stream = None;
        } else if held.stream.is_none() {
            held.stream = self.streams.enter(subject(token.map(Arc::as_ref)), most.get());
            if held.stream.is_none() {
                let _ = self.too_many_streams();
                return Err(Error::explain(TOO_MANY_STREAMS, "the subject has as many as it may").into_down());
            }
        }
        Ok(())
    }

    fn too_many_streams(&self) -> Rejection {
        self.refused.count(Limit::Streams);
        Rejection::TooManyStreams
    }

    /// Counts a part of a body that is passed on unread.
    ///
    /// # Errors
    /// With [`BODY_TOO_LARGE`].
    pub fn of_body(&self, part: Option<&Bytes>, held: &mut Held) -> pingora::Result<()> {
        let (Some(most), Some(part)) = (self.config.body, part) else { return Ok(()) };
        held.body += part.len() as u64;
        if held.body <= most {
            return Ok(());
        }
        self.refused.count(Limit::Body);
        Err(Error::explain(BODY_TOO_LARGE, "the body goes on beyond the limit of its route").into_down())
    }
}

fn subject(token: Option<&Token>) -> Key<'_> {
    let token = token.map(Token::active);
    match token.and_then(|token| token.subject.as_deref()) {
        Some(subject) => Key::Subject(subject),
        // A client that acts for nobody acts for itself.
        None => Key::Client(token.and_then(|token| token.client_id.as_deref())),
    }
}

/// Where a request comes from.
fn address(session: &Session) -> Option<IpAddr> {
    session.client_addr()?.as_inet().map(std::net::SocketAddr::ip)
}

/// What is one place: an IPv4 address, or a /64 network of IPv6, which is what one subscriber has.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// The size of a head: its target, and the names and values of its headers.
fn size(request: &RequestHeader) -> usize {
    let fields = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    request.raw_path().len() + fields.sum::<usize>()
}

fn announced(request: &RequestHeader) -> Option<u64> {
    request.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn accepts_event_stream(request: &RequestHeader) -> bool {
    let names_it = |value: &http::HeaderValue| {
        let value = value.as_bytes().to_ascii_lowercase();
        [&b"text/event-stream"[..], b"text/*", b"*/*"]
            .iter()
            .any(|kind| value.windows(kind.len()).any(|at| at == *kind))
    };
    let mut accept = request.headers.get_all(header::ACCEPT).iter().peekable();
    accept.peek().is_none() || accept.any(names_it)
}

/// By which limit a request was refused.
#[derive(Clone, Copy)]
enum Limit {
    Rate(Per),
    Header,
    Body,
    Concurrent,
    Streams,
}

/// Counts what was refused on a route.
struct Refused {
    route: String,
    /// One for each limit but rates, and one for the rate that this belongs to. What never occurs is not shown.
    counters: [OnceLock<Counter>; 5],
}

impl Refused {
    fn new(route: &str) -> Self {
        Self { route: route.to_owned(), counters: [const { OnceLock::new() }; 5] }
    }

    fn count(&self, limit: Limit) {
        let (position, name) = match limit {
            Limit::Rate(Per::Client) => (0, "rate_client"),
            Limit::Rate(Per::Subject) => (0, "rate_subject"),
            Limit::Rate(Per::Route) => (0, "rate_route"),
            Limit::Rate(Per::Address) => (0, "rate_address"),
            Limit::Header => (1, "header"),
            Limit::Body => (2, "body"),
            Limit::Concurrent => (3, "concurrent"),
            Limit::Streams => (4, "streams_per_subject"),
        };
        let Some(counter) = self.counters.get(position) else { return };
        let make = || counter!("phantomgate_limited_total", "route" => self.route.clone(), "limit" => name);
        counter.get_or_init(make).increment(1);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_place_and_a_mapped_address_is_the_ipv4_address() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    pub(crate) fn config(rate: &[RateConfig]) -> RouteLimitsConfig {
        RouteLimitsConfig { rate: rate.to_vec(), body: None, header: 1024, concurrent: None, streams_per_subject: None }
    }

    fn rate(per: Per, requests: u32) -> RateConfig {
        let requests = NonZeroU32::new(requests).unwrap();
        RateConfig { per, requests, period: Duration::from_secs(3600), burst: requests }
    }

    #[test]
    fn a_rate_that_stays_as_it_was_keeps_what_has_been_used_of_it() {
        let before = RouteLimits::new("r", &config(&[rate(Per::Client, 1), rate(Per::Subject, 1)]), None);
        before.of_caller(None).unwrap();
        let same = RouteLimits::new("r", &config(&[rate(Per::Subject, 1)]), Some(&before));
        assert!(matches!(same.of_caller(None), Err(Rejection::RateLimited { per: Per::Subject, .. })));
        let changed = RouteLimits::new("r", &config(&[rate(Per::Subject, 2)]), Some(&same));
        changed.of_caller(None).unwrap();
    }

    #[test]
    fn what_may_be_answered_with_an_event_stream_says_so_in_any_of_its_spellings() {
        let accepts = |values: &[&str]| {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            for value in values {
                request.append_header("accept", *value).unwrap();
            }
            accepts_event_stream(&request)
        };
        for values in [
            &[][..],
            &["text/event-stream"],
            &["application/json, Text/Event-Stream"],
            &["a/b", "text/*;q=0.1"],
            &["*/*"],
        ] {
            assert!(accepts(values), "{values:?}");
        }
        assert!(!accepts(&["application/json", "text/html"]));
    }
}

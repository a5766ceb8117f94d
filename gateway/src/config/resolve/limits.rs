//! Limits, resolved: within what can be kept.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;

use bytesize::ByteSize;

use super::super::document;
use super::super::tree::Step;
use super::super::values::Size;
use super::super::{ConnectionConfig, RateConfig, RouteConfig, RouteLimitsConfig};
use super::{Resolver, below};

/// The largest body of a route that says nothing of it.
const BODY: u64 = 10 * bytesize::MIB;

impl Resolver<'_> {
    /// The section `limits`. What `routes` take bounds what is read of a head before its route is known.
    pub(super) fn limits(&mut self, limits: &document::Limits, routes: &[RouteConfig]) -> Option<ConnectionConfig> {
        let path = path!["limits"];
        let connections = self.count(&below(&path, "connections"), limits.connections, 1..=1_000_000);
        let per_address =
            self.count(&below(&path, "connections_per_address"), limits.connections_per_address, 1..=1_000_000);
        let header = self.span(&below(&path, "header_timeout"), limits.header_timeout, "100ms"..="1m");
        let body = self.span(&below(&path, "body_timeout"), limits.body_timeout, "100ms"..="1h");
        let write = self.span(&below(&path, "write_timeout"), limits.write_timeout, "100ms"..="1h");
        let idle = self.span(&below(&path, "idle_timeout"), limits.idle_timeout, "100ms"..="1h");
        let streams = self.count(&below(&path, "streams_per_connection"), limits.streams_per_connection, 1..=10_000);
        Some(ConnectionConfig {
            connections: NonZeroUsize::try_from(connections?).ok()?,
            connections_per_address: per_address?,
            header_timeout: header?.0,
            body_timeout: body?.0,
            write_timeout: write?.0,
            idle_timeout: idle?.0,
            streams_per_connection: streams?.get(),
            largest_header: routes.iter().map(|route| route.limits.header).max().unwrap_or_default(),
        })
    }

    /// The limits of a route. On a `public` one there is no token that would tell who asks; an MCP endpoint
    /// (`reads_bodies`) has a limit of its own for bodies.
    pub(super) fn route_limits(
        &mut self,
        index: usize,
        limits: &document::RouteLimits,
        public: bool,
        reads_bodies: bool,
    ) -> Option<RouteLimitsConfig> {
        let path = path!["routes", index, "limits"];
        let rates = below(&path, "rate");
        let mut rate = Vec::new();
        for (position, written) in limits.rate.iter().enumerate() {
            rate.extend(self.rate(&below(&rates, position), written, public));
        }
        let body = below(&path, "body");
        let body = match limits.body {
            Some(_) if reads_bodies => {
                self.fault(&body, "is for bodies that are passed on unread; for messages, write `mcp.max_body`")
            }
            Some(size) => self.size(&body, size, ByteSize::kib(1)..=ByteSize::tib(1)).map(Some),
            None if reads_bodies => Some(None),
            None => Some(Some(BODY)),
        };
        let header = self.size(&below(&path, "header"), limits.header, ByteSize::kib(1)..=ByteSize::mib(1));
        let concurrent = self.optional_count(&below(&path, "concurrent"), limits.concurrent);
        let streams = below(&path, "streams_per_subject");
        if public && limits.streams_per_subject.is_some() {
            self.fault::<()>(&streams, "a public route looks at no token; remove this, or `public: true`");
        }
        let streams_per_subject = self.optional_count(&streams, limits.streams_per_subject);
        Some(RouteLimitsConfig {
            rate,
            body: body?,
            header: usize::try_from(header?).ok()?,
            concurrent: concurrent?,
            streams_per_subject: streams_per_subject?,
        })
    }

    fn rate(&mut self, path: &[Step], rate: &document::Rate, public: bool) -> Option<RateConfig> {
        if public && rate.per.needs_token() {
            let reason = "a public route looks at no token; choose address or route, or remove `public: true`";
            self.fault::<()>(&below(path, "per"), reason);
        }
        let requests = self.count(&below(path, "requests"), rate.requests, 1..=1_000_000);
        let period = self.span(&below(path, "period"), rate.period, "100ms"..="1h");
        let burst = match rate.burst {
            Some(burst) => self.count(&below(path, "burst"), burst, 1..=1_000_000),
            None => requests,
        };
        Some(RateConfig { per: rate.per, requests: requests?, period: period?.0, burst: burst? })
    }

    fn optional_count(&mut self, path: &[Step], number: Option<u64>) -> Option<Option<NonZeroUsize>> {
        match number {
            None => Some(None),
            Some(number) => {
                let count = self.count(path, number, 1..=1_000_000)?;
                Some(NonZeroUsize::try_from(count).ok())
            }
        }
    }

    fn count(&mut self, path: &[Step], number: u64, range: RangeInclusive<u32>) -> Option<NonZeroU32> {
        match u32::try_from(number) {
            Ok(count) if range.contains(&count) => NonZeroU32::new(count),
            _ => {
                let (start, end) = range.into_inner();
                self.fault(path, format!("{number} is out of range; choose from {start} to {end}"))
            }
        }
    }

    fn size(&mut self, path: &[Step], size: Size, range: RangeInclusive<ByteSize>) -> Option<u64> {
        if range.contains(&size.0) {
            return Some(size.0.0);
        }
        let (start, end) = range.into_inner();
        self.fault(path, format!("{size} is out of range; choose from {} to {}", Size(start), Size(end)))
    }
}

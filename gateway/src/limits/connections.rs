//! How many connections there are, in all and from each place; and what all of them go by.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;

use super::counts::{Count, CountByKey, Counted, CountedByKey};
use super::network;
use crate::config::ConnectionConfig;

/// Counts the connections of all listeners.
#[derive(Default)]
pub struct ConnectionLimits {
    all: Count,
    by_address: CountByKey,
}

/// A connection that was let in. It is over when this is dropped.
pub struct Entered {
    /// What it goes by.
    pub config: Arc<ConnectionConfig>,
    /// When it began.
    pub began: Instant,
    _all: Counted,
    _of_address: CountedByKey,
}

impl ConnectionLimits {
    /// Lets a connection from `address` in, if `config` leaves room for it. Those that are in stay, even if they have
    /// become too many.
    pub fn enter(&self, config: Arc<ConnectionConfig>, address: IpAddr) -> Option<Entered> {
        let metrics = &*METRICS;
        let Some(all) = self.all.enter(config.connections.get()) else {
            metrics.refused.increment(1);
            return None;
        };
        let most = config.connections_per_address.get() as usize;
        let Some(of_address) = self.by_address.enter(network(address), most) else {
            metrics.refused_by_address.increment(1);
            return None;
        };
        metrics.open.increment(1.0);
        Some(Entered { config, began: Instant::now(), _all: all, _of_address: of_address })
    }
}

impl Entered {
    /// What has to be there in the time that the first head has, if it is.
    pub async fn in_time<T>(&self, first: impl Future<Output = T>) -> Option<T> {
        let arrived = tokio::time::timeout_at(self.began + self.config.header_timeout, first).await;
        arrived.inspect_err(|_| Cut::HeaderTimeout.count()).ok()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        METRICS.open.decrement(1.0);
    }
}

/// Why a connection was cut.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// The head of a request took too long.
    HeaderTimeout,
    /// The head of a request is too large.
    Header,
    /// No further request came.
    IdleTimeout,
    /// The client did not read what was written.
    WriteTimeout,
}

impl Cut {
    /// Counts it.
    pub fn count(self) {
        let metrics = &*METRICS;
        let counter = match self {
            Self::HeaderTimeout => &metrics.header_timeout,
            Self::Header => &metrics.header,
            Self::IdleTimeout => &metrics.idle_timeout,
            Self::WriteTimeout => &metrics.write_timeout,
        };
        counter.increment(1);
    }
}

struct Metrics {
    open: Gauge,
    refused: Counter,
    refused_by_address: Counter,
    header_timeout: Counter,
    header: Counter,
    idle_timeout: Counter,
    write_timeout: Counter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    describe_gauge!("phantomgate_connections", "Connections of clients that are open");
    describe_counter!("phantomgate_connections_refused_total", "Connections that were one too many, by limit");
    describe_counter!("phantomgate_connections_cut_total", "Connections that took too long over something, by limit");
    describe_counter!("phantomgate_limited_total", "Requests that were refused, by route and limit");
    let refused = |limit: &'static str| counter!("phantomgate_connections_refused_total", "limit" => limit);
    let cut = |limit: &'static str| counter!("phantomgate_connections_cut_total", "limit" => limit);
    Metrics {
        open: gauge!("phantomgate_connections"),
        refused: refused("connections"),
        refused_by_address: refused("connections_per_address"),
        header_timeout: cut("header_timeout"),
        header: cut("header"),
        idle_timeout: cut("idle_timeout"),
        write_timeout: cut("write_timeout"),
    }
});

#[cfg(test)]
pub(crate) mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};
    use std::time::Duration;

    use super::*;

    pub(crate) fn config(connections: usize, per_address: u32) -> ConnectionConfig {
        ConnectionConfig {
            connections: NonZeroUsize::new(connections).unwrap(),
            connections_per_address: NonZeroU32::new(per_address).unwrap(),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            streams_per_connection: 100,
            largest_header: 1024,
        }
    }

    #[test]
    fn there_are_so_many_in_all_and_from_one_place_and_an_end_makes_room() {
        let limits = ConnectionLimits::default();
        let enter = |address: &str| limits.enter(Arc::new(config(3, 2)), address.parse().unwrap());
        let one = enter("2001:db8::1").unwrap();
        let _two = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "of the same network");
        let _three = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.2").is_none(), "in all");
        drop(one);
        assert!(enter("192.0.2.1").is_some());
        let fewer = limits.enter(Arc::new(config(2, 2)), "192.0.2.2".parse().unwrap());
        assert!(fewer.is_none(), "fewer from now on");
    }
}

//! Where requests may go, by address: the authorization server's metadata names URLs, and names resolve to whatever their
//! owner likes. Neither shall make us knock on doors of our own network.
//!
//! What counts is the address that is connected to. [`AllowedAddresses`] is the resolver of the HTTP client, so nothing can
//! resolve differently between the check and the connection; an address written in a URL is resolved by nobody and is
//! checked before the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::Config;

/// More addresses than any name needs.
const MAX_ADDRESSES: usize = 32;

/// A request would have gone where none may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is {address}, which is no public address; add it to allowed_addresses to allow it")]
pub struct AddressNotAllowed {
    /// The host of the URL.
    pub host: String,
    /// What it is, or resolves to.
    pub address: IpAddr,
}

/// The addresses that requests to one authorization server may go to: public ones, those that the operator allowed, and
/// those that the operator wrote into the issuer or an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct AllowedAddresses(Arc<[IpNet]>);

impl AllowedAddresses {
    pub(crate) fn of(config: &Config) -> Self {
        let endpoints = &config.endpoints;
        let by_hand = [&endpoints.introspection, &endpoints.token, &endpoints.jwks].into_iter().flatten();
        let written = std::iter::once(config.issuer.url()).chain(by_hand).flat_map(|url| match url.host() {
            Some(Host::Ipv4(address)) => vec![IpNet::from(IpAddr::from(address))],
            Some(Host::Ipv6(address)) => vec![IpNet::from(IpAddr::from(address))],
            Some(Host::Domain("localhost")) => vec![LOOPBACK_4.into(), LOOPBACK_6.into()],
            Some(Host::Domain(_)) | None => vec![],
        });
        Self(config.allowed_addresses.iter().copied().chain(written).collect())
    }

    /// Checks the host of `url`, if it is an address.
    pub(crate) fn check(&self, url: &Url) -> Result<(), AddressNotAllowed> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allow(address) {
            return Ok(());
        }
        Err(AddressNotAllowed { host: url.host_str().unwrap_or_default().to_owned(), address })
    }

    /// Those of the addresses of `host` that are allowed: one at least, unless there are no addresses at all.
    fn of_host(
        &self,
        host: &str,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, AddressNotAllowed> {
        let (allowed, refused): (Vec<_>, Vec<_>) =
            addresses.take(MAX_ADDRESSES).partition(|address| self.allow(address.ip()));
        match refused.first() {
            Some(address) if allowed.is_empty() => {
                Err(AddressNotAllowed { host: host.to_owned(), address: address.ip().to_canonical() })
            }
            _ => Ok(allowed),
        }
    }

    fn allow(&self, address: IpAddr) -> bool {
        // Where the packets end up, not what the address looks like.
        let destination = destination(address);
        is_public(destination) || self.0.iter().any(|net| net.contains(&address) || net.contains(&destination))
    }
}

impl Resolve for AllowedAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.clone();
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Addrs = Box::new(allowed.of_host(name.as_str(), addresses)?.into_iter());
            Ok(addresses)
        })
    }
}

/// The IPv4 address that an IPv6 address stands for, where it stands for one: mapped (RFC 4291 §2.5.5.2), translated
/// (RFC 6052 §2.1) or 6to4 (RFC 3056 §2).
fn destination(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    let [a, b, c, d, e, f, g, h] = six.segments();
    let four = |high: u16, low: u16| IpAddr::from(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => four(g, h),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => four(g, h),
        (0x2002, _) => four(b, c),
        _ => address,
    }
}

const LOOPBACK_4: Ipv4Net = four(127, 0, 0, 0, 8);
const LOOPBACK_6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// What the IANA IPv4 Special-Purpose Address Registry has as not globally reachable, and multicast.
const NOT_PUBLIC_4: [Ipv4Net; 15] = [
    four(0, 0, 0, 0, 8),       // this network
    four(10, 0, 0, 0, 8),      // private
    four(100, 64, 0, 0, 10),   // shared with the carrier
    LOOPBACK_4,                // this machine
    four(169, 254, 0, 0, 16),  // this link, and the metadata services of clouds
    four(172, 16, 0, 0, 12),   // private
    four(192, 0, 0, 0, 24),    // protocol assignments
    four(192, 0, 2, 0, 24),    // documentation
    four(192, 88, 99, 0, 24),  // 6to4 relays, withdrawn
    four(192, 168, 0, 0, 16),  // private
    four(198, 18, 0, 0, 15),   // benchmarks
    four(198, 51, 100, 0, 24), // documentation
    four(203, 0, 113, 0, 24),  // documentation
    four(224, 0, 0, 0, 4),     // multicast
    four(240, 0, 0, 0, 4),     // reserved, and broadcast
];

/// What IANA has handed out for global unicast. Whatever lies outside is local, multicast, or nobody's.
const GLOBAL_UNICAST_6: Ipv6Net = six(0x2000, 0, 3);

/// What the IANA IPv6 Special-Purpose Address Registry has as not globally reachable within it.
const NOT_PUBLIC_6: [Ipv6Net; 3] = [
    six(0x2001, 0, 23),     // protocol assignments: Teredo, benchmarks, ORCHID
    six(0x2001, 0xdb8, 32), // documentation
    six(0x3fff, 0, 20),     // documentation
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST_6.contains(&address) && !NOT_PUBLIC_6.iter().any(|net| net.contains(&address))
        }
    }
}

const fn four(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn six(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Issuer;

    fn config(issuer: &str) -> Config {
        Config::new(Issuer::parse(issuer).unwrap())
    }

    fn allows(config: &Config, address: &str) -> bool {
        AllowedAddresses::of(config).allow(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_allowed() {
        let config = config("https://login.example.com");
        for address in
            ["1.1.1.1", "192.0.1.1", "100.128.0.1", "172.32.0.1", "223.255.255.255", "2606:4700::1", "2a00::"]
        {
            assert!(allows(&config, address), "{address}");
        }
    }

    #[test]
    fn no_other_address_is() {
        let config = config("https://login.example.com");
        for address in [
            "0.0.0.0",
            "10.0.0.5",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "100::1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allows(&config, address), "{address}");
        }
    }

    #[test]
    fn an_ipv6_address_that_stands_for_an_ipv4_one_is_what_that_is() {
        let config = config("https://login.example.com");
        for (public, private) in [
            ("::ffff:1.1.1.1", "::ffff:10.0.0.5"),
            ("64:ff9b::1.1.1.1", "64:ff9b::169.254.169.254"),
            ("2002:101:101::1", "2002:a00:5::1"),
        ] {
            assert!(allows(&config, public) && !allows(&config, private), "{public} {private}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_allowed_in_either_notation() {
        let mut config = config("https://login.example.com");
        config.allowed_addresses = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        assert!(allows(&config, "10.255.0.1") && allows(&config, "::ffff:10.0.0.5") && allows(&config, "fd00::1"));
        assert!(!allows(&config, "127.0.0.1") && !allows(&config, "192.168.0.1") && !allows(&config, "fc00::1"));
    }

    #[test]
    fn an_address_that_the_operator_wrote_is_allowed_and_no_other() {
        let mut config = config("http://127.0.0.1:9000");
        config.endpoints.token = Some("https://[fd00::5]/token".parse().unwrap());
        assert!(allows(&config, "127.0.0.1") && allows(&config, "fd00::5"));
        assert!(!allows(&config, "127.0.0.2") && !allows(&config, "::1") && !allows(&config, "fd00::6"));
    }

    #[test]
    fn localhost_means_all_of_loopback() {
        let config = config("http://localhost:9000");
        assert!(allows(&config, "127.0.0.1") && allows(&config, "::1") && !allows(&config, "10.0.0.5"));
    }

    #[test]
    fn a_name_is_where_it_leads_to() {
        let allowed = AllowedAddresses::of(&config("https://login.example.com"));
        let at = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            allowed.of_host("login.internal", addresses.into_iter().map(|address| (address, 0).into()))
        };
        assert_eq!(at(&["127.0.0.1", "1.1.1.1"]).unwrap(), ["1.1.1.1:0".parse().unwrap()]);
        assert_eq!(
            at(&["::ffff:10.0.0.5", "127.0.0.1"]).unwrap_err().to_string(),
            "login.internal is 10.0.0.5, which is no public address; add it to allowed_addresses to allow it"
        );
    }

    #[test]
    fn an_address_in_a_url_is_checked_however_it_is_written() {
        let allowed = AllowedAddresses::of(&config("https://login.example.com"));
        let check = |url: &str| allowed.check(&url.parse().unwrap());
        for url in ["http://127.0.0.1/", "http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://[::1]/"] {
            assert!(check(url).is_err(), "{url}");
        }
        assert!(check("https://1.1.1.1/").is_ok() && check("https://login.example.com/").is_ok());
    }
}

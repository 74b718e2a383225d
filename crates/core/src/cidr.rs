//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A network, e.g. `10.0.0.0/8` or `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a network such as 10.0.0.0/8 or fd00::/8, with no bits set after the prefix")]
pub struct CidrError;

impl Cidr {
    /// Whether the address lies within. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, as dual-stack sockets show
    /// them) counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let cidr = Self(text.parse().map_err(|_| CidrError)?);
        // ipnet takes 010.0.0.0, which others read as octal.
        let network = text.split('/').next().and_then(|network| network.parse().ok()).ok_or(CidrError)?;
        // A typing mistake such as 10.0.0.1/8 must not open a whole network.
        if cidr.0.network() == network && cidr.contains(network) { Ok(cidr) } else { Err(CidrError) }
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;
    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who stands behind an address, for limits per source. An IPv6 host has a /64 to itself (RFC 4291 section 2.5.4), so
/// that is the source.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// Whose hands several sources are most likely in: sites get a /48 (RFC 6177), and IPv4 goes by /24s. To take from the
/// largest first; not a limit, since many who do not know each other share one.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).into(),
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(cidr: &str, address: &str) -> bool {
        cidr.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn membership_follows_the_prefix() {
        assert!(within("10.0.0.0/8", "10.255.0.1") && !within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("0.0.0.0/0", "192.0.2.1") && !within("0.0.0.0/0", "2001:db8::1"));
        assert!(within("192.0.2.7/32", "192.0.2.7") && !within("192.0.2.7/32", "192.0.2.6"));
        assert!(within("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(within("fd00::/8", "fd12::1") && !within("fd00::/8", "fe80::1"));
        assert!(within("::/0", "2001:db8::1") && within("::1/128", "::1"));
    }

    #[test]
    fn a_network_is_what_one_site_is_given() {
        let same = |one: &str, other: &str| network_of(one.parse().unwrap()) == network_of(other.parse().unwrap());
        assert!(same("2001:db8:1::1", "2001:db8:1:ffff::1") && !same("2001:db8:1::1", "2001:db8:2::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.255") && !same("192.0.2.1", "192.0.3.1"));
    }

    #[test]
    fn mistakes_are_refused() {
        let bad = ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "fd00::/129", "a/8"];
        for bad in bad.into_iter().chain(["010.0.0.0/8", "10.0.0.0/8/8", "10.0.0.0/8 ", "::ffff:10.0.0.0/104"]) {
            assert_eq!(bad.parse::<Cidr>(), Err(CidrError), "{bad}");
        }
        for good in ["10.0.0.0/8", "fd00::/8", "::/0"] {
            assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
        }
    }
}

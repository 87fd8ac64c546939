//! The addresses of one family that one subnet can give.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ranges::RangeSet;
use crate::addr::{Family, bits};

/// A prefix, what of it can be claimed, and what of that is given without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) cidr: IpNet,
    pub(crate) gateway: IpAddr,
    /// First and last address a pod can have.
    first: u128,
    last: u128,
    /// Not given unless claimed: the gateway and `excludeIps`.
    excluded: RangeSet,
    /// What is given unasked: the rest, without what IPPools have.
    given: RangeSet,
}

impl Pool {
    /// `excluded` may reach beyond the prefix.
    pub(crate) fn new(cidr: IpNet, gateway: IpAddr, mut excluded: Vec<(u128, u128)>) -> Self {
        let (first, last) = span(cidr);
        excluded.push((bits(gateway), bits(gateway)));
        let excluded = RangeSet::new(excluded);
        let all = if first <= last {
            vec![(first, last)]
        } else {
            Vec::new()
        };
        Pool {
            cidr,
            gateway,
            first,
            last,
            given: RangeSet::new(all).without(&excluded),
            excluded,
        }
    }

    pub(crate) fn family(&self) -> Family {
        Family::of_net(self.cidr)
    }

    /// Why a pod cannot have this address, whoever holds it; `None` if it can.
    ///
    /// An excluded address can be claimed: exclusion keeps addresses from being given unasked.
    pub(crate) fn objection(&self, address: IpAddr) -> Option<&'static str> {
        if Family::of(address) != self.family() || !self.cidr.contains(&address) {
            Some("is outside")
        } else if address == self.gateway {
            Some("is the gateway of")
        } else if !(self.first..=self.last).contains(&bits(address)) {
            Some("is reserved (network, broadcast or anycast address) in")
        } else {
            None
        }
    }

    /// What is given without being asked for.
    pub(crate) fn given(&self) -> &RangeSet {
        &self.given
    }

    /// What of these ranges a pod can have: inside the prefix, and not excluded if `unasked`.
    pub(crate) fn usable(&self, ranges: &RangeSet, unasked: bool) -> RangeSet {
        let inside = ranges.clipped(self.first, self.last);
        if unasked {
            inside.without(&self.excluded)
        } else {
            inside
        }
    }

    /// Gives these to nobody but through the IPPool that they are.
    pub(crate) fn set_aside(&mut self, ranges: &RangeSet) {
        self.given = self.given.without(ranges);
    }

    /// The address that is as far from the start of this range as another is from the start of
    /// its own.
    pub(crate) fn in_step(&self, other: &Pool, address: u128) -> Option<u128> {
        let distance = address.checked_sub(bits(other.cidr.network()))?;
        bits(self.cidr.network()).checked_add(distance)
    }
}

/// First and last address of a prefix that a station may have: without the network and broadcast
/// address (RFC 1122 3.2.1.3), or the subnet-router anycast address (RFC 4291 2.6.1).
pub(crate) fn span(cidr: IpNet) -> (u128, u128) {
    let (first, last) = (bits(cidr.network()), bits(cidr.broadcast()));
    match cidr {
        IpNet::V4(_) => (first + 1, last - 1),
        IpNet::V6(_) => (first + 1, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str, gateway: &str, excluded: &[&str]) -> Pool {
        let excluded = excluded.iter().map(|text| {
            let (_, first, last) = super::super::ranges::parse_range(text).unwrap();
            (first, last)
        });
        Pool::new(
            cidr.parse().unwrap(),
            gateway.parse().unwrap(),
            excluded.collect(),
        )
    }

    fn given(pool: &Pool) -> Vec<String> {
        let numbers = pool.given().ranges().iter().flat_map(|&(a, b)| a..=b);
        numbers
            .map(|n| pool.family().address(n).to_string())
            .collect()
    }

    #[test]
    fn a_pool_gives_every_address_but_reserved_and_excluded_ones() {
        let pool = pool("10.0.0.0/29", "10.0.0.1", &["10.0.0.3..10.0.0.4"]);
        assert_eq!(given(&pool), ["10.0.0.2", "10.0.0.5", "10.0.0.6"]);
    }

    #[test]
    fn in_ipv6_the_last_address_is_ordinary_and_the_first_is_not() {
        let pool = pool("fd00::/126", "fd00::1", &[]);
        assert_eq!(given(&pool), ["fd00::2", "fd00::3"]);
    }

    #[test]
    fn an_exclusion_may_reach_to_the_end_of_the_address_space() {
        let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let pool = pool(
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1",
            &[&format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff3..{all}")],
        );
        assert_eq!(given(&pool), ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2"]);
    }

    #[test]
    fn what_is_set_aside_is_not_given_but_can_be_claimed() {
        let mut pool = pool("10.0.0.0/29", "10.0.0.1", &[]);
        pool.set_aside(&RangeSet::new(vec![(0x0a00_0003, 0x0a00_0005)]));
        assert_eq!(given(&pool), ["10.0.0.2", "10.0.0.6"]);
        assert_eq!(pool.objection("10.0.0.4".parse().unwrap()), None);
    }

    #[test]
    fn an_address_is_refused_with_the_reason() {
        let pool = pool("10.0.0.0/24", "10.0.0.1", &["10.0.0.9"]);
        let objection = |text: &str| pool.objection(text.parse().unwrap());
        assert_eq!(objection("10.0.1.0"), Some("is outside"));
        assert_eq!(objection("fd00::1"), Some("is outside"));
        assert_eq!(objection("10.0.0.1"), Some("is the gateway of"));
        assert!(objection("10.0.0.0").unwrap().starts_with("is reserved"));
        assert!(objection("10.0.0.255").unwrap().starts_with("is reserved"));
        assert_eq!(
            objection("10.0.0.9"),
            None,
            "an excluded address can be claimed"
        );
        assert!(!pool.given().contains(0x0a00_0009));
        assert!(pool.given().contains(0x0a00_0008));
    }
}

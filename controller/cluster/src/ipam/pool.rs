//! The addresses of one family that one subnet can give.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::ranges::RangeSet;
use crate::addr::{Family, bits};
use crate::name::NamespacedName;

/// Who holds which address.
pub(crate) type Holders = BTreeMap<u128, NamespacedName>;

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
}

impl Pool {
    /// `excluded` may reach beyond the prefix.
    pub(crate) fn new(cidr: IpNet, gateway: IpAddr, mut excluded: Vec<(u128, u128)>) -> Self {
        let (first, last) = span(cidr);
        excluded.push((bits(gateway), bits(gateway)));
        Pool {
            cidr,
            gateway,
            first,
            last,
            excluded: RangeSet::new(excluded),
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

    /// How many addresses there are to give without being asked for.
    pub(crate) fn size(&self) -> u128 {
        if self.first > self.last {
            return 0;
        }
        self.excluded.gaps(self.first, self.last)
    }

    /// True if the address would be given without being asked for.
    pub(crate) fn gives(&self, address: IpAddr) -> bool {
        self.objection(address).is_none() && !self.excluded.contains(bits(address))
    }

    /// The first free address after `cursor`, from the start again after the last one.
    ///
    /// Going on from the last address given, rather than from the lowest free one, leaves a freed
    /// address alone for as long as possible: peers may still have it in their neighbour tables
    /// and connection tables.
    pub(crate) fn next_free(&self, holders: &Holders, cursor: Option<IpAddr>) -> Option<IpAddr> {
        let start = cursor
            .map(|address| bits(address).saturating_add(1))
            .filter(|start| (self.first..=self.last).contains(start))
            .unwrap_or(self.first);
        let found = self.free_between(holders, start, self.last).or_else(|| {
            let before = start.checked_sub(1)?;
            self.free_between(holders, self.first, before)
        })?;
        Some(self.family().address(found))
    }

    fn free_between(&self, holders: &Holders, first: u128, last: u128) -> Option<u128> {
        let mut candidate = first;
        let mut held = holders.range(first..).peekable();
        while candidate <= last {
            if let Some(end) = self.excluded.end_of(candidate) {
                candidate = end.checked_add(1)?;
                continue;
            }
            while held.next_if(|&(&address, _)| address < candidate).is_some() {}
            if held
                .next_if(|&(&address, _)| address == candidate)
                .is_none()
            {
                return Some(candidate);
            }
            candidate = candidate.checked_add(1)?;
        }
        None
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

    fn drain(pool: &Pool) -> Vec<String> {
        let mut holders = Holders::new();
        let mut cursor = None;
        while let Some(address) = pool.next_free(&holders, cursor) {
            holders.insert(bits(address), NamespacedName::new("a", "b"));
            cursor = Some(address);
            assert!(holders.len() < 100);
        }
        holders
            .keys()
            .map(|&b| pool.family().address(b).to_string())
            .collect()
    }

    #[test]
    fn a_pool_gives_every_address_but_reserved_and_excluded_ones() {
        let pool = pool("10.0.0.0/29", "10.0.0.1", &["10.0.0.3..10.0.0.4"]);
        assert_eq!(drain(&pool), ["10.0.0.2", "10.0.0.5", "10.0.0.6"]);
    }

    #[test]
    fn in_ipv6_the_last_address_is_ordinary_and_the_first_is_not() {
        let pool = pool("fd00::/126", "fd00::1", &[]);
        assert_eq!(drain(&pool), ["fd00::2", "fd00::3"]);
    }

    #[test]
    fn an_exclusion_up_to_the_end_of_the_address_space_ends_the_search() {
        let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let pool = pool(
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1",
            &[&format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff3..{all}")],
        );
        assert_eq!(drain(&pool), ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2"]);
    }

    #[test]
    fn the_search_goes_on_after_the_last_given_address_and_wraps() {
        let pool = pool("10.0.0.0/29", "10.0.0.1", &[]);
        let mut holders = Holders::new();
        let at = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(pool.next_free(&holders, at("10.0.0.4")), at("10.0.0.5"));
        assert_eq!(pool.next_free(&holders, at("10.0.0.6")), at("10.0.0.2"));
        assert_eq!(pool.next_free(&holders, at("192.168.0.1")), at("10.0.0.2"));
        for last in [5, 6, 2] {
            holders.insert(0x0a00_0000 + last, NamespacedName::new("a", "b"));
        }
        assert_eq!(pool.next_free(&holders, at("10.0.0.4")), at("10.0.0.3"));
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
        assert!(!pool.gives("10.0.0.9".parse().unwrap()));
        assert!(pool.gives("10.0.0.8".parse().unwrap()));
    }
}

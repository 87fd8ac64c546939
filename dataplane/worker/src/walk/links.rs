//! `multipath` and `bundle`: one of several links by a hash (ovs-actions(7)), and the liveness of
//! ports.

use net::headers::{ethertype, proto};
use net::{FlowKey, PortNo};
use openflow::links::{
    Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm as Algorithm,
};

use super::Walk;
use super::select::Mix;
use crate::DropReason;

/// Above so many links, `hrw` would take too long and is hashed again instead, as in Open vSwitch.
const MOST_HRW: u32 = 64;
/// Written by `bundle_load` when no member is up (OFPP_NONE in 16 bits).
const NOBODY: u16 = 0xffff;

impl Walk<'_> {
    pub(super) fn multipath(&mut self, multipath: &Multipath) {
        let hash = hash(multipath.fields, multipath.basis, &self.now.key);
        let links = u32::from(multipath.max_link) + 1;
        let link = choose(multipath.algorithm, hash, links, multipath.arg);
        self.write_range(multipath.dst, link.into());
    }

    pub(super) fn bundle(&mut self, bundle: &Bundle) {
        let hash = hash(bundle.fields, bundle.basis, &self.now.key);
        let members = bundle.members.iter().enumerate();
        let mut live = Vec::new();
        for (at, member) in members {
            if self.port_is_live(*member) {
                live.push((at as u32, *member));
            }
        }
        let chosen = match bundle.algorithm {
            BundleAlgorithm::ActiveBackup => live.first(),
            BundleAlgorithm::Hrw => live.iter().max_by_key(|(at, _)| weight(hash, *at)),
        };
        let chosen = chosen.map(|(_, member)| *member);
        match (bundle.dst, chosen) {
            (Some(dst), Some(port)) => self.write_range(dst, u128::from(port.0 as u16)),
            (Some(dst), None) => self.write_range(dst, NOBODY.into()),
            (None, Some(port)) => self.output(port, u16::MAX),
            (None, None) => self.lose(DropReason::NoBucket),
        }
    }

    /// True if a port is up now; what is decided by it holds until the port changes.
    pub(super) fn port_is_live(&mut self, number: PortNo) -> bool {
        let port = self.world.ports.get(number);
        self.deps.port(number, port.map(|p| p.changed));
        port.is_some_and(|p| p.is_live())
    }
}

/// A link's number, from 0.
fn choose(algorithm: Algorithm, hash: u64, links: u32, arg: u32) -> u32 {
    let by_share = |hash: u64| ((u128::from(hash) * u128::from(links)) >> 64) as u32;
    match algorithm {
        Algorithm::ModuloN => (hash % u64::from(links)) as u32,
        Algorithm::HashThreshold => by_share(hash),
        Algorithm::Hrw if links <= MOST_HRW => {
            let best = (0..links).max_by_key(|link| weight(hash, *link));
            best.unwrap_or(0)
        }
        Algorithm::Hrw => hashed_again(hash, links, 0),
        Algorithm::IterHash => hashed_again(hash, links, arg),
    }
}

/// Hashes until the remainder by `modulus` is a link's number.
fn hashed_again(hash: u64, links: u32, modulus: u32) -> u32 {
    let sensible = modulus >= links && modulus / 2 <= links;
    let modulus = if sensible {
        modulus
    } else {
        links.next_power_of_two()
    };
    // Each try succeeds with a probability of about one half or more.
    let tries = (0..64).map(|n| (weight(hash, n) % u64::from(modulus)) as u32);
    let mut good = tries.filter(|link| *link < links);
    good.next().unwrap_or((hash % u64::from(links)) as u32)
}

/// Weight of a link for a flow: as good as random, and the same for ever.
fn weight(hash: u64, link: u32) -> u64 {
    let mut mix = Mix::new(hash);
    mix.word(link.into());
    mix.finish()
}

/// Hash of some of a packet's fields. The symmetric ones are the same for both directions.
fn hash(fields: HashFields, basis: u16, key: &FlowKey) -> u64 {
    let mut mix = Mix::new(basis.into());
    match fields {
        HashFields::EthSrc => mix.word(key.eth_src.to_u64()),
        HashFields::NwSrc => one_address(key, key.nw_src.get(), &key.ipv6_src, &mut mix),
        HashFields::NwDst => one_address(key, key.nw_dst.get(), &key.ipv6_dst, &mut mix),
        HashFields::SymmetricL4 => {
            mix.word(key.eth_src.to_u64() ^ key.eth_dst.to_u64());
            let vlan = (key.vlan_tci.get() ^ key.vlan_tci2.get()) & 0xfff;
            mix.word(u64::from(vlan) << 16 | u64::from(key.eth_type.get()));
            addresses(key, &mut mix);
            ports(key, &[proto::TCP, proto::SCTP], &mut mix);
        }
        HashFields::SymmetricL3L4 => {
            addresses(key, &mut mix);
            ports(key, &[proto::TCP, proto::SCTP], &mut mix);
        }
        HashFields::SymmetricL3L4Udp => {
            addresses(key, &mut mix);
            ports(key, &[proto::TCP, proto::SCTP, proto::UDP], &mut mix);
        }
        HashFields::SymmetricL3 => addresses(key, &mut mix),
    }
    mix.finish()
}

fn one_address(key: &FlowKey, v4: u32, v6: &[u8; 16], mix: &mut Mix) {
    match key.eth_type.get() {
        ethertype::IPV4 => mix.word(v4.into()),
        ethertype::IPV6 => mix.wide(u128::from_be_bytes(*v6)),
        _ => {}
    }
}

fn addresses(key: &FlowKey, mix: &mut Mix) {
    match key.eth_type.get() {
        ethertype::IPV4 => mix.word(u64::from(key.nw_src.get() ^ key.nw_dst.get())),
        ethertype::IPV6 => {
            let bits = |address: [u8; 16]| u128::from_be_bytes(address);
            mix.wide(bits(key.ipv6_src) ^ bits(key.ipv6_dst));
        }
        _ => {}
    }
}

fn ports(key: &FlowKey, protocols: &[u8], mix: &mut Mix) {
    if !matches!(key.eth_type.get(), ethertype::IPV4 | ethertype::IPV6) {
        return;
    }
    let ports = match protocols.contains(&key.nw_proto) {
        true => key.tp_src.get() ^ key.tp_dst.get(),
        false => 0,
    };
    mix.word(u64::from(key.nw_proto) << 16 | u64::from(ports));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_spreads_over_all_links_and_keeps_within_them() {
        for (algorithm, name) in Algorithm::ALL {
            for links in [1u32, 2, 3, 7, 64, 65, 1000, 65_536] {
                let mut seen = vec![0u32; links as usize];
                for n in 0..40 * u64::from(links.min(1000)) {
                    seen[choose(algorithm, weight(n, 7), links, 0) as usize] += 1;
                }
                let used = seen.iter().filter(|n| **n > 0).count();
                assert!(used >= links.min(1000) as usize, "{name} {links}: {used}");
            }
        }
    }

    #[test]
    fn highest_random_weight_moves_only_flows_of_the_link_that_went() {
        for n in 0..1000 {
            let hash = weight(n, 1);
            let (before, after) = (
                choose(Algorithm::Hrw, hash, 5, 0),
                choose(Algorithm::Hrw, hash, 4, 0),
            );
            assert!(before == after || before == 4, "{before} {after}");
        }
    }

    #[test]
    fn symmetric_hashes_are_the_same_for_both_directions() {
        let mut there = FlowKey {
            eth_src: net::MacAddr([2, 0, 0, 0, 0, 1]),
            eth_dst: net::MacAddr([2, 0, 0, 0, 0, 2]),
            eth_type: ethertype::IPV4.into(),
            nw_src: 0x0a00_0001.into(),
            nw_dst: 0x0a00_0002.into(),
            nw_proto: proto::UDP,
            tp_src: 1000.into(),
            tp_dst: 80.into(),
            ..FlowKey::default()
        };
        for (fields, name) in HashFields::ALL {
            let back = FlowKey {
                eth_src: there.eth_dst,
                eth_dst: there.eth_src,
                nw_src: there.nw_dst,
                nw_dst: there.nw_src,
                tp_src: there.tp_dst,
                tp_dst: there.tp_src,
                ..there
            };
            let same = hash(fields, 1, &there) == hash(fields, 1, &back);
            assert_eq!(same, name.starts_with("symmetric"), "{name}");
            assert_ne!(hash(fields, 1, &there), hash(fields, 2, &there), "{name}");
        }
        // UDP ports count only where the name says so.
        let udp = |key: &FlowKey| {
            (
                hash(HashFields::SymmetricL3L4, 1, key),
                hash(HashFields::SymmetricL3L4Udp, 1, key),
            )
        };
        let before = udp(&there);
        there.tp_src = 1001.into();
        let after = udp(&there);
        assert_eq!(before.0, after.0);
        assert_ne!(before.1, after.1);
    }
}

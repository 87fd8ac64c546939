//! Pods by aligned blocks of 64 addresses, so that a node's tables grow with blocks, not with pods.
//!
//! Three indexes of one kind: by IPv4 address, by IPv6 address and by MAC address, each within a
//! subnet. Most members of a block agree: the MAC address is the block's with the low bits of the
//! address (addresses that are given unasked have such MACs), or the node is the same. Those are one
//! flow; members that differ are flows of their own, of higher priority.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::NamespacedName;
use cluster::desired::{Pod, Subnet};
use ipnet::IpNet;

/// Low bits of an address in which members of a block differ.
const BITS: u8 = 6;

/// What a block is aligned in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// IPv4 addresses; members say their MAC address.
    V4,
    /// IPv6 addresses; members say their MAC address.
    V6,
    /// MAC addresses; members say their node.
    Mac,
}

/// Which block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// The subnet.
    pub subnet: String,
    /// Of which addresses.
    pub space: Space,
    /// The first address.
    pub first: u128,
    /// Low bits in which members differ.
    pub bits: u8,
}

impl BlockKey {
    fn of(subnet: &str, space: Space, value: u128, bits: u8) -> Self {
        BlockKey {
            subnet: subnet.to_string(),
            space,
            first: value & !low(bits),
            bits,
        }
    }

    /// Ones for the bits in which members agree, within `width` bits.
    pub fn mask(&self, width: u8) -> u128 {
        (u128::MAX >> (128 - u32::from(width))) & !low(self.bits)
    }

    /// As a prefix; none for MAC addresses.
    pub fn prefix(&self) -> Option<IpNet> {
        let (address, width) = match self.space {
            Space::V4 => (IpAddr::V4(Ipv4Addr::from_bits(self.first as u32)), 32),
            Space::V6 => (IpAddr::V6(Ipv6Addr::from_bits(self.first)), 128),
            Space::Mac => return None,
        };
        IpNet::new(address, width - self.bits).ok()
    }
}

fn low(bits: u8) -> u128 {
    (1 << bits) - 1
}

/// What a block's members say, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What most members say: a MAC address without the low bits, or a node's number. None where
    /// no member says anything that could be said of others.
    pub common: Option<u64>,
    /// Members that say something else: address, what they say, pod.
    pub exceptions: Vec<(u128, u64, &'a NamespacedName)>,
}

/// What one member says: the MAC address of its address, or the number of its node.
type Members = BTreeMap<(u128, NamespacedName), u64>;

/// Every block that has a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    blocks: BTreeMap<BlockKey, Members>,
}

impl Blocks {
    /// The blocks that a pod is in, its address there, and what it says.
    fn places(pod: &Pod, subnet: &Subnet, node: u32) -> Vec<(BlockKey, u128, u64)> {
        let mac = pod.mac.to_u64();
        let mut places = Vec::with_capacity(3);
        for (space, range) in [
            (Space::V4, subnet.v4.map(|p| 32 - p.cidr.prefix_len())),
            (Space::V6, subnet.v6.map(|p| 128 - p.cidr.prefix_len())),
        ] {
            let address = match space {
                Space::V4 => pod.v4.map(|a| u128::from(a.to_bits())),
                _ => pod.v6.map(|a| a.to_bits()),
            };
            let Some(address) = address else { continue };
            let bits = range.unwrap_or(0).min(BITS);
            let key = BlockKey::of(&pod.subnet, space, address, bits);
            places.push((key, address, mac));
        }
        let key = BlockKey::of(&pod.subnet, Space::Mac, mac.into(), BITS);
        places.push((key, mac.into(), node.into()));
        places
    }

    /// Enters a pod; gives the blocks that it is in.
    pub fn enter(&mut self, pod: &Pod, subnet: &Subnet, node: u32) -> Vec<BlockKey> {
        let mut keys = Vec::new();
        for (key, address, says) in Blocks::places(pod, subnet, node) {
            let members = self.blocks.entry(key.clone()).or_default();
            members.insert((address, pod.name.clone()), says);
            keys.push(key);
        }
        keys
    }

    /// Takes a pod out, as it was entered; gives the blocks that it was in.
    pub fn remove(&mut self, pod: &Pod, subnet: &Subnet) -> Vec<BlockKey> {
        let mut keys = Vec::new();
        for (key, address, _) in Blocks::places(pod, subnet, 0) {
            if let Some(members) = self.blocks.get_mut(&key) {
                members.remove(&(address, pod.name.clone()));
                if members.is_empty() {
                    self.blocks.remove(&key);
                }
            }
            keys.push(key);
        }
        keys
    }

    /// Every block.
    pub fn keys(&self) -> impl Iterator<Item = &BlockKey> {
        self.blocks.keys()
    }

    /// What a block's members say; none where it has none.
    pub fn get(&self, key: &BlockKey) -> Option<Block<'_>> {
        let members = self.blocks.get(key)?;
        let sayable = |address: u128, says: u64| match key.space {
            Space::Mac => Some(says),
            _ => {
                let low = low(key.bits) as u64;
                ((says ^ address as u64) & low == 0).then_some(says & !low)
            }
        };
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for ((address, _), says) in members {
            if let Some(common) = sayable(*address, *says) {
                *counts.entry(common).or_default() += 1;
            }
        }
        // The lowest of those that most say, so that the order of coming does not matter.
        let most = counts
            .iter()
            .max_by_key(|(v, n)| (**n, std::cmp::Reverse(**v)));
        let common = most.map(|(value, _)| *value);
        let exceptions = members
            .iter()
            .filter(|((address, _), says)| {
                let own = sayable(*address, **says);
                own.is_none() || own != common
            })
            .map(|((address, pod), says)| (*address, *says, pod));
        Some(Block {
            common,
            exceptions: exceptions.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use cluster::desired::{Prefix4, Qos, SubnetKind};
    use net::{MacAddr, Vni};

    use super::*;

    fn subnet() -> Subnet {
        let cidr = "10.0.0.0/16".parse().unwrap();
        Subnet {
            name: "a".into(),
            v4: Some(Prefix4 {
                cidr,
                gateway: "10.0.0.1".parse().unwrap(),
            }),
            v6: None,
            kind: SubnetKind::Overlay {
                vni: Vni::new(7).unwrap(),
            },
            router_mac: MacAddr::ZERO,
            mtu: 1400,
            rules: Vec::new(),
            logical_gateway: false,
            interconnected: false,
        }
    }

    fn pod(last: u8, mac: u8) -> Pod {
        Pod {
            name: NamespacedName::new("bank", format!("p{last}")),
            node: String::new(),
            port: String::new(),
            subnet: "a".into(),
            mac: MacAddr([2, 0, 0, 0, 0, mac]),
            v4: Some(Ipv4Addr::new(10, 0, 0, last)),
            v6: None,
            qos: Qos::default(),
            allowed: Vec::new(),
            cell: None,
        }
    }

    #[test]
    fn most_members_are_said_at_once_and_the_others_by_themselves() {
        let mut blocks = Blocks::default();
        for (last, mac, node) in [
            (65, 1, 9),
            (66, 2, 9),
            (67, 3, 8),
            (68, 0x44, 8),
            (69, 0, 9),
        ] {
            blocks.enter(&pod(last, mac), &subnet(), node);
        }
        let key = |space| blocks.keys().find(|k| k.space == space).unwrap().clone();
        let v4 = blocks.get(&key(Space::V4)).unwrap();
        // 68 has the low bits of its address, but not the block's upper ones; 69 has neither.
        assert_eq!(v4.common, Some(0x0200_0000_0000));
        let others: Vec<_> = v4.exceptions.iter().map(|e| e.0 as u8).collect();
        assert_eq!(others, [68, 69]);
        let first_macs = blocks.get(&key(Space::Mac)).unwrap();
        assert_eq!(first_macs.common, Some(9));
        let others: Vec<_> = first_macs
            .exceptions
            .iter()
            .map(|e| (e.0 as u8, e.1))
            .collect();
        assert_eq!(others, [(3, 8)]);
        assert_eq!(key(Space::V4).prefix().unwrap().to_string(), "10.0.0.64/26");
        assert_eq!(key(Space::Mac).mask(48), 0xffff_ffff_ffc0);
    }

    #[test]
    fn members_that_agree_in_nothing_are_all_said_by_themselves() {
        let mut blocks = Blocks::default();
        blocks.enter(&pod(65, 7), &subnet(), 1);
        let key = blocks.keys().find(|k| k.space == Space::V4).unwrap();
        let block = blocks.get(key).unwrap();
        assert_eq!((block.common, block.exceptions.len()), (None, 1));
    }

    #[test]
    fn what_left_leaves_nothing_behind() {
        let mut blocks = Blocks::default();
        let (a, b) = (pod(65, 1), pod(66, 2));
        blocks.enter(&a, &subnet(), 1);
        let one = blocks.clone();
        blocks.enter(&b, &subnet(), 2);
        blocks.remove(&b, &subnet());
        assert_eq!(blocks, one);
        blocks.remove(&a, &subnet());
        assert_eq!(blocks, Blocks::default());
    }
}

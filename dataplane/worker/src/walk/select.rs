//! The hash by which a select group chooses.
//!
//! The same packet gives the same hash on every node and in every run: two nodes that hold the same
//! group choose the same bucket for a connection.

use net::headers::ethertype;
use net::{FlowKey, MacAddr};
use tables::Group;

use super::actions::has;

/// Hash of the packet's flow for a group, and the fields that it took.
///
/// With the method `hash`: the fields that the group names, where the packet has them. Otherwise, and
/// with `dp_hash`: link-layer addresses; for IP packets addresses, protocol and ports; for others
/// ethertype and ARP addresses. A connection keeps its bucket as long as it comes from and goes to
/// the same MAC addresses.
pub(crate) fn hash(group: &Group, key: &FlowKey, seed: u64, wanted: &mut FlowKey) -> u64 {
    let mut hash = Mix::new(seed);
    if let Some(selection) = &group.selection {
        hash.word(selection.param);
    }
    let fields = group.selection.as_ref().filter(|s| s.method == "hash");
    if let Some(selection) = fields.filter(|s| !s.fields.is_empty()) {
        for f in selection.fields.iter() {
            let info = f.field.info();
            // What a packet has not must not count: other protocols may keep their fields there.
            if has(info.prereq, key) {
                info.slot.set(wanted, f.mask, f.mask);
                hash.wide(info.slot.get(key) & f.mask);
            }
        }
        return hash.finish();
    }
    let ones = MacAddr([0xff; 6]);
    (wanted.eth_src, wanted.eth_dst) = (ones, ones);
    (wanted.nw_src, wanted.nw_dst) = (u32::MAX.into(), u32::MAX.into());
    (wanted.ipv6_src, wanted.ipv6_dst) = ([0xff; 16], [0xff; 16]);
    (wanted.tp_src, wanted.tp_dst) = (u16::MAX.into(), u16::MAX.into());
    hash.word((key.eth_src.to_u64() << 16) | u64::from(key.eth_type.get()));
    hash.word(key.eth_dst.to_u64());
    match key.eth_type.get() {
        ethertype::IPV4 => {
            hash.word((u64::from(key.nw_src.get()) << 32) | u64::from(key.nw_dst.get()));
            ports(key, hash)
        }
        ethertype::IPV6 => {
            for address in [key.ipv6_src, key.ipv6_dst] {
                hash.wide(u128::from_be_bytes(address));
            }
            ports(key, hash)
        }
        _ => {
            hash.word((u64::from(key.nw_src.get()) << 32) | u64::from(key.nw_dst.get()));
            hash.finish()
        }
    }
}

/// The fractional part of the golden ratio: its multiples fill the circle more evenly than any
/// other's (Kronecker sequence), whether one takes all of them, or every second.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Connections of one client to one place differ by source port only, and clients take their ports
/// one after the other: these are spread by turns instead of by chance, so that shares are right
/// for few connections too. Slots are chosen by the hash's high bits ([`Group::select`]).
fn ports(key: &FlowKey, mut hash: Mix) -> u64 {
    hash.word((u64::from(key.nw_proto) << 32) | u64::from(key.tp_dst.get()));
    let turn = u64::from(key.tp_src.get()).wrapping_mul(GOLDEN);
    hash.finish().wrapping_add(turn)
}

/// A hash that is the same everywhere and for ever.
pub(super) struct Mix(u64);

impl Mix {
    pub fn new(seed: u64) -> Self {
        Mix(seed)
    }

    pub fn wide(&mut self, words: u128) {
        self.word((words >> 64) as u64);
        self.word(words as u64);
    }

    pub fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xd6e8_feb8_6659_fd93_u64);
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(32);
    }

    /// The last mix of MurmurHash3, so that every bit of the result depends on all of the input.
    pub fn finish(self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

//! The hash by which a select group chooses.
//!
//! The same packet gives the same hash on every node and in every run: two nodes that hold the same
//! group choose the same bucket for a connection.

use net::FlowKey;
use net::headers::ethertype;
use tables::Group;

/// Hash of the packet's flow for a group, and the fields that it took.
///
/// Without a selection of fields in the group: addresses, protocol and ports of IP packets;
/// link-layer addresses, ethertype and ARP addresses of others.
pub(crate) fn hash(group: &Group, key: &FlowKey, seed: u64, wanted: &mut FlowKey) -> u64 {
    let mut hash = Mix(seed);
    let fields = group.selection.as_ref().filter(|s| s.method == "hash");
    if let Some(selection) = fields.filter(|s| !s.fields.is_empty()) {
        hash.word(selection.param);
        for f in selection.fields.iter() {
            let slot = f.field.info().slot;
            let value = slot.get(key) & f.mask;
            slot.set(wanted, f.mask, f.mask);
            hash.word(value as u64);
            hash.word((value >> 64) as u64);
        }
        return hash.finish();
    }
    match key.eth_type.get() {
        ethertype::IPV4 => {
            hash.word((u64::from(key.nw_src.get()) << 32) | u64::from(key.nw_dst.get()));
            ports(key, &mut hash);
        }
        ethertype::IPV6 => {
            for address in [key.ipv6_src, key.ipv6_dst] {
                let bits = u128::from_be_bytes(address);
                hash.word((bits >> 64) as u64);
                hash.word(bits as u64);
            }
            ports(key, &mut hash);
        }
        other => {
            hash.word((key.eth_src.to_u64() << 16) | u64::from(other));
            hash.word(key.eth_dst.to_u64());
            hash.word((u64::from(key.nw_src.get()) << 32) | u64::from(key.nw_dst.get()));
            wanted.nw_src = u32::MAX.into();
            wanted.nw_dst = u32::MAX.into();
        }
    }
    hash.finish()
}

fn ports(key: &FlowKey, hash: &mut Mix) {
    hash.word(
        (u64::from(key.nw_proto) << 32)
            | (u64::from(key.tp_src.get()) << 16)
            | u64::from(key.tp_dst.get()),
    );
}

struct Mix(u64);

impl Mix {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xd6e8_feb8_6659_fd93_u64);
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(32);
    }

    /// The last mix of MurmurHash3, so that every bit of the result depends on all of the input.
    fn finish(self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

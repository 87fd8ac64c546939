//! Which parts of an exact key are kept.

use super::{ExactKey, shape};
use crate::FlowKey;

/// Ones in the bits of exact keys that matter to somebody. Keys that are equal in these are keys of
/// packets that are treated alike.
///
/// Always kept are in_port, ethertype, protocol, tags, the shape, and everything of a tunnel.
/// Of the other fields all is kept or nothing, of addresses whole bytes: a mask should not change
/// with every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMask {
    pub(super) front: [u64; 4],
    pub(super) v4: u64,
    v6: [u64; 4],
}

impl KeyMask {
    /// Keeps everything.
    pub const ALL: Self = KeyMask {
        front: [u64::MAX; 4],
        v4: u64::MAX,
        v6: [u64::MAX; 4],
    };

    /// What is needed to tell packets apart that differ in a field of `looked_at`.
    pub fn new(looked_at: &FlowKey) -> Self {
        let all_or_nothing = |is_used: bool, bits: u64| if is_used { bits } else { 0 };
        let mac = |mac: crate::MacAddr| all_or_nothing(mac.to_u64() != 0, !0xffff);
        let source_port = looked_at.tp_src.get() != 0;
        let destination_port = looked_at.tp_dst.get() != 0;
        let bytes = |address: &[u8]| {
            let byte = |byte: &u8| all_or_nothing(*byte != 0, 0xff);
            address.iter().fold(0, |sum, b| (sum << 8) | byte(b))
        };
        let [v4_src, v4_dst] = [&looked_at.nw_src, &looked_at.nw_dst].map(|a| bytes(&a.to_bytes()));
        let v6 = [&looked_at.ipv6_src, &looked_at.ipv6_dst].map(|address| {
            let (high, low) = address.split_at(8);
            [bytes(high), bytes(low)]
        });
        let [[a, b], [c, d]] = v6;
        KeyMask {
            front: [
                !0xff | u64::from(looked_at.nw_tos),
                mac(looked_at.eth_dst) | 0xffff,
                mac(looked_at.eth_src) | 0xffff,
                // The ICMP identifier goes with the ports: who looks at one of them tracks.
                all_or_nothing(source_port, 0xffff_0000_ffff_0000)
                    | all_or_nothing(destination_port, 0xffff << 32)
                    | 0xffff,
            ],
            v4: (v4_src << 32) | v4_dst,
            v6: [a, b, c, d],
        }
    }
}

impl ExactKey {
    /// Clears what the mask leaves out.
    #[inline]
    pub fn keep(&mut self, mask: &KeyMask) {
        let [a, b, c, d, rest @ ..] = &mut self.words;
        *a &= mask.front[0];
        *b &= mask.front[1];
        *c &= mask.front[2];
        *d &= mask.front[3];
        if *d & u64::from(shape::IPV4) != 0 {
            rest[0] &= mask.v4;
        } else if *d & u64::from(shape::IPV6) != 0 {
            for (word, mask) in rest.iter_mut().zip(mask.v6) {
                *word &= mask;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::{TunnelKey, read, read_into};
    use crate::parse::Layout;
    use crate::{FlowKey, MacAddr};

    fn frames() -> Vec<Vec<u8>> {
        let addresses = [2u8, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2];
        let v4 = [
            0x45u8, 0xb8, 0, 32, 1, 2, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        let mut v6 = vec![0x6bu8, 0x80, 0, 0, 0, 12, 17, 64];
        v6.extend([1; 16]);
        v6.extend([2; 16]);
        let udp = [0x12u8, 0x34, 0, 80, 0, 12, 0, 0, 1, 2, 3, 4];
        let tag = [0x81u8, 0, 0xb0, 7];
        let echo = [8u8, 0, 1, 2, 9, 9, 0, 1, 1, 2, 3, 4];
        let mut icmp = v4;
        icmp[9] = 1;
        let frame = |parts: &[&[u8]]| {
            let mut frame = addresses.to_vec();
            parts.iter().for_each(|part| frame.extend_from_slice(part));
            frame.resize(80, 0);
            frame
        };
        vec![
            frame(&[&[8, 0], &v4, &udp]),
            frame(&[&tag, &[8, 0], &v4, &udp]),
            frame(&[&[8, 0], &icmp, &echo]),
            frame(&[&[0x86, 0xdd], &v6, &udp]),
            frame(&[&[0x12, 0x34], &[1, 2, 3, 4, 5, 6]]),
        ]
    }

    fn key(frame: &[u8], tunnel: Option<&TunnelKey>) -> Option<ExactKey> {
        let mut key = ExactKey::default();
        read(frame, frame.len(), 3, tunnel, &mut key).ok()?;
        Some(key)
    }

    #[test]
    fn everything_looked_at_is_everything_kept() {
        let mut all = FlowKey::default();
        all.words_mut().fill(u64::MAX);
        assert_eq!(KeyMask::new(&all), KeyMask::ALL);
        assert_ne!(KeyMask::new(&FlowKey::default()), KeyMask::ALL);
    }

    /// Each byte of a packet is changed in turn: if that changes a field which is looked at, then
    /// the kept keys differ too.
    #[test]
    fn packets_that_differ_where_someone_looks_keep_different_keys() {
        let fields: [fn(&mut FlowKey); 8] = [
            |k| k.eth_dst = MacAddr([0, 0, 0, 0, 0, 1]),
            |k| k.eth_src = MacAddr([0xff; 6]),
            |k| k.nw_tos = 0xfc,
            |k| k.nw_src = 0xffff_0000.into(),
            |k| k.nw_dst = u32::MAX.into(),
            |k| k.tp_src = u16::MAX.into(),
            |k| k.tp_dst = 1.into(),
            |k| k.ipv6_dst = [0xff; 16],
        ];
        let tunnel = TunnelKey {
            id: 7,
            src: core::net::IpAddr::from([1, 2, 3, 4]),
            dst: core::net::IpAddr::from([1, 2, 3, 5]),
            options: Default::default(),
        };
        let (mut told_apart, mut merged) = (0, 0);
        for (frame, set) in frames()
            .iter()
            .flat_map(|f| fields.map(move |set| (f, set)))
        {
            for tunnel in [None, Some(&tunnel)] {
                let mut looks = FlowKey::default();
                set(&mut looks);
                let mask = KeyMask::new(&looks);
                for at in 0..frame.len() {
                    let mut other = frame.clone();
                    other[at] ^= 0x10;
                    let (Some(mut a), Some(mut b)) = (key(frame, tunnel), key(&other, tunnel))
                    else {
                        continue;
                    };
                    let (was_a, was_b) = (a, b);
                    a.keep(&mask);
                    b.keep(&mask);
                    let (mut at_once, mut layout) = (ExactKey::default(), Layout::default());
                    let len = other.len();
                    read_into(&other, len, 3, tunnel, &mask, &mut at_once, &mut layout).unwrap();
                    assert_eq!(at_once, b);
                    let parsed = [frame, &other].map(|frame| {
                        let mut key = FlowKey::default();
                        crate::parse::extract(frame, frame.len(), &mut key).unwrap();
                        key
                    });
                    let looked_at = |key: &FlowKey| -> Vec<u64> {
                        let words = key.words().iter().zip(looks.words());
                        words.map(|(word, looks)| word & looks).collect()
                    };
                    if looked_at(&parsed[0]) != looked_at(&parsed[1]) {
                        told_apart += 1;
                        assert_ne!(a, b, "byte {at} of {frame:02x?}");
                    }
                    merged += u32::from(was_a != was_b && a == b);
                }
            }
        }
        assert!(told_apart > 50 && merged > 200, "{told_apart} {merged}");
    }
}

//! The key by which a device spreads packets over its rx queues.

use std::hash::{BuildHasher, RandomState};

/// A secret key of so many bytes for the Toeplitz hash, under which both directions of a connection
/// have the same hash: two bytes again and again (S. Woo, K. Park: Scalable TCP session monitoring
/// with symmetric receive-side scaling, 2012). Addresses of either family and ports may change places
/// in it only if it repeats every 16 bits, so there are few such keys: the hash spreads load, and is
/// no defence against somebody who aims at one queue; moving queues between workers is.
pub(crate) fn symmetric_key(len: usize) -> Vec<u8> {
    let random = RandomState::new();
    let candidates = (0_u64..).map(|n| random.hash_one(n) as u16);
    let pattern = candidates.into_iter().find(|p| spreads(*p));
    let [a, b] = pattern.unwrap_or(USUAL).to_be_bytes();
    [a, b].into_iter().cycle().take(len).collect()
}

/// The pattern of that paper.
const USUAL: u16 = 0x6d5a;

/// True for a pattern whose rotations are all different and of mixed bits, so that each bit of an
/// address changes the hash in its own way.
fn spreads(pattern: u16) -> bool {
    let distinct = (1..16).all(|by| pattern.rotate_left(by) != pattern);
    distinct && (6..=10).contains(&pattern.count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash as the RSS specification defines it: for each set bit of the input, from the left,
    /// the 32 bits of the key that begin there.
    fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1 == 1;
        let window = |at: usize| (at..at + 32).fold(0, |w, at| w << 1 | u32::from(bit(key, at)));
        (0..input.len() * 8)
            .filter(|at| bit(input, *at))
            .fold(0, |hash, at| hash ^ window(at))
    }

    #[test]
    fn the_reference_hash_is_that_of_the_specification() {
        // Microsoft's verification suite, IPv4 with ports: 66.9.149.187:2794 to 161.142.100.80:1766.
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
            0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
            0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&key, &input), 0x51cc_c178);
    }

    #[test]
    fn both_directions_have_the_same_hash_and_flows_are_spread() {
        let key = symmetric_key(40);
        assert_eq!(key.len(), 40);
        let mut queues = [0; 4];
        for flow in 0..1000_u32 {
            let (a, b) = ([10, 0, (flow >> 8) as u8, flow as u8], [10, 9, 0, 1]);
            // Such a hash sees the sum of all 16-bit words only: the port must not follow the address.
            let (p, q) = ((flow as u16).wrapping_mul(40_503), 80_u16);
            let (p, q) = (p.to_be_bytes(), q.to_be_bytes());
            let there = [&a[..], &b, &p, &q].concat();
            let back = [&b[..], &a, &q, &p].concat();
            let hash = toeplitz(&key, &there);
            assert_eq!(hash, toeplitz(&key, &back));
            queues[hash as usize % 4] += 1;
            let (a, b) = ([&a[..], &[7; 12]].concat(), [&b[..], &[9; 12]].concat());
            let there = [&a[..], &b, &p[..0]].concat();
            assert_eq!(toeplitz(&key, &there), toeplitz(&key, &[b, a].concat()));
        }
        assert!(queues.iter().all(|flows| *flows > 50), "{queues:?}");
    }
}

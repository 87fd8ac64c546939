//! Congestion notification through tunnels (RFC 6040): the two low bits of an IP header's TOS.

/// The sender does not support ECN.
pub const NOT_ECT: u8 = 0;
/// ECN-capable, codepoint 1.
pub const ECT_1: u8 = 1;
/// ECN-capable, codepoint 0.
pub const ECT_0: u8 = 2;
/// Congestion was met.
pub const CE: u8 = 3;

/// The bits of a TOS.
pub const MASK: u8 = 3;

/// What the outer header of a tunnel gets: the DSCP of `outer`, and the packet's own ECN bits
/// (RFC 6040 4.1, normal mode).
pub const fn outer(outer: u8, inner: u8) -> u8 {
    (outer & !MASK) | (inner & MASK)
}

/// True if the outer header's bits can change what is inside; most often they cannot.
pub const fn says_something(outer: u8) -> bool {
    matches!(outer & MASK, ECT_1 | CE)
}

/// The TOS of a packet that comes out of a tunnel (RFC 6040 4.2, figure 4); None if it must be
/// dropped: a router met congestion, and the packet's sender does not know of ECN.
pub const fn arrived(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) | (CE, _) | (_, NOT_ECT | ECT_0) => Some(inner),
        (_, CE) => Some(inner | CE),
        // ECT(1) outside: a mark of less severity than CE.
        _ => Some((inner & !MASK) | ECT_1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040, figure 4: a line per inner codepoint, a column per outer one, both in the order
    /// Not-ECT, ECT(0), ECT(1), CE.
    const FIGURE_4: [[Option<u8>; 4]; 4] = [
        [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None],
        [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)],
        [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)],
        [Some(CE), Some(CE), Some(CE), Some(CE)],
    ];
    const ORDER: [u8; 4] = [NOT_ECT, ECT_0, ECT_1, CE];

    #[test]
    fn a_packet_comes_out_as_figure_4_has_it_with_its_dscp_untouched() {
        for (inner, line) in ORDER.into_iter().zip(FIGURE_4) {
            for (outer, expected) in ORDER.into_iter().zip(line) {
                for dscp in [0, 0xb8, 0xfc] {
                    let came = arrived(dscp | inner, !dscp & !MASK | outer);
                    assert_eq!(came, expected.map(|ecn| dscp | ecn), "{inner} in {outer}");
                    let silent = came == Some(dscp | inner);
                    assert!(says_something(outer) || silent, "{inner} in {outer}");
                }
            }
        }
    }

    #[test]
    fn what_was_wrapped_comes_out_as_it_was() {
        for inner in 0..=u8::MAX {
            let outside = outer(0xb8, inner);
            assert_eq!(outside & !MASK, 0xb8);
            assert_eq!(arrived(inner, outside), Some(inner));
        }
    }
}

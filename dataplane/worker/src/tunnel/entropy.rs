//! What an underlay spreads the packets of a tunnel by: a hash of the flow inside, in the outer UDP
//! source port (RFC 8926 3.3, RFC 7348 5).

use net::exact::HashKey;
use net::parse::{Layout, Network, Transport};

/// The hash of the flow that a packet belongs to, by its headers as they are. All fragments of a
/// datagram are told by their addresses alone, since only the first one has ports.
#[inline]
pub(crate) fn entropy(key: &HashKey, head: &[u8], layout: &Layout) -> u64 {
    let (l3, l4) = (usize::from(layout.l3), usize::from(layout.l4));
    let has_ports = matches!(
        layout.transport,
        Transport::Tcp | Transport::Udp | Transport::Sctp
    );
    let ports = match layout.fragment {
        None if has_ports => word::<4>(head, l4),
        _ => 0,
    };
    match layout.network {
        Network::Ipv4 => key.hash_words(&[word::<8>(head, l3 + 12), ports]),
        Network::Ipv6 => {
            let address = |at| word::<8>(head, l3 + at);
            key.hash_words(&[address(8), address(16), address(24), address(32), ports])
        }
        _ => key.hash_words(&[word::<8>(head, 0), word::<6>(head, 8)]),
    }
}

/// Up to eight bytes as a number; zero where the packet ends before.
#[inline]
fn word<const N: usize>(head: &[u8], at: usize) -> u64 {
    let bytes: Option<&[u8; N]> = head.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| {
        bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP over IPv4, the last bytes of addresses and the ports as given.
    fn packet(source: u8, ports: [u8; 4], fragment: [u8; 2], ttl: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        let [f, g] = fragment;
        frame.extend([8, 0, 0x45, 0, 0, 46, 1, 2, f, g, ttl, 17, 0, 0]);
        frame.extend([10, 0, 0, source, 10, 0, 0, 9]);
        frame.extend(ports);
        frame.extend([0, 26, 0, 0]);
        frame.resize(60, 0);
        frame
    }

    fn of(frame: &[u8]) -> u64 {
        let mut key = net::FlowKey::default();
        let layout = net::parse::extract(frame, frame.len(), &mut key).unwrap();
        entropy(&HashKey::new([1, 2]), frame, &layout)
    }

    #[test]
    fn flows_are_told_apart_and_packets_of_one_are_not() {
        let whole = [0x40, 0];
        let flow = of(&packet(1, [1, 2, 3, 4], whole, 64));
        assert_eq!(flow, of(&packet(1, [1, 2, 3, 4], whole, 9)));
        assert_ne!(flow, of(&packet(1, [1, 2, 3, 5], whole, 64)));
        assert_ne!(flow, of(&packet(2, [1, 2, 3, 4], whole, 64)));
        let first = of(&packet(1, [1, 2, 3, 4], [0x20, 0], 64));
        assert_eq!(first, of(&packet(1, [9, 9, 9, 9], [0x00, 3], 64)));
    }
}

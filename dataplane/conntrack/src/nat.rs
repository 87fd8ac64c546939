//! Translation: which addresses and ports a connection's answers will be seen under.

use std::net::IpAddr;

use net::exact::HashKey;

use crate::tuple::Tuple;

/// Lowest port that is chosen where none is given (RFC 6335 6: below are system ports).
const FIRST_PORT: u16 = 1024;
/// Candidates that are tried before the range counts as exhausted. With random ports that is how
/// often one in a hundred free is missed one time in thirteen; one in twenty, never.
const ATTEMPTS: u32 = 256;
/// Of these, addresses; each gets its part of the attempts.
const ADDRESSES: u128 = 4;

/// What a `nat` action asks for. Nothing: the connection keeps its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NatRequest {
    /// Choose a new source.
    pub src: Option<NatRange>,
    /// Choose a new destination.
    pub dst: Option<NatRange>,
}

/// A range to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NatRange {
    /// First and last address, of the packet's family; none: keep the address.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// First and last port; none: keep the port, and only if that is taken any.
    pub ports: Option<(u16, u16)>,
    /// How to choose.
    pub choice: Choice,
}

/// How an address and port are chosen from a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// By a hash of the tuple, the same after a restart with the same seed.
    #[default]
    Hash,
    /// The address by the client's address alone, so that a client always gets the same one.
    Persistent,
    /// By a hash of tuple and time.
    Random,
}

impl NatRequest {
    /// True if nothing is to be translated.
    pub fn is_none(&self) -> bool {
        self.src.is_none() && self.dst.is_none()
    }

    /// True if all addresses are of that family.
    pub(crate) fn is_of_family(&self, ipv4: bool) -> bool {
        [self.src, self.dst]
            .into_iter()
            .flatten()
            .filter_map(|range| range.addresses)
            .all(|(first, last)| first.is_ipv4() == ipv4 && last.is_ipv4() == ipv4)
    }

    /// Every translated form of `original` to be tried, best first, at most [`ATTEMPTS`]. A form
    /// is what packets of the original direction look like afterwards; it will be used if the
    /// reverse of it belongs to no other connection.
    pub(crate) fn candidates(
        &self,
        original: &Tuple,
        hash: &HashKey,
        now: u64,
    ) -> impl Iterator<Item = Tuple> {
        let random = [self.src, self.dst]
            .into_iter()
            .flatten()
            .any(|range| range.choice == Choice::Random);
        let seeds = Seeds::new(original, hash, now, random);
        let (src, dst) = (self.src.unwrap_or_default(), self.dst.unwrap_or_default());
        let sources = src.choices();
        let addresses = sources.saturating_mul(dst.choices()).min(ADDRESSES);
        let base = *original;
        let at_address = move |k: u128| Tuple {
            src: src.address(base.src, &seeds, k % sources),
            dst: dst.address(base.dst, &seeds, k / sources),
            ..base
        };
        let has_ports = original.has_ports();
        let is_icmp = original.is_icmp();
        let dst_ports = self
            .dst
            .and_then(|range| range.ports)
            .filter(|_| has_ports && !is_icmp)
            .map_or(Ports::only(original.dst_port), |(low, high)| {
                Ports::new(low, high, original.dst_port, seeds.ports)
            });
        let src_ports = match self.src.and_then(|range| range.ports) {
            _ if !has_ports => Ports::only(original.src_port),
            Some((low, high)) => Ports::new(low, high, original.src_port, seeds.ports),
            // Whatever is translated, a port that is taken is replaced by a free one: two
            // clients behind one address, or one client that reaches a backend both by its
            // Service and directly.
            None if self.is_none() => Ports::only(original.src_port),
            None => Ports::kept(original.src_port, seeds.ports),
        };
        // All destinations with the best source, then the other sources.
        let ports = dst_ports
            .count
            .saturating_mul(src_ports.count)
            .min(ATTEMPTS / addresses as u32);
        (0..addresses).flat_map(move |k| {
            let base = at_address(k);
            (0..ports).map(move |i| Tuple {
                dst_port: dst_ports.at(i % dst_ports.count),
                src_port: src_ports.at(i / dst_ports.count),
                ..base
            })
        })
    }
}

#[derive(Clone, Copy)]
struct Seeds {
    address: u64,
    client: u64,
    random: u64,
    ports: u64,
}

impl Seeds {
    fn new(original: &Tuple, hash: &HashKey, now: u64, is_random: bool) -> Self {
        let packed = original.pack(0);
        let address = hash.hash_words(packed.words());
        let client = hash.hash_words(&[1, address_bits(original.src) as u64]);
        Seeds {
            address,
            client,
            random: hash.hash_words(&[2, address, now]),
            // The same connection gets the same port again, unless it is to be random.
            ports: hash.hash_words(&[3, address, if is_random { now } else { 0 }]),
        }
    }
}

impl NatRange {
    /// Addresses to choose from.
    fn choices(&self) -> u128 {
        match self.addresses {
            Some((first, last)) if self.choice != Choice::Persistent => {
                span(address_bits(first), address_bits(last))
            }
            _ => 1,
        }
    }

    /// The address to be tried after `before` others.
    fn address(&self, kept: IpAddr, seeds: &Seeds, before: u128) -> IpAddr {
        let Some((low, high)) = self.addresses else {
            return kept;
        };
        let seed = match self.choice {
            Choice::Hash => seeds.address,
            Choice::Persistent => seeds.client,
            Choice::Random => seeds.random,
        };
        let (first, last) = (address_bits(low), address_bits(high));
        let chosen = first + u128::from(seed).saturating_add(before) % span(first, last);
        match low {
            IpAddr::V4(_) => IpAddr::from((chosen as u32).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(chosen.to_be_bytes()),
        }
    }
}

/// Addresses from the first to the last.
fn span(first: u128, last: u128) -> u128 {
    last.saturating_sub(first).saturating_add(1)
}

fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Ports in the order in which they are tried: the preferred one, then the range from a hashed
/// start by hashed steps, once around. Steps of one would have to pass all that others have taken
/// in the neighbourhood.
#[derive(Clone, Copy)]
struct Ports {
    preferred: u16,
    low: u16,
    size: u32,
    start: u32,
    step: u32,
    count: u32,
}

/// Primes above all numbers of ports, so that steps of that length come to each.
const STEPS: [u32; 8] = [
    65_537, 65_539, 65_543, 65_551, 65_557, 65_563, 65_579, 65_581,
];

impl Ports {
    fn only(port: u16) -> Self {
        Ports {
            preferred: port,
            low: port,
            size: 1,
            start: 0,
            step: 1,
            count: 1,
        }
    }

    fn new(low: u16, high: u16, wanted: u16, seed: u64) -> Self {
        let high = high.max(low);
        let size = u32::from(high - low) + 1;
        let start = (seed % u64::from(size)) as u32;
        let preferred = if (low..=high).contains(&wanted) {
            wanted
        } else {
            low + start as u16
        };
        Ports {
            preferred,
            low,
            size,
            start,
            step: STEPS
                .get((seed >> 61) as usize)
                .map_or(1, |step| step % size),
            count: size + 1,
        }
    }

    /// The port itself, and any unprivileged one if that is taken.
    fn kept(port: u16, seed: u64) -> Self {
        let mut ports = Ports::new(FIRST_PORT, u16::MAX, port, seed);
        ports.preferred = port;
        ports
    }

    fn at(&self, i: u32) -> u16 {
        match i.checked_sub(1) {
            None => self.preferred,
            Some(i) => {
                let steps = u64::from(i) * u64::from(self.step);
                self.low + ((u64::from(self.start) + steps) % u64::from(self.size)) as u16
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_come_to_every_one_of_the_range_once_around() {
        for (low, high) in [(1, 1), (5, 6), (1000, 1099), (1024, 65_535), (0, 65_535)] {
            for seed in [0, 1, u64::MAX, 0x5555_5555_5555_5555, 7 << 61] {
                let ports = Ports::new(low, high, 40_000, seed);
                let tried: BTreeSet<u16> = (1..ports.count).map(|i| ports.at(i)).collect();
                assert_eq!(tried.len(), usize::from(high - low) + 1);
                assert_eq!(tried.first(), Some(&low));
                assert_eq!(tried.last(), Some(&high));
            }
        }
    }

    #[test]
    fn every_address_of_a_small_range_is_tried_and_never_more_candidates_than_allowed() {
        let range = |last: u8, ports| NatRange {
            addresses: Some(([192, 0, 2, 1].into(), [192, 0, 2, last].into())),
            ports,
            ..NatRange::default()
        };
        let original = Tuple {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            src_port: 1000,
            dst_port: 80,
            proto: 17,
        };
        let hash = HashKey::new([1, 2]);
        let candidates = |src, dst| -> Vec<Tuple> {
            let request = NatRequest { src, dst };
            request.candidates(&original, &hash, 0).collect()
        };
        let two_by_two = candidates(Some(range(2, Some((7, 8)))), Some(range(2, Some((9, 9)))));
        let different: BTreeSet<String> = two_by_two.iter().map(|t| format!("{t:?}")).collect();
        assert_eq!(different.len(), 2 * 2 * 2);
        for request in [
            (Some(range(254, Some((1, 65_535)))), None),
            (Some(range(3, None)), Some(range(200, Some((1, 1000))))),
            (None, Some(range(1, None))),
        ] {
            let count = candidates(request.0, request.1).len();
            assert!((1..=256).contains(&count), "{count}");
        }
    }
}

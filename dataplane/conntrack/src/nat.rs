//! Translation: which addresses and ports a connection's answers will be seen under.

use std::net::IpAddr;

use net::exact::HashKey;

use crate::tuple::Tuple;

/// Lowest port that is chosen where none is given (RFC 6335 6: below are system ports).
const FIRST_PORT: u16 = 1024;
/// Candidates that are tried before the range counts as exhausted.
const ATTEMPTS: u32 = 2048;

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
        let mut base = *original;
        if let Some(range) = &self.src {
            base.src = range.address(original.src, &seeds);
        }
        if let Some(range) = &self.dst {
            base.dst = range.address(original.dst, &seeds);
        }
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
        let total = dst_ports
            .count
            .saturating_mul(src_ports.count)
            .min(ATTEMPTS);
        (0..total).map(move |i| Tuple {
            dst_port: dst_ports.at(i % dst_ports.count),
            src_port: src_ports.at(i / dst_ports.count),
            ..base
        })
    }
}

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
    fn address(&self, kept: IpAddr, seeds: &Seeds) -> IpAddr {
        let Some((low, high)) = self.addresses else {
            return kept;
        };
        let seed = match self.choice {
            Choice::Hash => seeds.address,
            Choice::Persistent => seeds.client,
            Choice::Random => seeds.random,
        };
        let (first, last) = (address_bits(low), address_bits(high));
        let span = last.saturating_sub(first).saturating_add(1);
        let chosen = first + u128::from(seed) % span;
        match low {
            IpAddr::V4(_) => IpAddr::from((chosen as u32).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(chosen.to_be_bytes()),
        }
    }
}

fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Ports in the order in which they are tried: the preferred one, then the range from a hashed
/// start, once around.
#[derive(Clone, Copy)]
struct Ports {
    preferred: u16,
    low: u16,
    size: u32,
    start: u32,
    count: u32,
}

impl Ports {
    fn only(port: u16) -> Self {
        Ports {
            preferred: port,
            low: port,
            size: 1,
            start: 0,
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
            Some(i) => self.low + ((self.start + i) % self.size) as u16,
        }
    }
}

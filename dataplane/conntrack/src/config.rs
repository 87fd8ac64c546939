//! Size and timeouts of a connection table.

use std::time::Duration;

use net::headers::proto;

use crate::dump::TcpState;
use crate::entry::status;

/// What a table is created with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most connections, all zones together. Memory is reserved, and used as connections come:
    /// about 235 bytes for each.
    pub capacity: u32,
    /// Most connections of which only one direction has been seen. Beyond that the oldest of them
    /// give way to new ones, so that a flood of first packets leaves room for others. Established
    /// ones do not count, and never give way.
    pub half_open: u32,
    /// Most of these with one source address (of IPv6, with its first 64 bits) in one zone; what is
    /// over is refused, so that one source cannot push the others out. 0: no limit.
    pub half_open_per_source: u32,
    /// Most connections of a zone that has no limit of its own; 0: no limit.
    pub zone_limit: u32,
    /// Secret of the hash functions; random, one per process.
    pub seed: [u64; 2],
    /// Refuse TCP segments outside the window (RFC 9293 3.10.7.4), instead of only following it.
    pub strict: bool,
    /// Accept connections whose beginning was not seen.
    pub loose: bool,
    /// How long connections stay without packets.
    pub timeouts: Timeouts,
}

impl Config {
    /// A table of `capacity` connections with the usual settings: half of them may be half open,
    /// and a quarter of these from one source.
    pub fn new(capacity: u32, seed: [u64; 2]) -> Self {
        Config {
            capacity,
            half_open: (capacity / 2).max(1),
            half_open_per_source: (capacity / 8).max(64),
            zone_limit: 0,
            seed,
            strict: false,
            loose: true,
            timeouts: Timeouts::default(),
        }
    }
}

/// Timeouts by protocol and state. Resolution is a quarter of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, first SYN seen.
    pub tcp_syn_sent: Duration,
    /// TCP, SYN of both sides seen.
    pub tcp_syn_received: Duration,
    /// TCP, both sides established (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established: Duration,
    /// TCP, one side has closed.
    pub tcp_fin_wait: Duration,
    /// TCP, both sides have closed.
    pub tcp_time_wait: Duration,
    /// TCP, reset.
    pub tcp_closed: Duration,
    /// UDP, one direction seen.
    pub udp_single: Duration,
    /// UDP, both directions seen (RFC 4787 REQ-5: at least 2 min).
    pub udp_stream: Duration,
    /// ICMP and ICMPv6 queries.
    pub icmp: Duration,
    /// All other protocols.
    pub other: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp_syn_sent: Duration::from_secs(30),
            tcp_syn_received: Duration::from_secs(30),
            tcp_established: Duration::from_secs(24 * 3600),
            tcp_fin_wait: Duration::from_secs(120),
            tcp_time_wait: Duration::from_secs(45),
            tcp_closed: Duration::from_secs(10),
            udp_single: Duration::from_secs(30),
            udp_stream: Duration::from_secs(120),
            icmp: Duration::from_secs(30),
            other: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    /// Every timeout with its name in the configuration.
    pub fn named(mut self) -> [(&'static str, Duration); 10] {
        NAMES.map(|name| {
            let timeout = self.by_name(name).copied();
            (name, timeout.unwrap_or_default())
        })
    }

    /// Sets a timeout by its name.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn set(&mut self, name: &str, timeout: Duration) -> Result<(), String> {
        let seconds = timeout.as_secs();
        if !(1..=LONGEST).contains(&seconds) {
            return Err(format!("{name}={seconds}: 1 to {LONGEST} seconds"));
        }
        let slot = self
            .by_name(name)
            .ok_or_else(|| format!("no timeout '{name}'; there are {}", NAMES.join(", ")))?;
        *slot = timeout;
        Ok(())
    }

    fn by_name(&mut self, name: &str) -> Option<&mut Duration> {
        Some(match name {
            "tcp-syn-sent" => &mut self.tcp_syn_sent,
            "tcp-syn-received" => &mut self.tcp_syn_received,
            "tcp-established" => &mut self.tcp_established,
            "tcp-fin-wait" => &mut self.tcp_fin_wait,
            "tcp-time-wait" => &mut self.tcp_time_wait,
            "tcp-closed" => &mut self.tcp_closed,
            "udp-single" => &mut self.udp_single,
            "udp-stream" => &mut self.udp_stream,
            "icmp" => &mut self.icmp,
            "other" => &mut self.other,
            _ => return None,
        })
    }
}

const NAMES: [&str; 10] = [
    "tcp-syn-sent",
    "tcp-syn-received",
    "tcp-established",
    "tcp-fin-wait",
    "tcp-time-wait",
    "tcp-closed",
    "udp-single",
    "udp-stream",
    "icmp",
    "other",
];

/// Seconds; a month.
const LONGEST: u64 = 30 * 24 * 3600;

/// Nanoseconds in a tick, the unit of all times in a table.
pub(crate) const TICK: u64 = 250_000_000;

/// The tick in which `now` (nanoseconds) is.
pub(crate) fn tick(now: u64) -> u32 {
    (now / TICK) as u32
}

/// A number of ticks as time.
pub(crate) fn duration(ticks: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks) * TICK)
}

/// Timeouts in ticks, by a number of four bits that stands in a connection's status.
pub(crate) struct Lifetimes([u32; 16]);

/// Numbers of the timeouts; TCP's are those of [`TcpState`].
const _: () = {
    assert!(TcpState::TimeWait as u32 == status::TIME_WAIT);
    assert!(TcpState::Closed as u32 == status::CLOSED);
};
const UDP_SINGLE: u32 = 6;
const UDP_STREAM: u32 = 7;
const ICMP: u32 = 8;
const OTHER: u32 = 9;

impl Lifetimes {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        // One more, for the part of the current tick that is over.
        let ticks = |timeout: Duration| {
            let ticks = timeout.as_nanos().div_ceil(u128::from(TICK)) + 1;
            u32::try_from(ticks).unwrap_or(u32::MAX / 2)
        };
        let given = [
            timeouts.tcp_syn_sent,
            timeouts.tcp_syn_received,
            timeouts.tcp_established,
            timeouts.tcp_fin_wait,
            timeouts.tcp_time_wait,
            timeouts.tcp_closed,
            timeouts.udp_single,
            timeouts.udp_stream,
            timeouts.icmp,
            timeouts.other,
        ];
        let mut lifetimes = [ticks(timeouts.other); 16];
        for (lifetime, given) in lifetimes.iter_mut().zip(given) {
            *lifetime = ticks(given);
        }
        Lifetimes(lifetimes)
    }

    /// Which one is for a connection of a protocol, in a state if it is TCP, seen in one direction
    /// or both.
    pub(crate) fn number(protocol: u8, tcp: TcpState, seen_reply: bool) -> u32 {
        match protocol {
            proto::TCP => tcp as u32,
            proto::UDP if seen_reply => UDP_STREAM,
            proto::UDP => UDP_SINGLE,
            proto::ICMP | proto::ICMPV6 => ICMP,
            _ => OTHER,
        }
    }

    /// The one that a status word names.
    #[inline(always)]
    #[allow(clippy::indexing_slicing)] // four bits, sixteen places
    pub(crate) fn of(&self, word: u32) -> u32 {
        self.0[(word >> status::LIFETIME_SHIFT & 15) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_set_and_told_by_name_and_no_name_is_missing() {
        let mut timeouts = Timeouts::default();
        for (i, name) in NAMES.into_iter().enumerate() {
            timeouts
                .set(name, Duration::from_secs(1 + i as u64))
                .unwrap();
        }
        let expected = NAMES.map(|name| name.to_owned());
        let told = timeouts.named();
        assert_eq!(told.map(|(name, _)| name.to_owned()), expected);
        let seconds = told.map(|(_, timeout)| timeout.as_secs());
        assert_eq!(seconds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(timeouts.udp_stream, Duration::from_secs(8));
        let error = timeouts.set("udp", Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("udp-single, udp-stream"), "{error}");
        let error = timeouts.set("icmp", Duration::ZERO).unwrap_err();
        assert!(error.contains("icmp=0: 1 to"), "{error}");
    }
}

//! What the configuration says about fragments that are tracked.

use clap::Args;
use worker::FragmentLimits;

/// How much is kept of fragments on their way through the connection tracker; one sender gets at
/// most a thirty-second part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct Fragments {
    /// Most datagrams of which fragments were tracked and others are missing; about 600 bytes
    /// each [default: 8192]
    #[arg(long, value_name = "N")]
    pub fragment_datagrams: Option<usize>,
    /// Most fragments that wait for the first one of their datagram; each keeps its packet
    /// buffers [default: 2048]
    #[arg(long, value_name = "N")]
    pub fragment_packets: Option<usize>,
    /// Most KiB of these [default: 4096]
    #[arg(long, value_name = "KiB")]
    pub fragment_memory: Option<usize>,
    /// Seconds after which a datagram that is not complete is given up [default: 15]
    #[arg(long, value_name = "SECONDS")]
    pub fragment_timeout: Option<u64>,
}

impl Fragments {
    /// Each value of `self`, or else that of `other`.
    pub fn or(self, other: Fragments) -> Fragments {
        Fragments {
            fragment_datagrams: self.fragment_datagrams.or(other.fragment_datagrams),
            fragment_packets: self.fragment_packets.or(other.fragment_packets),
            fragment_memory: self.fragment_memory.or(other.fragment_memory),
            fragment_timeout: self.fragment_timeout.or(other.fragment_timeout),
        }
    }

    /// The workers' limits.
    ///
    /// # Errors
    /// A value is out of its range; one line.
    pub fn limits(self) -> Result<FragmentLimits, String> {
        let usual = FragmentLimits::default();
        let number = |key: &str, wanted: Option<usize>, usual, least, most| {
            let number = wanted.unwrap_or(usual);
            match (least..=most).contains(&number) {
                true => Ok(number),
                false => Err(format!("{key} {number}: {least} to {most}")),
            }
        };
        let datagrams = number(
            "fragment-datagrams",
            self.fragment_datagrams,
            usual.datagrams,
            64,
            1 << 20,
        )?;
        // A datagram of 64 KB fits into one sender's share of the least.
        let packets = number(
            "fragment-packets",
            self.fragment_packets,
            usual.packets,
            1536,
            1 << 20,
        )?;
        let memory = number(
            "fragment-memory",
            self.fragment_memory,
            usual.bytes >> 10,
            2304,
            1 << 20,
        )?;
        let timeout = self
            .fragment_timeout
            .unwrap_or(usual.timeout / 1_000_000_000);
        if !(1..=60).contains(&timeout) {
            // RFC 8200 4.5 gives nobody longer than 60 seconds.
            return Err(format!("fragment-timeout {timeout}: 1 to 60 seconds"));
        }
        Ok(FragmentLimits {
            datagrams,
            packets,
            bytes: memory << 10,
            timeout: timeout * 1_000_000_000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_and_what_is_out_of_range_is_refused() {
        assert_eq!(Fragments::default().limits(), Ok(FragmentLimits::default()));
        let timeout = |seconds| Fragments {
            fragment_timeout: Some(seconds),
            ..Fragments::default()
        };
        let memory = Fragments {
            fragment_memory: Some(8192),
            ..timeout(7)
        };
        let limits = timeout(30).or(memory).limits().unwrap();
        assert_eq!((limits.timeout, limits.bytes), (30_000_000_000, 8 << 20));
        let error = timeout(61).limits().unwrap_err();
        assert_eq!(error, "fragment-timeout 61: 1 to 60 seconds");
        let none = Fragments {
            fragment_packets: Some(0),
            ..Fragments::default()
        };
        let error = none.limits().unwrap_err();
        assert_eq!(error, "fragment-packets 0: 1536 to 1048576");
    }
}

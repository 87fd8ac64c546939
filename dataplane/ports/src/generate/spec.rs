//! How a test device is spelled.

use std::fmt;
use std::net::Ipv4Addr;

/// A device that makes packets, swallows them or answers them. For measurements: it is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestSpec {
    /// `dev=generate[,mode=...][,flows=N]...`: makes packets; counts and swallows what it is sent.
    Generate(GenerateSpec),
    /// `dev=sink`: counts and swallows packets, and says how long those with a stamp were on their way.
    Sink,
    /// `dev=echo`: answers UDP and TCP over IPv4 as a server would; swallows the rest.
    Echo,
}

/// What a generator makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerateSpec {
    /// The order of packets and flows.
    pub mode: Mode,
    /// Different flows; with `new` and `syn` there is no limit but 2^32.
    pub flows: u32,
    /// Bytes of a frame without its check sequence.
    pub size: u16,
    /// Packets per second, whether they are taken or not; 0: as many as are taken.
    pub rate: u64,
    /// Packets after which it is silent, lost ones included; 0: never.
    pub count: u64,
    /// Every packet is followed by one of the same flow in the other direction.
    pub replies: bool,
    /// First source address; flow f has the lowest bits of f in it, as many as `src_bits`.
    pub src: Ipv4Addr,
    /// Bits of the source address that differ between flows, at most 24.
    pub src_bits: u8,
    /// First destination address.
    pub dst: Ipv4Addr,
    /// Destination addresses; a flow's is chosen by a hash of its number.
    pub dsts: u32,
    /// Destination port.
    pub port: u16,
}

/// The order of packets and flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One UDP packet of each flow in turn.
    Udp,
    /// UDP, flow k as often as k^-1.1 says (Zipf).
    Zipf,
    /// Every UDP packet is a new flow, addresses and ports as if drawn at random.
    New,
    /// TCP connections from SYN to the last ACK, as the client of a [`TestSpec::Echo`] sends them.
    Tcp,
    /// Every packet opens another TCP connection, which is never answered.
    Syn,
    /// First fragments of UDP datagrams whose rest never comes.
    Fragments,
}

/// Smallest and largest frame, bytes without check sequence (IEEE 802.3, 3.2.7).
const SIZES: std::ops::RangeInclusive<u16> = 60..=1514;
const KEYS: &str =
    "mode, flows, size, rate, count, replies, src (NET/LEN, LEN from 8), dst, dsts, port";
const MODES: &[(&str, Mode)] = &[
    ("udp", Mode::Udp),
    ("zipf", Mode::Zipf),
    ("new", Mode::New),
    ("tcp", Mode::Tcp),
    ("syn", Mode::Syn),
    ("fragments", Mode::Fragments),
];

impl Default for GenerateSpec {
    fn default() -> Self {
        GenerateSpec {
            mode: Mode::Udp,
            flows: 1,
            size: *SIZES.start(),
            rate: 0,
            count: 0,
            replies: false,
            src: Ipv4Addr::new(10, 0, 0, 0),
            src_bits: 16,
            dst: Ipv4Addr::new(10, 1, 0, 0),
            dsts: 1 << 16,
            port: 80,
        }
    }
}

impl TestSpec {
    /// The device of that name; None if it is none of ours.
    pub(crate) fn named(device: &str) -> Option<TestSpec> {
        match device {
            "generate" => Some(TestSpec::Generate(GenerateSpec::default())),
            "sink" => Some(TestSpec::Sink),
            "echo" => Some(TestSpec::Echo),
            _ => None,
        }
    }

    /// Takes the `KEY=VALUE` that follow the name.
    pub(crate) fn take(&mut self, token: &str) -> Result<(), String> {
        let TestSpec::Generate(spec) = self else {
            return Err(format!("dev={self} takes nothing; not '{token}'"));
        };
        let unknown = || format!("dev=generate takes {KEYS}; not '{token}'");
        let (key, value) = token.split_once('=').ok_or_else(unknown)?;
        match key {
            "mode" => {
                let known = MODES.iter().find(|(name, _)| *name == value);
                let names: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
                let wrong = || format!("mode '{value}' is none of {}", names.join(", "));
                spec.mode = known.ok_or_else(wrong)?.1;
            }
            "flows" => spec.flows = number(key, value, 1..=u32::MAX.into())? as u32,
            "size" => {
                let (least, most) = (u64::from(*SIZES.start()), u64::from(*SIZES.end()));
                spec.size = number(key, value, least..=most)? as u16;
            }
            "rate" => spec.rate = number(key, value, 0..=1_000_000_000)?,
            "count" => spec.count = number(key, value, 0..=u64::MAX)?,
            "replies" => {
                let wrong = |_| format!("replies is true or false, not '{value}'");
                spec.replies = value.parse().map_err(wrong)?;
            }
            "src" => {
                let wrong = || format!("src '{value}' is not NET/LEN with LEN from 8 to 32");
                let (net, len) = value.split_once('/').ok_or_else(wrong)?;
                let len: u8 = len
                    .parse()
                    .ok()
                    .filter(|l| (8..=32).contains(l))
                    .ok_or_else(wrong)?;
                spec.src = net.parse().map_err(|_| wrong())?;
                spec.src_bits = 32 - len;
            }
            "dst" => {
                spec.dst = value
                    .parse()
                    .map_err(|_| format!("dst '{value}' is no IPv4 address"))?
            }
            "dsts" => spec.dsts = number(key, value, 1..=1 << 24)? as u32,
            "port" => spec.port = number(key, value, 1..=u16::MAX.into())? as u16,
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// Says what cannot be together.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            TestSpec::Generate(spec)
                if spec.replies && !matches!(spec.mode, Mode::Udp | Mode::Zipf) =>
            {
                Err("replies=true belongs to mode=udp and mode=zipf".into())
            }
            _ => Ok(()),
        }
    }
}

fn number(key: &str, value: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let parsed = value.parse().ok().filter(|n| range.contains(n));
    parsed.ok_or_else(|| {
        format!(
            "{key} '{value}' is not {} to {}",
            range.start(),
            range.end()
        )
    })
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = MODES.iter().find(|(_, mode)| mode == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// The spelling that is read back; keys at their default are left out.
impl fmt::Display for TestSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = match self {
            TestSpec::Sink => return f.write_str("sink"),
            TestSpec::Echo => return f.write_str("echo"),
            TestSpec::Generate(spec) => spec,
        };
        let usual = GenerateSpec::default();
        write!(f, "generate,mode={},flows={}", spec.mode, spec.flows)?;
        let src = format!("{}/{}", spec.src, 32 - spec.src_bits);
        for (key, value, differs) in [
            ("size", spec.size.to_string(), spec.size != usual.size),
            ("rate", spec.rate.to_string(), spec.rate != usual.rate),
            ("count", spec.count.to_string(), spec.count != usual.count),
            (
                "replies",
                spec.replies.to_string(),
                spec.replies != usual.replies,
            ),
            (
                "src",
                src,
                (spec.src, spec.src_bits) != (usual.src, usual.src_bits),
            ),
            ("dst", spec.dst.to_string(), spec.dst != usual.dst),
            ("dsts", spec.dsts.to_string(), spec.dsts != usual.dsts),
            ("port", spec.port.to_string(), spec.port != usual.port),
        ] {
            if differs {
                write!(f, ",{key}={value}")?;
            }
        }
        Ok(())
    }
}

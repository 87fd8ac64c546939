//! Connections as an operator sees them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::entry::ConnRef;
use crate::tuple::Tuple;

/// One connection, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conn {
    /// Its name in the table.
    pub conn: ConnRef,
    /// Zone.
    pub zone: u16,
    /// As the packet that created it.
    pub original: Tuple,
    /// As the answers are before they are translated back.
    pub reply: Tuple,
    /// Both directions were seen.
    pub established: bool,
    /// State of a TCP connection.
    pub tcp: Option<TcpState>,
    /// Mark.
    pub mark: u32,
    /// Label.
    pub label: u128,
    /// Time since it was created.
    pub age: Duration,
    /// Time until it expires if no packet comes.
    pub left: Duration,
    /// Traffic of the original direction.
    pub sent: Counters,
    /// Traffic of the reply direction.
    pub received: Counters,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets; a large frame is one.
    pub packets: u64,
    /// Bytes of frames.
    pub bytes: u64,
}

/// State of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TcpState {
    /// A SYN was sent.
    SynSent,
    /// It was answered by a SYN.
    SynReceived,
    /// Both were acknowledged.
    Established,
    /// A FIN was sent.
    FinWait,
    /// The FINs of both sides were acknowledged.
    TimeWait,
    /// Reset.
    Closed,
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynReceived => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Closed => "CLOSED",
        })
    }
}

/// Which connections to flush: all that every given part fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// Zone.
    pub zone: Option<u16>,
    /// Protocol.
    pub proto: Option<u8>,
    /// The original direction.
    pub original: TupleFilter,
    /// The reply direction, before it is translated back.
    pub reply: TupleFilter,
    /// Mark, and ones where it counts.
    pub mark: Option<(u32, u32)>,
    /// Label, likewise.
    pub label: Option<(u128, u128)>,
}

/// Parts of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TupleFilter {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port; identifier of ICMP.
    pub src_port: Option<u16>,
    /// Destination port.
    pub dst_port: Option<u16>,
    /// Type of ICMP.
    pub icmp_type: Option<u8>,
    /// Code of ICMP.
    pub icmp_code: Option<u8>,
}

impl Filter {
    /// True if the connection is meant.
    pub(crate) fn fits(&self, zone: u16, tuples: [&Tuple; 2], mark: u32, label: u128) -> bool {
        let [original, reply] = tuples;
        fits(self.zone, zone)
            && fits(self.proto, original.proto)
            && self.original.fits(original)
            && self.reply.fits(reply)
            && self
                .mark
                .is_none_or(|(value, mask)| (mark ^ value) & mask == 0)
            && self
                .label
                .is_none_or(|(value, mask)| (label ^ value) & mask == 0)
    }
}

impl TupleFilter {
    fn fits(&self, tuple: &Tuple) -> bool {
        // Type and code of ICMP stand in the destination port.
        let [kind, code] = tuple.dst_port.to_be_bytes();
        let of_kind = match tuple.is_icmp() {
            true => {
                self.dst_port.is_none() && fits(self.icmp_type, kind) && fits(self.icmp_code, code)
            }
            false => {
                fits(self.dst_port, tuple.dst_port)
                    && self.icmp_type.is_none()
                    && self.icmp_code.is_none()
            }
        };
        fits(self.src, tuple.src)
            && fits(self.dst, tuple.dst)
            && fits(self.src_port, tuple.src_port)
            && of_kind
    }
}

fn fits<T: PartialEq>(wanted: Option<T>, is: T) -> bool {
    wanted.is_none_or(|wanted| wanted == is)
}

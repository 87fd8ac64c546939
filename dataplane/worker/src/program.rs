//! What is done with the packets of a flow, as a flat list: the result of a walk, run once per
//! packet.

mod account;
mod binding;
mod fuse;
mod table_deps;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(crate) use account::{Deps, Hits};
pub(crate) use binding::{Binding, CONNS, Fields, Operands, bind};
use conntrack::{Direction, Expected};
pub(crate) use fuse::fuse;
use net::edit::Rewrite;
use net::icmp::Embedded;
use net::tunnel::Template;
use net::{FlowKey, MacAddr, TableId};
use openflow::msg::Continuation;
use ports::OuterSpec;
pub(crate) use table_deps::TableDeps;
use tables::Meter;

use crate::connections::Check;
use crate::effects::Effect;
use crate::fdb::Seen;
use crate::fragments::Next;
use crate::{DropReason, PortSlot, Queue};

/// One step. Header steps change the packet where it is; the sending ones take it as it is then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Several of the header steps below at once; see [`fuse()`].
    Rewrite(Box<Rewrite>),
    EthDst(MacAddr),
    EthSrc(MacAddr),
    PushVlan {
        tpid: u16,
        tci: u16,
    },
    PopVlan,
    /// Priority and identifier of the outermost tag.
    Vlan(u16),
    Ipv4Src([u8; 4]),
    Ipv4Dst([u8; 4]),
    Ipv6Src([u8; 16]),
    Ipv6Dst([u8; 16]),
    Ipv6Label(u32),
    Tos(u8),
    Ttl(u8),
    /// Down by so many; [`Program::min_ttl`] sees to it that it does not run out.
    TtlDown(u8),
    /// Back up, after a clone that counted it down.
    TtlUp(u8),
    SrcPort(u16),
    DstPort(u16),
    IcmpType(u8),
    IcmpCode(u8),
    IcmpId(u16),
    ArpOperation(u16),
    ArpSpa([u8; 4]),
    ArpTpa([u8; 4]),
    ArpSha(MacAddr),
    ArpTha(MacAddr),
    /// Writes these fields with what the flow has in its [`Operands`].
    Translate(Fields),
    NdTarget([u8; 16]),
    NdSll(MacAddr),
    NdTll(MacAddr),
    /// Bits of the outermost MPLS label stack entry.
    Mpls {
        value: u32,
        mask: u32,
    },
    /// Bits of the outermost I-TAG.
    Pbb {
        value: u32,
        mask: u32,
    },
    /// A change after which the packet has other headers.
    Reshape(Reshape),
    /// The packet inside an ICMP error, translated back.
    Embedded(Box<EmbeddedChange>),
    /// Ends the program, or the scope, if the rate is exceeded.
    Meter(ByAddress<Meter>),
    /// The next so many steps work on a copy.
    Scope(u16),
    /// Takes off what stands behind so many bytes.
    Cut(u32),
    /// Puts the packet into a queue of the port that comes next.
    Queue(ByAddress<Queue>),
    Output(PortSlot),
    Tunnel(Box<Encap>),
    Controller(Box<ToController>),
    /// Tells the sender, who is behind that port, that the packet is refused.
    Reject(PortSlot),
    /// Counts one packet that went nowhere.
    Drop(DropReason),
}

impl Op {
    fn sends(&self) -> bool {
        matches!(self, Op::Output(_) | Op::Tunnel(_))
    }

    /// True if the packet may be another afterwards.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Op::Meter(_)
                | Op::Queue(_)
                | Op::Output(_)
                | Op::Tunnel(_)
                | Op::Controller(_)
                | Op::Reject(_)
                | Op::Drop(_)
        )
    }
}

/// A change that makes another packet of a packet: what it is then, the parser says. Each works with what
/// it finds in the packet (the time to live that a new label gets, for one), so that it is right for
/// every packet of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reshape {
    PushMpls(u16),
    PopMpls(u16),
    PushPbb,
    PopPbb,
    /// Takes a tag off from above one that was never parsed.
    PopVlan,
    CopyTtlOut,
    CopyTtlIn,
    /// Puts a label in front of the whole frame.
    EncapMpls(u16),
    /// Takes it off again.
    DecapMpls,
    /// Forgets the link-layer addresses.
    DecapEthernet,
    EthType(u16),
    IpProto(u8),
}

impl Reshape {
    /// True if it brings headers to light that the exact key of a packet does not hold.
    pub fn uncovers(self) -> bool {
        !matches!(
            self,
            Reshape::PushMpls(_)
                | Reshape::PushPbb
                | Reshape::CopyTtlOut
                | Reshape::EncapMpls(_)
                | Reshape::DecapEthernet
        )
    }
}

/// The packet inside an ICMP error, before and after translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EmbeddedChange {
    pub old: Embedded,
    pub new: Embedded,
}

impl Hash for EmbeddedChange {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.new.src, self.new.dst, self.new.l4).hash(state);
    }
}

/// How a packet is wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encap {
    /// The tunnel port.
    pub port: PortSlot,
    /// The device that the endpoint's packets leave by.
    pub uplink: PortSlot,
    /// Next hop's place in the neighbour table.
    pub neighbor: u32,
    /// Largest inner frame without its Ethernet header, in bytes.
    pub inner_mtu: u32,
    /// There is an outer UDP checksum.
    pub checksum: bool,
    /// What the outer header says, and whether more of it than the congestion mark comes from inside.
    pub outer: OuterSpec,
    pub inherits: bool,
    /// Outer headers; the link-layer destination is zero, because it is looked up each time.
    pub template: Template,
}

impl Hash for Encap {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.port, self.neighbor).hash(state);
    }
}

/// What the controller is told besides the packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ToController {
    pub max_len: u16,
    pub reason: u8,
    pub controller_id: u16,
    pub table: TableId,
    pub cookie: u64,
    pub userdata: Arc<[u8]>,
    pub rest: Rest,
    /// Ports, metadata, registers, tunnel and connection fields; header fields are not looked at.
    pub key: FlowKey,
}

/// What a packet that waits for the controller has still to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest(pub Option<Arc<Continuation>>);

impl Hash for Rest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.is_some().hash(state);
    }
}

/// Shared things that are equal only if they are the same.
#[derive(Debug)]
pub(crate) struct ByAddress<T>(pub Arc<T>);

impl<T> Clone for ByAddress<T> {
    fn clone(&self) -> Self {
        ByAddress(self.0.clone())
    }
}

impl<T> PartialEq for ByAddress<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for ByAddress<T> {}

impl<T> Hash for ByAddress<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The result of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    pub code: Code,
    pub deps: Box<Deps>,
    pub hits: Box<Hits>,
    /// Holds for all packets with the same exact key (while `checks` and `deps` do).
    pub cacheable: bool,
    pub reach: Reach,
    /// The packet is a fragment that was tracked, and others may wait for it; or it is to wait.
    pub fragment: Option<Box<Next>>,
}

/// What is done with a packet: the part of a program that programs have alike which came about by
/// different rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Code {
    pub ops: Box<[Op]>,
    /// Connections whose state decided; checked before anything is changed.
    pub checks: Box<[Check]>,
    /// Places of addresses that decided.
    pub macs: Box<[Seen]>,
    /// The packet's time to live must be at least this.
    pub min_ttl: u8,
    /// What its packets do to the switch, before anything else.
    pub effects: Box<[Effect]>,
    /// Shortest and longest frame that it holds for, in bytes; of a frame that is to be split, the
    /// pieces count.
    pub lengths: (u32, u32),
    /// Largest inner packet of the tunnels it sends into, in bytes; 0 if it sends into none.
    pub inner_mtu: u32,
    /// It sends into a tunnel.
    pub encapsulates: bool,
    /// It writes what a flow has of its own.
    pub translates: bool,
    /// Index of the step that takes the packet itself rather than a copy; `ops.len()` if none.
    pub takes: u16,
    /// Several packets may take each step together; see [`Code::in_step`].
    pub in_step: bool,
}

/// What is to be asked for each packet before a program is run for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Nothing,
    /// Its flow's only connection.
    Connection(Direction, Expected),
    /// What the code says.
    Various,
}

/// For which packets that come in by the same port a program holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reach {
    /// For those with the same exact key, at most.
    Alike,
    /// For all that have no VLAN tag: of the packet nothing was looked at but that.
    Untagged,
    /// For all: nothing was looked at.
    Port,
}

/// Frames of every length.
pub(crate) const ANY_LENGTH: (u32, u32) = (0, u32::MAX);

impl Code {
    /// Bytes on the heap, those of what is shared with the tables not counted.
    pub fn memory(&self) -> usize {
        size_of_val(&*self.ops)
            + size_of_val(&*self.checks)
            + size_of_val(&*self.macs)
            + size_of_val(&*self.effects)
    }

    /// What is to be asked or found out for each packet, besides its time to live.
    pub fn asks(&self) -> Asks {
        let anything_else = !self.macs.is_empty()
            || self.lengths != ANY_LENGTH
            || self.encapsulates
            || (self.translates && self.checks.is_empty());
        match *self.checks {
            [] if !anything_else => Asks::Nothing,
            [
                Check::Known {
                    conn: 0,
                    direction,
                    expected,
                },
            ] if !anything_else => Asks::Connection(direction, expected),
            _ => Asks::Various,
        }
    }

    /// True if it makes no difference whether packets take all steps one after the other, or each
    /// step together: all are sent by the last step, and at most one is a meter.
    pub fn in_step(ops: &[Op]) -> bool {
        let Some((Op::Output(_) | Op::Tunnel(_), before)) = ops.split_last() else {
            return false;
        };
        let alone = |op: &Op| {
            matches!(
                op,
                Op::Rewrite(_) | Op::PushVlan { .. } | Op::Meter(_) | Op::Queue(_)
            )
        };
        let meters = before.iter().filter(|op| matches!(op, Op::Meter(_)));
        before.iter().all(alone) && meters.count() <= 1
    }

    /// Finds out which step is the last to need the packet.
    pub fn last_sender(ops: &[Op]) -> u16 {
        let last_user = ops.iter().rposition(|op| !matches!(op, Op::Drop(_)));
        let in_scope = |at: usize| {
            ops.iter()
                .enumerate()
                .any(|(start, op)| matches!(op, Op::Scope(n) if at > start && at <= start + usize::from(*n)))
        };
        match last_user {
            Some(at) if ops.get(at).is_some_and(Op::sends) && !in_scope(at) => at as u16,
            _ => ops.len() as u16,
        }
    }
}

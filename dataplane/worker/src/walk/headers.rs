//! Header changes: the walk writes into its key, and what differs from the frame on its way becomes
//! steps of the program, just before something looks at the frame.

use arrayvec::ArrayVec;
use net::FlowKey;
use net::headers::{ethertype, proto};
use net::icmp::Embedded;
use net::key::VLAN_PRESENT;

use crate::program::{EmbeddedChange, Op};

/// A VLAN tag: its ethertype, and priority, identifier and [`VLAN_PRESENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub tpid: u16,
    pub tci: u16,
}

/// Tags a walk can stack up.
pub(crate) const MAX_TAGS: usize = 8;

/// A field that the exact key does not hold: known only as a change to what the packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// The packet's own, counted down so often.
    Down(u8),
    /// This.
    Is(u8),
}

/// Headers as the walk sees them, or as the frame has them at some point of the program.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    /// The fields; tags and time to live are also, and with more detail, in the members below.
    pub key: FlowKey,
    /// Tags, innermost first.
    pub tags: ArrayVec<Tag, MAX_TAGS>,
    /// Time to live or hop limit.
    pub ttl: Time,
    /// The flow label was written.
    pub label_set: bool,
    /// Time to live of the outermost MPLS label, if it was written.
    pub mpls_ttl: Option<u8>,
    /// What the packet has been made into, by its place in [`super::reshape::Shapes`].
    pub shape: u16,
    /// Ports as in a tuple, of a fragment that does not carry them, if translation changed them.
    pub ports: Option<(u16, u16)>,
    /// ICMP identifier, if translation changed it.
    pub icmp_id: Option<u16>,
    /// The packet inside, if this is an ICMP error.
    pub inner: Option<Embedded>,
}

impl Headers {
    /// As the packet came.
    pub fn of(key: &FlowKey) -> Self {
        let mut tags = ArrayVec::new();
        let both = [
            (key.vlan_tpid2.get(), key.vlan_tci2.get()),
            (key.vlan_tpid.get(), key.vlan_tci.get()),
        ];
        for (tpid, tci) in both {
            if tci & VLAN_PRESENT != 0 {
                tags.push(Tag { tpid, tci });
            }
        }
        Headers {
            key: *key,
            tags,
            ttl: Time::Down(0),
            label_set: false,
            mpls_ttl: None,
            shape: 0,
            ports: None,
            icmp_id: None,
            inner: None,
        }
    }

    /// The outermost tag.
    pub fn outer(&self) -> Option<Tag> {
        self.tags.last().copied()
    }

    /// Pushes a tag that copies the outermost one (OpenFlow 1.3.5, 5.12.1); false if there are
    /// too many.
    pub fn push_tag(&mut self, tpid: u16) -> bool {
        let tci = self.outer().map_or(0, |tag| tag.tci) | VLAN_PRESENT;
        let pushed = self.tags.try_push(Tag { tpid, tci }).is_ok();
        self.show_tags();
        pushed
    }

    /// True if taking a tag off uncovers one that was never parsed.
    pub fn hides_tag(&self) -> bool {
        self.tags.len() == 2 && is_tag(self.key.eth_type.get())
    }

    /// Takes the outermost tag off.
    pub fn pop_tag(&mut self) {
        self.tags.pop();
        self.show_tags();
    }

    /// Replaces the outermost tag's priority and identifier.
    pub fn set_outer(&mut self, tci: u16) {
        if let Some(tag) = self.tags.last_mut() {
            tag.tci = tci | VLAN_PRESENT;
        }
        self.show_tags();
    }

    fn show_tags(&mut self) {
        let mut outer_first = self.tags.iter().rev();
        let mut next = || outer_first.next().map_or((0, 0), |tag| (tag.tpid, tag.tci));
        let ((tpid, tci), (tpid2, tci2)) = (next(), next());
        self.key.vlan_tpid = tpid.into();
        self.key.vlan_tci = tci.into();
        self.key.vlan_tpid2 = tpid2.into();
        self.key.vlan_tci2 = tci2.into();
    }
}

fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ)
}

/// What could not be turned into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inexact {
    /// Everything could.
    No,
    /// The steps hold for this packet only: they restore a field that the exact key lacks.
    ThisPacketOnly,
}

/// Appends the steps that turn `frame` into `wanted`, and makes them equal.
pub(crate) fn commit(frame: &mut Headers, wanted: &Headers, ops: &mut Vec<Op>) -> Inexact {
    let (old, new) = (&frame.key, &wanted.key);
    push_if(ops, old.eth_dst, new.eth_dst, Op::EthDst);
    push_if(ops, old.eth_src, new.eth_src, Op::EthSrc);
    commit_tags(&frame.tags, &wanted.tags, ops);
    let mut inexact = Inexact::No;
    match old.eth_type.get() {
        ethertype::IPV4 => {
            push_if(
                ops,
                old.nw_src.to_bytes(),
                new.nw_src.to_bytes(),
                Op::Ipv4Src,
            );
            push_if(
                ops,
                old.nw_dst.to_bytes(),
                new.nw_dst.to_bytes(),
                Op::Ipv4Dst,
            );
            inexact = commit_ip(frame, wanted, ops);
        }
        ethertype::IPV6 => {
            push_if(ops, old.ipv6_src, new.ipv6_src, Op::Ipv6Src);
            push_if(ops, old.ipv6_dst, new.ipv6_dst, Op::Ipv6Dst);
            match (frame.label_set, wanted.label_set) {
                (false, false) => {}
                (true, true) if old.ipv6_label == new.ipv6_label => {}
                (_, true) => ops.push(Op::Ipv6Label(new.ipv6_label.get())),
                (true, false) => {
                    inexact = Inexact::ThisPacketOnly;
                    ops.push(Op::Ipv6Label(new.ipv6_label.get()));
                }
            }
            if commit_ip(frame, wanted, ops) == Inexact::ThisPacketOnly {
                inexact = Inexact::ThisPacketOnly;
            }
        }
        ethertype::ARP | ethertype::RARP => commit_arp(old, new, ops),
        ethertype::MPLS | ethertype::MPLS_MULTICAST => inexact = commit_mpls(frame, wanted, ops),
        ethertype::PBB => {
            let (old, value) = (old.pbb_itag.get(), new.pbb_itag.get());
            let mask = old ^ value;
            if mask != 0 {
                ops.push(Op::Pbb { value, mask });
            }
        }
        _ => {}
    }
    frame.clone_from(wanted);
    inexact
}

fn commit_tags(old: &[Tag], new: &[Tag], ops: &mut Vec<Op>) {
    let common = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (gone, come) = (
        old.get(common..).unwrap_or_default(),
        new.get(common..).unwrap_or_default(),
    );
    if let ([was], [is]) = (gone, come)
        && was.tpid == is.tpid
    {
        ops.push(Op::Vlan(is.tci));
        return;
    }
    ops.extend(gone.iter().map(|_| Op::PopVlan));
    ops.extend(come.iter().map(|tag| Op::PushVlan {
        tpid: tag.tpid,
        tci: tag.tci & !VLAN_PRESENT,
    }));
}

fn commit_ip(frame: &Headers, wanted: &Headers, ops: &mut Vec<Op>) -> Inexact {
    let (old, new) = (&frame.key, &wanted.key);
    push_if(ops, old.nw_tos, new.nw_tos, Op::Tos);
    let mut inexact = Inexact::No;
    match (frame.ttl, wanted.ttl) {
        (Time::Down(was), Time::Down(is)) if is > was => ops.push(Op::TtlDown(is - was)),
        (Time::Down(was), Time::Down(is)) if is < was => ops.push(Op::TtlUp(was - is)),
        (Time::Is(_), Time::Down(_)) => {
            inexact = Inexact::ThisPacketOnly;
            ops.push(Op::Ttl(new.nw_ttl));
        }
        (was, Time::Is(is)) if was != wanted.ttl => ops.push(Op::Ttl(is)),
        _ => {}
    }
    match old.nw_proto {
        proto::TCP | proto::UDP | proto::SCTP => {
            push_if(ops, old.tp_src.get(), new.tp_src.get(), Op::SrcPort);
            push_if(ops, old.tp_dst.get(), new.tp_dst.get(), Op::DstPort);
        }
        proto::ICMP | proto::ICMPV6 => {
            push_if(ops, old.tp_src.get(), new.tp_src.get(), |kind| {
                Op::IcmpType(kind as u8)
            });
            push_if(ops, old.tp_dst.get(), new.tp_dst.get(), |code| {
                Op::IcmpCode(code as u8)
            });
            if let Some(id) = wanted.icmp_id
                && frame.icmp_id != wanted.icmp_id
            {
                ops.push(Op::IcmpId(id));
            }
            if let (Some(old), Some(new)) = (frame.inner, wanted.inner)
                && old != new
            {
                ops.push(Op::Embedded(Box::new(EmbeddedChange { old, new })));
            }
            push_if(ops, old.nd_target, new.nd_target, Op::NdTarget);
            push_if(ops, old.arp_sha, new.arp_sha, Op::NdSll);
            push_if(ops, old.arp_tha, new.arp_tha, Op::NdTll);
        }
        _ => {}
    }
    inexact
}

fn commit_mpls(frame: &Headers, wanted: &Headers, ops: &mut Vec<Op>) -> Inexact {
    const TTL: u32 = 0xff;
    let [old, ..] = frame.key.mpls;
    let [new, ..] = wanted.key.mpls;
    let mut value = new.get();
    let mut mask = (old.get() ^ value) & !TTL;
    let mut inexact = Inexact::No;
    if frame.mpls_ttl != wanted.mpls_ttl {
        mask |= TTL;
        match wanted.mpls_ttl {
            Some(ttl) => value = (value & !TTL) | u32::from(ttl),
            None => inexact = Inexact::ThisPacketOnly,
        }
    }
    if mask != 0 {
        ops.push(Op::Mpls { value, mask });
    }
    inexact
}

fn commit_arp(old: &FlowKey, new: &FlowKey, ops: &mut Vec<Op>) {
    push_if(ops, old.nw_proto, new.nw_proto, |op| {
        Op::ArpOperation(op.into())
    });
    push_if(
        ops,
        old.nw_src.to_bytes(),
        new.nw_src.to_bytes(),
        Op::ArpSpa,
    );
    push_if(
        ops,
        old.nw_dst.to_bytes(),
        new.nw_dst.to_bytes(),
        Op::ArpTpa,
    );
    push_if(ops, old.arp_sha, new.arp_sha, Op::ArpSha);
    push_if(ops, old.arp_tha, new.arp_tha, Op::ArpTha);
}

fn push_if<T: PartialEq>(ops: &mut Vec<Op>, old: T, new: T, op: impl FnOnce(T) -> Op) {
    if old != new {
        ops.push(op(new));
    }
}

//! Running a program on a packet.

mod together;
mod tunnel;

use net::edit::ChecksumField;
use net::headers::Ethernet;
use net::parse::{HEADER_BYTES, Layout, Network};
use net::{FlowKey, PortNo};
use packet::{Csum, Gso, Packet};
use tables::{Meter, Verdict};

use crate::egress::Egress;
use crate::program::{Code, Op, Operands, Reshape, ToController};
use crate::refusal;
use crate::rewrite::{self, Front};
use crate::{Counter, DropReason, PacketIn};

pub(crate) use together::{Together, run_together};
use tunnel::tunnel;

/// What is known of a packet while its program runs.
#[derive(Clone, Copy)]
struct Context<'a> {
    layout: Layout,
    /// What its flow has of its own.
    operands: &'a Operands,
    /// Hash of its flow, for the outer source port.
    hash: u64,
    /// Nanoseconds.
    now: u64,
    /// It came as long as a frame on a wire must be.
    from_wire: bool,
}

/// Shortest Ethernet frame, in bytes without its checksum (IEEE 802.3, 4A.4.2).
const WIRE_MIN: usize = 60;

/// Runs a program with what the packet's flow has of its own; the packet is gone afterwards.
#[inline]
pub(crate) fn run(
    code: &Code,
    operands: &Operands,
    egress: &mut Egress,
    mut packet: Packet,
    layout: &Layout,
    hash: u64,
    now: u64,
) {
    // Most programs of a switch change fields, perhaps put on a tag or a tunnel, and send.
    let mut ops = &*code.ops;
    if let [Op::Rewrite(all), rest @ ..] = ops {
        let field = checksum_field(&packet, layout);
        all.apply(packet.head_mut(), layout, field, &operands.given);
        ops = rest;
    }
    match ops {
        [Op::Output(slot)] => egress.send(*slot, packet),
        [Op::PushVlan { tpid, tci }, Op::Output(slot)] => {
            match rewrite::push_tag(&mut Front(&mut packet), *tpid, *tci) {
                true => egress.send(*slot, packet),
                false => egress.drop(DropReason::NoMemory, packet),
            }
        }
        [Op::Tunnel(encap)] => tunnel(encap, egress, packet, layout, hash),
        _ => {
            let done = code.ops.len() - ops.len();
            let context = Context {
                layout: *layout,
                operands,
                hash,
                now,
                from_wire: packet.len() >= WIRE_MIN,
            };
            let takes = usize::from(code.takes).saturating_sub(done);
            run_any(ops, takes, egress, packet, context);
        }
    }
}

/// Runs a program step by step; the step at `takes` takes the packet.
#[inline(never)]
fn run_any(
    ops: &[Op],
    takes: usize,
    egress: &mut Egress,
    mut packet: Packet,
    mut context: Context<'_>,
) {
    let (before, rest) = ops.split_at_checked(takes).unwrap_or((ops, &[]));
    if !steps(before, egress, &mut packet, &mut context) {
        return;
    }
    // Only drops stand after the step that takes the packet.
    if let Some((taker, drops)) = rest.split_first() {
        send(taker, egress, packet, &context);
        for op in drops {
            if let Op::Drop(reason) = op {
                egress.count_drop(*reason);
            }
        }
    }
}

/// Runs steps that leave the packet where it is. False if they ended the program.
#[inline]
fn steps(ops: &[Op], egress: &mut Egress, packet: &mut Packet, context: &mut Context<'_>) -> bool {
    let mut next = 0;
    while let Some(op) = ops.get(next) {
        next += 1;
        match op {
            Op::Rewrite(all) => {
                let field = checksum_field(packet, &context.layout);
                let given = &context.operands.given;
                all.apply(packet.head_mut(), &context.layout, field, given);
            }
            Op::PushVlan { tpid, tci } => {
                if !rewrite::push_vlan(&mut Front(packet), *tpid, *tci, &mut context.layout) {
                    egress.count_drop(DropReason::NoMemory);
                    return false;
                }
            }
            Op::PopVlan => {
                rewrite::pop_vlan(&mut Front(packet), &mut context.layout);
            }
            Op::Meter(meter) => {
                if !passes(&meter.0, egress.index, packet, &context.layout, context.now) {
                    egress.count_drop(DropReason::Meter);
                    return false;
                }
            }
            Op::Queue(queue) if queue.0.is_shaped => packet.meta_mut().queue = queue.0.place,
            Op::Queue(queue) => {
                let (packets, bytes) = on_wire(packet);
                queue.0.count(egress.index, packets, bytes);
            }
            Op::Scope(steps_in) => {
                let end = next + usize::from(*steps_in);
                scope(
                    ops.get(next..end).unwrap_or_default(),
                    egress,
                    packet,
                    context,
                );
                next = end;
            }
            other => {
                if !step(other, egress, packet, context) {
                    return false;
                }
            }
        }
    }
    true
}

/// Runs steps on a copy.
fn scope(ops: &[Op], egress: &mut Egress, packet: &Packet, context: &Context<'_>) {
    match packet.copy(&egress.pool) {
        Some(mut copy) => {
            let mut inner = *context;
            steps(ops, egress, &mut copy, &mut inner);
        }
        None => egress.count_drop(DropReason::NoMemory),
    }
}

/// One of the steps that few programs have. False if it ended the program.
#[inline(never)]
fn step(op: &Op, egress: &mut Egress, packet: &mut Packet, context: &mut Context<'_>) -> bool {
    match op {
        Op::Output(_) | Op::Tunnel(_) => match packet.copy(&egress.pool) {
            Some(copy) => send(op, egress, copy, context),
            None => egress.count_drop(DropReason::NoMemory),
        },
        Op::Drop(reason) => egress.count_drop(*reason),
        Op::Controller(to) => controller(to, egress, packet, context.from_wire),
        Op::Reject(slot) => refusal::send(*slot, egress, packet, &context.layout),
        Op::Cut(max_len) => {
            cut(packet, *max_len, &mut context.layout);
            // Short on purpose.
            context.from_wire = false;
        }
        Op::Reshape(change) => {
            if !reshape(*change, packet, &mut context.layout) {
                egress.count_drop(DropReason::NoMemory);
                return false;
            }
        }
        Op::Translate(fields) => {
            let field = checksum_field(packet, &context.layout);
            let head = packet.head_mut();
            rewrite::translate(*fields, context.operands, head, &context.layout, field);
        }
        other => {
            let field = checksum_field(packet, &context.layout);
            rewrite::field(other, packet.head_mut(), &context.layout, field);
        }
    }
    true
}

#[inline]
fn send(op: &Op, egress: &mut Egress, mut packet: Packet, context: &Context<'_>) {
    match op {
        Op::Output(slot) => {
            if context.from_wire && packet.len() < WIRE_MIN && !pad(&mut packet) {
                return egress.drop(DropReason::NoMemory, packet);
            }
            egress.send(*slot, packet);
        }
        Op::Tunnel(encap) => tunnel(encap, egress, packet, &context.layout, context.hash),
        _ => {}
    }
}

/// A frame that headers were taken off stays one that a wire can carry.
#[cold]
fn pad(packet: &mut Packet) -> bool {
    let missing = WIRE_MIN.saturating_sub(packet.len());
    packet.append([0; WIRE_MIN].get(..missing).unwrap_or_default())
}

/// How the transport checksum of this packet is to be kept right.
fn checksum_field(packet: &Packet, layout: &Layout) -> ChecksumField {
    let meta = packet.meta();
    // A partial checksum further in is that of a tunnel's inner packet; ours is complete then.
    match meta.csum == Csum::Partial && meta.csum_start == layout.l4 {
        true => ChecksumField::Partial,
        false => ChecksumField::Full,
    }
}

/// Puts headers on or takes them off, and finds out what the packet is then. False if there was no
/// memory for it.
fn reshape(change: Reshape, packet: &mut Packet, layout: &mut Layout) -> bool {
    let field = checksum_field(packet, layout);
    if !rewrite::apply(change, &mut Front(packet), layout, field) {
        return false;
    }
    if packet.segment_count() > 1 {
        let headers = packet.len().min(HEADER_BYTES);
        packet.pull_up(headers);
    }
    let parsed = net::parse::extract(packet.head(), packet.len(), &mut FlowKey::default());
    parsed.map(|now| *layout = now).is_ok()
}

/// Takes off the end of a packet. What is left is one frame, whatever it was meant to become, and
/// nobody can check or complete its checksum any more.
fn cut(packet: &mut Packet, max_len: u32, layout: &mut Layout) {
    if packet.len() <= max_len as usize {
        return;
    }
    packet.truncate(max_len as usize);
    layout.end = layout.end.min(max_len);
    let meta = packet.meta_mut();
    (meta.gso, meta.csum) = (Gso::None, Csum::Unknown);
}

/// Charges a meter; false if the packet is to be dropped.
#[inline]
fn passes(meter: &Meter, worker: usize, packet: &mut Packet, layout: &Layout, now: u64) -> bool {
    let ((packets, _), bytes) = (on_wire(packet), packet.len() as u64);
    match meter.charge(worker, now, packets, bytes) {
        Verdict::Pass => true,
        Verdict::Drop => false,
        Verdict::Remark { prec_level } => {
            remark(packet, layout, prec_level);
            true
        }
    }
}

/// Raises the drop precedence of an assured forwarding class (RFC 2597 6); other DSCPs have none.
fn remark(packet: &mut Packet, layout: &Layout, levels: u8) {
    let at = usize::from(layout.l3);
    let tos = match (layout.network, packet.head().get(at..)) {
        (Network::Ipv4, Some([_, tos, ..])) => *tos,
        (Network::Ipv6, Some([a, b, ..])) => (a << 4) | (b >> 4),
        _ => return,
    };
    let (class, precedence, ecn) = (tos >> 5, (tos >> 3) & 3, tos & 3);
    let assured = (1..=4).contains(&class) && precedence != 0 && tos & 4 == 0;
    if assured {
        let raised = precedence.saturating_add(levels).min(3);
        let tos = Op::Tos((class << 5) | (raised << 3) | ecn);
        let field = checksum_field(packet, layout);
        rewrite::field(&tos, packet.head_mut(), layout, field);
    }
}

/// Bytes of the packet, or of the longest piece of the frame it will be split into.
#[inline]
pub(crate) fn wire_len(packet: &Packet) -> usize {
    let meta = packet.meta();
    match meta.gso {
        Gso::None => packet.len(),
        _ => packet
            .len()
            .min(usize::from(meta.hdr_len) + usize::from(meta.gso_size)),
    }
}

/// Packets and bytes on a wire: of a frame that is to be split, its pieces, each with the headers.
#[inline]
pub(crate) fn on_wire(packet: &Packet) -> (u64, u64) {
    let len = packet.len();
    match packet.meta().gso {
        Gso::None => (1, len as u64),
        _ => pieces(packet, len),
    }
}

fn pieces(packet: &Packet, len: usize) -> (u64, u64) {
    let meta = packet.meta();
    let (headers, size) = (usize::from(meta.hdr_len), usize::from(meta.gso_size));
    let pieces = len.saturating_sub(headers).div_ceil(size.max(1)).max(1);
    (pieces as u64, (len + (pieces - 1) * headers) as u64)
}

/// True if the packet, or a piece of the frame it will be split into, has more bytes above
/// Ethernet than fit.
#[inline]
pub(crate) fn exceeds(packet: &Packet, layout: &Layout, mtu: u32) -> bool {
    let meta = packet.meta();
    let frame = match meta.gso {
        Gso::None => (layout.end as usize).min(packet.len()),
        _ => usize::from(meta.hdr_len) + usize::from(meta.gso_size),
    };
    // Tags count: inside the tunnel they are payload.
    frame > mtu as usize + Ethernet::LEN
}

/// True unless it is sure, by its length alone, that [`exceeds`] is false.
#[inline]
pub(crate) fn may_exceed(packet: &Packet, mtu: u32) -> bool {
    packet.meta().gso != Gso::None || packet.len() > mtu as usize + Ethernet::LEN
}

/// Gives the controller a copy.
fn controller(to: &ToController, egress: &mut Egress, packet: &Packet, from_wire: bool) {
    let queue = &egress.shared.packet_ins;
    if !queue.has_room(PortNo(to.key.in_port.get())) {
        queue.count_drop();
        return egress.count_drop(DropReason::PacketInFull);
    }
    let mut data = packet.to_vec();
    if from_wire && data.len() < WIRE_MIN {
        data.resize(WIRE_MIN, 0);
    }
    let total_len = data.len();
    finish_copy(&mut data, packet);
    data.truncate(usize::from(to.max_len).max(usize::from(to.max_len == u16::MAX) * total_len));
    let queued = queue.push(PacketIn {
        reason: to.reason,
        table: to.table,
        cookie: to.cookie,
        total_len,
        data,
        key: to.key,
        controller_id: to.controller_id,
        userdata: to.userdata.clone(),
        rest: to.rest.0.clone(),
    });
    let counters = egress.shared.counters(egress.index);
    match queued {
        true => counters.add(Counter::PacketIns, 1),
        false => counters.drop(DropReason::PacketInFull, 1),
    }
}

/// Completes the checksum in a copy of a packet.
fn finish_copy(data: &mut [u8], packet: &Packet) {
    let meta = packet.meta();
    let start = usize::from(meta.csum_start);
    if meta.csum == Csum::Partial
        && let Some(covered) = data.get_mut(start..)
    {
        let checksum = net::csum::complete([&*covered]);
        let at = usize::from(meta.csum_offset);
        if let Some(place) = covered.get_mut(at..).and_then(|p| p.first_chunk_mut::<2>()) {
            *place = checksum.to_be_bytes();
        }
    }
}

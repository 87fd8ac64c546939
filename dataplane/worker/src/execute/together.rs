//! Running a program on several packets: each step on all of them, then the next step.
//!
//! What a step has to find out is found out once, and its instructions and what it reads stay where
//! they are needed. Programs for which it would make a difference are run packet by packet
//! ([`Code::in_step`]).

use net::edit::ChecksumField;
use packet::Packet;
use ports::Burst;

use super::tunnel::tunnel_all;
use super::{checksum_field, on_wire, passes};
use crate::DropReason;
use crate::egress::Egress;
use crate::facts::Facts;
use crate::program::{Code, Op};
use crate::rewrite::{self, Front};

/// What is known of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    /// Where all their headers are.
    Parsed,
    /// That they are frames: enough for steps on the link layer.
    LinkLayer,
}

/// Runs a program of such steps; the packets are gone afterwards, and the facts of no use.
#[inline]
pub(crate) fn run_together(
    code: &Code,
    known: Together,
    packets: &mut Burst,
    facts: &mut [Facts],
    egress: &mut Egress,
    now: u64,
) {
    let mut ops = &*code.ops;
    while let [op, rest @ ..] = ops {
        ops = rest;
        match op {
            Op::Output(slot) => return egress.send_all(*slot, packets),
            Op::Tunnel(encap) => return tunnel_all(encap, packets, facts, egress),
            Op::Rewrite(all) if all.is_link_layer() => {
                for packet in packets.iter_mut() {
                    all.link_layer(packet.head_mut());
                }
            }
            Op::Rewrite(all) => {
                // A copy, which the packets' bytes cannot overlap: it stays in registers.
                let all = **all;
                let tuple = all.changes_tuple();
                for (packet, facts) in packets.iter_mut().zip(facts.iter()) {
                    let field = match tuple {
                        true => checksum_field(packet, &facts.layout),
                        false => ChecksumField::Full,
                    };
                    all.apply_inline(packet.head_mut(), &facts.layout, field, &facts.given);
                }
            }
            Op::PushVlan { tpid, tci } => {
                let is_last = matches!(rest, [Op::Output(_)]);
                let moves = known == Together::Parsed && !is_last;
                keep(packets, facts, |packet, facts| {
                    let mut front = Front(packet);
                    let pushed = match moves {
                        true => rewrite::push_vlan(&mut front, *tpid, *tci, &mut facts.layout),
                        // Nobody looks at the layout any more.
                        false => rewrite::push_tag(&mut front, *tpid, *tci),
                    };
                    if !pushed {
                        egress.count_drop(DropReason::NoMemory);
                    }
                    pushed
                });
            }
            Op::Meter(meter) => {
                let sizes = packets.iter().map(|p| (on_wire(p).0, p.len() as u64));
                if meter.0.charge_all(egress.index, now, sizes) {
                    continue;
                }
                keep(packets, facts, |packet, facts| {
                    let passes = passes(&meter.0, egress.index, packet, &facts.layout, now);
                    if !passes {
                        egress.count_drop(DropReason::Meter);
                    }
                    passes
                });
            }
            Op::Queue(queue) if queue.0.is_shaped => {
                for packet in packets.iter_mut() {
                    packet.meta_mut().queue = queue.0.place;
                }
            }
            Op::Queue(queue) => {
                let all = packets.iter().map(on_wire);
                let (count, bytes) = all.fold((0, 0), |(n, b), (m, c)| (n + m, b + c));
                queue.0.count(egress.index, count, bytes);
            }
            // There are no others in such a program.
            _ => {}
        }
    }
    debug_assert!(packets.is_empty(), "a program without an output");
    packets.clear();
}

/// Drops the packets that are not to be kept; the others stay in order, each with its facts.
#[inline(always)]
#[allow(clippy::indexing_slicing)] // both places are below the shorter length
pub(super) fn keep(
    packets: &mut Burst,
    facts: &mut [Facts],
    mut keeps: impl FnMut(&mut Packet, &mut Facts) -> bool,
) {
    let len = packets.len().min(facts.len());
    let mut kept = 0;
    for at in 0..len {
        if keeps(&mut packets[at], &mut facts[at]) {
            if kept != at {
                packets.swap(kept, at);
                facts.swap(kept, at);
            }
            kept += 1;
        }
    }
    packets.truncate(kept);
}

//! Ports whose packets are all treated alike: nothing is looked up, and what no step needs is not
//! parsed.

use net::FlowKey;
use net::exact::{self, HashKey};
use net::headers::{Ethernet, ethertype};
use packet::Packet;
use ports::Burst;
use tables::Pipeline;

use crate::egress::Egress;
use crate::execute::{self, Together};
use crate::facts::Facts;
use crate::program::{Code, Op, Program, Reach};
use crate::tunnel::entropy::entropy;
use crate::{DropReason, PortMap};

/// The program of a port's packets, with its counts.
pub(super) struct WholePort {
    program: Program,
    /// The worker's epoch in which it was last found valid.
    epoch: u64,
    /// Counted since the last flush.
    packets: u64,
    bytes: u64,
    used: u64,
}

impl WholePort {
    /// Of a program that holds for any packet, or any without a tag, in this epoch.
    pub fn new(mut program: Program, epoch: u64) -> Self {
        // The packets that come have nothing in common but the port.
        program.deps.tables.forget_all_but(&FlowKey {
            in_port: u32::MAX.into(),
            ..FlowKey::default()
        });
        WholePort {
            program,
            epoch,
            packets: 0,
            bytes: 0,
            used: 0,
        }
    }

    /// True while what the program was made from is unchanged.
    #[inline]
    pub fn holds(&mut self, epoch: u64, pipeline: &Pipeline, ports: &PortMap) -> bool {
        if self.epoch != epoch && self.program.deps.hold(pipeline, ports) {
            self.epoch = epoch;
        }
        self.epoch == epoch
    }

    /// True if there is no packet of the port that it cannot be run for.
    pub fn holds_for_all(&self) -> bool {
        let code = &self.program.code;
        let is_simple = !code.in_step || matches!(*code.ops, [Op::Output(_)]);
        is_simple && self.program.reach == Reach::Port
    }

    /// Runs the program on a burst; says for how many packets. None, and nothing done, if it does not
    /// hold for one of them: all of them are to be looked at then, and stay in order.
    #[inline]
    pub fn run(
        &mut self,
        burst: &mut Burst,
        facts: &mut [Facts],
        egress: &mut Egress,
        hash_key: &HashKey,
        now: u64,
    ) -> Option<usize> {
        let code = &self.program.code;
        let untagged_only = self.program.reach == Reach::Untagged;
        let is_simple = self.holds_for_all();
        let (mut bytes, mut is_short) = (0, false);
        for (packet, facts) in burst.iter().zip(facts.iter_mut()) {
            let len = packet.len();
            is_short |= len < Ethernet::LEN;
            bytes += len;
            if !is_simple && !is_ready(code, untagged_only, packet, facts, hash_key) {
                return None;
            }
        }
        self.used = now;
        if is_short {
            bytes -= drop_short(burst, egress);
        }
        let packets = burst.len();
        self.packets += packets as u64;
        self.bytes += bytes as u64;
        if code.in_step {
            let layouts = match code.encapsulates {
                true => Together::Parsed,
                false => Together::LinkLayer,
            };
            execute::run_together(code, layouts, burst, facts, egress, now);
        } else {
            for packet in burst.drain(..) {
                steps(&code.ops, packet, egress);
            }
        }
        Some(packets)
    }

    /// Adds what was counted to the rules, groups and tables.
    pub fn flush(&mut self, pipeline: &Pipeline) {
        if self.packets != 0 {
            let hits = &self.program.hits;
            hits.count(pipeline, self.packets, self.bytes, self.used);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}

/// Finds out what steps need to know of a packet; false if it is not one that the program holds for,
/// or not one of the kinds that are told quickly.
#[inline]
fn is_ready(
    code: &Code,
    untagged_only: bool,
    packet: &Packet,
    facts: &mut Facts,
    hash_key: &HashKey,
) -> bool {
    let head = packet.head();
    let Some([.., a, b]) = head.first_chunk::<{ Ethernet::LEN }>() else {
        return false;
    };
    let tagged = matches!(
        u16::from_be_bytes([*a, *b]),
        ethertype::VLAN | ethertype::QINQ
    );
    if packet.segment_count() > 1 || (untagged_only && tagged) {
        return false;
    }
    if !code.encapsulates {
        return true;
    }
    if execute::may_exceed(packet, code.inner_mtu)
        || !exact::read_layout(head, packet.len(), &mut facts.layout)
    {
        return false;
    }
    facts.entropy = entropy(hash_key, head, &facts.layout);
    true
}

/// Drops what is no Ethernet frame; says how many bytes that was.
#[cold]
fn drop_short(burst: &mut Burst, egress: &mut Egress) -> usize {
    let mut bytes = 0;
    burst.retain(|packet| {
        let is_frame = packet.len() >= Ethernet::LEN;
        if !is_frame {
            bytes += packet.len();
            egress.count_drop(DropReason::Malformed);
        }
        is_frame
    });
    bytes
}

/// Outputs and drops, which are all there is in such a program.
fn steps(ops: &[Op], packet: Packet, egress: &mut Egress) {
    let last = ops.iter().rposition(|op| matches!(op, Op::Output(_)));
    let mut packet = Some(packet);
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Output(slot) => {
                let sent = match last == Some(at) {
                    true => packet.take(),
                    false => packet.as_ref().and_then(|p| p.copy(&egress.pool)),
                };
                match sent {
                    Some(packet) => egress.send(*slot, packet),
                    None => egress.count_drop(DropReason::NoMemory),
                }
            }
            Op::Drop(reason) => egress.count_drop(*reason),
            _ => {}
        }
    }
}

//! Ports whose packets are all treated alike: nothing is parsed, nothing is looked up.

use net::FlowKey;
use net::headers::Ethernet;
use packet::Packet;
use ports::Burst;
use tables::Pipeline;

use crate::egress::Egress;
use crate::program::{Op, Program};
use crate::{DropReason, PortMap};

/// The program of every packet of a port, with its counts.
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
    /// Of a program that holds for any packet, in this epoch.
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

    /// Runs the program on a burst; says for how many packets.
    #[inline]
    pub fn run(&mut self, burst: &mut Burst, egress: &mut Egress, now: u64) -> usize {
        let mut packets = 0;
        self.used = now;
        for packet in burst.drain(..) {
            if packet.len() < Ethernet::LEN {
                egress.drop(DropReason::Malformed, packet);
                continue;
            }
            packets += 1;
            self.bytes += packet.len() as u64;
            match &*self.program.ops {
                [Op::Output(slot)] => egress.send(*slot, packet),
                ops => steps(ops, packet, egress),
            }
        }
        self.packets += packets as u64;
        packets
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

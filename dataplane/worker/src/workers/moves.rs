//! Ports go from worker to worker while packets flow; `engine/placement.rs` says how.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use net::PortNo;

use super::Workers;
use crate::command::Part;
use crate::{Command, Device, PortError, PortKind, PortSlot, Reply};

/// Ports that are on their way.
#[derive(Default)]
pub(super) struct Moves {
    under_way: Mutex<BTreeSet<u16>>,
    over: Condvar,
}

impl Moves {
    /// A port begins to move; None if any does already. One at a time: while a port that is sent to
    /// moves, its packets from one worker are with the new one and from another still with the old
    /// one, so no flow may change its worker.
    fn begin(self: &Arc<Self>, slot: PortSlot) -> Option<UnderWay> {
        let all = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_free = all.is_empty();
        drop(all);
        // Only whoever holds the port map begins anything.
        is_free.then(|| self.arrive(slot))?
    }

    /// A new port is on its way to its workers.
    pub fn arrive(self: &Arc<Self>, slot: PortSlot) -> Option<UnderWay> {
        let mut all = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(slot.0).then(|| UnderWay {
            moves: self.clone(),
            slot,
        })
    }

    /// Waits until a port does not move: as long as workers take for a round each.
    pub fn wait(&self, slot: PortSlot) {
        let mut all = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while all.contains(&slot.0) {
            all = self.over.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A port moves as long as this lives: also if a worker ends without an answer.
pub(super) struct UnderWay {
    moves: Arc<Moves>,
    slot: PortSlot,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let moves = &self.moves;
        let mut all = moves
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.slot.0);
        moves.over.notify_all();
    }
}

impl Workers {
    /// Has another worker poll an rx queue of a port. No packet is lost, and those of a flow stay in
    /// order. Answers when the new worker has it.
    ///
    /// # Errors
    /// There is no such port, queue or worker, or the port is being moved.
    pub fn move_port(
        &self,
        number: PortNo,
        queue: u16,
        to: usize,
        done: Reply<()>,
    ) -> Result<(), PortError> {
        let mut ports = self.ports();
        let unknown = || PortError::Unknown(number.to_string());
        let entry = ports.get(number).ok_or_else(unknown)?.clone();
        let name = || entry.name.clone();
        let PortKind::Device { .. } = entry.kind else {
            return Err(PortError::NotPolled(name()));
        };
        let placement = &entry.placement;
        let Some(place) = placement.rx.get(usize::from(queue)) else {
            let (port, queues) = (name(), placement.rx.len());
            return Err(PortError::NoRxQueue {
                port,
                queue,
                queues,
            });
        };
        if to >= self.link.commands.len() {
            return Err(PortError::NoWorker(name()));
        }
        let from = place.worker();
        if from == to {
            done.send(());
            return Ok(());
        }
        let Some(under_way) = self.moves.begin(entry.slot) else {
            return Err(PortError::Moving(name()));
        };
        place.set_worker(to);
        let (slot, is_whole) = (entry.slot, placement.is_whole);
        if is_whole {
            ports.set_worker(number, to);
            self.link.shared.publish_ports(ports.clone());
        }
        drop(ports);
        let part = match is_whole {
            true => Part::Whole,
            false => Part::Rx(queue),
        };
        let link = self.link.clone();
        // Until the new worker has the device, the map must not say anything else, and nobody ask
        // for the device.
        let arrived = Reply::to(move |()| {
            drop(under_way);
            done.send(());
        });
        let arrive = move |device: Option<Device>| match device {
            Some(device) => {
                let reply = arrived;
                let attach = Command::Attach {
                    slot,
                    part,
                    device,
                    reply,
                };
                link.send(to, attach);
            }
            None => arrived.send(()),
        };
        let link = self.link.clone();
        let leave = move |()| {
            let reply = Reply::to(arrive);
            link.send(from, Command::Release { slot, queue, reply });
        };
        match is_whole {
            true => self.link.ask_all(Reply::to(leave), Command::Barrier),
            false => leave(()),
        }
        Ok(())
    }
}

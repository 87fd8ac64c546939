//! Kernel interfaces as ports: a tap of our own or a packet socket on an existing interface, both with
//! the virtio offload header, so that frames of up to 64 KB pass whole between pods.

mod control;
mod header;

use crate::counters::Lost;
use crate::egress::Finisher;
use crate::{Burst, Pools, Port, PortControl, PortError, PortKind, PortSpec};
use arrayvec::ArrayVec;
use control::VnetControl;
use os::{Received, VNET_HEADER};
use packet::Packet;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;

/// Most segments one frame may have when it is written, offload header included.
const MAX_PARTS: usize = 64;
/// Bytes of the two Ethernet addresses; a VLAN tag stands behind them (IEEE 802.1Q-2018, 9.3).
const ADDRESSES: usize = 12;

/// Stop reading after this many bytes, so that a burst of large frames is still in the core's cache when
/// it is written: a burst of 32 would be 2 MB.
const BYTES_PER_POLL: usize = 256 << 10;

/// After so many polls that found nothing the buffers go back to their pools, so that hundreds of quiet
/// ports do not empty them.
const IDLE_POLLS: u32 = 64;

/// A port over a tap or a packet socket.
pub struct VnetPort {
    state: Arc<VnetControl>,
    control: Arc<dyn PortControl>,
    pools: Pools,
    finisher: Finisher,
    /// Buffers for the next read, kept so that a poll that finds nothing allocates nothing.
    head: Option<Packet>,
    big: Option<Packet>,
    /// Polls in a row that found nothing.
    idle: u32,
}

/// Why one frame could not be read.
enum Unread {
    /// There is none, or none can be had.
    Stop,
    /// This one is lost; the next may be well.
    Skip,
}

impl VnetPort {
    /// Opens the interface that a tap or veth specification names.
    pub fn open(spec: &PortSpec, pools: &Pools) -> Result<VnetPort, PortError> {
        let state = Arc::new(match &spec.kind {
            PortKind::Tap { iface } => VnetControl::tap(spec, iface)?,
            PortKind::Veth { iface } => VnetControl::veth(spec, iface)?,
            PortKind::Dpdk { .. } | PortKind::Test(_) | PortKind::Tunnel(_) => {
                return Err(PortError::Unsupported {
                    port: spec.name.clone(),
                    reason: format!("{} is not a kernel interface", spec.kind),
                });
            }
        });
        let control: Arc<dyn PortControl> = Arc::clone(&state) as _;
        Ok(VnetPort {
            finisher: Finisher::new(control.caps()),
            state,
            control,
            pools: pools.clone(),
            head: None,
            big: None,
            idle: 0,
        })
    }

    fn read(&mut self) -> Result<Packet, Unread> {
        let Some(mut head) = self.head.take().or_else(|| self.pools.frames.alloc()) else {
            return Err(Unread::Stop); // out of buffers: the frame stays in the kernel's queue
        };
        if self.big.is_none() {
            self.big = self.pools.big.alloc();
        }
        let mut header = [0; VNET_HEADER];
        let tail = self.big.as_mut().map_or(&mut [][..], |big| {
            big.set_headroom(0);
            big.spare_mut()
        });
        match self.state.device.recv(&mut header, head.spare_mut(), tail) {
            Ok(received) => {
                self.idle = 0;
                self.accept(head, &header, received)
            }
            // Nothing there; or the interface is down or gone, which link_up tells the control plane.
            Err(_) => {
                self.head = Some(head);
                self.idle = self.idle.saturating_add(1);
                if self.idle > IDLE_POLLS {
                    (self.head, self.big) = (None, None);
                }
                Err(Unread::Stop)
            }
        }
    }

    /// Makes a packet of what was read into `head` and on into `self.big`.
    fn accept(
        &mut self,
        mut head: Packet,
        header: &[u8; VNET_HEADER],
        received: Received,
    ) -> Result<Packet, Unread> {
        let counters = &self.state.counters;
        if received.truncated {
            counters.rx_dropped.add(1); // there was no big buffer
            self.head = Some(head);
            return Err(Unread::Skip);
        }
        let in_head = received.len.min(head.spare_mut().len());
        head.grow(in_head);
        if received.len > in_head
            && let Some(mut big) = self.big.take()
        {
            big.grow(received.len - in_head);
            if head.chain(big).is_err() {
                counters.rx_dropped.add(1); // pools of two kinds: a fault of the caller's
                return Err(Unread::Skip);
            }
        }
        let tagged = |head: &mut Packet| match received.vlan {
            Some((tpid, tci)) => head.insert(ADDRESSES, &tag(tpid, tci)),
            None => true,
        };
        if !header::apply(header, &mut head) || !tagged(&mut head) {
            counters.rx_errors.add(1);
            return Err(Unread::Skip);
        }
        Ok(head)
    }
}

impl Port for VnetPort {
    fn rx(&mut self, burst: &mut Burst) {
        let mut bytes = 0;
        while !burst.is_full() && bytes < BYTES_PER_POLL {
            match self.read() {
                Ok(packet) => {
                    bytes += packet.len();
                    self.state.counters.rx_packets.add(1);
                    self.state.counters.rx_bytes.add(packet.len());
                    burst.push(packet);
                }
                Err(Unread::Skip) => {}
                Err(Unread::Stop) => break,
            }
        }
    }

    fn tx(&mut self, burst: &mut Burst) -> usize {
        let state = &self.state;
        let mut lost = Lost::default();
        for packet in burst.drain(..) {
            let finished = self
                .finisher
                .finish(packet, &mut |packet| write(state, &packet, &mut lost));
            lost.add(finished);
        }
        state.counters.lose(lost)
    }

    fn control(&self) -> &Arc<dyn PortControl> {
        &self.control
    }
}

fn write(state: &VnetControl, packet: &Packet, lost: &mut Lost) {
    let header = header::of(packet);
    let mut parts: ArrayVec<IoSlice<'_>, MAX_PARTS> = ArrayVec::new();
    parts.push(IoSlice::new(&header));
    for segment in packet.segments() {
        if parts.try_push(IoSlice::new(segment)).is_err() {
            lost.errors += 1;
            return;
        }
    }
    match state.device.send(&parts) {
        Ok(_) => {
            state.counters.tx_packets.add(1);
            state.counters.tx_bytes.add(packet.len());
        }
        Err(e) if refuses_the_frame(&e) => lost.errors += 1,
        Err(_) => lost.dropped += 1,
    }
}

/// True if the kernel objects to the frame itself, not to the moment.
fn refuses_the_frame(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput) || error.raw_os_error() == Some(EMSGSIZE)
}

/// Longer than the interface's MTU allows.
const EMSGSIZE: i32 = 90;

/// A VLAN tag as it stands in a frame.
fn tag(tpid: u16, tci: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    [a, b, c, d]
}

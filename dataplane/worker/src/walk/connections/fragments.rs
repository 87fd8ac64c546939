//! What a packet is tracked as: itself, or, if it is a fragment, what the first fragment of its
//! datagram says of all of them.

use conntrack::Tuple;
use net::fragment::Piece;
use net::key::FRAG_LATER;
use net::tcp::TcpInfo;

use super::Walk;
use crate::fragments::{Arrival, Datagram, First, Next};
use crate::{Counter, DropReason};

/// What the tracker is asked for.
pub(super) struct Subject {
    /// None if the packet cannot be tracked.
    pub tuple: Option<Tuple>,
    pub tcp: Option<TcpInfo>,
}

/// A fragment, as a walk knows it after its first `ct` action.
#[derive(Clone, Copy, Debug)]
pub(in crate::walk) enum Part {
    /// The first one.
    First,
    /// Another, and what the first one has said.
    Later(First, Piece),
    /// The first one is not known and will not be waited for.
    Stray,
    /// It goes nowhere.
    Lost(DropReason),
}

impl Walk<'_> {
    /// What the tracker is to be asked. None if the packet is lost, or waits for the first fragment
    /// of its datagram.
    pub(super) fn subject(&mut self, zone: u16) -> Option<Subject> {
        let frame = self.frame();
        let tcp = TcpInfo::read(frame.head, frame.layout);
        let Some(piece) = Piece::of(frame.head, frame.layout) else {
            let tuple = self.tuple();
            return Some(Subject { tuple, tcp });
        };
        // The identification is not in the exact key.
        self.cacheable = false;
        let part = match self.fragment {
            Some(part) => part,
            None => {
                let part = self.arrive(zone, &piece, tcp)?;
                self.fragment = Some(part);
                part
            }
        };
        match part {
            Part::First => {
                let tuple = self.tuple();
                Some(Subject { tuple, tcp })
            }
            Part::Later(first, piece) => Some(self.later(&first, &piece)),
            Part::Stray => Some(Subject {
                tuple: None,
                tcp: None,
            }),
            Part::Lost(reason) => {
                self.fail(reason);
                None
            }
        }
    }

    /// True if the packet is a fragment without ports of its own.
    pub(super) fn is_later_fragment(&self) -> bool {
        matches!(self.fragment, Some(Part::Later(..)))
    }

    /// Shows a fragment to the table of fragments. None if it is to wait.
    fn arrive(&mut self, zone: u16, piece: &Piece, tcp: Option<TcpInfo>) -> Option<Part> {
        let datagram = Datagram::of(piece, zone, self.now.key.tun_id.get());
        let first = match piece.start {
            0 => self.first(piece, tcp),
            _ => None,
        };
        let (fragments, now) = (self.world.fragments, self.world.now);
        let counters = self.world.counters;
        let part = match fragments.arrive(&datagram, piece, first, now, counters) {
            Arrival::Follows(_) if piece.start == 0 => {
                self.next = Some(Next::Release(datagram));
                Part::First
            }
            Arrival::Follows(first) => {
                counters.add(Counter::FragmentsTracked, 1);
                Part::Later(first, *piece)
            }
            // It could not go on where it is now.
            Arrival::Waits if self.packet_out || self.resumed.is_some() => Part::Stray,
            Arrival::Waits => {
                self.next = Some(Next::Hold(datagram, *piece));
                (self.stop, self.dead, self.too_deep) = (true, true, true);
                return None;
            }
            Arrival::Lost(reason) => Part::Lost(reason),
        };
        Some(part)
    }

    /// What the first fragment says; none if its headers are not all there.
    fn first(&self, piece: &Piece, tcp: Option<TcpInfo>) -> Option<First> {
        let layout = self.frame().layout;
        if layout.malformed.is_some() {
            return None;
        }
        let begin = layout.end.saturating_sub(piece.end - piece.start);
        let headers = u32::from(layout.payload).saturating_sub(begin);
        Some(First {
            proto: self.now.key.nw_proto,
            // An error is tracked by what it carries, which the others do not.
            ports: match self.now.inner {
                Some(_) => None,
                None => self.tuple().map(|tuple| (tuple.src_port, tuple.dst_port)),
            },
            tcp: tcp.map(|tcp| (tcp, headers)),
        })
    }

    /// A fragment behind the first one. As TCP it counts as if the first one had reached to its
    /// end, so that the window is what it is for the whole segment.
    fn later(&self, first: &First, piece: &Piece) -> Subject {
        debug_assert!(self.now.key.nw_frag & FRAG_LATER != 0);
        let ports = first.ports.map(|ports| self.now.ports.unwrap_or(ports));
        let network = self.frame().layout.network;
        Subject {
            tuple: ports
                .and_then(|ports| Tuple::of_fragment(&self.now.key, network, first.proto, ports)),
            tcp: first.tcp.map(|(tcp, headers)| TcpInfo {
                payload: piece.end.saturating_sub(headers),
                ..tcp
            }),
        }
    }
}

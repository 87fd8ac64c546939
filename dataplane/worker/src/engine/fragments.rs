//! Fragments that were tracked: some wait, and others end their wait.

use net::parse::Layout;
use packet::Packet;

use super::Worker;
use crate::Counter;
use crate::cache::Lookup;
use crate::facts::Facts;
use crate::fragments::{Datagram, Next, Parcel};
use crate::program::{Binding, Program};

impl Worker {
    /// A fragment whose walk has tracked it. Its program holds for no other packet.
    pub(super) fn fragment(
        &mut self,
        (program, binding): (&Program, &Binding),
        packet: Packet,
        layout: &Layout,
        (facts, hash): (&Facts, u64),
        now: u64,
    ) {
        match program.fragment.as_deref() {
            Some(Next::Hold(datagram, piece)) => {
                let parcel = Parcel {
                    packet,
                    in_port: facts.in_port,
                    tunnel: facts.tunnel,
                    hash,
                };
                let counters = self.shared.counters(self.index);
                let fragments = &self.shared.fragments;
                match fragments.hold(datagram, piece, parcel, now, counters) {
                    None => counters.add(Counter::FragmentsHeld, 1),
                    // The first one has just come, on another worker.
                    Some(parcel) => self.go_on(parcel, now),
                }
            }
            Some(Next::Release(datagram)) => {
                self.run_once(program, binding, packet, layout, hash, now);
                self.release(datagram, now);
            }
            None => self.run_once(program, binding, packet, layout, hash, now),
        }
    }

    /// The first fragment of a datagram has gone on; those that waited for it do so too.
    pub(super) fn release(&mut self, datagram: &Datagram, now: u64) {
        for parcel in self.shared.fragments.take(datagram) {
            self.go_on(parcel, now);
        }
    }

    /// Gives up what has waited too long, and says how much there is.
    pub(super) fn expire_fragments(&self, now: u64) {
        let counters = self.shared.counters(self.index);
        let fragments = &self.shared.fragments;
        fragments.expire(now, counters);
        counters.set(Counter::FragmentsWaiting, fragments.waiting());
        counters.set(Counter::FragmentedDatagrams, fragments.datagrams());
    }

    /// A fragment that waited begins anew.
    fn go_on(&mut self, parcel: Parcel, now: u64) {
        let facts = Facts {
            in_port: parcel.in_port,
            tunnel: parcel.tunnel,
            ..Facts::default()
        };
        // Without a key, so that nothing is remembered of it.
        let mut lookup = Lookup::default();
        lookup.hash = parcel.hash;
        self.slow(parcel.packet, &facts, &lookup, now);
    }
}

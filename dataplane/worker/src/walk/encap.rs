//! Headers of any kind put on and taken off (ovs-actions(7), `encap` and `decap`).
//!
//! A packet that is not Ethernet has its kind in `packet_type`, and an Ethernet header in front that
//! says nothing but the ethertype: it becomes the real one when the packet becomes Ethernet again.
//! Until then it cannot be sent.

use net::key::VLAN_PRESENT;
use openflow::encap::{Encap, packet_type};
use openflow::field::Prereq;

use super::{Walk, actions};
use crate::DropReason;
use crate::program::Reshape;

impl Walk<'_> {
    pub(super) fn encapsulate(&mut self, encap: &Encap) {
        let now = self.packet_type();
        match (encap.packet_type, packet_type::ethertype(now)) {
            (packet_type::ETHERNET, Some(_)) => {}
            (packet_type::MPLS | packet_type::MPLS_MULTICAST, None) => {
                self.reshape(Reshape::EncapMpls(encap.packet_type as u16));
            }
            (packet_type::MPLS | packet_type::MPLS_MULTICAST, Some(_)) => {
                self.reshape(Reshape::PushMpls(encap.packet_type as u16));
            }
            _ => return self.fail(DropReason::Unsupported),
        }
        self.now.key.packet_type = encap.packet_type.into();
    }

    pub(super) fn decapsulate(&mut self, becomes: Option<u32>) {
        let key = &self.now.key;
        let labelled = actions::has(Prereq::Mpls, key);
        let not_last = key
            .mpls
            .first()
            .is_some_and(|entry| entry.get() & 0x100 == 0);
        let (ethertype, tagged) = (key.eth_type.get(), key.vlan_tci.get() & VLAN_PRESENT != 0);
        let next = match (packet_type::ethertype(self.packet_type()), becomes) {
            (None, _) if tagged => return self.fail(DropReason::Unsupported),
            (None, _) => {
                self.reshape(Reshape::DecapEthernet);
                packet_type::of_ethertype(ethertype)
            }
            (Some(_), Some(packet_type::ETHERNET)) if labelled => {
                self.reshape(Reshape::DecapMpls);
                packet_type::ETHERNET
            }
            (Some(same), None) if labelled && not_last => {
                self.reshape(Reshape::PopMpls(same));
                packet_type::of_ethertype(same)
            }
            (Some(_), Some(becomes)) if labelled => {
                let Some(ethertype) = packet_type::ethertype(becomes) else {
                    return self.fail(DropReason::Unsupported);
                };
                self.reshape(Reshape::PopMpls(ethertype));
                becomes
            }
            // The bottom label does not say what follows it, and IP has no end to be opened.
            (Some(_), _) => return self.fail(DropReason::Unsupported),
        };
        self.now.key.packet_type = next.into();
    }

    fn packet_type(&self) -> u32 {
        self.now.key.packet_type.get()
    }

    /// True for packets that a port can send.
    pub(super) fn is_ethernet(&self) -> bool {
        self.packet_type() == packet_type::ETHERNET
    }
}

//! What a `ct` action asks for besides tracking.

use std::net::IpAddr;

use conntrack::{Choice, NatRange, NatRequest, Tuple};
use openflow::action::{Nat, NatKind};
use openflow::{Action, Field, SubField};

use crate::walk::Walk;

/// Translation, and writes to mark and label.
#[derive(Default)]
pub(super) struct Wishes {
    /// Translate.
    pub nat: bool,
    pub request: NatRequest,
    /// Values, and ones where they are written.
    pub mark: (u32, u32),
    pub label: (u128, u128),
}

impl Walk<'_> {
    /// Reads the actions inside a `ct` action.
    pub(super) fn wishes(&mut self, actions: &[Action]) -> Wishes {
        let mut wishes = Wishes::default();
        for action in actions {
            match action {
                Action::Nat(nat) => {
                    wishes.nat = true;
                    match nat.kind {
                        NatKind::Existing => {}
                        NatKind::Src => wishes.request.src = Some(range(nat)),
                        NatKind::Dst => wishes.request.dst = Some(range(nat)),
                    }
                }
                Action::SetField { field, value, mask } => wishes.write(*field, *value, *mask),
                Action::Load { dst, value } => wishes.write_range(*dst, (*value).into()),
                Action::Move { src, dst } => {
                    let value = self.read(*src);
                    wishes.write_range(*dst, value);
                }
                _ => {}
            }
        }
        wishes
    }
}

impl Wishes {
    /// True if a destination is wished for that a connection translated like this does not have.
    pub fn leads_elsewhere(&self, translated: &Tuple) -> bool {
        let Some(wished) = &self.request.dst else {
            return false;
        };
        let in_range = |(first, last)| first <= translated.dst && translated.dst <= last;
        let at_port = |(first, last)| (first..=last).contains(&translated.dst_port);
        let has_ports = !translated.is_icmp();
        !wished.addresses.is_none_or(in_range) || has_ports && !wished.ports.is_none_or(at_port)
    }

    fn write_range(&mut self, dst: SubField, value: u128) {
        let ones = dst.ones();
        self.write(dst.field, (value & ones) << dst.shift, ones << dst.shift);
    }

    fn write(&mut self, field: Field, value: u128, mask: u128) {
        match field {
            Field::CtMark => {
                let (value, mask) = (value as u32, mask as u32);
                self.mark.0 = (self.mark.0 & !mask) | (value & mask);
                self.mark.1 |= mask;
            }
            Field::CtLabel => {
                self.label.0 = (self.label.0 & !mask) | (value & mask);
                self.label.1 |= mask;
            }
            _ => {}
        }
    }
}

/// The address 0.0.0.0 or :: keeps the packet's own and looks for a free port only (Open vSwitch's
/// "all-zero SNAT").
fn range(nat: &Nat) -> NatRange {
    let keeps = |(first, last): &(IpAddr, IpAddr)| first.is_unspecified() && last.is_unspecified();
    NatRange {
        addresses: nat.addresses.filter(|range| !keeps(range)),
        ports: nat.ports,
        choice: match (nat.persistent, nat.random) {
            (true, _) => Choice::Persistent,
            (false, true) => Choice::Random,
            (false, false) => Choice::Hash,
        },
    }
}

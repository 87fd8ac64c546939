//! What of a packet the rules and groups of a pipeline can look at: ones in the fields, or in those
//! bits of them, on which it can depend what becomes of a packet.
//!
//! Workers leave everything else out of the keys of their flow caches. So too much in here costs
//! them entries, and too little would be wrong: what is not known to be harmless counts as looking
//! at everything. An action that writes a field counts as looking at it, because whether there is
//! something to be written depends on what is there. Not taken into account, because workers always
//! keep them: ports, ethertype, protocol, tags, fragmentation, and everything of a tunnel.

use net::{FlowKey, PortNo};
use openflow::model::GroupType;
use openflow::{Action, Field, SubField};

use crate::{Group, Rule};

/// Everything.
fn all(looks: &mut FlowKey) {
    looks.words_mut().fill(u64::MAX);
}

/// What a rule looks at, in its match and in its instructions.
pub(crate) fn rule(rule: &Rule, looks: &mut FlowKey) {
    rule.key.mask().add_to(looks);
    actions(&rule.instructions.apply, looks);
    if let Some(written) = &rule.instructions.write {
        actions(written, looks);
    }
}

/// What a group looks at.
pub(crate) fn group(group: &Group, looks: &mut FlowKey) {
    for bucket in &group.buckets {
        actions(&bucket.bucket.actions, looks);
    }
    if group.kind != GroupType::Select {
        return;
    }
    // The hash is of link-layer addresses and the five-tuple, or of fields that the group names.
    let named = group.selection.iter().flat_map(|s| s.fields.iter());
    for named in named {
        named.field.info().slot.set(looks, named.mask, named.mask);
    }
    link_layer(looks);
    five_tuple(looks);
}

fn actions(actions: &[Action], looks: &mut FlowKey) {
    for each in actions {
        action(each, looks);
    }
}

fn action(action: &Action, looks: &mut FlowKey) {
    match action {
        Action::Output { port, .. } if *port == PortNo::NORMAL => link_layer(looks),
        Action::SetField { field, .. } => written(*field, looks),
        Action::Load { dst, .. } | Action::CheckPktLarger { dst, .. } => written(dst.field, looks),
        Action::Move { src, dst } => {
            read(*src, looks);
            written(dst.field, looks);
        }
        Action::Ct(ct) => {
            five_tuple(looks);
            self::actions(&ct.actions, looks);
            if let openflow::action::CtZone::Field(field) = ct.zone {
                read(field, looks);
            }
        }
        Action::Clone(inner) => self::actions(inner, looks),
        // Not at the packet; a group for itself; a translation at what its `ct` looks at.
        Action::Output { .. }
        | Action::Group(_)
        | Action::SetQueue(_)
        | Action::PopQueue
        | Action::PushVlan { .. }
        | Action::PopVlan
        | Action::DecNwTtl
        | Action::SetNwTtl(_)
        | Action::Meter(_)
        | Action::Resubmit { .. }
        | Action::Nat(_)
        | Action::CtClear
        | Action::Note(_)
        | Action::Conjunction(_)
        | Action::FinTimeout { .. }
        | Action::Reject
        | Action::Exit => {}
        _ => all(looks),
    }
}

fn read(src: SubField, looks: &mut FlowKey) {
    src.set(looks, u128::MAX);
}

/// All of the place that a field is in: steps write places, not bits.
fn written(field: Field, looks: &mut FlowKey) {
    let mut place = FlowKey::default();
    field.info().slot.set(&mut place, u128::MAX, u128::MAX);
    if place.nw_tos != 0 {
        place.nw_tos = 0xff;
    }
    for (looks, place) in looks.words_mut().iter_mut().zip(place.words()) {
        *looks |= place;
    }
}

fn link_layer(looks: &mut FlowKey) {
    let ones = net::MacAddr([0xff; 6]);
    (looks.eth_src, looks.eth_dst) = (ones, ones);
}

fn five_tuple(looks: &mut FlowKey) {
    looks.nw_src = u32::MAX.into();
    looks.nw_dst = u32::MAX.into();
    looks.ipv6_src = [0xff; 16];
    looks.ipv6_dst = [0xff; 16];
    looks.nw_proto = 0xff;
    looks.tp_src = u16::MAX.into();
    looks.tp_dst = u16::MAX.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[Action]) -> FlowKey {
        let mut looks = FlowKey::default();
        actions(list, &mut looks);
        looks
    }

    #[test]
    fn what_is_written_in_part_is_looked_at_as_a_whole() {
        let dscp = Action::SetField {
            field: Field::IpDscp,
            value: 1,
            mask: 0x3f,
        };
        assert_eq!(of(&[dscp]).nw_tos, 0xff);
        let dst = SubField::range(Field::Ipv4Dst, 0, 7);
        assert_eq!(of(&[Action::Load { dst, value: 1 }]).nw_dst.get(), u32::MAX);
    }

    #[test]
    fn what_is_moved_is_looked_at_where_it_comes_from() {
        let looks = of(&[Action::Move {
            src: SubField::range(Field::Ipv4Src, 0, 7),
            dst: SubField::range(Field::Reg0, 0, 7),
        }]);
        assert_eq!((looks.nw_src.get(), looks.nw_dst.get()), (0xff, 0));
    }

    #[test]
    fn an_action_that_nobody_has_thought_about_looks_at_everything() {
        let pop = Action::StackPop(SubField::range(Field::Reg0, 0, 7));
        assert!(of(&[pop]).words().iter().all(|word| *word == u64::MAX));
    }
}

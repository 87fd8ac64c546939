//! One spelling for what switches and we may write in several ways, so that equal things compare
//! equal and nothing is sent twice.

use net::PortNo;
use openflow::action::Ct;
use openflow::model::{Bucket, GroupType};
use openflow::{Action, Instructions, SubField};

/// Instructions in canonical spelling.
pub(crate) fn instructions(given: &Instructions) -> Instructions {
    let apply = actions(&given.apply);
    Instructions {
        meter: given.meter,
        has_apply: !apply.is_empty(),
        apply,
        clear: given.clear,
        write: given
            .write
            .as_deref()
            .filter(|w| !w.is_empty())
            .map(actions),
        metadata: given.metadata.filter(|(_, mask)| *mask != 0),
        goto_table: given.goto_table,
    }
}

/// Buckets in canonical spelling: only what means something in that kind of group.
pub(crate) fn buckets(kind: GroupType, given: &[Bucket]) -> Vec<Bucket> {
    let watches = kind == GroupType::FastFailover;
    let canonical = |b: &Bucket| Bucket {
        id: 0,
        weight: if kind == GroupType::Select {
            b.weight
        } else {
            0
        },
        watch_port: if watches { b.watch_port } else { PortNo::ANY },
        watch_group: if watches {
            b.watch_group
        } else {
            net::GroupId::ANY
        },
        actions: actions(&b.actions),
        properties: Vec::new(),
    };
    given.iter().map(canonical).collect()
}

fn actions(given: &[Action]) -> Vec<Action> {
    given.iter().map(action).collect()
}

fn action(given: &Action) -> Action {
    match given {
        // max_len means something to the controller only.
        Action::Output { port, .. } if *port != PortNo::CONTROLLER => Action::Output {
            port: *port,
            max_len: 0,
        },
        // A load of a whole field is a set_field; a set_field of adjacent bits is a load.
        Action::Load { dst, value } if dst.bits == dst.field.info().slot.bits => Action::SetField {
            field: dst.field,
            value: u128::from(*value),
            mask: dst.ones(),
        },
        Action::SetField { field, value, mask } if *mask != field.info().slot.ones() => {
            let (low, bits) = (mask.trailing_zeros() as u8, mask.count_ones() as u8);
            let range = SubField {
                field: *field,
                shift: low,
                bits,
            };
            if bits == 0 || bits > 64 || range.ones() << low != *mask {
                return given.clone();
            }
            Action::Load {
                dst: range,
                value: ((value & mask) >> low) as u64,
            }
        }
        Action::Ct(ct) => Action::Ct(Ct {
            actions: actions(&ct.actions),
            ..ct.clone()
        }),
        Action::Clone(inner) => Action::Clone(actions(inner)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use openflow::Field;

    use super::*;

    #[test]
    fn two_spellings_of_one_write_become_one() {
        let set = |value, mask| Action::SetField {
            field: Field::Reg0,
            value,
            mask,
        };
        let load = |low, high, value| Action::Load {
            dst: SubField::range(Field::Reg0, low, high),
            value,
        };
        assert_eq!(action(&load(0, 31, 7)), action(&set(7, 0xffff_ffff)));
        assert_eq!(action(&set(0x28, 0x38)), load(3, 5, 5));
        let scattered = set(5, 5);
        assert_eq!(action(&scattered), scattered);
    }
}

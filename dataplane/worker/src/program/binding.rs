//! What each flow of a program has of its own: its connections, and the addresses and ports that
//! its packets get.
//!
//! A walk makes a program for one flow. Before it is kept, [`bind`] takes out of it what other flows
//! of the same kind have otherwise: the connections that its checks name, and the addresses and ports
//! that its steps write. What is left is alike for all flows that the tables treat alike, however
//! many connections they belong to, so that they share one program; the rest is kept with the flow.

use conntrack::{ConnRef, Expected, Tuple};
use net::edit::Given;
use smallvec::SmallVec;

use super::Op;
use crate::connections::{Check, Found, Subject};

/// Connections that a cached program can depend on.
pub(crate) const CONNS: usize = 4;

/// What a flow has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    pub conns: SmallVec<[ConnRef; CONNS]>,
    pub operands: Operands,
}

/// What [`Op::Translate`] writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operands {
    /// IPv4 addresses and ports; the identifier of ICMP stands in the place of the source port.
    pub given: Given,
    /// IPv6 source and destination.
    pub v6: [[u8; 16]; 2],
}

/// Fields that a translation writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fields(u8);

impl Fields {
    pub const V4_SRC: Self = Fields(1);
    pub const V4_DST: Self = Fields(2);
    pub const V6_SRC: Self = Fields(4);
    pub const V6_DST: Self = Fields(8);
    pub const SRC_PORT: Self = Fields(16);
    pub const DST_PORT: Self = Fields(32);
    pub const ICMP_ID: Self = Fields(64);

    /// True if one of these fields is written.
    #[inline]
    pub fn has(self, some: Self) -> bool {
        self.0 & some.0 != 0
    }

    pub fn with(self, more: Self) -> Self {
        Fields(self.0 | more.0)
    }

    /// True if all of these fields are among `all`.
    pub fn within(self, all: Self) -> bool {
        self.0 & !all.0 == 0
    }
}

impl Operands {
    /// Takes the value of a step. None if it is no translation, or if the place has another value.
    fn take(&mut self, op: &Op, taken: Fields) -> Option<Fields> {
        let given = &mut self.given;
        let (field, fits) = match *op {
            Op::Ipv4Src(address) => place(Fields::V4_SRC, &mut given.src, address, taken),
            Op::Ipv4Dst(address) => place(Fields::V4_DST, &mut given.dst, address, taken),
            Op::Ipv6Src(address) => place(Fields::V6_SRC, &mut self.v6[0], address, taken),
            Op::Ipv6Dst(address) => place(Fields::V6_DST, &mut self.v6[1], address, taken),
            Op::SrcPort(port) => place(
                Fields::SRC_PORT,
                &mut given.src_port,
                port.to_be_bytes(),
                taken,
            ),
            Op::DstPort(port) => place(
                Fields::DST_PORT,
                &mut given.dst_port,
                port.to_be_bytes(),
                taken,
            ),
            Op::IcmpId(id) => place(
                Fields::ICMP_ID,
                &mut given.src_port,
                id.to_be_bytes(),
                taken,
            ),
            _ => return None,
        };
        fits.then_some(field)
    }
}

fn place<T: PartialEq>(field: Fields, slot: &mut T, value: T, taken: Fields) -> (Fields, bool) {
    // The source port and the ICMP identifier have one place.
    let shared = Fields::SRC_PORT.with(Fields::ICMP_ID);
    let used = match shared.has(field) {
        true => taken.has(shared),
        false => taken.has(field),
    };
    if !used {
        *slot = value;
        return (field, true);
    }
    (field, *slot == value && taken.has(field))
}

/// Parts what a walk found into what all flows of its kind have alike and what this one has of its
/// own. `packet` is the tuple of the packet that walked.
pub(crate) fn bind(
    found: &[Found],
    packet: Option<&Tuple>,
    ops: &mut Vec<Op>,
) -> (Box<[Check]>, Binding) {
    let mut binding = Binding::default();
    let check = |found: &Found| match found {
        Found::Known {
            conn,
            direction,
            state,
            revision,
        } => {
            binding.conns.push(*conn);
            Check::Known {
                conn: binding.conns.len() as u16 - 1,
                direction: *direction,
                expected: Expected {
                    state: *state,
                    revision: *revision,
                },
            }
        }
        Found::Unknown { zone, tuple, state } => Check::Unknown {
            zone: *zone,
            tuple: match packet == Some(tuple) {
                true => Subject::Packet,
                false => Subject::Tuple(Box::new(*tuple)),
            },
            state: *state,
        },
    };
    let checks: Box<[Check]> = found.iter().map(check).collect();
    // Without a connection, what steps write comes from the rules and is alike anyway.
    if !binding.conns.is_empty() {
        translate(ops, &mut binding.operands);
    }
    (checks, binding)
}

/// Moves addresses and ports from the steps into the operands.
fn translate(ops: &mut Vec<Op>, operands: &mut Operands) {
    let mut taken = Fields::default();
    for op in ops.iter_mut() {
        if let Some(field) = operands.take(op, taken) {
            taken = taken.with(field);
            *op = Op::Translate(field);
        }
    }
    // Steps are counted where there are scopes.
    if ops.iter().any(|op| matches!(op, Op::Scope(_))) {
        return;
    }
    let mut joined: Option<usize> = None;
    let mut at = 0;
    while let Some(op) = ops.get(at) {
        match (op, joined) {
            (Op::Translate(more), Some(first)) => {
                let more = *more;
                ops.remove(at);
                if let Some(Op::Translate(fields)) = ops.get_mut(first) {
                    *fields = fields.with(more);
                }
                continue;
            }
            (Op::Translate(_), None) => joined = Some(at),
            // Other fields of the same headers: it does not matter which is written first.
            (Op::Tos(_) | Op::Ttl(_) | Op::TtlDown(_) | Op::TtlUp(_) | Op::Ipv6Label(_), _) => {}
            _ => joined = None,
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortSlot;

    fn translated(ops: &[Op]) -> (Vec<Op>, Operands) {
        let (mut ops, mut operands) = (ops.to_vec(), Operands::default());
        translate(&mut ops, &mut operands);
        (ops, operands)
    }

    #[test]
    fn steps_of_one_translation_become_one_step() {
        let (ops, operands) = translated(&[
            Op::Ipv4Dst([10, 0, 0, 1]),
            Op::TtlDown(1),
            Op::DstPort(8080),
            Op::Output(PortSlot(1)),
        ]);
        let both = Fields::V4_DST.with(Fields::DST_PORT);
        assert_eq!(
            ops,
            [Op::Translate(both), Op::TtlDown(1), Op::Output(PortSlot(1))]
        );
        let given = operands.given;
        assert_eq!((given.dst, given.dst_port), ([10, 0, 0, 1], [0x1f, 0x90]));
    }

    #[test]
    fn a_field_with_two_values_is_taken_once_and_nothing_is_joined_over_an_output() {
        let out = Op::Output(PortSlot(1));
        let (ops, operands) = translated(&[
            Op::Ipv4Src([1; 4]),
            out.clone(),
            Op::Ipv4Src([2; 4]),
            out.clone(),
            Op::Ipv4Src([1; 4]),
            Op::IcmpId(7),
            Op::SrcPort(8),
            out.clone(),
        ]);
        let src = Op::Translate(Fields::V4_SRC);
        let again = Op::Translate(Fields::V4_SRC.with(Fields::ICMP_ID));
        let literal = Op::Ipv4Src([2; 4]);
        assert_eq!(
            ops,
            [
                src,
                out.clone(),
                literal,
                out.clone(),
                again,
                Op::SrcPort(8),
                out
            ]
        );
        let given = operands.given;
        assert_eq!((given.src, given.src_port), ([1; 4], [0, 7]));
    }

    #[test]
    fn the_length_of_a_scope_stays() {
        let scoped = [Op::Scope(2), Op::Ipv4Dst([1; 4]), Op::DstPort(9)];
        assert_eq!(translated(&scoped).0.len(), 3);
    }
}

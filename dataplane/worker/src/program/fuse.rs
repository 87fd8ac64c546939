//! Header steps that stand together made one step.
//!
//! A step finds its header, checks lengths and updates checksums; routing alone is three of them and
//! translation two more. [`Rewrite`] does all of that once.

use net::edit::{Field, Rewrite};

use super::{Fields, Op};

/// The same program with fewer steps.
pub(crate) fn fuse(ops: Vec<Op>) -> Vec<Op> {
    if !ops.iter().any(|op| note(op, &mut Rewrite::default())) {
        return ops;
    }
    let mut fused = Fused::default();
    let mut ops = ops.into_iter();
    while let Some(op) = ops.next() {
        match op {
            Op::Scope(steps) => {
                let inner = fuse(ops.by_ref().take(steps.into()).collect());
                fused.end_run();
                fused.ops.push(Op::Scope(inner.len() as u16));
                fused.ops.extend(inner);
            }
            // Tags are put in between addresses and the rest, and change neither.
            Op::PushVlan { .. } | Op::PopVlan | Op::Vlan(_) => fused.tags.push(op),
            op if fused.note(&op) => {}
            op => {
                fused.end_run();
                if !fused.note(&op) {
                    fused.ops.push(op);
                }
            }
        }
    }
    fused.end_run();
    fused.ops
}

/// Steps so far, and the run of header steps that is not yet among them.
#[derive(Default)]
struct Fused {
    ops: Vec<Op>,
    run: Option<Box<Rewrite>>,
    /// Steps on tags, to come behind the run.
    tags: Vec<Op>,
}

impl Fused {
    /// Takes a step into the run; false if it cannot be part of it.
    fn note(&mut self, op: &Op) -> bool {
        let mut run = self.run.take().unwrap_or_default();
        let noted = note(op, &mut run);
        if noted || *run != Rewrite::default() {
            self.run = Some(run);
        }
        noted
    }

    fn end_run(&mut self) {
        self.ops.extend(self.run.take().map(Op::Rewrite));
        self.ops.append(&mut self.tags);
    }
}

/// Adds a step to others that are done at once; false, and nothing added, if it is none of those.
fn note(op: &Op, run: &mut Rewrite) -> bool {
    match *op {
        Op::EthDst(mac) => run.eth_dst(mac),
        Op::EthSrc(mac) => run.eth_src(mac),
        Op::Ipv4Src(address) => run.ipv4_src(address),
        Op::Ipv4Dst(address) => run.ipv4_dst(address),
        Op::Tos(tos) => run.tos(tos),
        Op::Ttl(ttl) => run.ttl(ttl),
        Op::TtlDown(steps) => return run.ttl_down(steps),
        Op::SrcPort(port) => run.src_port(port),
        Op::DstPort(port) => run.dst_port(port),
        Op::Translate(fields) => return translate(fields, run),
        _ => return false,
    }
    true
}

/// As [`note`], for what each flow has of its own; IPv6 and ICMP are left alone.
fn translate(fields: Fields, run: &mut Rewrite) -> bool {
    let known = [
        (Fields::V4_SRC, Field::Ipv4Src),
        (Fields::V4_DST, Field::Ipv4Dst),
        (Fields::SRC_PORT, Field::SrcPort),
        (Fields::DST_PORT, Field::DstPort),
    ];
    let all = known
        .iter()
        .fold(Fields::default(), |all, (one, _)| all.with(*one));
    let fits = fields.within(all);
    for (_, field) in known.iter().filter(|(one, _)| fits && fields.has(*one)) {
        run.given(*field);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortSlot;
    use net::MacAddr;

    fn rewrite(make: impl FnOnce(&mut Rewrite)) -> Op {
        let mut all = Rewrite::default();
        make(&mut all);
        Op::Rewrite(Box::new(all))
    }

    const PUSH: Op = Op::PushVlan {
        tpid: 0x8100,
        tci: 5,
    };
    const OUT: Op = Op::Output(PortSlot(1));

    #[test]
    fn a_route_with_a_tag_is_one_rewrite_and_the_tag() {
        let mac = MacAddr([2; 6]);
        let ops = vec![
            Op::EthDst(mac),
            PUSH,
            Op::Ipv4Dst([1; 4]),
            Op::TtlDown(1),
            Op::DstPort(80),
            OUT,
        ];
        let all = rewrite(|all| {
            all.eth_dst(mac);
            all.ipv4_dst([1; 4]);
            all.ttl_down(1);
            all.dst_port(80);
        });
        assert_eq!(fuse(ops), [all, PUSH, OUT]);
    }

    #[test]
    fn nothing_is_moved_over_an_output_or_out_of_a_scope() {
        let ops = vec![
            Op::Tos(1),
            OUT,
            Op::Tos(2),
            Op::Scope(3),
            Op::Ttl(9),
            Op::SrcPort(7),
            OUT,
            Op::SrcPort(8),
            OUT,
        ];
        let expected = [
            rewrite(|all| all.tos(1)),
            OUT,
            rewrite(|all| all.tos(2)),
            Op::Scope(2),
            rewrite(|all| {
                all.ttl(9);
                all.src_port(7);
            }),
            OUT,
            rewrite(|all| all.src_port(8)),
            OUT,
        ];
        assert_eq!(fuse(ops), expected);
    }

    #[test]
    fn a_translation_joins_the_route() {
        let fields = Fields::V4_DST.with(Fields::DST_PORT);
        let ops = vec![Op::Translate(fields), Op::TtlDown(1), OUT];
        let all = rewrite(|all| {
            all.given(Field::Ipv4Dst);
            all.given(Field::DstPort);
            all.ttl_down(1);
        });
        assert_eq!(fuse(ops), [all, OUT]);
        let ops = vec![Op::Translate(fields.with(Fields::ICMP_ID)), OUT];
        assert_eq!(fuse(ops.clone()), ops);
    }

    #[test]
    fn what_a_rewrite_cannot_do_stays_as_it_is() {
        let ops = vec![
            Op::TtlDown(1),
            Op::TtlUp(1),
            Op::TtlDown(1),
            Op::TtlDown(2),
            OUT,
        ];
        let down = |steps| {
            rewrite(|all| {
                all.ttl_down(steps);
            })
        };
        assert_eq!(fuse(ops), [down(1), Op::TtlUp(1), down(1), down(2), OUT]);
        let ops = vec![PUSH, Op::Ipv6Label(3), OUT];
        assert_eq!(fuse(ops.clone()), ops);
    }
}

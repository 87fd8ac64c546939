//! Rules of subnets: who may begin connections with their pods, and with whom they may.
//!
//! Judged in three places: what pods begin, as they address it (a Service has not chosen yet); what
//! leaves a subnet and what reaches it, after a Service has chosen. They are the same on every node
//! and are judged at both ends of a tunnel, with the same outcome. Rules decide about new
//! connections; what belongs to one that passed, passes.

use cluster::desired::{DesiredState, Direction, Rule, Subnet, Term, Verdict};
use cluster::{Family, Kind, ObjectRef};
use ipnet::IpNet;
use net::key::ct_state::{EST, REL, TRK};
use openflow::Field;

use crate::fields::{CT_SERVICE, FROM, FROM_POD, HAIRPIN, ZONE_PODS};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, ct};
use crate::origin::{Feature, Origin};
use crate::tables::Table;

/// Above every rule.
const KNOWN: u16 = 60_000;
/// A rule's own priority is added.
const RULE: u16 = 2;
/// No rule speaks of it.
const OPEN: u16 = 1;

/// Which end of a connection is in the subnet.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// A place where rules are judged.
struct Gate {
    table: Table,
    next: Table,
    /// The end that is in the subnet whose rules hold here.
    end: End,
    /// What passes is remembered, so that its answers pass.
    remembers: bool,
}

const SENDS: Gate = Gate {
    table: Table::SubnetSends,
    next: Table::ConntrackState,
    end: End::Source,
    remembers: false,
};

const LEAVES: Gate = Gate {
    table: Table::SubnetEgress,
    next: Table::Routing,
    end: End::Source,
    remembers: true,
};

const REACHES: Gate = Gate {
    table: Table::SubnetIngress,
    next: Table::QosFromPod,
    end: End::Destination,
    remembers: true,
};

/// Flows of the three tables, the same on every node.
pub fn everywhere(state: &DesiredState, set: &mut FlowSet) {
    let ruled = || state.subnets.values().filter(|s| !s.rules.is_empty());
    if ruled().next().is_none() {
        return;
    }
    for gate in [&SENDS, &LEAVES, &REACHES] {
        known(gate, set);
    }
    for subnet in ruled() {
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.name);
        let origin = Origin::object(Feature::SubnetRules, &object);
        for rule in &subnet.rules {
            let gates: &[&Gate] = match rule.direction {
                Direction::FromPod => &[&SENDS],
                Direction::ToPod => &[&REACHES],
                Direction::Either => &[&LEAVES, &REACHES],
            };
            for gate in gates {
                judge(gate, subnet, rule, &origin, set);
            }
        }
        for gate in [&LEAVES, &REACHES] {
            let intent = "No rule of the subnet speaks of it: the connection passes.";
            let any = Term::default();
            for flow in matching(gate, subnet, &any, OPEN, intent) {
                set.add(&origin, pass(gate, flow, Verdict::Allow));
            }
        }
    }
}

fn known(gate: &Gate, set: &mut FlowSet) {
    let origin = Origin::table(Feature::SubnetRules, gate.table);
    let mut add = |flow: Flow| set.add(&origin, flow.goto(gate.next));
    let flow = |intent| Flow::new(gate.table, KNOWN, intent);
    for state in [EST, REL] {
        let intent = "What belongs to a connection that passed, passes.";
        add(flow(intent).ct_state(TRK | state, 0));
    }
    match gate.table {
        // Its destination is translated already, and what it was addressed to has been judged.
        Table::SubnetSends => {
            add(flow("A Service's connection was judged when it began.").is(&CT_SERVICE, 1))
        }
        Table::SubnetIngress => add(flow("A pod reaches itself.").is(&HAIRPIN, 1)),
        _ => {}
    }
}

fn judge(gate: &Gate, subnet: &Subnet, rule: &Rule, origin: &Origin, set: &mut FlowSet) {
    let intent = match rule.verdict {
        Verdict::Drop => "A rule of the subnet denies the connection: dropped.",
        Verdict::Allow | Verdict::AllowStateless => "A rule of the subnet allows the connection.",
    };
    for term in &rule.terms {
        for flow in matching(gate, subnet, term, RULE + rule.priority, intent) {
            set.add(origin, pass(gate, flow, rule.verdict));
        }
    }
}

fn pass(gate: &Gate, flow: Flow, verdict: Verdict) -> Flow {
    match verdict {
        Verdict::Drop => flow,
        Verdict::Allow if gate.remembers => flow.act(ct(ZONE_PODS, true, Vec::new(), gate.next)),
        Verdict::Allow | Verdict::AllowStateless => flow.goto(gate.next),
    }
}

/// The flows of a term, of which one end is in the subnet.
fn matching(
    gate: &Gate,
    subnet: &Subnet,
    term: &Term,
    priority: u16,
    intent: &'static str,
) -> Vec<Flow> {
    let mut flows = Vec::new();
    for (own, _) in subnet.prefixes() {
        let (family, ethertype) = match own {
            IpNet::V4(_) => (Family::V4, IPV4),
            IpNet::V6(_) => (Family::V6, IPV6),
        };
        if term.family.is_some_and(|of| of != family) {
            continue;
        }
        let (inside, outside) = match gate.end {
            End::Source => (&term.sources, &term.destinations),
            End::Destination => (&term.destinations, &term.sources),
        };
        for inside in within(own, inside) {
            for outside in others(family, outside) {
                let base = Flow::new(gate.table, priority, intent).ether(ethertype);
                let (source, destination) = match gate.end {
                    End::Source => (Some(inside), outside),
                    End::Destination => (outside, Some(inside)),
                };
                let base = source.into_iter().fold(base, Flow::ip_src_in);
                let base = destination.into_iter().fold(base, Flow::ip_dst_in);
                let base = match gate.table {
                    Table::SubnetSends => base.is(&FROM, FROM_POD),
                    _ => base,
                };
                flows.extend(with_ports(base, term));
            }
        }
    }
    flows
}

/// What of the subnet's range a term speaks of.
fn within(own: IpNet, named: &[IpNet]) -> Vec<IpNet> {
    if named.is_empty() {
        return vec![own];
    }
    let both = |net: &IpNet| match (own.contains(net), net.contains(&own)) {
        (true, _) => Some(*net),
        (_, true) => Some(own),
        _ => None,
    };
    named.iter().filter_map(both).collect()
}

fn others(family: Family, named: &[IpNet]) -> Vec<Option<IpNet>> {
    if named.is_empty() {
        return vec![None];
    }
    let same = |net: &&IpNet| matches!(net, IpNet::V4(_)) == (family == Family::V4);
    named.iter().filter(same).map(|net| Some(*net)).collect()
}

fn with_ports(base: Flow, term: &Term) -> Vec<Flow> {
    let Some(protocol) = term.protocol else {
        return vec![base];
    };
    let base = base.when(Field::IpProto, protocol);
    let (source, destination) = match protocol {
        6 => (Field::TcpSrc, Field::TcpDst),
        17 => (Field::UdpSrc, Field::UdpDst),
        132 => (Field::SctpSrc, Field::SctpDst),
        _ => return vec![base],
    };
    let mut flows = Vec::new();
    for from in masks(&term.source_ports) {
        for to in masks(&term.destination_ports) {
            let flow = base.clone();
            let flow = from.into_iter().fold(flow, |flow, (value, mask)| {
                flow.when_masked(source, value, mask)
            });
            flows.push(to.into_iter().fold(flow, |flow, (value, mask)| {
                flow.when_masked(destination, value, mask)
            }));
        }
    }
    flows
}

fn masks(ranges: &[(u16, u16)]) -> Vec<Option<(u16, u16)>> {
    if ranges.is_empty() {
        return vec![None];
    }
    let masks = ranges.iter().flat_map(|&(a, b)| port_masks(a, b));
    masks.map(Some).collect()
}

/// A range of ports as values with masks.
fn port_masks(first: u16, last: u16) -> Vec<(u16, u16)> {
    let (mut first, last) = (u32::from(first), u32::from(last));
    let mut parts = Vec::new();
    while first <= last {
        // The largest aligned block that begins here and ends in time.
        let size = first
            .trailing_zeros()
            .min(16)
            .min((last - first + 1).ilog2());
        parts.push((first as u16, (!0u32 << size) as u16));
        first += 1 << size;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_a_range_match_its_ports_and_no_others() {
        for (first, last) in [(0, 0), (0, 65535), (80, 80), (1, 65534), (8000, 8999)] {
            let masks = port_masks(first, last);
            assert!(masks.len() <= 30);
            for port in 0..=u16::MAX {
                let matches = masks.iter().filter(|(v, m)| port & m == *v).count();
                assert_eq!(
                    matches,
                    usize::from((first..=last).contains(&port)),
                    "{port}"
                );
            }
        }
    }
}

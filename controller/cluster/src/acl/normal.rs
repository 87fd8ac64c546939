//! Expressions as alternatives, in each of which everything has to hold.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::parse::{Expr, Side};
use crate::addr::Family;
use crate::desired::Term;
use crate::ipam::ranges::RangeSet;

/// More alternatives, or flows, than this are refused.
const MOST: usize = 1024;

#[derive(Clone, Debug, Default)]
struct Case {
    family: Option<Family>,
    protocol: Option<u8>,
    addresses: [Option<RangeSet>; 2],
    ports: [Option<RangeSet>; 2],
}

const PORTS: u128 = u16::MAX as u128;

pub(super) fn terms(expr: &Expr) -> Result<Vec<Term>, String> {
    let cases = cases(expr, false)?;
    let mut terms: Vec<Term> = cases.into_iter().map(term).collect();
    terms.dedup();
    let flows = terms.iter().map(|term| {
        let some = |count: usize| count.max(1);
        // A range of ports is at most 30 masked matches.
        let ports = |ranges: &[(u16, u16)]| {
            let masks = ranges.iter().map(|(a, b)| if a == b { 1 } else { 8 });
            some(masks.sum())
        };
        some(term.sources.len())
            * some(term.destinations.len())
            * ports(&term.source_ports)
            * ports(&term.destination_ports)
    });
    if flows.sum::<usize>() > MOST {
        return Err(format!("it is more than {MOST} flows; write several rules"));
    }
    Ok(terms)
}

fn cases(expr: &Expr, not: bool) -> Result<Vec<Case>, String> {
    match expr {
        Expr::Not(inner) => cases(inner, !not),
        Expr::And(parts) if !not => every(parts, not),
        Expr::Or(parts) if not => every(parts, not),
        Expr::And(parts) | Expr::Or(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(cases(part, not)?);
                within(all.len())?;
            }
            Ok(all)
        }
        Expr::Constant(value) => Ok(if *value != not {
            vec![Case::default()]
        } else {
            Vec::new()
        }),
        // Everything that is judged is IP.
        Expr::Ip(None) if not => Ok(Vec::new()),
        Expr::Ip(family) => {
            let family = family.map(|family| match (family, not) {
                (Family::V4, false) | (Family::V6, true) => Family::V4,
                _ => Family::V6,
            });
            Ok(vec![Case {
                family,
                ..Case::default()
            }])
        }
        Expr::Protocol(_) if not => Err("a protocol cannot be negated".into()),
        Expr::Protocol(protocols) => Ok(protocols
            .iter()
            .map(|(family, protocol)| Case {
                family: *family,
                protocol: Some(*protocol),
                ..Case::default()
            })
            .collect()),
        Expr::Address(side, family, ranges) => {
            let last = match family {
                Family::V4 => u128::from(u32::MAX),
                Family::V6 => u128::MAX,
            };
            let mut case = Case {
                family: Some(*family),
                ..Case::default()
            };
            case.addresses[index(*side)] = Some(unless(ranges, not, last));
            Ok(vec![case])
        }
        Expr::Port(side, protocol, ranges) => {
            let mut case = Case {
                protocol: Some(*protocol),
                ..Case::default()
            };
            case.ports[index(*side)] = Some(unless(ranges, not, PORTS));
            Ok(vec![case])
        }
    }
}

/// Prerequisites (that it is TCP at all) stay; what is negated is the value, as in OVN.
fn unless(ranges: &RangeSet, not: bool, last: u128) -> RangeSet {
    match not {
        true => RangeSet::new(vec![(0, last)]).without(ranges),
        false => ranges.clone(),
    }
}

fn every(parts: &[Expr], not: bool) -> Result<Vec<Case>, String> {
    let mut all = vec![Case::default()];
    for part in parts {
        let more = cases(part, not)?;
        within(all.len().saturating_mul(more.len()))?;
        let pairs = all.iter().flat_map(|a| more.iter().map(move |b| (a, b)));
        all = pairs.filter_map(|(a, b)| both(a, b)).collect();
    }
    Ok(all)
}

fn within(count: usize) -> Result<(), String> {
    match count > MOST {
        true => Err(format!(
            "it has more than {MOST} alternatives; write several rules"
        )),
        false => Ok(()),
    }
}

/// Both hold; none if they cannot.
fn both(a: &Case, b: &Case) -> Option<Case> {
    fn same<T: Copy + PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            _ => Some(a.or(b)),
        }
    }
    let ranges = |a: &Option<RangeSet>, b: &Option<RangeSet>| match (a, b) {
        (Some(a), Some(b)) => {
            let all = RangeSet::new(vec![(0, u128::MAX)]);
            let common = a.without(&all.without(b));
            (!common.is_empty()).then_some(Some(common))
        }
        (one, other) => Some(one.clone().or_else(|| other.clone())),
    };
    let [sources, destinations] = &a.addresses;
    let [from, to] = &a.ports;
    Some(Case {
        family: same(a.family, b.family)?,
        protocol: same(a.protocol, b.protocol)?,
        addresses: [
            ranges(sources, &b.addresses[0])?,
            ranges(destinations, &b.addresses[1])?,
        ],
        ports: [ranges(from, &b.ports[0])?, ranges(to, &b.ports[1])?],
    })
}

fn term(case: Case) -> Term {
    let family = case.family.unwrap_or(Family::V4);
    let [sources, destinations] = case.addresses.map(|ranges| {
        let ranges = ranges.unwrap_or_default();
        let nets = ranges.ranges().iter();
        nets.flat_map(|&(a, b)| prefixes(family, a, b)).collect()
    });
    let [source_ports, destination_ports] = case.ports.map(|ranges| {
        let ranges = ranges.unwrap_or_default();
        let ports = ranges.ranges().iter();
        ports.map(|&(a, b)| (a as u16, b as u16)).collect()
    });
    Term {
        family: case.family,
        sources,
        destinations,
        protocol: case.protocol,
        source_ports,
        destination_ports,
    }
}

fn prefixes(family: Family, first: u128, last: u128) -> Vec<IpNet> {
    match (family.address(first), family.address(last)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let subnets = ipnet::Ipv4Subnets::new(a, b, 0);
            subnets.map(|net: Ipv4Net| IpNet::V4(net)).collect()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let subnets = ipnet::Ipv6Subnets::new(a, b, 0);
            subnets.map(|net: Ipv6Net| IpNet::V6(net)).collect()
        }
        _ => Vec::new(),
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Destination => 1,
    }
}

//! What the policy log hears of a switch: packets that begin connections, with what decided; how
//! many its meter kept back; and what each rule of the policies in the log has counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flows::feature::policy::METER;
use flows::flow::{IPV4, IPV6, Logged};
use flows::origin::{COOKIE_MARK, Feature};
use flows::{Table, fields};
use net::{FlowKey, PortNo};
use openflow::msg::{FlowStatsRequest, PacketIn, ReplyBody, RequestBody};
use openflow::{Field, Match};

use crate::connection::{Connection, ConnectionError};
use crate::event::{Counted, Judged};

/// True for a packet that the policy log hears of.
pub(crate) fn is_logged(packet: &PacketIn) -> bool {
    [Table::PolicyCommit.id(), Table::PolicyLog.id()].contains(&packet.table)
}

/// What a packet says of its connection; none for one that is no longer known why it came.
pub(crate) fn judged(
    node: &str,
    packet: &PacketIn,
    logged: &BTreeMap<u32, Logged>,
    port_name: impl Fn(PortNo) -> Option<String>,
) -> Option<Judged> {
    let number = |named: &fields::Named| {
        let of = packet.matching.get(named.field)?;
        logged.get(&((of.value >> named.low) as u32))
    };
    let denied = is_denied(&packet.matching);
    let said = [number(&fields::LOG_EGRESS), number(&fields::LOG_INGRESS)];
    let said = said.into_iter().flatten();
    let logged: Vec<Logged> = said.filter(|l| l.denied == denied).cloned().collect();
    if logged.is_empty() {
        return None;
    }
    let mut key = FlowKey::default();
    net::parse::extract(&packet.data, usize::from(packet.total_len), &mut key).ok()?;
    let (source, destination) = addresses(&key)?;
    let in_port = packet.matching.get(Field::InPort);
    let in_port = in_port.map(|of| PortNo(of.value as u32));
    Some(Judged {
        node: node.to_string(),
        port: in_port.and_then(port_name),
        source,
        destination,
        protocol: key.nw_proto,
        ports: (key.tp_src.get(), key.tp_dst.get()),
        logged,
    })
}

fn is_denied(matching: &Match) -> bool {
    let of = matching.get(fields::DENIED.field);
    of.is_some_and(|of| of.value & fields::DENIED.mask() != 0)
}

fn addresses(key: &FlowKey) -> Option<(IpAddr, IpAddr)> {
    match key.eth_type.get() {
        IPV4 => {
            let address = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
            Some((address(key.nw_src.get()), address(key.nw_dst.get())))
        }
        IPV6 => {
            let address = |bytes| IpAddr::V6(Ipv6Addr::from(bytes));
            Some((address(key.ipv6_src), address(key.ipv6_dst)))
        }
        _ => None,
    }
}

/// Asks a switch what it has counted for the policies that are in the log, by the labels of their
/// rules.
pub(crate) async fn count(
    connection: &mut Connection,
    node: &str,
    logged: &BTreeMap<u32, Logged>,
    labels: &BTreeMap<u64, String>,
) -> Result<Counted, ConnectionError> {
    let policies: BTreeSet<String> = logged.values().map(|l| format!("{} ", l.policy)).collect();
    let request = FlowStatsRequest {
        cookie: u64::from(COOKIE_MARK) << 56 | (Feature::Policy as u64) << 48,
        cookie_mask: 0xffff << 48,
        ..FlowStatsRequest::default()
    };
    let mut by_cookie: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    connection
        .ask_each(RequestBody::Flow(request), "what its rules count", |part| {
            let ReplyBody::Flow(flows) = part else { return };
            for flow in flows {
                let sum = by_cookie.entry(flow.cookie).or_default();
                *sum = (sum.0 + flow.packet_count, sum.1 + flow.byte_count);
            }
        })
        .await?;
    let of = |cookie: u64| {
        let label = labels.get(&cookie)?;
        // The names of policies end at a space.
        let end = label.match_indices(' ').nth(1).map(|(at, _)| at + 1)?;
        policies.contains(label.get(..end)?).then(|| label.clone())
    };
    let rules = by_cookie
        .into_iter()
        .filter_map(|(cookie, counts)| Some((of(cookie)?, counts)))
        .collect();
    let meters = connection
        .ask_parts(RequestBody::Meter(METER), "what its meter kept back")
        .await?;
    let kept_back = meters.iter().flat_map(|part| match part {
        ReplyBody::Meter(meters) => meters.as_slice(),
        _ => &[],
    });
    let kept_back = kept_back
        .flat_map(|meter| &meter.bands)
        .map(|band| band.packet_count)
        .sum();
    Ok(Counted {
        node: node.to_string(),
        kept_back,
        rules,
    })
}

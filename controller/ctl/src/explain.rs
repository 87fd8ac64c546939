//! Why the dataplane drops packets: a text for each of its reasons, and what to do.

use std::fmt::Write;

use admin::Drop;
use serde::Serialize;

use crate::Failure;
use crate::columns::Columns;

/// A drop reason of the dataplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The word, as `sluicectl drops` and the metrics have it.
    pub reason: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// A reason with what a dataplane has counted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The reason.
    #[serde(flatten)]
    pub reason: Reason,
    /// Packets; none: no dataplane was asked.
    pub packets: Option<u64>,
}

/// The reason of that name, or all of them, those that have counted most first.
///
/// # Errors
/// There is none of that name.
pub fn told(name: Option<&str>, drops: Option<&[Drop]>) -> Result<Vec<Told>, Failure> {
    let packets = |reason: &str| {
        let of = drops?.iter().filter(|drop| drop.reason == reason);
        Some(of.map(|drop| drop.packets).sum())
    };
    let all = REASONS
        .iter()
        .filter(|r| name.is_none_or(|name| name == r.reason));
    let mut all: Vec<Told> = all
        .map(|reason| Told {
            reason: *reason,
            packets: packets(reason.reason),
        })
        .collect();
    all.sort_by_key(|told| std::cmp::Reverse(told.packets));
    match name {
        Some(name) if all.is_empty() => {
            let near = cluster::query::near(name, REASONS.iter().map(|r| r.reason)).join(", ");
            let near = match near.is_empty() {
                true => "`sluicectl explain drop` lists them".into(),
                false => format!("near is {near}"),
            };
            Err(Failure::Usage(format!("no drop reason {name}; {near}")))
        }
        _ => Ok(all),
    }
}

/// As text: one in full, many as a table.
pub fn text(told: &[Told]) -> String {
    let counted = |told: &Told| told.packets.map_or(String::new(), |n| n.to_string());
    if let [one] = told {
        let Reason {
            reason,
            meaning,
            remedy,
        } = one.reason;
        let mut text = format!("{reason}: {meaning}\nwhat to do: {remedy}\n");
        if let Some(packets) = one.packets {
            let _ = writeln!(text, "counted by this node's dataplane: {packets}");
        }
        return text;
    }
    let mut table = Columns::new(&["REASON", ">PACKETS", "MEANING"]);
    for told in told {
        table.row([
            told.reason.reason.into(),
            counted(told),
            told.reason.meaning.into(),
        ]);
    }
    table.render("")
}

macro_rules! reasons {
    ($($reason:literal $meaning:literal $remedy:literal;)*) => {
        /// Every reason.
        pub const REASONS: &[Reason] = &[$(Reason {
            reason: $reason,
            meaning: $meaning,
            remedy: $remedy,
        }),*];
    };
}

reasons! {
    "malformed"
        "The frame is too short for its headers, or they contradict its length."
        "Look at the sender: `sluicectl dump-ports` shows on which port errors grow; capture \
        there.";
    "table_miss"
        "No flow matched in a table, and the table has no flow for misses."
        "The node has not got its flows: `sluicectl get nodes`, then `sluicectl diff NODE`.";
    "fragment"
        "An IP fragment, while the switch is set to drop them."
        "Set the switch to OFPC_FRAG_NORMAL, or lower the sender's packet size below the MTU \
        of the path.";
    "fragment_timeout"
        "Fragments waited for the first one of their datagram, which did not come."
        "Fragments get lost on the way; lower the sender's packet size below the MTU of the \
        path.";
    "fragment_limit"
        "Fragments made room for newer ones, or came in too many parts."
        "Somebody sends more fragments than a node keeps; lower the packet size, or find who \
        floods.";
    "fragment_overlap"
        "A fragment overlaps another of its datagram (RFC 5722)."
        "No honest sender does so: find the source, and deny it by a policy.";
    "fragment_duplicate"
        "A fragment of which all bytes had come before."
        "Harmless alone; many of them mean a loop or a doubled mirror on the network before \
        the uplink.";
    "fragment_malformed"
        "A fragment that nobody may send (RFC 7112)."
        "No honest sender does so: find the source, and deny it by a policy.";
    "rule"
        "A flow drops it: a policy, the spoof guard, a subnet's rules, or an address that \
        nobody has."
        "`sluicectl drops` names the dropping flows with their objects; `sluicectl explain \
        drop POD DESTINATION` says which one and what to do.";
    "rejected"
        "A flow refuses it, and the sender was told so."
        "The flow names its object in `sluicectl drops`: a Service without endpoints, for \
        instance; `sluicectl get services` shows them.";
    "too_deep"
        "More tables and groups inside each other than a packet may go through."
        "The flows lead in a circle: `sluicectl diff NODE` shows which are not the \
        controller's.";
    "unsupported"
        "A flow asks for what this dataplane cannot do with this packet."
        "`sluicectl diff NODE` shows flows that are not the controller's; if there are none, \
        report it.";
    "no_group"
        "A flow sends to a group that does not exist."
        "`sluicectl diff NODE` shows what is missing; it is sent again within the minutes of \
        a resync.";
    "no_bucket"
        "The group has no bucket that may be used: a Service without an endpoint for this \
        client."
        "`sluicectl get services NAME --node NODE` says of each endpoint why it is not used.";
    "meter"
        "A rate is exceeded: of the pod, its namespace, or of packets."
        "Raise ingress_rate or egress_rate (docs/kubernetes.md); `sluicectl dump-meters` \
        shows which rate drops.";
    "ttl_expired"
        "The time to live or hop limit ran out."
        "Either a traceroute, which is as it should be, or a routing loop outside the \
        cluster.";
    "no_port"
        "A flow sends to a port that does not exist."
        "The pod's port has gone: `sluicectl get pods`, `sluicectl port list`.";
    "no_local_port"
        "A flow sends to LOCAL, and no port was given ofport=LOCAL."
        "The controller's flows use port sluice0: add it, or take the foreign flow away \
        (`sluicectl diff NODE`).";
    "reserved_multicast"
        "NORMAL does not forward link-local group addresses (IEEE 802.1Q 8.6.3)."
        "As it should be: LLDP, STP and LACP end at the bridge.";
    "wrong_vlan"
        "NORMAL: a tagged packet on an access port, or the address is behind one of another \
        VLAN."
        "Correct the VLAN of the port or of the sender; `sluicectl fdb` shows where addresses \
        are.";
    "same_port"
        "It would go back to the port it came from."
        "A broadcast that came back by another way, or two uplinks on one VLAN; look at the \
        physical switches.";
    "port_no_recv"
        "The port takes no packets yet: the controller has not opened it."
        "`sluicectl get pods` says what the pod waits for; a pod is closed until its flows \
        are in force.";
    "port_no_fwd"
        "The port sends no packets yet: the controller has not opened it."
        "`sluicectl get pods` says what the pod waits for; a pod is closed until its flows \
        are in force.";
    "port_down"
        "The port is administratively down."
        "Set it up again (`ovs-ofctl mod-port`); find who set it down.";
    "port_full"
        "The port could not take more packets, or needs a frame split that cannot be."
        "The receiver is too slow or too small: more queues or cores for it; check the MTU of \
        pod and port.";
    "queue_full"
        "A queue of the port it goes to is full."
        "More arrives than the port's rate lets out: raise its rate or the queue's share \
        (`sluicectl port queues`).";
    "queue_expired"
        "It waited too long in a queue of the port it goes to."
        "The queue's share is too small for what is put in it: `sluicectl port queues`, \
        `sluicectl port set`.";
    "impairment_loss"
        "Lost by chance, as `ovn.kubernetes.io/loss` asks for on the pod it was for."
        "Take the annotation off the Pod if this is no test environment.";
    "impairment_full"
        "As many packets as `ovn.kubernetes.io/limit` allows are late already on their way to the pod."
        "Raise the annotation: rate times latency packets are on their way at any time.";
    "too_big"
        "Longer than the MTU of the port it goes to, and not to be fragmented."
        "Give pods the MTU of the path (spec.mtu of the Subnet, --overlay-mtu), and let ICMP \
        \"too big\" through to the sender.";
    "no_memory"
        "No packet memory left."
        "Start the dataplane with more --memory; `sluicectl cores` shows whether packets pile \
        up somewhere.";
    "conntrack_full"
        "The connection table is full of connections that both sides have opened."
        "`sluicectl ct show` has the figures; give the dataplane a larger table, or find who \
        opens them.";
    "conntrack_zone_limit"
        "The connection's zone has as many connections as it may."
        "`sluicectl ct limits` shows and sets them.";
    "conntrack_source_share"
        "The source has too many connections of which one direction only was seen."
        "It scans or floods; if it is honest, raise ct-half-open-per-source.";
    "conntrack_half_open"
        "Too many half-open connections, and none could give way."
        "A flood: find its sources with `sluicectl ct`; or raise ct-half-open.";
    "nat_exhausted"
        "No free address and port left for the translation."
        "Too many connections from one address to one destination: spread them over more \
        nodes or addresses.";
    "tunnel_no_destination"
        "Sent into a tunnel without a tunnel destination."
        "The other node has no tunnel address: `sluicectl get nodes -o wide`.";
    "tunnel_no_endpoint"
        "This node has no tunnel endpoint of the destination's family."
        "Start the dataplane with --vtep of that family.";
    "tunnel_no_route"
        "The tunnel destination is off link, and the endpoint has no gateway."
        "Add gateway= to the dataplane's --vtep.";
    "neighbor_failed"
        "The next hop's link-layer address could not be found out."
        "`sluicectl neighbor list` shows which does not answer: check its cable, VLAN and \
        address.";
    "neighbor_queue_full"
        "Too many packets wait for the next hop's link-layer address."
        "As for neighbor_failed: `sluicectl neighbor list`.";
    "tunnel_no_port"
        "A tunnel packet for this node, but no tunnel port takes its key and sender."
        "Add the tunnel port (--port geneve0,ofport=2,tunnel=geneve), or find who sends from \
        outside the cluster.";
    "tunnel_malformed"
        "A tunnel packet with a malformed header, or whose content is not Ethernet."
        "Look at the sender of the outer packet: it is no node of this cluster, or its \
        software is broken.";
    "tunnel_critical_option"
        "A Geneve packet with a critical option that nobody here knows (RFC 8926 3.5)."
        "The sender is no node of this cluster, or of a newer version.";
    "tunnel_fragment"
        "A fragment of a tunnel packet: its path's MTU is smaller than the uplink's."
        "Raise the MTU of the network between nodes, or lower --overlay-mtu and that of the \
        uplinks.";
    "tunnel_checksum"
        "A tunnel packet whose outer UDP checksum is wrong."
        "Something on the way damages packets: NIC, cable or switch; `ethtool -S` of both \
        ends.";
    "tunnel_congestion"
        "A tunnel packet met congestion, and the packet inside cannot say so (RFC 6040 4.2)."
        "The network between nodes is congested; senders with ECN slow down instead of losing \
        packets.";
    "packet_in_full"
        "The queue of packets to the controller is full."
        "Something asks the controller for more than it takes; what pods send does not wait \
        for it.";
    "handover_full"
        "The queue to the worker that owns the output port is full."
        "That worker is too busy: `sluicectl cores`, `sluicectl port move`, or more --cpus.";
}

#[cfg(test)]
mod tests {
    use worker::DropReason;

    use super::*;

    #[test]
    fn every_drop_reason_of_the_dataplane_is_explained_once() {
        let explained: Vec<&str> = REASONS.iter().map(|r| r.reason).collect();
        let all: Vec<&str> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(explained, all);
        for reason in REASONS {
            for text in [reason.meaning, reason.remedy] {
                assert!(
                    text.len() > 20 && text.ends_with('.'),
                    "{}: {text}",
                    reason.reason
                );
            }
        }
    }

    #[test]
    fn a_reason_is_told_with_what_was_counted_and_a_slip_is_answered_with_what_is_near() {
        let drop = |cpu, packets| Drop {
            cpu: Some(cpu),
            reason: "meter".into(),
            packets,
            ..Drop::default()
        };
        let drops = [drop(1, 3), drop(2, 4)];
        let text = text(&told(Some("meter"), Some(&drops)).unwrap());
        assert!(text.starts_with("meter: A rate is exceeded"), "{text}");
        assert!(
            text.ends_with("counted by this node's dataplane: 7\n"),
            "{text}"
        );
        let all = told(None, Some(&drops)).unwrap();
        assert_eq!((all.len(), all[0].reason.reason), (REASONS.len(), "meter"));
        let Err(Failure::Usage(error)) = told(Some("metre"), None) else {
            panic!();
        };
        assert_eq!(error, "no drop reason metre; near is meter");
    }
}

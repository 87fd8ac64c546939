"""What is measured: the flows of every case, in ovs-ofctl's words, and the gates.

The flows are the same text for both switches. Ports: 1 receives, 2 sends, 3 is the Geneve tunnel, 4 plays
replies once, so that connections are established before anything is measured.
"""

import traffic

FORWARD = {"src": "02:00:00:00:01:01", "dst": "02:00:00:00:01:02"}
BACK = {"src": "02:00:00:00:01:03", "dst": "02:00:00:00:01:04"}
REMOTE, REMOTE_MAC, LOCAL = "172.30.0.2", "02:00:00:00:02:02", "172.30.0.1"
TUNNEL = f"set_field:7->tun_id,set_field:{REMOTE}->tun_dst,output:3"


def rewrite(macs):
    return f"dec_ttl,set_field:{macs['src']}->eth_src,set_field:{macs['dst']}->eth_dst"


def routes(table, out="output:2"):
    """Both directions of traffic with 10.1.0.0/16."""
    return [
        f"table={table},priority=10,ip,nw_dst=10.1.0.0/16,actions={rewrite(FORWARD)},{out}",
        f"table={table},priority=10,ip,nw_dst=10.0.0.0/16,actions={rewrite(BACK)},output:2",
    ]


def policy(rules, table, then):
    """An access list as an administrator of many workloads would have it: for each, who may use which
    port, and a few hosts that may not. One rule in two is hit by the traffic."""
    lists = []
    for n in range(rules):
        workload, kind, turn = n % traffic.WORKLOADS, n // traffic.WORKLOADS % 4, n // (4 * traffic.WORKLOADS)
        low, high = traffic.ports_of(workload)
        match = f"udp,nw_dst=10.1.{workload}.0/24"
        # Later turns are rules for addresses that send nothing here.
        other = f"10.{128 + turn // 256 % 64}.{turn % 256}.0/24"
        if turn > 0:
            source, port = other, 3000 + n % 1000
            lists.append(f"table={table},priority={100 + kind},{match},nw_src={source},tp_dst={port},actions={then}")
        elif kind == 0:
            lists.append(f"table={table},priority=100,{match},nw_src=10.0.0.0/17,tp_dst={low},actions={then}")
        elif kind == 1:
            lists.append(f"table={table},priority=100,{match},nw_src=10.0.128.0/17,tp_dst={high},actions={then}")
        elif kind == 2:
            lists.append(f"table={table},priority=200,{match},nw_src=10.0.{workload}.0/24,tp_dst=22,actions=drop")
        else:
            lists.append(f"table={table},priority=300,udp,nw_dst=10.1.{workload}.{workload},nw_src=10.2.0.0/15,tp_dst=53,actions=drop")
    return lists


def many_routes(count, table):
    """A route for every workload, more specific ones inside, and others that lead elsewhere."""
    prefixes = [f"10.1.{n}.0/24" for n in range(traffic.WORKLOADS)]
    prefixes += [f"10.1.{n % traffic.WORKLOADS}.{n // traffic.WORKLOADS * 16}/28" for n in range(8 * traffic.WORKLOADS)]
    prefixes += [f"10.{16 + n // 256}.{n % 256}.0/24" for n in range(count - len(prefixes))]
    return [
        f"table={table},priority={10 + int(prefix.split('/')[1])},ip,nw_dst={prefix},actions=dec_ttl,"
        f"set_field:02:00:00:00:01:01->eth_src,set_field:02:00:00:00:03:{n % 16:02x}->eth_dst,output:2"
        for n, prefix in enumerate(prefixes)
    ]


def tracked(nat=False):
    """Every packet through the tracker; what comes back from it is in table 1."""
    ct = "ct(zone=1,nat,table=1)" if nat else "ct(zone=1,table=1)"
    return [f"table=0,priority=10,in_port={port},ip,actions={ct}" for port in (1, 4)]


def states(new, established="goto_table:2"):
    return [
        f"table=1,priority=10,cookie=0xe,ct_state=+trk+est,ip,actions={established}",
        f"table=1,priority=10,cookie=0xf,ct_state=+trk+new,ip,actions={new}",
    ]


def group(number, backends, port=traffic.BACKEND_PORT):
    buckets = ",".join(
        f"bucket=weight:1,ct(commit,zone=1,nat(dst={a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}:{port}),table=2)"
        for a in backends
    )
    return f"group_id={number},type=select,{buckets}"


class Case:
    """`frames` gives flow n; `ready` is what must hold before measuring: nothing, or connections."""

    def __init__(self, name, flows, groups=(), meters=(), frames=traffic.plain, connections=False, nat=False, words=""):
        self.name, self.flows, self.groups, self.meters = name, list(flows), list(groups), list(meters)
        self.frames, self.connections, self.nat, self.words = frames, connections, nat, words


def l2():
    return Case("l2", ["in_port=1,actions=output:2"], words="in_port -> output")


def vlan():
    return Case("vlan", ["in_port=1,actions=push_vlan:0x8100,set_field:4196->vlan_vid,output:2"], words="push_vlan + output")


def l3():
    flows = [
        "table=0,priority=10,in_port=1,dl_dst=02:00:00:00:00:02,ip,actions=goto_table:1",
        f"table=1,priority=10,ip,nw_dst=10.1.0.0/16,actions={rewrite(FORWARD)},goto_table:2",
        f"table=2,priority=10,dl_dst={FORWARD['dst']},actions=output:2",
    ]
    return Case("l3", flows, words="3 tables, route, TTL, MACs")


def stateless(rules=1000, prefixes=4096):
    first = ["table=0,priority=10,in_port=1,dl_dst=02:00:00:00:00:02,ip,actions=goto_table:1"]
    flows = first + policy(rules, 1, "goto_table:2") + many_routes(prefixes, 2)
    return Case("policy", flows, words="1,000 policy rules + 4,096 routes, stateless")


def ct():
    flows = tracked() + states("ct(commit,zone=1,table=2)") + routes(2)
    return Case("ct", flows, connections=True, words="conntrack, established, new, commit + route")


def service(services=1, endpoints=16):
    def vip(n):
        address = traffic.VIP + n
        return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"

    flows = [
        f"table=0,priority=20,in_port=1,udp,nw_dst={vip(n)},tp_dst=80,actions=ct(zone=1,nat,table=1)"
        for n in range(services)
    ]
    flows += ["table=0,priority=10,in_port=4,ip,actions=ct(zone=1,nat,table=1)"]
    flows += ["table=1,priority=10,cookie=0xe,ct_state=+trk+est,ip,actions=goto_table:2"]
    # Until the first reply a connection is new; its backend is chosen already.
    flows += ["table=1,priority=15,cookie=0xf,ct_state=+trk+new+dnat,ip,actions=goto_table:2"]
    flows += [
        f"table=1,priority=10,cookie=0xf,ct_state=+trk+new,ip,nw_dst={vip(n)},actions=group:{n + 1}" for n in range(services)
    ]
    groups = [group(n + 1, traffic.BACKENDS[:endpoints]) for n in range(services)]
    return Case(
        "service",
        flows + routes(2),
        groups,
        frames=lambda flow: traffic.to_service(flow, services),
        connections=True,
        nat=True,
        words="Service VIP, 16 backends, conntrack NAT + route",
    )


def geneve():
    return Case("geneve", [f"in_port=1,actions={TUNNEL}"], words="Geneve encap")


def whole():
    """A Service, a policy of 1,000 rules on what it chose, a meter, a route, Geneve."""
    case = service()
    rules = [rule for rule in policy(1000, 2, "goto_table:3") if "priority=100," not in rule]
    rules += [
        f"table=2,priority=100,udp,nw_src={half},nw_dst=10.1.{n}.0/24,tp_dst=8080,actions=goto_table:3"
        for n in range(traffic.WORKLOADS)
        for half in ("10.0.0.0/17", "10.0.128.0/17")
    ]
    case.name, case.meters = "whole", ["meter=1,kbps,band=type=drop,rate=400000000"]
    case.flows = [flow for flow in case.flows if not flow.startswith("table=2")]
    case.flows += rules
    case.flows += [
        # Replies are not what is limited here.
        f"table=2,priority=400,ip,nw_dst=10.0.0.0/16,actions={rewrite(BACK)},output:2",
        "table=3,priority=10,ip,actions=meter:1,goto_table:4",
        f"table=4,priority=10,ip,nw_dst=10.1.0.0/16,actions={rewrite(FORWARD)},{TUNNEL}",
    ]
    case.words = "the whole: conntrack + Service + policy + meter + Geneve"
    return case


def stateful(rules):
    """The access list is asked for new connections only."""
    flows = tracked() + states("goto_table:3") + policy(rules, 3, "ct(commit,zone=1,table=2)") + routes(2)
    # With few rules, traffic of other workloads has this one.
    flows.append("table=3,priority=1,ip,actions=ct(commit,zone=1,table=2)")
    return Case("stateful", flows, connections=True, words="policy for new connections, conntrack + route")


TABLE = {make.__name__ if make is not stateless else "policy": make for make in (l2, vlan, l3, stateless, ct, service, geneve, whole)}
# Ratio to Open vSwitch by case and flows: the table.
GATES = {
    "l2": {1: 1.2, 100_000: 1.5},
    "vlan": {1: 1.2, 100_000: 1.5},
    "l3": {1: 1.3, 1000: 1.4, 10_000: 2, 100_000: 2.5},
    "policy": {1: 1.3, 1000: 1.4, 10_000: 3, 100_000: 4},
    "ct": {1: 3, 1000: 4, 10_000: 5, 100_000: 7},
    "service": {1: 3, 1000: 4, 10_000: 5, 100_000: 8},
    "geneve": {1: 1.2, 1000: 1.5, 10_000: 2, 100_000: 2.5},
    "whole": {1: 3, 1000: 4, 10_000: 5, 100_000: 8},
}

"""The rules of a node with Calico and kube-proxy, for iptables-restore: kernel_rules.py POLICY_RULES SERVICES

Not Calico itself: the chains that its agent and kube-proxy (iptables mode) write for these pods, in their
order, with their matches, marks and comments; host endpoints, overlays and NodePorts, which nothing here uses,
are left out but for the jumps that every packet takes.
"""

import base64
import hashlib
import sys

from layout import CLIENT, CLUSTER, NODE_INTERFACES, SERVERS, SERVICE_PORT, TARGET_PORT, foreign, service_address

ACCEPT = "0x10000/0x10000"


def short(prefix, text):
    return prefix + base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]


def raw():
    return """*raw
:cali-PREROUTING - [0:0]
:cali-rpf-skip - [0:0]
:cali-from-host-endpoint - [0:0]
-A PREROUTING -j cali-PREROUTING
-A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i cali+ -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING -m mark --mark 0x40000/0x40000 -j cali-rpf-skip
-A cali-PREROUTING -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING -m mark --mark 0x0/0x40000 -j cali-from-host-endpoint
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
"""


def mangle():
    return """*mangle
:cali-PREROUTING - [0:0]
:cali-POSTROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -j cali-PREROUTING
-A POSTROUTING -j cali-POSTROUTING
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-POSTROUTING -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-POSTROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-POSTROUTING -m conntrack --ctstate DNAT -j cali-to-host-endpoint
-A cali-POSTROUTING -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j RETURN
COMMIT
"""


def nat(services):
    """A Service is one rule that every new connection passes, and two endpoints behind it."""
    chains = [
        "PREROUTING ACCEPT", "OUTPUT ACCEPT", "POSTROUTING ACCEPT",
        "cali-PREROUTING -", "cali-POSTROUTING -", "cali-OUTPUT -", "cali-fip-dnat -", "cali-fip-snat -", "cali-nat-outgoing -",
        "KUBE-SERVICES -", "KUBE-NODEPORTS -", "KUBE-POSTROUTING -", "KUBE-MARK-MASQ -",
    ]  # fmt: skip
    rules = [
        "-A PREROUTING -j cali-PREROUTING",
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-A OUTPUT -j cali-OUTPUT",
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-A POSTROUTING -j cali-POSTROUTING",
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-A cali-PREROUTING -j cali-fip-dnat",
        "-A cali-OUTPUT -j cali-fip-dnat",
        "-A cali-POSTROUTING -j cali-fip-snat",
        "-A cali-POSTROUTING -j cali-nat-outgoing",
        "-A cali-nat-outgoing -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst "
        "-j MASQUERADE --random-fully",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    ]
    for number in range(services):
        name, address = f"bench/s{number}:tcp", service_address(number, services)
        chain = short("KUBE-SVC-", name)
        chains.append(chain + " -")
        rules.append(
            f'-A KUBE-SERVICES -d {address}/32 -p tcp -m comment --comment "{name} cluster IP" '
            f"-m tcp --dport {SERVICE_PORT} -j {chain}"
        )
        rules.append(
            f'-A {chain} ! -s {CLUSTER} -d {address}/32 -p tcp -m comment --comment "{name} cluster IP" '
            f"-m tcp --dport {SERVICE_PORT} -j KUBE-MARK-MASQ"
        )
        for place, server in enumerate(SERVERS):
            endpoint = f"{server}:{TARGET_PORT}"
            end_chain = short("KUBE-SEP-", name + endpoint)
            chains.append(end_chain + " -")
            left = len(SERVERS) - place
            dice = f"-m statistic --mode random --probability {1 / left:.11f} " if left > 1 else ""
            rules.append(f'-A {chain} -m comment --comment "{name} -> {endpoint}" {dice}-j {end_chain}')
            rules.append(f'-A {end_chain} -s {server}/32 -m comment --comment "{name}" -j KUBE-MARK-MASQ')
            rules.append(f'-A {end_chain} -p tcp -m comment --comment "{name}" -m tcp -j DNAT --to-destination {endpoint}')
    rules.append(
        '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" '
        "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    )
    return "\n".join(["*nat", *(f":{chain} [0:0]" for chain in chains), *rules, "COMMIT", ""])


def endpoint(chain, policy, profile, from_pod):
    """What each pod's chain does, in one direction."""
    rules = [
        f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-A {chain} -m conntrack --ctstate INVALID -j DROP",
        f"-A {chain} -j MARK --set-xmark 0x0/0x30000",
    ]
    if from_pod:
        rules += [
            f'-A {chain} -p udp -m comment --comment "Drop VXLAN encapped packets originating in workloads" '
            "-m multiport --dports 4789 -j DROP",
            f'-A {chain} -p ipencap -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP',
        ]
    if policy:
        rules += [
            f'-A {chain} -m comment --comment "Start of tier default" -j MARK --set-xmark 0x0/0x20000',
            f"-A {chain} -m mark --mark 0x0/0x20000 -j {policy}",
            f'-A {chain} -m comment --comment "Return if policy accepted" -m mark --mark {ACCEPT} -j RETURN',
            f'-A {chain} -m comment --comment "End of tier default. Drop if no policies passed packet" '
            "-m mark --mark 0x0/0x20000 -j DROP",
        ]
    rules += [
        f"-A {chain} -j {profile}",
        f'-A {chain} -m comment --comment "Return if profile accepted" -m mark --mark {ACCEPT} -j RETURN',
        f'-A {chain} -m comment --comment "Drop if no profiles matched" -j DROP',
    ]
    return rules


def policy_chain(chain, count):
    """`count` rules that let somebody in; the one that lets the client in is in the middle."""
    rules = []
    for number in range(count):
        if number == count // 2:
            match = "-m set --match-set cali40s:clients src"
        else:
            network, port = foreign(number)
            match = f"-s {network} -p tcp -m multiport --dports {port}"
        rules.append(f'-A {chain} -m comment --comment "Policy bench/let-in ingress" {match} -j MARK --set-xmark {ACCEPT}')
        rules.append(f"-A {chain} -m mark --mark {ACCEPT} -j RETURN")
    return rules


def filter_table(policy_rules):
    chains = [
        "INPUT ACCEPT", "FORWARD ACCEPT", "OUTPUT ACCEPT",
        "cali-FORWARD -", "cali-from-hep-forward -", "cali-to-hep-forward -", "cali-cidr-block -",
        "cali-from-wl-dispatch -", "cali-to-wl-dispatch -", "cali-pri-kns.bench -", "cali-pro-kns.bench -",
        "KUBE-FORWARD -", "KUBE-SERVICES -", "KUBE-EXTERNAL-SERVICES -", "KUBE-PROXY-FIREWALL -",
    ]  # fmt: skip
    rules = [
        "-A FORWARD -j cali-FORWARD",
        '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
        '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" '
        "-j KUBE-EXTERNAL-SERVICES",
        f'-A FORWARD -m comment --comment "Policy explicitly accepted packet." -m mark --mark {ACCEPT} -j ACCEPT',
        f"-A FORWARD -j MARK --set-xmark {ACCEPT}",
        "-A cali-FORWARD -j MARK --set-xmark 0x0/0xe0000",
        "-A cali-FORWARD -m mark --mark 0x0/0x10000 -j cali-from-hep-forward",
        "-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch",
        "-A cali-FORWARD -o cali+ -j cali-to-wl-dispatch",
        "-A cali-FORWARD -j cali-to-hep-forward",
        "-A cali-FORWARD -j cali-cidr-block",
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" '
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
    for profile in ("cali-pri-kns.bench", "cali-pro-kns.bench"):
        rules.append(f'-A {profile} -m comment --comment "Profile kns.bench" -j MARK --set-xmark {ACCEPT}')
        rules.append(f"-A {profile} -m mark --mark {ACCEPT} -j RETURN")
    policy = "cali-pi-let-in" if policy_rules else None
    if policy:
        chains.append(policy + " -")
        rules += policy_chain(policy, policy_rules)
    for interface, address in NODE_INTERFACES:
        for way, match, from_pod in (("fw", "i", True), ("tw", "o", False)):
            chain = f"cali-{way}-{interface}"
            chains.append(chain + " -")
            dispatch = "cali-from-wl-dispatch" if from_pod else "cali-to-wl-dispatch"
            rules.append(f"-A {dispatch} -{match} {interface} -g {chain}")
            guarded = policy if not from_pod and address != CLIENT else None
            rules += endpoint(chain, guarded, "cali-pro-kns.bench" if from_pod else "cali-pri-kns.bench", from_pod)
    for dispatch in ("cali-from-wl-dispatch", "cali-to-wl-dispatch"):
        rules.append(f'-A {dispatch} -m comment --comment "Unknown interface" -j DROP')
    return "\n".join(["*filter", *(f":{chain} [0:0]" for chain in chains), *rules, "COMMIT", ""])


if __name__ == "__main__":
    policy_rules, services = int(sys.argv[1]), int(sys.argv[2])
    sys.stdout.write(raw() + mangle() + nat(services) + filter_table(policy_rules))

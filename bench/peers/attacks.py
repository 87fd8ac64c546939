"""Attacks, each beside 10,000 good connections on the same core: those keep their rate and lose nothing.

The good connections are established ones, both directions, sent at a constant rate by a generator that does
not wait (port 1, to the sink at port 2). The attack comes by port 5, or over OpenFlow.
"""

import itertools
import subprocess
import time
import zlib

import cases
import traffic
from switches import Failed, Sluice, wait_for

GOOD = 10_000
# A table that a flood fills within a second.
SMALL = ["--ct-max", "65536", "--ct-half-open", "50000"]


def good_flows():
    flows = ["table=0,priority=10,in_port=1,ip,actions=ct(zone=1,table=1)"] + cases.states("ct(commit,zone=1,table=2)")
    flows += [flow.replace("priority=10,", "priority=20,in_port=1,") for flow in cases.routes(2)]
    # What an attack gets through leaves elsewhere, and is not counted with the good ones.
    return flows + [f"table=2,priority=15,in_port=5,ip,actions={cases.rewrite(cases.FORWARD)},output:6"]


def many_masks():
    """500 rules, each with a mask of its own, that no packet matches: there is no host in 192.0.2.0/24 here."""
    rules = []
    for n, (source, destination, port) in enumerate(itertools.product(range(8, 33), range(23, 33), (0xFFFF, 0xFFF0))):
        rules.append(
            f"table=5,priority={1000 + n},udp,nw_src=192.0.2.0/{max(source, 8)},nw_dst=192.0.2.0/{destination},tp_dst=0x{0x4000 & port:x}/0x{port:x},actions=drop"
        )
    return ["table=0,priority=10,in_port=5,ip,actions=goto_table:5", *rules, "table=5,priority=1,actions=output:6"]


def through_routes():
    """Every packet another flow, of the tables that the good ones use."""
    return ["table=0,priority=10,in_port=5,ip,actions=goto_table:2"]


def tracked():
    return ["table=0,priority=10,in_port=5,ip,actions=ct(zone=1,table=1)"]


# Key that Microsoft's RSS specification verifies with; many drivers use it.
RSS_KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")


def toeplitz(data):
    key, result = int.from_bytes(RSS_KEY, "big"), 0
    for bit in range(len(data) * 8):
        if data[bit // 8] >> (7 - bit % 8) & 1:
            result ^= key >> (len(RSS_KEY) * 8 - 32 - bit) & 0xFFFFFFFF
    return result


def collisions(count):
    """Flows with the same Toeplitz hash (default key) and the same CRC-32: both are linear, so differences
    that change neither are a vector space, found by elimination."""
    zero = zlib.crc32(bytes(12))
    rows = []
    for bit in range(96):
        data = (1 << bit).to_bytes(12, "big")
        rows.append([(toeplitz(data) << 32) | (zlib.crc32(data) ^ zero), 1 << bit])
    for position in range(64):
        pivot = next((row for row in rows if row[0] >> position & 1), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows = [[r[0] ^ pivot[0], r[1] ^ pivot[1]] if r[0] >> position & 1 else r for r in rows]
    kernel = [row[1] for row in rows if row[0] == 0]
    base = int.from_bytes(bytes([10, 64, 0, 1, 10, 1, 0, 1, 0x40, 0, 0, 80]), "big")
    flows = []
    for number in range(count):
        value = base
        for bit, vector in enumerate(kernel):
            if number >> bit & 1:
                value ^= vector
        data = value.to_bytes(12, "big")
        flows.append((int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:], "big")))
    hashes = {(toeplitz(f), zlib.crc32(f)) for f in (b"".join((s.to_bytes(4, "big"), d.to_bytes(4, "big"), p.to_bytes(2, "big"), q.to_bytes(2, "big"))) for s, d, p, q in flows[:100])}
    assert len(hashes) == 1, "the flows do not collide"
    return flows


def flood(place):
    path = f"{place.run}/collisions.pcap"
    traffic.write(path, (traffic.udp(flow) for flow in collisions(50_000)))
    return f"net_pcap5,rx_pcap={path},infinite_rx=1"


# Name, what it does, flows, device of port 5.
ATTACKS = [
    ("tuple space explosion", "500 masks, packets that miss each", many_masks, lambda _, rate: f"generate,mode=new,rate={rate}"),
    ("cache thrash", "random 5-tuples through the same tables", through_routes, lambda _, rate: f"generate,mode=new,rate={rate}"),
    ("SYN flood", "until the table is full and on", tracked, lambda _, rate: f"generate,mode=syn,rate={rate}"),
    ("fragments", "first fragments of datagrams that never complete", tracked, lambda _, rate: f"generate,mode=fragments,rate={rate}"),
    ("hash flooding", "50,000 flows of one CRC-32 and one Toeplitz hash, as fast as they are taken", tracked, lambda place, _: flood(place)),
    ("flow-mod churn", "100,000 flow-mods/s in the same tables", lambda: [], None),
]


def attack(place, name, words, flows, device, good_rate, attack_rate, seconds, results):
    switch = Sluice(place, rx=None, tx="sink", ports=["away,ofport=6,dev=sink"], more=Sluice.known(place, SMALL))
    churn = None
    try:
        case = cases.Case(name, good_flows() + flows())
        switch.install(case)
        count = int(good_rate * (2 + seconds))
        if device:
            prepared = device(place, attack_rate)
        switch.add_port("rx", 1, f"generate,mode=udp,flows={GOOD},replies=true,rate={good_rate},count={count}")
        time.sleep(0.7)
        quiet = rate(switch, 1)
        if device:
            switch.add_port("bad", 5, prepared)
        else:
            command = [f"{place.binaries}/flowmod", switch.target, "--rate", "100000", "--seconds", str(int(seconds + 1)), "--count", "100000", "--table", "2"]
            churn = subprocess.Popen(["taskset", "-c", str(place.other), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.2)
        attacked = rate(switch, seconds)
        bad = switch.counters().get("bad", switch.counters().get("5", (0, 0)))[0]
        wait_for(20 + seconds, lambda: sum(switch.count(1)[::2]) >= count, "the good packets do not end")
        time.sleep(0.2)
        (taken, _, not_taken), arrived = switch.count(1), switch.count(2)[1]
        row = {"attack": name, "words": words, "good_pps": good_rate, "quiet": quiet, "attacked": attacked, "kept": attacked / max(quiet, 1)}
        row |= {"lost": taken - arrived, "not_taken": not_taken, "attack_packets": bad, "drops": str(switch.drops())}
        if churn:
            said, wrong = churn.communicate(timeout=30)
            row["attack_packets"] = (said.strip() or wrong.strip()).splitlines()[-1][:120] if said or wrong else "-"
            churn = None
        results.add("attack", **row)
        good = attacked >= 0.95 * quiet > 0 and taken == arrived
        verdict = "pass" if good else "**FAIL**"
        results.add("gate", what=f"attack: {name}: good connections keep their rate and lose nothing", measured=f"{attacked / max(quiet, 1):.1%}, lost {taken - arrived}", gate=">= 95 %, 0", verdict=verdict)
    finally:
        if churn:
            churn.kill()
            churn.wait()
        switch.stop()


def rate(switch, seconds):
    """Good packets per second that arrive."""
    before, start = switch.count(2)[1], time.monotonic()
    time.sleep(seconds)
    after, end = switch.count(2)[1], time.monotonic()
    return (after - before) / (end - start)


def all_of_them(place, good_rate, attack_rate, seconds, results):
    for name, words, flows, device in ATTACKS:
        try:
            attack(place, name, words, flows, device, good_rate, attack_rate, seconds, results)
        except Failed as why:
            results.fail(f"attack: {name}: {why}")

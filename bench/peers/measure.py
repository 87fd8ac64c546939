"""The gate table: every case, the switches in turns on the same core."""

import time

import cases
import check
import traffic
from switches import Failed, Ovs, Sluice, testpmd

TX = "net_null1,no-rx=1"


class Results:
    """Measurements as they come."""

    def __init__(self, say):
        self.rows, self.say, self.failures = [], say, []

    def add(self, part, **row):
        self.rows.append({"part": part, **row})
        words = " ".join(f"{key} {value:,.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        self.say(f"{part}: {words}")

    def fail(self, why):
        self.failures.append(why)
        self.say(f"FAILED {why}")

    def values(self, part, key="pps", **where):
        rows = (row for row in self.rows if row["part"] == part and all(row.get(k) == v for k, v in where.items()))
        return [row[key] for row in rows if key in row]


def group_of(name):
    """Cases with the same packets share a process."""
    return "service" if name in ("service", "whole") else "plain"


def pcap(place, group, flows):
    """The packets of a group of cases, one per flow, in an order of their own."""
    path = f"{place.run}/{group}-{flows}.pcap"
    make = traffic.to_service if group == "service" else traffic.plain
    traffic.write(path, (traffic.udp(make(flow)) for flow in traffic.shuffled(flows)))
    return f"net_pcap0,rx_pcap={path},infinite_rx=1"


def rate(switch, seconds):
    """Packets per second of the worker's time that left by port 2, the share of packets that was received and
    did not, and the share of the processor that the worker had."""
    before, start = switch.counters_at()
    began = time.monotonic()
    time.sleep(seconds)
    # On a machine that does other things, until the worker has had its time; for a while.
    while switch.worked() < start + seconds * 0.9 and time.monotonic() < began + 4 * seconds:
        time.sleep(0.02)
    after, end = switch.counters_at()
    wall = time.monotonic() - began
    if end - start < 0.001:
        raise Failed("the worker did not run")
    received, sent = (after[n] - before[n] for n in (0, 1))
    lost = max(0.0, 1 - sent / received) if received else 1.0
    return sent / (end - start), lost, min(1.0, (end - start) / wall)


def ready(switch, place, case, flows):
    """Installs a case and waits until its caches and connections are as they stay."""
    switch.install(case)
    if case.connections:
        time.sleep(0.3)
        check.establish(switch, place, flows)
    # Open vSwitch asks its slow path once for each of many flows; nothing is measured before that is over.
    time.sleep(0.3)
    end, last = time.monotonic() + 6, 0.0
    while time.monotonic() < end:
        now = rate(switch, 0.3)[0]
        if last and abs(now - last) < 0.05 * last:
            break
        last = now


def measure(switch, place, case, flows, seconds, results, **row):
    try:
        ready(switch, place, case, flows)
        new = switch.matched("0xf") if case.connections else 0
        pps, lost, share = rate(switch, seconds)
        # Every packet received leaves; what is between the two counters is less than this.
        if lost > 0.01:
            raise Failed(f"{lost:.1%} of the packets did not leave; drops: {switch.drops()}")
        if case.connections and switch.matched("0xf") > new + pps * share * seconds * 0.01:
            raise Failed("packets of established connections were taken for new ones")
        results.add(row.pop("part", "table"), switch=switch.name, case=case.name, flows=flows, pps=pps, share=share, **row)
    except Failed as why:
        results.fail(f"{switch.name}: {case.name} with {flows} flows: {why}")


def points(names, flows):
    """Cases by group and number of flows; those with two columns in the issue's table have only these."""
    for count in flows:
        for group in ("plain", "service"):
            chosen = [n for n in names if group_of(n) == group and (count in cases.GATES[n] or count not in (1, 1000, 10_000, 100_000))]
            if chosen:
                yield group, count, chosen


# Rounds that a table has, however long they take.
LEAST_ROUNDS = 3


def table(place, names, flows, switches, rounds, seconds, budget, results):
    """`rounds` times everything, each switch in its turn; fewer if another round does not fit in the budget
    (seconds). How many there were."""
    kinds = [kind for kind in (Sluice, Ovs) if kind.name in switches]
    begun = time.monotonic()
    for number in range(1, rounds + 1):
        so_far = time.monotonic() - begun
        if number > LEAST_ROUNDS and so_far * number / (number - 1) > budget:
            results.say(f"{number - 1} rounds, another does not fit into {budget} s")
            return number - 1
        for group, count, chosen in points(names, flows):
            device = pcap(place, group, count)
            for kind in kinds if number % 2 else reversed(kinds):
                try:
                    switch = kind(place, rx=device, tx=TX)
                except Failed as why:
                    results.fail(f"{kind.name}: {why}")
                    continue
                try:
                    for name in chosen:
                        measure(switch, place, cases.TABLE[name](), count, seconds, results, round=number)
                finally:
                    switch.stop()
            if group == "plain" and "testpmd" in switches:
                try:
                    pps, share = testpmd(place, device, TX, seconds)
                    results.add("table", switch="testpmd", case="mac", flows=count, pps=pps, share=share, round=number)
                except Failed as why:
                    results.fail(f"testpmd: {why}")
    return rounds

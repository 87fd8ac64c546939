"""The rest of the gates: many connections, new ones, Services and rules by number, delays, Zipf."""

import re
import time

import cases
import measure
import traffic
from switches import Failed, Ovs, Sluice, wait_for

FLOWS = 10_000


def gate(results, what, value, limit, text, least=True):
    """One row: judged where there is a value."""
    good = value is not None and (value >= limit if least else value <= limit)
    sign = ">=" if least else "<="
    results.add("gate", what=what, measured=text, gate=f"{sign} {limit:g}", verdict="pass" if good else "**FAIL**")


def metric(text, name, **labels):
    """Sum of a metric over all its labels but those given."""
    total = 0.0
    for line in text.splitlines():
        if match := re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line):
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[1] or ""))
            if all(found.get(k) == v for k, v in labels.items()):
                total += float(match[2])
    return total


def capacity(place, connections):
    """Options that make room for so many connections, and for the flows of both directions."""
    options = ["--ct-max", str(connections + connections // 20), "--ct-half-open", str(connections)]
    return Sluice.known(place, options + ["--cache-entries", str(2 * connections)])


def memory_of(place, count, most):
    """Resident memory with so many connections and no flow cache, whose size is a setting of its own."""
    more = Sluice.known(place, ["--ct-max", str(most), "--ct-half-open", str(most), "--cache-entries", "0"])
    switch = Sluice(place, rx=None, tx="sink", more=more)
    try:
        switch.install(cases.ct())
        switch.add_port("rx", 1, f"generate,mode=udp,flows={count},replies=true")
        wait_for(90, lambda: metric(switch.metrics(), "sluice_conntrack_connections") >= count, f"fewer than {count} connections")
        return switch.resident()
    finally:
        switch.stop()


def many_connections(place, counts, rounds, seconds, results):
    """Established connections, both directions in turn, made by a generator; and what one takes."""
    for number in range(rounds):
        for count in counts:
            try:
                # The table and the cache are as large for all, so that only the number differs.
                switch = Sluice(place, rx=None, tx="sink", more=capacity(place, max(counts)))
            except Failed as why:
                results.fail(f"{count} connections: {why}")
                continue
            try:
                switch.install(cases.ct())
                switch.add_port("rx", 1, f"generate,mode=udp,flows={count},replies=true")
                wait_for(60, lambda: switch.matched("0xf") >= count, f"fewer than {count} new connections")
                wait_for(60, lambda: switch.count(1)[0] >= 6 * count, "the generator is slow")
                pps, lost, share = measure.rate(switch, seconds)
                held = metric(switch.metrics(), "sluice_conntrack_connections")
                results.add("scaling", of="connections", case="ct, both directions", count=count, pps=pps, share=share, held=held, resident=switch.resident(), lost=lost, round=number + 1)
                if held < count or lost > 0.01:
                    results.fail(f"{count} connections: {held:.0f} are held, {lost:.1%} lost; drops: {switch.drops()}")
            except Failed as why:
                results.fail(f"{count} connections: {why}; drops: {switch.drops()}")
            finally:
                switch.stop()
    rate = {count: measure_median(results, "scaling", case="ct, both directions", count=count) for count in counts}
    kept = rate.get(1_000_000) and rate.get(1000) and rate[1_000_000] / rate[1000]
    gate(results, "1M established connections: rate, share of that with 1k", kept, 0.6, f"{kept:.2f}" if kept else "-")
    if 1_000_000 in counts:
        # What one more takes: between processes that differ in nothing but how many there are.
        few, many = (memory_of(place, count, 1_048_576) for count in (1000, 1_000_000))
        each = (many - few) / 999_000
        results.add("memory", connections_1000=few, connections_1000000=many, bytes_each=each)
        gate(results, "resident memory for each of 1M connections, bytes", each, 256, f"{each:.0f}", least=False)
    if 4_000_000 in counts:
        held = results.values("scaling", "held", case="ct, both directions", count=4_000_000)
        gate(results, "4M connections fit", max(held) if held else None, 4_000_000, f"{max(held):,.0f}" if held else "-")


def measure_median(results, part, **where):
    from statistics import median

    values = results.values(part, **where)
    return median(values) if values else None


def by_number(place, of, make, counts, rounds, seconds, results):
    """Established traffic of 10,000 flows while the number of something else grows: Sluice alone."""
    for number in range(rounds):
        for count in counts:
            case = make(count)
            path = f"{place.run}/{of}-{count}.pcap".replace(" ", "-")
            traffic.write(path, (traffic.udp(case.frames(flow)) for flow in traffic.shuffled(FLOWS)))
            try:
                switch = Sluice(place, rx=f"net_pcap0,rx_pcap={path},infinite_rx=1", tx=measure.TX)
            except Failed as why:
                results.fail(f"{count} {of}: {why}")
                continue
            try:
                measure.measure(switch, place, case, FLOWS, seconds, results, part="scaling", of=of, count=count, round=number + 1)
            finally:
                switch.stop()
    rates = [measure_median(results, "scaling", of=of, count=count) for count in counts]
    share = min(rates) / max(rates) if all(rates) else None
    text = f"{share:.2f}" if share else "-"
    gate(results, f"{of} {', '.join(f'{n:,}' for n in counts)}: slowest of established traffic, share of the fastest", share, 0.9, text)


def new_by_pcap(place, kind, count, results, number):
    """Distinct flows to a Service, each a packet, played once: connections per second."""
    path = f"{place.run}/new.pcap"
    traffic.write(path, (traffic.udp(traffic.to_service(n)) for n in traffic.shuffled(count)), kind.lost_at_first)
    switch = kind(place, rx=None, tx=measure.TX)
    try:
        switch.install(cases.service())
        switch.add_port("rx", 1, f"net_pcap0,rx_pcap={path}")
        samples, end = [], time.monotonic() + 60
        while time.monotonic() < end:
            (_, sent), when = switch.counters_at()
            samples.append((when, sent))
            if sent >= count * 0.98 or (len(samples) > 100 and samples[-50][1] == sent > 0):
                break
        sent = samples[-1][1]
        if sent < count * 0.9:
            raise Failed(f"{sent} of {count} came through; drops: {switch.drops()}")
        first = max((s for s in samples if s[1] <= count * 0.1), default=samples[0])
        last = min(s for s in samples if s[1] >= count * 0.9)
        pps = (last[1] - first[1]) / (last[0] - first[0])
        results.add("new", switch=kind.name, what="UDP, Service, each packet a connection", per_second=pps, round=number)
    finally:
        switch.stop()


def tcp_service():
    """The Service for TCP, with its answers coming by port 2."""
    case = cases.service()
    case.flows = [f.replace("udp,", "tcp,").replace("in_port=4,ip", "in_port=2,ip") for f in case.flows]
    case.flows = [f.replace(cases.BACK["dst"] + "->eth_dst,output:2", cases.BACK["dst"] + "->eth_dst,output:1") for f in case.flows]
    return case


def new_tcp(place, seconds, results, number):
    """Whole TCP connections to a Service: SYN, SYN and ACK, ACK, FIN, FIN and ACK, ACK."""
    switch = Sluice(place, rx=None, tx="echo")
    try:
        switch.install(tcp_service())
        switch.add_port("rx", 1, f"generate,mode=tcp,flows=200000,dst={address(traffic.VIP)},dsts=1,port=80")
        time.sleep(0.5)
        before, start = (switch.matched("0xf"), switch.counters()), switch.worked()
        time.sleep(seconds)
        after, end = (switch.matched("0xf"), switch.counters()), switch.worked()
        begun, sent = after[0] - before[0], {p: tuple(a - b for a, b in zip(after[1][p], before[1][p])) for p in before[1]}
        answered = sent.get("1", sent.get("rx", (0, 0)))[1]
        per_second = begun / (end - start)
        # Two answers to each connection come back to the client.
        share = answered / 2 / begun if begun else 0.0
        results.add("new", switch="sluice", what="TCP, Service, six packets each", per_second=per_second, answered=share, round=number)
        if share < 0.95:
            results.fail(f"TCP connections: {share:.0%} were answered through the Service; drops: {switch.drops()}")
    finally:
        switch.stop()


def address(number):
    return str(traffic.ipaddress.IPv4Address(number))


def new_connections(place, switches, count, rounds, seconds, results):
    for number in range(1, rounds + 1):
        for kind in (Sluice, Ovs):
            if kind.name in switches:
                try:
                    new_by_pcap(place, kind, count, results, number)
                except Failed as why:
                    results.fail(f"{kind.name}: new connections: {why}")
        if "sluice" in switches:
            try:
                new_tcp(place, seconds, results, number)
            except Failed as why:
                results.fail(f"sluice: new TCP connections: {why}")
    ours = measure_median(results, "new", key="per_second", switch="sluice", what="UDP, Service, each packet a connection")
    theirs = measure_median(results, "new", key="per_second", switch="ovs")
    tcp = measure_median(results, "new", key="per_second", what="TCP, Service, six packets each")
    gate(results, "new connections/s, conntrack and NAT, UDP", ours, 500_000, f"{ours:,.0f}" if ours else "-")
    gate(results, "new connections/s, conntrack and NAT, whole TCP connections", tcp, 500_000, f"{tcp:,.0f}" if tcp else "-")
    if ours and theirs:
        gate(results, "new connections/s, ratio to Open vSwitch", ours / theirs, 4, f"{ours / theirs:.2f}")


def delays(switch):
    """Packets by delay in seconds, from when they were received and from when they were due."""
    found = {"received": {}, "due": {}}
    pattern = r'sluice_sink_delay_packets_total\{below_seconds="([^"]+)",port="tx",since="(\w+)"\} (\d+)'
    for below, since, packets in re.findall(pattern, switch.metrics()):
        found[since][float(below)] = int(packets)
    return found


def percentile(histogram, share):
    total, so_far = sum(histogram.values()), 0
    for below in sorted(histogram):
        so_far += histogram[below]
        if so_far >= share * total:
            return below * 1e6
    return None


def latency(place, seconds, results):
    """Delays in a switch at shares of its own rate; the generator does not wait for it."""
    switch = Sluice(place, rx=None, tx="sink")
    try:
        switch.install(cases.ct())
        flows = "mode=udp,flows=1000,replies=true"
        switch.add_port("rx", 1, f"generate,{flows}")
        time.sleep(0.5)
        most = max(measure.rate(switch, 0.3)[0] for _ in range(4))
        for load in (10, 50, 90):
            switch.del_port("rx")
            switch.add_port("rx", 1, f"generate,{flows},rate={int(most * load / 100)}")
            time.sleep(0.3)
            before = delays(switch)
            time.sleep(seconds)
            after = delays(switch)
            row = {"load": f"{load} %", "pps": most * load / 100}
            for since in ("received", "due"):
                window = {b: n - before[since].get(b, 0) for b, n in after[since].items()}
                for share in (0.5, 0.99, 0.999):
                    row[f"{since}_p{100 * share:g}"] = percentile(window, share)
                row["samples"] = sum(window.values())
            row["not_taken"] = int(metric(switch.metrics(), "sluice_port_receive_drops_total", port="rx"))
            results.add("latency", **row)
            if load == 10:
                p = row["received_p50"]
                gate(results, "residence at 10 % load, p50, us", p, 1, f"{p:.2f}" if p else "-", least=False)
            if load == 50:
                p = row["received_p99"]
                gate(results, "residence at 50 % load, p99, us", p, 5, f"{p:.2f}" if p else "-", least=False)
    finally:
        switch.stop()


def zipf(place, switches, rounds, seconds, results):
    """120,000 draws of 50,000 flows, again and again, through the policy case."""
    path = f"{place.run}/zipf.pcap"
    traffic.write(path, (traffic.udp(traffic.plain(n)) for n in traffic.zipf(50_000, 120_000)))
    for number in range(1, rounds + 1):
        for kind in (Sluice, Ovs):
            if kind.name in switches:
                switch = kind(place, rx=f"net_pcap0,rx_pcap={path},infinite_rx=1", tx=measure.TX)
                try:
                    measure.measure(switch, place, cases.stateless(), 50_000, seconds, results, part="zipf", round=number)
                finally:
                    switch.stop()
    ours, theirs = (measure_median(results, "zipf", switch=name) for name in ("sluice", "ovs"))
    if ours and theirs:
        gate(results, "Zipf over 50,000 flows, policy: ratio to Open vSwitch", ours / theirs, 3, f"{ours / theirs:.2f}")


def services(count):
    """10 endpoints each."""
    return cases.service(count, 10)

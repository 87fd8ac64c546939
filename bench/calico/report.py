"""From raw measurements to tables: report.py RAW.json OUT COMMIT ROUNDS SECONDS IPTABLES CORE

RAW has one line of JSON per measurement. Writes OUT.json (all of it) and OUT.md (medians, ratios, and where
Sluice loses), and prints the tables.
"""

import json
import os
import platform
import statistics
import subprocess
import sys

raw_path, out, commit, rounds, seconds, iptables, core = sys.argv[1:8]
with open(raw_path) as file:
    rows = [json.loads(line) for line in file]


def first(command):
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip().split("\n")[0]


# part, value, what the row is called, decimals, whether less is better.
ROWS = [
    ("tcp1", "gbit_per_second", "TCP, 1 stream, Gbit/s", 1, False),
    ("tcp1", "cpu_per_gbit", "- processors per Gbit/s", 3, True),
    ("tcp8", "gbit_per_second", "TCP, 8 streams, Gbit/s", 1, False),
    ("tcp8", "cpu_per_gbit", "- processors per Gbit/s", 3, True),
    ("udp", "packets_per_second", "UDP 64 B, as fast as it goes, packets/s received", 0, False),
    ("udp", "lost_percent", "- lost, %", 1, True),
    ("udp", "cpu_us_per_packet", "- processor time per packet, us", 2, True),
    ("udp50k", "packets_per_second", "UDP 64 B, 50,000 packets/s sent, packets/s received", 0, False),
    ("udp50k", "lost_percent", "- lost, %", 1, True),
    ("udp50k", "cpu_us_per_packet", "- processor time per packet, us", 2, True),
    ("latency", "p50_us", "UDP ping-pong, one way, p50, us", 1, True),
    ("latency", "p99_us", "- p99, us", 1, True),
    ("latency", "cpu_us_per_request", "- processor time per request, us", 1, True),
    ("connect1", "per_second", "connections/s to a pod, one at a time", 0, False),
    ("connect1", "p50_us", "- p50, us", 0, True),
    ("connect1", "p99_us", "- p99, us", 0, True),
    ("connect1", "cpu_us_per_connection", "- processor time per connection, us", 1, True),
    ("connect", "per_second", "connections/s to a pod, four at a time", 0, False),
    ("connect", "p99_us", "- p99, us", 0, True),
    ("connect", "cpu_us_per_connection", "- processor time per connection, us", 1, True),
    ("connect", "failed", "- failed", 0, True),
    ("service", "per_second", "connections/s to a Service, four at a time", 0, False),
    ("service", "p99_us", "- p99, us", 0, True),
    ("service", "cpu_us_per_connection", "- processor time per connection, us", 1, True),
    ("service", "failed", "- failed", 0, True),
]
SIDES = {"kernel": "kernel as Calico", "adaptive": "Sluice, adaptive", "busy": "Sluice, busy"}
sides = [side for side in SIDES if any(row["side"] == side for row in rows)]
levels = list(dict.fromkeys(row["level"] for row in rows))


def median(level, side, part, key):
    values = [row[key] for row in rows if (row["level"], row["side"], row["part"]) == (level, side, part)]
    return statistics.median(values) if values else None


def factor(ours, theirs, less_is_better):
    """How much better we are; below 1 we lose."""
    if ours is None or theirs is None or not ours or not theirs:
        return None
    return theirs / ours if less_is_better else ours / theirs


tables, losses = [], []
for level in levels:
    rules, services = (f"{int(number):,}" for number in level.split())
    tables.append(f"\n### {rules} policy rules, {services} Services\n")
    ratios = [side for side in sides if side != "kernel"] if "kernel" in sides else []
    header = ["", *(SIDES[side] for side in sides), *(f"{side}: better by" for side in ratios)]
    tables.append("| " + " | ".join(header) + " |")
    tables.append("|---" + "|---:" * (len(header) - 1) + "|")
    title = ""
    for part, key, name, decimals, less in ROWS:
        values = {side: median(level, side, part, key) for side in sides}
        if all(value is None for value in values.values()):
            continue
        title = title if name.startswith("- ") else name.split(",")[0]
        better = {side: factor(values[side], values["kernel"], less) for side in ratios}
        cells = ["-" if value is None else f"{value:,.{decimals}f}" for value in values.values()]
        cells += ["" if by is None else f"{by:.2f}" for by in better.values()]
        tables.append("| " + " | ".join([name, *cells]) + " |")
        for side, by in better.items():
            if by is not None and by < 0.97:
                what = f"{title}: {name[2:]}" if name.startswith("- ") else name
                losses.append(f"- {rules} rules, {services} Services, {side}: {what}: {by:.2f} of the kernel")

facts = {
    "date": first("date -u +%FT%TZ"),
    "commit": commit,
    "machine": first("sed -n 's/^model name.*: //p' /proc/cpuinfo") + f", {os.cpu_count()} processors, {platform.release()}",
    "load at the end, of one minute, five, fifteen": first("cut -d' ' -f1-3 /proc/loadavg"),
    "stolen, most of any measurement, %": round(max(row["stolen_percent"] for row in rows), 2),
    "rounds": int(rounds),
    "seconds per measurement": float(seconds),
    "rules loaded by": first(f"iptables-{iptables} --version"),
    "processors": f"Sluice's worker is pinned to {core}, at nice -10; kernel and adaptive: everything else runs where the "
    "scheduler puts it; busy: everything else has the other processors",
    "iperf3": first("iperf3 --version"),
    "sockperf": first("sockperf --version"),
}
HEAD = """# Pods: Sluice beside the kernel as Calico programs it

Not Calico itself: veth, proxy ARP, /32 routes, conntrack, and the iptables chains and ipsets that Calico's agent and
kube-proxy (iptables mode) write, made by `bench/calico.sh`; the rule that lets the client in, and the Service that is
measured, stand in the middle of their chains, where an average one does. Sluice's side is `sluice-dataplane` with a
tap per pod, `sluice-controller` on a folder of manifests, `sluice-cni`; it has no NetworkPolicy yet: for the rules
stand flows with the same matches, written by hand into its policy table. Each Service has two endpoints.

The sides take turns; medians. "Better by" is Sluice to the kernel, below 1 Sluice is worse. Processor time is that of
the whole machine, sender and receiver included, whatever else ran on it too; a busy worker spins on its processor even
when there is nothing to do, and that is counted. On a machine of two processors sender, receiver and worker share
them, which on a node they do not. Absolutes belong to this machine: compare ratios.
"""
text = "\n".join(tables)
lost = "\n".join(losses) if losses else "Nowhere in this run."
with open(out + ".json", "w") as file:
    json.dump({"facts": facts, "measurements": rows}, file, indent=1)
with open(out + ".md", "w") as file:
    file.write(HEAD + text + "\n\n## Where Sluice loses\n\nBy more than 3 %:\n\n" + lost + "\n\n## The run\n\n")
    for key, value in facts.items():
        file.write(f"- {key}: {value}\n")
print(text)
print("\nWhere Sluice loses:\n" + lost)

"""Measures Sluice beside its peers: see bench/run.sh --help."""

import argparse
import os
import signal
import subprocess
import sys
import time

import attacks
import cases
import check
import gates
import measure
import report
from switches import Failed, Place


def first_line(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    return done.stdout.strip().split("\n")[0]


def shown(case, most=12):
    """The first of a case's groups, meters and flows; all of them are what bench/peers/cases.py says."""
    lines = case.groups + case.meters + case.flows
    return lines[:most] + ([f"... {len(lines) - most} more"] if len(lines) > most else [])


def facts(options, names):
    """What the figures depend on."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/stat") as file:
        steal = file.readline().split()[8]
    return {
        "date": time.strftime("%FT%TZ", time.gmtime()),
        "commit": options.commit,
        "machine": f"{model}, {os.cpu_count()} processors, Linux {os.uname().release}",
        "load at the start": " ".join(f"{n:.2f}" for n in os.getloadavg()),
        "steal at the start, ticks": steal,
        "hugepages": first_line("grep HugePages_Total /proc/meminfo"),
        "core": options.core,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "switches": options.switches,
        "open vswitch": first_line("ovs-vswitchd --version") + ", EMC on, as Debian has it",
        "dpdk": first_line("pkg-config --modversion libdpdk || dpkg-query -W -f '${Version}' dpdk"),
        "command": options.command,
        "flows": {n: shown(cases.TABLE[n]()) for n in names},
        "commands": {
            "sluice": f"sluice-dataplane --cpus {options.core} --poll busy --memory {options.memory} --eal=--no-pci "
            "--port rx,ofport=1,dev=net_pcap0,rx_pcap=FILE,infinite_rx=1 --port tx,ofport=2,dev=net_null1,no-rx=1 "
            "--port gnv,ofport=3,tunnel=geneve --vtep 172.30.0.1/24,port=tx",
            "ovs": f"ovs-vswitchd-dpdk, pmd-cpu-mask of core {options.core}, dpdk-socket-mem={options.memory}, a netdev bridge with ports "
            "of type dpdk and the same devargs, a geneve port with remote and key set by flows, tnl/neigh/set for the remote",
            "testpmd": f"dpdk-testpmd -l {options.other},{options.core} --no-pci --vdev ... -- --forward-mode=mac --nb-cores=1",
        },
    }


# Seconds of the table in `all`, which is to end within 25 minutes.
BUDGET = 870
CONNECTIONS = [1000, 10_000, 100_000, 1_000_000, 4_000_000]
SERVICES = [1, 1000, 10_000]
RULES = [1, 1000, 10_000, 100_000]
NEW = 400_000
PARTS = ("table", "gates", "attacks", "connections", "services", "rules", "new", "latency", "zipf")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", default="table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--flows", default="1 1000 10000 100000")
    parser.add_argument("--cases", default=" ".join(cases.TABLE))
    parser.add_argument("--switches", default="sluice ovs testpmd")
    parser.add_argument("--good-rate", type=int, default=1_000_000)
    parser.add_argument("--attack-rate", type=int, default=200_000)
    parser.add_argument("--out", required=True)
    for name in ("run", "binaries", "core", "other", "netns", "memory", "commit", "command"):
        parser.add_argument(f"--{name}", required=True, type=int if name in ("core", "other", "memory") else str)
    options = parser.parse_args()
    place = Place(options.run, options.binaries, options.core, options.other, options.netns, options.memory)
    names, switches = options.cases.split(), options.switches.split()
    flows = [int(n) for n in options.flows.split()]
    if unknown := set(names) - set(cases.TABLE):
        raise Failed(f"no such case: {', '.join(unknown)}; there are {', '.join(cases.TABLE)}")
    parts = options.parts.split() or ["table"]
    if unknown := set(parts) - {*PARTS, "all"}:
        raise Failed(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}, all")
    if "all" in parts:
        parts = ["table", "gates", "attacks"]
    if "gates" in parts:
        parts = [p for p in parts if p != "gates"] + ["connections", "services", "rules", "new", "latency", "zipf"]
    begun = time.monotonic()

    def say(text):
        print(f"   {time.monotonic() - begun:6.0f} s  {text}", flush=True)

    def part(text):
        print(f"\n== {text}", flush=True)

    known = facts(options, names)
    results = measure.Results(say)
    seconds = options.seconds
    # The gates that are ratios of Sluice to itself settle in fewer rounds.
    fewer = min(options.rounds, 3)
    if "table" in parts:
        part("packets arrive, changed as asked")
        known["checked"] = check.check(place, names, switches, results)
        names = [name for name in names if name in known["checked"]]
        part(f"side by side, {options.rounds} rounds on core {options.core}: {', '.join(switches)}")
        known["rounds"] = measure.table(place, names, flows, switches, options.rounds, seconds, BUDGET if "all" in options.parts else 1e9, results)
    alone = "sluice" in switches
    rest = [
        ("connections", "many connections", alone, lambda: gates.many_connections(place, CONNECTIONS, 1, seconds, results)),
        ("services", "Services by number", alone, lambda: gates.by_number(place, "Services", gates.services, SERVICES, fewer, seconds, results)),
        ("rules", "policy rules by number", alone, lambda: gates.by_number(place, "policy rules", cases.stateful, RULES, fewer, seconds, results)),
        ("latency", "delays", alone, lambda: gates.latency(place, 2 * seconds, results)),
        ("new", "new connections", True, lambda: gates.new_connections(place, switches, NEW, fewer, seconds, results)),
        ("zipf", "Zipf", True, lambda: gates.zipf(place, switches, fewer, seconds, results)),
        ("attacks", "attacks", alone, lambda: attacks.all_of_them(place, options.good_rate, options.attack_rate, 3 * seconds, results)),
    ]
    for name, title, possible, measured in rest:
        if name in parts and possible:
            part(title)
            try:
                measured()
            except (Failed, ArithmeticError, LookupError, OSError, ValueError) as why:
                # What was measured before is not lost for it.
                results.fail(f"{title}: {type(why).__name__} {why}")
    known["took, s"] = round(time.monotonic() - begun)
    part("results")
    failed = report.write(results, known, names, flows, options.out)
    for what in failed:
        print(f"   gate missed: {what}")
    for what in results.failures:
        print(f"   not measured: {what}")
    print(f"   {options.out}.json, .md and .svg")
    return 1 if results.failures else 0


if __name__ == "__main__":
    # What was started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except Failed as why:
        sys.exit(f"bench: {why}")

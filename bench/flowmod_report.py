"""From raw measurements to a table: flowmod_report.py RAW.tsv OUT_WITHOUT_SUFFIX COMMIT ROUNDS

RAW has a line `round, switch, case, value, unit` for each measurement. Writes OUT.json (all of it)
and OUT.md (medians and ratios), and prints the table.
"""

import json
import os
import platform
import statistics
import subprocess
import sys

raw_path, out, commit, rounds = sys.argv[1:5]
with open(raw_path) as file:
    rows = [line.split("\t") for line in file.read().splitlines()]


def first(command):
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip().split("\n")[0]


facts = {
    "date": first("date -u +%FT%TZ"),
    "commit": commit,
    "machine": first("sed -n 's/^model name.*: //p' /proc/cpuinfo") + f", {os.cpu_count()} processors, {platform.release()}",
    "load before": first("cut -d' ' -f1-3 /proc/loadavg"),
    "rounds": int(rounds),
    "open vswitch": first("ovs-vswitchd --version") + ", datapath_type=netdev",
}
measured = {}
units = {}
for _, switch, case, value, unit in rows:
    measured.setdefault(case, {}).setdefault(switch, []).append(float(value))
    units[case] = unit


def number(values):
    return f"{statistics.median(values):,.0f}" if values else "-"


def ratio(a, b):
    return f"{statistics.median(a) / statistics.median(b):.1f}" if a and b and statistics.median(b) else "-"


lines = ["| case | Sluice | Open vSwitch | unit | ratio |", "|---|---:|---:|---|---:|"]
for case, by in measured.items():
    ours, theirs = by.get("sluice", []), by.get("ovs", [])
    lines.append(f"| {case} | {number(ours)} | {number(theirs)} | {units[case]} | {ratio(ours, theirs)} |")
quiet = measured.get("forwarding, quiet", {}).get("sluice")
churn = measured.get("forwarding, churn", {}).get("sluice")
if quiet and churn:
    lines.append(f"| forwarding beside flow-mods | {ratio(churn, quiet)} | | of quiet | |")
table = "\n".join(lines)

with open(out + ".json", "w") as file:
    measurements = [
        {"round": int(r), "switch": s, "case": c, "value": float(v), "unit": u} for r, s, c, v, u in rows
    ]
    json.dump({"facts": facts, "measurements": measurements}, file, indent=1)
with open(out + ".md", "w") as file:
    file.write("# Tables that change, side by side\n\n")
    file.write(
        "Flow-mods are encoded before the clock starts, which runs to the reply of the barrier behind them; the\n"
        "switches take turns; medians. Absolutes belong to this machine: compare ratios.\n\n"
    )
    file.write(table + "\n\n")
    for key, value in facts.items():
        file.write(f"- {key}: {value}\n")
print(table)

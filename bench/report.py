"""From raw measurements to a table: report.py RAW.tsv FACTS.json OUT_WITHOUT_SUFFIX

RAW has a line `round, switch, case, flows, packets/s` for each measurement. Writes OUT.json (all of it)
and OUT.md (medians and ratios), and prints the table.
"""

import json
import statistics
import sys

raw_path, facts_path, out = sys.argv[1:4]
with open(raw_path) as file:
    rows = [line.split("\t") for line in file.read().splitlines()]
with open(facts_path) as file:
    facts = json.load(file)

measured = {}
for _, switch, case, flows, pps in rows:
    measured.setdefault((case, int(flows)), {}).setdefault(switch, []).append(float(pps))


def mpps(values):
    return f"{statistics.median(values) / 1e6:.2f}" if values else "-"


def ratio(a, b):
    return f"{statistics.median(a) / statistics.median(b):.2f}" if a and b and statistics.median(b) else "-"


lines = [
    "| case | flows | Sluice, Mpps | Open vSwitch | testpmd mac | Sluice / OVS | Sluice / testpmd |",
    "|---|---:|---:|---:|---:|---:|---:|",
]
for (case, flows), by in sorted(measured.items()):
    sluice, ovs, testpmd = (by.get(name, []) for name in ("sluice", "ovs", "testpmd"))
    cells = [case, str(flows), mpps(sluice), mpps(ovs), mpps(testpmd), ratio(sluice, ovs), ratio(sluice, testpmd)]
    lines.append("| " + " | ".join(cells) + " |")
table = "\n".join(lines)

with open(out + ".json", "w") as file:
    json.dump(
        {
            "facts": facts,
            "measurements": [
                {"round": int(r), "switch": s, "case": c, "flows": int(f), "packets_per_second": float(p)}
                for r, s, c, f, p in rows
            ],
        },
        file,
        indent=1,
    )
with open(out + ".md", "w") as file:
    file.write("# L2 and L3 forwarding, one core, side by side\n\n")
    file.write(
        "60-byte UDP from `net_pcap` (`infinite_rx=1`) to `net_null` (`no-rx=1`); one worker on one core; the three\n"
        "take turns on the same core; median of "
        + str(facts["rounds"])
        + ". Absolutes belong to this machine: compare ratios.\n\n"
    )
    file.write(table + "\n\n")
    for key, value in facts.items():
        if key != "commands":
            file.write(f"- {key}: {value}\n")
    file.write("\nCommands:\n\n")
    for name, command in facts.get("commands", {}).items():
        file.write(f"- {name}: `{command}`\n")
print(table)

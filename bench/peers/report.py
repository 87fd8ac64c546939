"""From measurements to tables and curves: medians, ratios, gates."""

import json
import statistics

import cases
import plot


def median(values):
    return statistics.median(values) if values else None


def mpps(value):
    return f"{value / 1e6:.2f}" if value is not None else "-"


def spread(values):
    return f"{min(values) / 1e6:.1f}-{max(values) / 1e6:.1f}" if values else "-"


def ratio(a, b):
    return a / b if a is not None and b else None


def verdict(value, gate):
    """pass, FAIL, or nothing to judge."""
    if gate is None or value is None:
        return "-"
    return "pass" if value >= gate else "**FAIL**"


def gate_table(results, names, flows, has_testpmd):
    lines = [
        "| case | flows | Sluice, Mpps | min-max | Open vSwitch | min-max | testpmd | Sluice / OVS | gate | | Sluice / testpmd |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    failed = []
    for name in names:
        for count in flows:
            values = {s: results.values("table", switch=s, case=name, flows=count) for s in ("sluice", "ovs")}
            if not any(values.values()):
                continue
            sluice, ovs = median(values["sluice"]), median(values["ovs"])
            ceiling = median(results.values("table", switch="testpmd", flows=count))
            gate = cases.GATES[name].get(count)
            beats, of_ceiling = ratio(sluice, ovs), ratio(sluice, ceiling)
            said = verdict(beats, gate)
            if name == "l2" and of_ceiling is not None and of_ceiling < 0.5:
                said = "**FAIL** (testpmd)"
            if "FAIL" in said:
                failed.append(f"{name} {count}: {beats:.2f}x of {gate}x")
            cells = [name, f"{count:,}", mpps(sluice), spread(values["sluice"]), mpps(ovs), spread(values["ovs"]), mpps(ceiling)]
            cells += [f"{beats:.2f}" if beats else "-", f"{gate}" if gate else "-", said, f"{of_ceiling:.2f}" if of_ceiling else "-"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines, failed


def gates_table(results):
    """The rest of the gates: one row for each."""
    rows = [row for row in results.rows if row["part"] == "gate"]
    if not rows:
        return [], []
    lines = ["| what | measured | gate | |", "|---|---:|---:|---|"]
    for row in rows:
        lines.append(f"| {row['what']} | {row['measured']} | {row['gate']} | {row['verdict']} |")
    return lines, [row["what"] for row in rows if "FAIL" in row["verdict"]]


def points_table(results, part):
    """Raw points of a part, medians over rounds."""
    rows = [row for row in results.rows if row["part"] == part]
    if not rows:
        return []
    keys = [key for key in rows[0] if key not in ("part", "round")]
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    for row in rows:
        cells = [f"{row[k]:,.3g}" if isinstance(row.get(k), float) else str(row.get(k, "-")) for k in keys]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def curves(results, names, out):
    """SVG files of how rates scale; their names."""
    made = []

    def draw(suffix, title, x, series):
        series = {name: sorted(points.items()) for name, points in series.items() if len(points) > 1}
        if series:
            path = f"{out}-{suffix}.svg"
            with open(path, "w") as file:
                file.write(plot.lines(title, x, "Mpps", series))
            made.append(path)

    for name in names:
        series = {}
        for switch, label in (("sluice", "Sluice"), ("ovs", "Open vSwitch")):
            found = {}
            for row in results.rows:
                if row["part"] == "table" and row["switch"] == switch and row["case"] == name:
                    found.setdefault(row["flows"], []).append(row["pps"])
            series[label] = {count: median(values) / 1e6 for count, values in found.items()}
        draw(name, cases.TABLE[name]().words, "flows", series)
    scaling = {}
    for row in results.rows:
        if row["part"] == "scaling":
            scaling.setdefault(row["of"], {}).setdefault(row["case"], {}).setdefault(row["count"], []).append(row["pps"])
    for of, by_case in scaling.items():
        series = {case: {n: median(v) / 1e6 for n, v in points.items()} for case, points in by_case.items()}
        draw(f"by-{of.replace(' ', '-')}", f"Sluice, one core, by {of}", of, series)
    return made


SECTIONS = [
    ("scaling", "Connections, Services, policy rules: one core, Sluice"),
    ("memory", "Resident memory by connections, without a flow cache, bytes"),
    ("new", "New connections"),
    ("latency", "Delays, open loop, microseconds"),
    ("zipf", "Zipf (1.1) over 50,000 flows, policy"),
    ("attack", "Attacks beside 10,000 good connections"),
]


def write(results, facts, names, flows, out):
    """OUT.json with everything and OUT.md with tables; what failed."""
    body, failed = [], []
    lines, missed = gate_table(results, names, flows, "testpmd" in facts["switches"])
    failed += missed
    if len(lines) > 2:
        body += ["## Side by side", "", *lines, ""]
    lines, missed = gates_table(results)
    failed += missed
    if lines:
        body += ["## Gates", "", *lines, ""]
    for part, title in SECTIONS:
        lines = points_table(results, part)
        if lines:
            body += [f"## {title}", "", *lines, ""]
    made = curves(results, names, out)
    if made:
        body += ["## Curves", "", *(f"![{path.rsplit('/', 1)[-1]}]({path.rsplit('/', 1)[-1]})" for path in made), ""]
    if results.failures:
        body += ["## Not measured", "", *(f"- {why}" for why in results.failures), ""]
    shares = [row["share"] for row in results.rows if "share" in row]
    if shares:
        facts["share of the processor that the workers had, least"] = f"{min(shares):.2f}"
    head = [
        "# One core, side by side",
        "",
        "60-byte UDP from `net_pcap` (`infinite_rx=1`) to `net_null` (`no-rx=1`) unless said; one worker on one core; the switches",
        "take turns on the same core with the same flow text, installed by the same `ovs-ofctl`. Medians of "
        f"{facts['rounds']} rounds of {facts['seconds']} s; absolutes belong to this machine: compare ratios.",
        "",
    ]
    tail = ["## Facts", ""]
    for key, value in facts.items():
        if key not in ("commands", "flows", "checked"):
            tail.append(f"- {key}: {value}")
    tail += ["", "Packets that arrived changed as asked before anything was measured:", ""]
    tail += [f"- {name}: {said}" for name, said in facts.get("checked", {}).items()]
    tail += ["", "Commands:", ""]
    tail += [f"- {name}: `{command}`" for name, command in facts.get("commands", {}).items()]
    tail += ["", "Flows:", ""]
    for name, flows_of_case in facts.get("flows", {}).items():
        tail += [f"{name}:", "", "```", *flows_of_case, "```", ""]
    with open(out + ".json", "w") as file:
        json.dump({"facts": facts, "measurements": results.rows, "failures": results.failures}, file, indent=1)
    with open(out + ".md", "w") as file:
        file.write("\n".join(head + body + tail) + "\n")
    print("\n".join(body))
    return failed

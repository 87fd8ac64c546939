"""From runs of the program `controlplane` to a table, curves and verdicts."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import plot  # noqa: E402

CHANGES = {
    "pod_added": "pod added",
    "service_scaled": "one of 1,000 endpoints",
    "policy_added": "policy added",
}
# At this size the gates hold.
FULL = 1000


def table(rows):
    columns = ["nodes", "pods", "Services", "policies", "cold start, s", "CPU, s", "peak, MiB", "flows a node", "idle CPU, ms/s"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---:|" * len(columns)]
    for r in rows:
        cold = r["cold_start"]
        cells = [r["nodes"], r["pods"], r["services"], r["policies"], round(cold["seconds"], 1),
                 round(cold["controller_cpu_seconds"], 1), r["peak_mib"], cold["flows"]["most"], r["idle_cpu_ms_per_second"]]
        lines.append("| " + " | ".join(f"{c:,}" for c in cells) + " |")
    columns = ["nodes", "change", "changes", "nodes it came to", "modifications", "KiB sent", "p50, ms", "p99, ms", "CPU, ms", "CPU a node, ms"]
    lines += ["", "| " + " | ".join(columns) + " |", "|---:|---|" + "---:|" * (len(columns) - 2)]
    for key, name in CHANGES.items():
        for r in rows:
            c = r[key]
            cpu = c["controller_cpu_ms_per_change"]
            each = cpu / c["nodes_per_change"] if c["nodes_per_change"] else 0
            cells = [c["changes"], c["nodes_per_change"], c["modifications_per_change"], c["kib_per_change"], c["p50_ms"], c["p99_ms"], cpu, round(each, 3)]
            lines.append(f"| {r['nodes']:,} | {name} | " + " | ".join(f"{x:,}" for x in cells) + " |")
    return lines


def gates(rows):
    """What, measured, gate, pass or miss."""
    said = []

    def judge(what, measured, gate, unit):
        said.append((what, f"{measured:,.3g} {unit}", f"{gate:,} {unit}", "pass" if measured <= gate else "miss"))

    full = [r for r in rows if r["nodes"] >= FULL]
    for r in full:
        nodes = f"{r['nodes']:,} nodes"
        judge(f"cold start, {nodes}", r["cold_start"]["seconds"], 60, "s")
        judge(f"memory, {nodes}", r["peak_mib"] / 1024, 4, "GiB")
        judge(f"pod added, p99, {nodes}", r["pod_added"]["p99_ms"], 100, "ms")
        judge(f"one of 1,000 endpoints, p99, {nodes}", r["service_scaled"]["p99_ms"], 200, "ms")
    if full and len(rows) > 1:
        first, last = rows[0], full[-1]
        for key in ("pod_added", "policy_added"):
            cpu = [r[key]["controller_cpu_ms_per_change"] / r[key]["nodes_per_change"] for r in (first, last)]
            what = f"{CHANGES[key]}, CPU a node that it comes to, {last['nodes']:,} nodes to {first['nodes']:,}"
            judge(what, cpu[1] / max(cpu[0], 1e-9), 2, "times")
    if not full:
        said.append(("everything", "-", f"needs {FULL:,} nodes", "not judged"))
    return said


def main():
    raw, out, commit = sys.argv[1:]
    with open(raw) as f:
        rows = sorted((json.loads(line) for line in f), key=lambda r: r["nodes"])
    if not rows:
        sys.exit("nothing was measured")
    verdicts = gates(rows)
    with open(out + ".json", "w") as f:
        named = [dict(zip(("what", "measured", "gate", "verdict"), v)) for v in verdicts]
        json.dump({"commit": commit, "processors": os.cpu_count(), "runs": rows, "gates": named}, f, indent=1)
    lines = ["# One controller, many switches", "", f"Commit {commit}; {os.cpu_count()} processors, shared by the controller and all switches.", ""]
    lines += table(rows)
    lines += ["", "| gate | measured | at most | |", "|---|---:|---:|---|"]
    lines += [f"| {' | '.join(v)} |" for v in verdicts]
    with open(out + ".md", "w") as f:
        f.write("\n".join(lines) + "\n")
    print("\n".join(lines))
    if len(rows) > 1:
        charts = {
            "cpu": ("Processor time of a change", "ms, on all nodes", lambda c: c["controller_cpu_ms_per_change"]),
            "p99": ("From a manifest to the last switch's commit", "ms, p99", lambda c: c["p99_ms"]),
        }
        for name, (title, unit, value) in charts.items():
            series = {CHANGES[key]: [(r["nodes"], value(r[key])) for r in rows] for key in CHANGES}
            with open(f"{out}-{name}.svg", "w") as f:
                f.write(plot.lines(title, "nodes", unit, series))


main()

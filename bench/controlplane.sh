#!/usr/bin/env bash
# One controller and many switches: how long a cold start takes, how fast a change arrives, what it costs.
#
#   ./bench/run.sh controlplane [--nodes "10 100 300 1000"] [--changes N]
#
# The controller is sluice-controller itself, reading a folder of manifests: for each node 100 pods, 10
# Services of 10 pods and 5 network policies, and one Service of 1,000 endpoints. The switches are
# connections of one other process, bench/controlplane, that speak OpenFlow and keep two numbers for
# each flow. Both share the machine, so what the switches cost is in the latencies too; processor time
# is the controller's alone. The clock of a change begins before its manifest is written.
# Results: bench/results/*-controlplane.json and .md.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

NODES="10 100 300 1000" CHANGES=20
usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --nodes | --changes) [ $# -ge 2 ] || { usage >&2; exit 2; } ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  case $1 in
    --nodes) NODES=$2 ;;
    --changes) CHANGES=$2 ;;
  esac
  shift 2
done
ensure_packages python3
if [ -z "${BIN:-}" ]; then
  build_release
  cargo build --release --locked --quiet -p sluice-controlplane
fi
# A connection each, and its files.
ulimit -n 8192

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit=$commit-changed
mkdir -p bench/results
out=bench/results/$(date -u +%Y%m%d-%H%M%S)-$commit-controlplane
raw=$(mktemp)
trap 'rm -f "$raw"' EXIT
for nodes in $NODES; do
  say "$nodes nodes, $((nodes * 100)) pods, $((nodes * 10)) Services, $((nodes * 5)) policies"
  "$BIN/controlplane" --controller "$BIN/sluice-controller" --nodes "$nodes" --changes "$CHANGES" >>"$raw" ||
    note "$nodes nodes: not measured to the end"
done
python3 - "$raw" "$out" "$commit" <<'PY'
import json
import sys

raw, out, commit = sys.argv[1:]
rows = [json.loads(line) for line in open(raw)]
with open(out + ".json", "w") as f:
    json.dump({"commit": commit, "runs": rows}, f, indent=1)
columns = ["nodes", "cold start, s", "controller's CPU, s", "peak, MiB", "flows a node",
           "pod added: nodes", "p50, ms", "p99, ms", "CPU, ms",
           "endpoint of 1,000: p50, ms", "p99, ms", "CPU, ms", "KiB sent"]
lines = [f"Commit {commit}.", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
for r in rows:
    cold, pod, svc = r["cold_start"], r["pod_added"], r["service_scaled"]
    cells = [r["nodes"], round(cold["seconds"], 1), round(cold["controller_cpu_seconds"], 1),
             cold["controller_peak_mib"], cold["flows"]["most"], pod["nodes_per_change"],
             pod["p50_ms"], pod["p99_ms"], pod["controller_cpu_ms_per_change"], svc["p50_ms"],
             svc["p99_ms"], svc["controller_cpu_ms_per_change"], svc["kib_per_change"]]
    lines.append("| " + " | ".join(str(c) for c in cells) + " |")
with open(out + ".md", "w") as f:
    f.write("\n".join(lines) + "\n")
print("\n".join(lines))
PY
note "$out.json and .md"

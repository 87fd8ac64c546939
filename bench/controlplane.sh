#!/usr/bin/env bash
# One controller and many switches: how long a cold start takes, how fast a change arrives, what it costs.
#
#   ./bench/run.sh controlplane [--nodes "10 100 300 1000"] [--changes N]
#
# The controller is sluice-controller itself, reading a folder of manifests: for each node 100 pods, 10
# Services of 10 pods and 5 network policies, and one Service of 1,000 endpoints. The switches are
# connections of one other process, bench/controlplane, that speak OpenFlow and keep two numbers for
# each flow. Both share the machine, so what the switches cost is in the latencies too; processor time
# is the controller's alone, less what it costs while nothing changes. The clock of a change begins
# before its manifest is written. Takes about five minutes.
# Results: bench/results/*-controlplane.json, .md and .svg.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

NODES="10 100 300 1000" CHANGES=20
usage() { sed -n '2,13s/^# \{0,1\}//p' "$0"; }
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
PYTHONDONTWRITEBYTECODE=1 python3 bench/controlplane/report.py "$raw" "$out" "$commit"
note "$out.json, .md and .svg"

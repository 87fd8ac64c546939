#!/usr/bin/env bash
# What each stage costs by itself: time, instructions and allocations.
#
#   ./bench/run.sh micro [--cases "output vlan route meter ct service geneve"] [--flows N] [--parts "time instructions tables connections allocations"]
#
# time:         nanoseconds per packet of the worker alone, by case and flows (best of many short rounds)
# instructions: per packet and by function, from callgrind: the difference between a long and a short run
# tables:       a lookup by template, rules and masks (the same as ./bench/run.sh classifier)
# connections:  each step of a connection's life in the tracker
# allocations:  the test that packets of known flows allocate nothing
# Needs Rust, and valgrind for the instructions; no root, no devices. About three minutes once it is built.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

CASES="output vlan route meter ct service geneve" FLOWS=1000 PARTS="time instructions tables connections allocations"
usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --cases | --flows | --parts) [ $# -ge 2 ] || { usage >&2; exit 2; } ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  case $1 in
    --cases) CASES=$2 ;;
    --flows) FLOWS=$2 ;;
    --parts) PARTS=$2 ;;
  esac
  shift 2
done
ensure_rust
BUILT=${CARGO_TARGET_DIR:-target}/release/examples
TEMP=$(mktemp -d)
trap 'rm -rf "$TEMP"' EXIT

example() { cargo build --quiet --release --locked -p "$1" --example "$2"; }

# instructions_of CASE ROUNDS FILE: of the whole program.
instructions_of() {
  valgrind --tool=callgrind --callgrind-out-file="$3" "$BUILT/forward" "$1" "$FLOWS" 1048576 "$2" >/dev/null 2>"$TEMP/valgrind.log" ||
    die "valgrind: $(tail -n 1 "$TEMP/valgrind.log")"
}

for part in $PARTS; do
  case $part in
    time)
      say "the worker alone: a port in memory, $(nproc) processors"
      example sluice-worker forward
      # A heading and the port alone come with every case; once is enough.
      for case in $CASES; do "$BUILT/forward" "$case"; done | awk '!/^(case|port) / || !seen[$1 $2]++'
      ;;
    instructions)
      command -v valgrind >/dev/null || ensure_packages valgrind
      say "instructions per packet, $FLOWS flows"
      example sluice-worker forward
      for case in $CASES; do
        instructions_of "$case" 1 "$TEMP/short"
        instructions_of "$case" 5 "$TEMP/long"
        python3 bench/callgrind.py "$case" "$TEMP/short" "$TEMP/long" 200000
      done
      ;;
    tables) ./bench/classifier.sh ;;
    connections)
      say "a connection's life, ns"
      example sluice-conntrack table
      "$BUILT/table"
      ;;
    allocations)
      say "allocations"
      cargo test --quiet --release --locked -p sluice-worker --test allocations
      ;;
    *) die "no such part: $part" ;;
  esac
done

#!/usr/bin/env bash
# Measurements: Sluice beside Open vSwitch with DPDK, and testpmd as the ceiling, in turns on one core.
#
#   sudo ./bench/run.sh [PART...] [--cases "ct service"] [--flows "1 1000"] [--rounds N] [--seconds N]
#                       [--switches "sluice ovs testpmd"] [--core N] [--good-rate PPS] [--attack-rate PPS]
#   ./bench/run.sh NAME ...     another one, by itself: flowmod, classifier, calico, micro (bench/NAME.sh --help)
#
# PART: table        every case of the gate table: l2 vlan l3 policy ct service geneve whole (default)
#       gates        connections services rules new latency zipf; each of them alone too
#       attacks      six attacks, each beside 10,000 good connections
#       all          everything; meant to end within 25 minutes
# Before the table is measured, the frames that both switches send are compared byte by byte.
# Results: bench/results/*.json, *.md and *.svg. docs/benchmarks.md says what is measured, and how.
# Needs two processors and about 1.5 GiB in hugepages, which it reserves and gives back.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case ${1:-} in
  run | .* | */*) die "there is no bench/$1.sh" ;;
  [a-z]*) [ ! -x "bench/$1.sh" ] || exec "bench/$1.sh" "${@:2}" ;;
esac

usage() { sed -n '2,15s/^# \{0,1\}//p' "$0"; }
GIVEN=("$@")
ARGUMENTS=() PARTS=
CORE=$(($(nproc) - 1))
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --core | --cases | --flows | --rounds | --seconds | --switches | --good-rate | --attack-rate)
      [ $# -ge 2 ] || { usage >&2; exit 2; }
      if [ "$1" = --core ]; then CORE=$2; else ARGUMENTS+=("$1=$2"); fi
      shift 2
      ;;
    table | gates | connections | services | rules | new | latency | zipf | attacks | all)
      PARTS+=" $1"
      shift
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done
need_root
[ "$(nproc)" -ge 2 ] || die "needs two processors: one for the worker, one for everything else"
ensure_packages curl dpdk iproute2 openvswitch-switch openvswitch-switch-dpdk python3 util-linux
if [ -z "${BIN:-}" ]; then
  build_release
  cargo build --release --locked --quiet -p sluice-flowmod
fi
OTHER=$((CORE == 0 ? 1 : 0))

RUN=/run/sluice-bench
LOGS=$RUN/logs
PIDS=$RUN/pids
NETNS=sluice-bench
PAGES=768 # of 2 MiB
MEMORY=1024
pages_before=$(cat /proc/sys/vm/nr_hugepages)
# Shared memory, where connections lie, in huge pages for those who ask for them.
SHMEM=/sys/kernel/mm/transparent_hugepage/shmem_enabled
[ -w "$SHMEM" ] || SHMEM=/dev/null
shmem_before=$(sed 's/.*\[\(.*\)\].*/\1/' "$SHMEM")
finish() {
  local status=$?
  trap - EXIT
  # The program ends the switches that it started, and is waited for.
  end main
  [ "$status" = 0 ] || { rm -rf /tmp/sluice-bench-logs && cp -r "$LOGS" /tmp/sluice-bench-logs && note "logs: /tmp/sluice-bench-logs"; }
  umount "$RUN/huge" 2>/dev/null || true
  ip netns del "$NETNS" 2>/dev/null || true
  rm -rf "$RUN"
  sysctl -qw "vm.nr_hugepages=$pages_before"
  echo "$shmem_before" >"$SHMEM"
  exit "$status"
}
end_all
umount "$RUN/huge" 2>/dev/null || true
rm -rf "$RUN"
mkdir -p "$LOGS"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
echo advise >"$SHMEM"
if [ "$pages_before" -lt "$PAGES" ]; then
  sysctl -qw "vm.nr_hugepages=$PAGES"
  [ "$(cat /proc/sys/vm/nr_hugepages)" -ge "$PAGES" ] || die "cannot reserve $PAGES hugepages of 2 MiB: free some memory"
fi
# Machines without systemd may have none mounted.
grep -q ' hugetlbfs ' /proc/mounts || { mkdir "$RUN/huge" && mount -t hugetlbfs hugetlbfs "$RUN/huge"; }
# Open vSwitch's bridge has an address, as its tunnels need; no other interface of this machine is touched.
ip netns del "$NETNS" 2>/dev/null || true
ip netns add "$NETNS"
ip -n "$NETNS" link set lo up

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit=$commit-changed
mkdir -p bench/results
out=bench/results/$(date -u +%Y%m%d-%H%M%S)-$commit
PYTHONDONTWRITEBYTECODE=1 python3 bench/peers/main.py --run "$RUN" --binaries "$BIN" --core "$CORE" --other "$OTHER" --netns "$NETNS" \
  --memory "$MEMORY" --commit "$commit" --command "./bench/run.sh ${GIVEN[*]}" --out "$out" --parts "$PARTS" "${ARGUMENTS[@]}" &
record $! main
wait $!

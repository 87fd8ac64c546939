#!/usr/bin/env bash
# The main job on one machine: two nodes, one controller, a fabric, a legacy server, pods.
#
#   sudo ./scripts/demo.sh          builds, runs, checks, cleans up; exit 0 only if all checks pass
#   sudo ./scripts/demo.sh --keep   leaves everything running and prints commands to try
#   sudo ./scripts/demo.sh --down   removes what --keep left
#
# Everything it makes is called sluice-* (namespaces) or lies in /run/sluice-demo.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
RUN=/run/sluice-demo
LOGS=$RUN/logs
PIDS=$RUN/pids
# shellcheck source=scripts/demo/topology.sh
. scripts/demo/topology.sh
# shellcheck source=scripts/demo/nodes.sh
. scripts/demo/nodes.sh
# shellcheck source=scripts/demo/checks.sh
. scripts/demo/checks.sh

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }

down() {
  end_all
  topology_down
  rm -rf "$RUN"
}

# Whatever happens: nothing stays, except with --keep, and logs when something went wrong.
finish() {
  local status=$?
  trap - EXIT
  if [ "$status" != 0 ] && [ -d "$LOGS" ]; then
    rm -rf "$SAVED"
    cp -r "$LOGS" "$SAVED" || true
    cp "$RUN"/capture/* "$SAVED" 2>/dev/null || true
    note "logs and captures of this run: $SAVED"
  fi
  if [ -z "$KEEP" ]; then
    down
  elif [ -d "$RUN" ]; then
    ten_commands
  fi
  exit "$status"
}

ten_commands() {
  say "everything is running; things to try (as root), then: scripts/demo.sh --down"
  cat <<END
   $BIN/sluicectl --admin $RUN/node1/admin.sock show
   $BIN/sluicectl --admin $RUN/node1/admin.sock dump-flows | less -S
   $BIN/sluicectl --admin $RUN/node1/admin.sock dump-flows table=10
   $BIN/sluicectl --admin $RUN/node1/admin.sock drops
   $BIN/sluicectl --admin $RUN/node2/admin.sock ct
   $BIN/sluicectl --admin $RUN/node1/admin.sock --json dump-meters
   ovs-ofctl -O OpenFlow13 dump-flows unix:$RUN/node1/br.mgmt
   ip netns exec sluice-pod-teller-1 ping $(pod_ip teller-2)
   ip netns exec sluice-pod-teller-1 curl -s http://$SERVICE_IP/
   sed -i 's/_rate: "[0-9]*"/_rate: "10"/' $RUN/manifests/clients.yaml
END
}

KEEP=
SAVED=/tmp/sluice-demo-logs
# Two runs at once would take each other's namespaces away.
only_one() {
  exec 9>/run/lock/sluice-demo.lock
  flock -n 9 || die "another run is under way on this machine: wait for its end"
}

case "${1:-}" in
  '') ;;
  --keep) KEEP=yes ;;
  --down)
    need_root
    only_one
    down
    echo "removed"
    exit 0
    ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
need_root
only_one
ensure_packages "${DEMO_PACKAGES[@]}"
[ -n "${BIN:-}" ] || build_release # BIN=DIR: binaries that are built already

down # what an earlier run left
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$LOGS" "$RUN/capture"

say "two nodes, a fabric, a legacy server"
topology_up
say "the controller, on a copy of deploy/examples/bank"
cp -r deploy/examples/bank "$RUN/manifests"
controller_start
say "a dataplane on each node"
dataplane_start 1
dataplane_start 2
say "pods, attached as a container runtime does"
attach_pods
run_checks

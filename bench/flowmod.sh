#!/usr/bin/env bash
# Tables that change: Sluice and Open vSwitch side by side, in turns.
#
#   sudo ./bench/run.sh flowmod [--rounds N] [--flows N] [--many N] [--core N] [--parts "rate text memory churn"]
#
# rate:   flow-mods/s measured by bench/flowmod, which encodes first and waits for the barrier's reply
# text:   the same by `ovs-ofctl add-flows`, plain and in one bundle, where the sender is the limit
# memory: bytes per flow with --many flows, and a dump of them
# churn:  packets/s of established traffic with and without 100,000 flow-mods/s in another table
# Open vSwitch runs its userspace datapath. Results: bench/results/*-flowmod.json and .md.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

ROUNDS=5 FLOWS=100000 MANY=1000000 PARTS="rate text memory churn"
CORE=$(($(nproc) - 1))
usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --rounds | --flows | --many | --core | --parts) [ $# -ge 2 ] || { usage >&2; exit 2; } ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  case $1 in
    --rounds) ROUNDS=$2 ;;
    --flows) FLOWS=$2 ;;
    --many) MANY=$2 ;;
    --core) CORE=$2 ;;
    --parts) PARTS=$2 ;;
  esac
  shift 2
done
need_root
[ "$(nproc)" -ge 2 ] || die "needs two processors: one for the switch, one for the sender"
ensure_packages openvswitch-switch iproute2 python3 util-linux
if [ -z "${BIN:-}" ]; then
  build_release
  cargo build --release --locked --quiet -p sluice-flowmod
fi
OTHER=$((CORE == 0 ? 1 : 0))

RUN=/run/sluice-flowmod
LOGS=$RUN/logs
PIDS=$RUN/pids
RAW=$RUN/raw.tsv
NETNS=flowmod-bench
finish() {
  local status=$?
  trap - EXIT
  end_all
  [ "$status" = 0 ] || { rm -rf /tmp/sluice-flowmod-logs && cp -r "$LOGS" /tmp/sluice-flowmod-logs && note "logs: /tmp/sluice-flowmod-logs"; }
  rm -rf "$RUN"
  ip netns del "$NETNS" 2>/dev/null || true
  exit "$status"
}
PIDS=$RUN/pids end_all
rm -rf "$RUN"
mkdir -p "$LOGS"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
ip netns add "$NETNS" 2>/dev/null || true

# Both have the whole machine: what the sender leaves of one processor, and the other.
sluice_up() { # ARGUMENTS...
  SWITCH=sluice TARGET=unix:$RUN/sluice.mgmt
  rm -f "$RUN/sluice.mgmt"
  start sluice ip netns exec "$NETNS" "$BIN/sluice-dataplane" --name bench --dpid 1 --cpus "$CORE" --memory 256 --no-huge \
    --eal="--no-pci --file-prefix=flowmod-bench" --admin "$RUN/admin.sock" --metrics 127.0.0.1:9661 \
    --listen "punix:$RUN/sluice.mgmt" "$@"
  wait_for 20 ofctl show "$TARGET" || die "sluice-dataplane did not start: $(tail -n 3 "$LOGS/sluice.log")"
}
gone() { ! pid_of "$1"; }
sluice_down() {
  end sluice
  wait_for 20 gone sluice || die "sluice-dataplane does not end"
}

ovs_up() {
  local dir=$RUN/ovs
  SWITCH=ovs TARGET=unix:$dir/br0.mgmt
  start_ovs_database "$dir"
  OVS_RUNDIR=$dir start ovs ip netns exec "$NETNS" ovs-vswitchd "$OVS_DB" --unixctl="$dir/switch.ctl" --no-chdir
  vsctl add-br br0 -- set bridge br0 datapath_type=netdev protocols=OpenFlow13 fail-mode=secure ||
    die "Open vSwitch did not start: $(tail -n 3 "$LOGS/ovs.log")"
}
ovs_down() {
  end ovs
  wait_for 20 gone ovs || die "ovs-vswitchd does not end"
  end ovs-db
}

ofctl() { timeout 120 ovs-ofctl -O OpenFlow13 -vconsole:err "$@"; }
send() { timeout 120 taskset -c "$OTHER" "$BIN/flowmod" "$TARGET" "$@"; }
per_second() { sed -n 's/.*"per_second": \([0-9]*\).*/\1/p'; }
resident() { awk '/^VmRSS/ {print $2 * 1024}' "/proc/$(pid_of "$SWITCH")/status"; }
now() { date +%s%N; }

result() { # ROUND CASE VALUE UNIT
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$SWITCH" "$2" "$3" "$4" >>"$RAW"
  note "$(printf 'round %s  %-6s %-28s %12.0f %s' "$1" "$SWITCH" "$2" "$3" "$4")"
}

rate() { # ROUND
  local kind command
  for kind in simple tuple masks rewrite; do
    for command in add modify delete mixed; do
      result "$1" "$kind, $command" "$(send --count "$FLOWS" --kind "$kind" --command "$command" | per_second)" "flow-mods/s"
    done
    ofctl del-flows "$TARGET"
    result "$1" "$kind, add, bundle" "$(send --count "$FLOWS" --kind "$kind" --bundle | per_second)" "flow-mods/s"
    result "$1" "$kind, delete, bundle" "$(send --count "$FLOWS" --kind "$kind" --command delete --bundle | per_second)" "flow-mods/s"
  done
}

text() { # ROUND
  local options begin
  [ -f "$RUN/flows.txt" ] || awk -v n="$FLOWS" 'BEGIN {
    for (i = 0; i < n; i++)
      printf "priority=10,ip,in_port=%d,nw_dst=10.%d.%d.%d,actions=output:%d\n", 1 + i % 4, i / 65536, i / 256 % 256, i % 256, 1 + i % 48
  }' >"$RUN/flows.txt"
  for options in "" --bundle; do
    begin=$(now)
    # shellcheck disable=SC2086 # no option, or one
    ofctl $options add-flows "$TARGET" "$RUN/flows.txt"
    result "$1" "ovs-ofctl add-flows${options:+ $options}" "$(awk -v n="$FLOWS" -v t=$(($(now) - begin)) 'BEGIN {print n * 1e9 / t}')" "flows/s"
    ofctl del-flows "$TARGET"
  done
}

memory() { # ROUND
  local kind base full peak begin
  for kind in simple tuple; do
    "${SWITCH}_up"
    base=$(resident)
    result "$1" "$kind, add to many" "$(send --count "$MANY" --kind "$kind" | per_second)" "flow-mods/s"
    sleep 1
    full=$(resident)
    result "$1" "$kind, memory" "$(((full - base) / MANY))" "bytes per flow"
    [ "$(ofctl dump-aggregate "$TARGET" | sed -n 's/.*flow_count=//p')" = "$MANY" ] || die "$SWITCH does not hold $MANY flows"
    begin=$(now)
    [ "$(ofctl --no-stats dump-flows "$TARGET" | grep -c actions=)" = "$MANY" ] || die "$SWITCH does not show $MANY flows"
    result "$1" "$kind, dump" "$(awk -v n="$MANY" -v t=$(($(now) - begin)) 'BEGIN {print n * 1e9 / t}')" "flows/s"
    peak=$(awk '/^VmHWM/ {print $2 * 1024}' "/proc/$(pid_of "$SWITCH")/status")
    result "$1" "$kind, dump, peak above" "$(((peak - full) / 1048576))" "MiB"
    "${SWITCH}_down"
  done
}

# Packets that port 1 got and port 2 sent so far.
sent() { ofctl dump-ports "$TARGET" 2 | sed -n 's/.*tx pkts=\([0-9]*\).*/\1/p' | head -n 1; }
drops() { "$BIN/sluicectl" --admin "$RUN/admin.sock" drops --json | python3 -c 'import json, sys; print(sum(d["packets"] for d in json.load(sys.stdin)))'; }

churn() { # ROUND
  local state before begin dropped pid=
  python3 bench/flows_pcap.py 1000 "$RUN/packets.pcap"
  sluice_up --poll busy --port "rx,ofport=1,dev=net_pcap0,rx_pcap=$RUN/packets.pcap,infinite_rx=1" --port "tx,ofport=2,dev=net_null0,no-rx=1"
  ofctl add-flow "$TARGET" "in_port=1,actions=output:2"
  sleep 1
  # Those that came before the flow was there.
  dropped=$(drops)
  for state in quiet churn quiet churn quiet churn; do
    if [ "$state" = churn ]; then
      send --rate 100000 --seconds 5 --count 100000 --table 100 >"$RUN/churn.json" &
      pid=$!
      sleep 1
    fi
    before=$(sent) begin=$(now)
    sleep 3
    result "$1" "forwarding, $state" "$(awk -v n=$(($(sent) - before)) -v t=$(($(now) - begin)) 'BEGIN {print n * 1e9 / t}')" "packets/s"
    if [ "$state" = churn ]; then
      wait "$pid"
      result "$1" "flow-mods beside forwarding" "$(per_second <"$RUN/churn.json")" "flow-mods/s"
    fi
  done
  result "$1" "packets lost beside flow-mods" "$(($(drops) - dropped))" packets
  sluice_down
}

say "$ROUNDS rounds, $FLOWS and $MANY flows: $PARTS"
for ((round = 1; round <= ROUNDS; round++)); do
  for SWITCH in sluice ovs; do
    for part in $PARTS; do
      case $part in
        rate | text)
          "${SWITCH}_up"
          "$part" "$round"
          "${SWITCH}_down"
          ;;
        memory) [ "$round" -gt 1 ] || memory "$round" ;;
        churn) [ "$SWITCH" != sluice ] || churn "$round" ;;
        *) die "no such part: $part" ;;
      esac
    done
  done
done

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit=$commit-changed
mkdir -p bench/results
out=bench/results/$(date -u +%Y%m%d-%H%M%S)-$commit-flowmod
say "medians"
python3 bench/flowmod_report.py "$RAW" "$out" "$commit" "$ROUNDS"
note "$out.json and .md"

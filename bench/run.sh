#!/usr/bin/env bash
# Measurements. With the name of another one (flowmod) in front, that one: see bench/NAME.sh --help.
#
# Side by side on one core: Sluice, Open vSwitch with DPDK, and testpmd as the ceiling, in turns.
#
#   sudo ./bench/run.sh [--rounds N] [--seconds N] [--flows "1 1000 ..."] [--cases "l2 l3"]
#                       [--switches "sluice ovs testpmd"] [--core N]
#
# Packets come from net_pcap with infinite_rx and go to net_null. l2: in_port -> output.
# l3: three tables, a route, dec_ttl, both MACs. Results: bench/results/*.json and *.md.
# Needs two processors and about 1.5 GiB in hugepages, which it reserves and gives back.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case ${1:-} in
  [a-z]*)
    if [ "$1" = run ] || ! [ -x "bench/$1.sh" ]; then die "there is no bench/$1.sh"; fi
    exec "bench/$1.sh" "${@:2}"
    ;;
esac

ROUNDS=5 SECONDS_EACH=3 FLOWS="1 1000 10000 100000" CASES="l2 l3" SWITCHES="sluice ovs testpmd"
CORE=$(($(nproc) - 1))
usage() { sed -n '2,11s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --rounds | --seconds | --flows | --cases | --switches | --core) [ $# -ge 2 ] || { usage >&2; exit 2; } ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  case $1 in
    --rounds) ROUNDS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --flows) FLOWS=$2 ;;
    --cases) CASES=$2 ;;
    --switches) SWITCHES=$2 ;;
    --core) CORE=$2 ;;
  esac
  shift 2
done
need_root
[ "$(nproc)" -ge 2 ] || die "needs two processors: one for the worker, one for everything else"
ensure_packages dpdk openvswitch-switch openvswitch-switch-dpdk python3 util-linux
if [[ " $SWITCHES " == *" sluice "* ]] && [ -z "${BIN:-}" ]; then build_release; fi
OTHER=$((CORE == 0 ? 1 : 0))
OVS=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk

RUN=/run/sluice-bench
LOGS=$RUN/logs
PIDS=$RUN/pids
RAW=$RUN/raw.tsv
PAGES=768 # of 2 MiB
pages_before=$(cat /proc/sys/vm/nr_hugepages)
finish() {
  local status=$?
  trap - EXIT
  end_all
  [ "$status" = 0 ] || { rm -rf /tmp/sluice-bench-logs && cp -r "$LOGS" /tmp/sluice-bench-logs && note "logs: /tmp/sluice-bench-logs"; }
  umount "$RUN/huge" 2>/dev/null || true
  rm -rf "$RUN"
  sysctl -qw "vm.nr_hugepages=$pages_before"
  exit "$status"
}
end_all
rm -rf "$RUN"
mkdir -p "$LOGS"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ "$pages_before" -lt "$PAGES" ]; then
  sysctl -qw "vm.nr_hugepages=$PAGES"
  [ "$(cat /proc/sys/vm/nr_hugepages)" -ge "$PAGES" ] || die "cannot reserve $PAGES hugepages of 2 MiB: free some memory"
fi
# Machines without systemd may have none mounted.
grep -q ' hugetlbfs ' /proc/mounts || { mkdir "$RUN/huge" && mount -t hugetlbfs hugetlbfs "$RUN/huge"; }

pcap() { printf '%s/%s.pcap' "$RUN" "$1"; }
rx_device() { printf 'net_pcap0,rx_pcap=%s,infinite_rx=1' "$(pcap "$1")"; }
TX_DEVICE=net_null0,no-rx=1

# The same flows for both switches, by the same ovs-ofctl.
flows_of() {
  case $1 in
    l2) echo "in_port=1,actions=output:2" ;;
    l3)
      echo "table=0,priority=10,in_port=1,dl_dst=02:00:00:00:00:02,ip,actions=goto_table:1"
      echo "table=1,priority=10,ip,nw_dst=10.1.0.0/16,actions=dec_ttl,set_field:02:00:00:00:01:01->eth_src,set_field:02:00:00:00:01:02->eth_dst,goto_table:2"
      echo "table=2,priority=10,dl_dst=02:00:00:00:01:02,actions=output:2"
      ;;
  esac
}

ofctl() { timeout 20 ovs-ofctl -O OpenFlow13 "$@"; }

# Packets that left by port 2, and the time, in ns.
sent() { ofctl dump-ports "$1" 2 | sed -n 's/.*tx pkts=\([0-9]*\).*/\1/p' | head -n 1; }

measure() { # BRIDGE ROUND SWITCH CASE FLOWS
  local bridge=$1 before after t0 t1
  ofctl del-flows "$bridge"
  flows_of "$4" | ofctl add-flows "$bridge" -
  sleep 1 # caches fill
  before=$(sent "$bridge") t0=$(date +%s%N)
  sleep "$SECONDS_EACH"
  after=$(sent "$bridge") t1=$(date +%s%N)
  result "$2" "$3" "$4" "$5" "$(awk -v n=$((after - before)) -v t=$((t1 - t0)) 'BEGIN {printf "%.0f", n * 1e9 / t}')"
}

result() {
  printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$RAW"
  note "$(printf 'round %s  %-8s %-3s %7s flows  %8.2f Mpps' "$1" "$2" "$3" "$4" "$(awk -v p="$5" 'BEGIN {print p / 1e6}')")"
}

run_sluice() { # ROUND FLOWS
  local bridge=unix:$RUN/sluice.mgmt case
  start sluice taskset -c "$OTHER,$CORE" "$BIN/sluice-dataplane" --name bench --dpid 1 --cpus "$CORE" --poll busy \
    --memory 1024 --eal="--no-pci --huge-unlink" --admin "$RUN/admin.sock" --metrics 127.0.0.1:9659 --listen "punix:$RUN/sluice.mgmt" \
    --port "rx,ofport=1,dev=$(rx_device "$2")" --port "tx,ofport=2,dev=$TX_DEVICE"
  wait_for 20 ofctl show "$bridge" || die "sluice-dataplane did not start: $(tail -n 3 "$LOGS/sluice.log")"
  for case in $CASES; do measure "$bridge" "$1" sluice "$case" "$2"; done
  end sluice
}

run_ovs() { # ROUND FLOWS
  local dir=$RUN/ovs case
  start_ovs_database "$dir" taskset -c "$OTHER"
  vsctl --no-wait set open_vswitch . other_config:dpdk-init=true \
    other_config:dpdk-lcore-mask="$(printf '0x%x' $((1 << OTHER)))" other_config:pmd-cpu-mask="$(printf '0x%x' $((1 << CORE)))" \
    other_config:dpdk-socket-mem=1024 other_config:dpdk-extra="--no-pci --huge-unlink --file-prefix=ovs-bench"
  OVS_RUNDIR=$dir start ovs taskset -c "$OTHER,$CORE" "$OVS" "$OVS_DB" --unixctl="$dir/switch.ctl" --no-chdir
  vsctl add-br br0 -- set bridge br0 datapath_type=netdev protocols=OpenFlow13 fail-mode=secure \
    -- add-port br0 rx -- set interface rx type=dpdk options:dpdk-devargs="$(rx_device "$2")" ofport_request=1 \
    -- add-port br0 tx -- set interface tx type=dpdk options:dpdk-devargs="$TX_DEVICE" ofport_request=2 ||
    die "Open vSwitch did not start: $(tail -n 3 "$LOGS/ovs.log")"
  for case in $CASES; do measure "unix:$dir/br0.mgmt" "$1" ovs "$case" "$2"; done
  end ovs
  end ovs-db
}

# Packets/s that left by port 1, one value per second; fails if there are fewer than given.
testpmd_rates() {
  awk -v least="$1" '/NIC statistics for port/ {port = $6} /Tx-pps/ && port == 1 && $2 > 0 {print $2; n++}
    END {exit n < least}' "$LOGS/testpmd.log"
}

run_testpmd() { # ROUND FLOWS
  local case pps
  start testpmd timeout -s INT $((SECONDS_EACH + 60)) dpdk-testpmd -l "$OTHER,$CORE" --no-pci --huge-unlink \
    --file-prefix=testpmd-bench --socket-mem=1024 --vdev "$(rx_device "$2")" --vdev "$TX_DEVICE" \
    -- --forward-mode=mac --nb-cores=1 --total-num-mbufs=262144 --auto-start --stats-period=1
  : >"$LOGS/testpmd.log"
  wait_for 40 testpmd_rates 1 || die "testpmd forwarded nothing: $(tail -n 3 "$LOGS/testpmd.log")"
  sleep $((SECONDS_EACH + 1))
  end -INT testpmd
  # The first value belongs to a second that was not whole.
  pps=$(testpmd_rates 0 | tail -n +2 | sort -n | awk '{v[NR] = $1} END {print NR ? v[int((NR + 1) / 2)] : 0}')
  [ "$pps" != 0 ] || die "testpmd forwarded nothing: $(tail -n 3 "$LOGS/testpmd.log")"
  for case in $CASES; do result "$1" testpmd "$case" "$2" "$pps"; done
}

for flows in $FLOWS; do python3 bench/flows_pcap.py "$flows" "$(pcap "$flows")"; done
say "$ROUNDS rounds on core $CORE: $SWITCHES; $CASES; $FLOWS flows"
for ((round = 1; round <= ROUNDS; round++)); do
  for flows in $FLOWS; do
    for switch in $SWITCHES; do
      "run_$switch" "$round" "$flows"
    done
  done
done

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit=$commit-changed
mkdir -p bench/results
out=bench/results/$(date -u +%Y%m%d-%H%M%S)-$commit
FLOWS_L3=$(flows_of l3) python3 - >"$RUN/facts.json" <<END
import json, os, subprocess
def first(command):
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip().split("\n")[0]
print(json.dumps({
    "date": first("date -u +%FT%TZ"),
    "commit": "$commit",
    "machine": first("sed -n 's/^model name.*: //p' /proc/cpuinfo") + ", $(nproc) processors, " + first("uname -r"),
    "core": $CORE,
    "rounds": $ROUNDS,
    "seconds": $SECONDS_EACH,
    "open vswitch": first("ovs-vswitchd --version"),
    "dpdk": first("pkg-config --modversion libdpdk"),
    "commands": {
        "sluice": "sluice-dataplane --cpus $CORE --poll busy --memory 1024 --eal=--no-pci --port rx,ofport=1,dev=net_pcap0,rx_pcap=FILE,infinite_rx=1 --port tx,ofport=2,dev=$TX_DEVICE",
        "ovs": "ovs-vswitchd-dpdk, pmd-cpu-mask of core $CORE, ports of type dpdk with the same devargs",
        "testpmd": "dpdk-testpmd -l $OTHER,$CORE --no-pci --vdev ... -- --forward-mode=mac --nb-cores=1",
        "flows l2": "$(flows_of l2)",
        "flows l3": os.environ["FLOWS_L3"].replace("\n", "; "),
    },
}))
END
say "medians"
python3 bench/report.py "$RAW" "$RUN/facts.json" "$out"
note "$out.json and .md"

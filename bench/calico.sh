#!/usr/bin/env bash
# Pods on Sluice beside pods on the kernel as Calico and kube-proxy program it, on this machine, in turns.
#
#   sudo ./bench/run.sh calico [--rounds N] [--seconds N] [--levels "RULES,SERVICES ..."] [--sides "kernel adaptive busy"]
#                              [--iptables nft|legacy] [--core N]
#
# The kernel's side is not Calico itself but what it makes of a node: veth pairs, proxy ARP, /32 routes, its iptables
# chains and ipsets, conntrack, and kube-proxy's chains for the Services. Sluice's side is a dataplane, a controller on
# a folder of manifests, and pods attached by sluice-cni; as it has no NetworkPolicy yet, flows stand for the rules.
# Measured by iperf3, sockperf and bench/connect, with the processor time of the whole machine. At the first and the
# last level everything, between them only new connections: established ones see neither rules nor Services.
# Sluice's worker has one processor (--core); on the side `busy` it spins there and the pods have the others.
# Results: bench/results/*-calico.json and .md; what to expect, and why: bench/calico/README.md. Ten minutes as it is.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

ROUNDS=2 SECONDS_EACH=2 LEVELS="0,1 1000,1 0,1000 0,10000 1000,10000" SIDES="kernel adaptive busy" IPTABLES=nft
CORE=$(($(nproc) - 1))
usage() { sed -n '2,14s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --rounds | --seconds | --levels | --sides | --iptables | --core) [ $# -ge 2 ] || { usage >&2; exit 2; } ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  case $1 in
    --rounds) ROUNDS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --levels) LEVELS=$2 ;;
    --sides) SIDES=$2 ;;
    --iptables) IPTABLES=$2 ;;
    --core) CORE=$2 ;;
  esac
  shift 2
done
need_root
[ "$(nproc)" -ge 2 ] || die "needs two processors: one for the worker, one for the pods"
exec 9>/run/lock/sluice-calico.lock
flock -n 9 || die "another run is under way on this machine: wait for its end"
ensure_packages iperf3 iproute2 ipset iptables iputils-ping jq openvswitch-switch python3 sockperf util-linux
command -v "iptables-$IPTABLES-restore" >/dev/null || die "--iptables is nft or legacy"
if [ -z "${BIN:-}" ]; then
  build_release
  cargo build --release --locked --quiet -p sluice-connect
fi

RUN=/run/sluice-calico
LOGS=$RUN/logs
PIDS=$RUN/pids
RAW=$RUN/raw.json
PODS=(client:10.16.0.10 server-1:10.16.0.21 server-2:10.16.0.22) # as bench/calico/layout.py has them
MTU=1450
PAGES=160 # of 2 MiB, for each of two dataplanes
OTHERS=$(seq 0 $(($(nproc) - 1)) | grep -vx "$CORE" | paste -sd,)
ALL=0-$(($(nproc) - 1))
pages_before=$(cat /proc/sys/vm/nr_hugepages)

down() {
  local ns
  end_all
  for ns in $(ip netns list | awk '/^calico-/ {print $1}'); do ip netns del "$ns"; done
  umount "$RUN/huge" 2>/dev/null || true
  rm -rf "$RUN"
}
finish() {
  local status=$? side
  trap - EXIT
  if [ "$status" != 0 ]; then
    for side in adaptive busy; do
      { sluicectl "$side" drops && sluicectl "$side" show && sluicectl "$side" ct | head -n 50; } >>"$LOGS/state-$side.log" 2>&1 || true
    done
  fi
  [ "$status" = 0 ] || { rm -rf /tmp/sluice-calico-logs && cp -r "$LOGS" /tmp/sluice-calico-logs && note "logs: /tmp/sluice-calico-logs"; }
  down
  sysctl -qw "vm.nr_hugepages=$pages_before"
  exit "$status"
}
down # what an earlier run left
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$LOGS" "$RUN/manifests"
pages_free=$(awk '/^HugePages_Free/ {print $2}' /proc/meminfo)
if [ "$pages_free" -lt $((2 * PAGES)) ]; then
  sysctl -qw "vm.nr_hugepages=$((pages_before + 2 * PAGES - pages_free))"
  [ "$(awk '/^HugePages_Free/ {print $2}' /proc/meminfo)" -ge $((2 * PAGES)) ] ||
    die "cannot reserve $((2 * PAGES)) hugepages of 2 MiB: free some memory"
fi
# Machines without systemd may have none mounted.
grep -q ' hugetlbfs ' /proc/mounts || { mkdir "$RUN/huge" && mount -t hugetlbfs hugetlbfs "$RUN/huge"; }

in_ns() { ip netns exec "$@"; }

# A pod's namespace: many short connections must not wait for ports.
pod_namespace() { # NAME
  ip netns add "$1"
  ip -n "$1" link set lo up
  in_ns "$1" sysctl -qw net.ipv4.ip_local_port_range='1024 65535' net.ipv6.conf.all.disable_ipv6=1
}

servers_start() { # PREFIX PROCESSORS
  local number port
  for number in 1 2; do
    for port in 7000 7001; do
      start "$1-$number-$port" taskset -c "$2" ip netns exec "$1-server-$number" "$BIN/connect" serve "0.0.0.0:$port"
      wait_for 5 listens "$1-server-$number" "$port" || die "the server does not listen: $(tail -n 3 "$LOGS/$1-$number-$port.log")"
    done
  done
}
listens() { in_ns "$1" ss -Hltn "sport = :$2" | grep -q .; }
reaches() { in_ns "$1-client" ping -c 1 -W 1 "$2"; }

# The kernel's side ---------------------------------------------------------------------------------

kernel_up() {
  local entry pod address interface set
  ip netns add calico-node
  in_ns calico-node sysctl -qw net.ipv4.ip_forward=1
  # The node answers ARP for what it has a route to: it has an uplink.
  ip -n calico-node link add uplink type veth peer name fabric
  ip -n calico-node addr add 192.0.2.1/24 dev uplink
  ip -n calico-node link set uplink up
  ip -n calico-node link set fabric up
  ip -n calico-node route add default via 192.0.2.254
  for entry in "${PODS[@]}"; do
    pod=${entry%:*} address=${entry#*:} interface=cali${pod//-/}
    pod_namespace "calico-kernel-$pod"
    ip link add eth0 mtu $MTU netns "calico-kernel-$pod" type veth peer name "$interface" mtu $MTU netns calico-node
    in_ns calico-node sysctl -qw "net.ipv4.conf.$interface.proxy_arp=1" "net.ipv4.neigh.$interface.proxy_delay=0" \
      "net.ipv4.conf.$interface.rp_filter=1" "net.ipv4.conf.$interface.route_localnet=1"
    ip -n calico-node link set "$interface" address ee:ee:ee:ee:ee:ee up
    ip -n "calico-kernel-$pod" link set eth0 up
    ip -n "calico-kernel-$pod" addr add "$address/32" dev eth0
    ip -n "calico-kernel-$pod" route add 169.254.1.1 dev eth0 scope link
    ip -n "calico-kernel-$pod" route add default via 169.254.1.1 dev eth0
    ip -n calico-node route add "$address/32" dev "$interface" scope link
  done
  for set in cali40masq-ipam-pools cali40all-ipam-pools; do in_ns calico-node ipset create $set hash:net; done
  in_ns calico-node ipset add cali40all-ipam-pools 10.16.0.0/16
  in_ns calico-node ipset create cali40s:clients hash:ip
  in_ns calico-node ipset add cali40s:clients 10.16.0.10
  servers_start calico-kernel "$ALL"
}
kernel_level() { # RULES SERVICES
  python3 bench/calico/kernel_rules.py "$1" "$2" >"$RUN/rules"
  in_ns calico-node "iptables-$IPTABLES-restore" <"$RUN/rules"
  wait_for 5 reaches calico-kernel 10.16.0.21 || die "no way between the kernel's pods"
}
kernel_pid() { echo -; }

# Sluice's side -------------------------------------------------------------------------------------

sluicectl() { "$BIN/sluicectl" --admin "$RUN/$1/admin.sock" "${@:2}"; }
ofctl() { timeout 60 ovs-ofctl -O OpenFlow13 -vconsole:err "$@"; }
connected() { sluicectl "$1" --json show | jq -e 'any(.sessions[]; .state == "connected")'; }
has_services() { [ "$(ofctl dump-flows "unix:$RUN/$1/br.mgmt" table=40 | grep -c ' nw_dst=\|,nw_dst=')" -ge "$2" ]; }

sluice_up() { # SIDE RULES SERVICES
  local side=$1 dir=$RUN/$1 entry pod processors=$ALL
  [ "$side" = adaptive ] || processors=$OTHERS
  mkdir -p "$dir"
  ip netns add "calico-$side-node"
  ip -n "calico-$side-node" link set lo up
  start "controller-$side" taskset -c "$processors" ip netns exec "calico-$side-node" "$BIN/sluice-controller" \
    --source "dir:$RUN/manifests" --listen ptcp:6653:127.0.0.1 --socket "$dir/controller.sock" --state "$dir/state" \
    --metrics 127.0.0.1:9652 --overlay-mtu $MTU
  start "$side" nice -n -10 ip netns exec "calico-$side-node" "$BIN/sluice-dataplane" --name node1 --dpid 1 --cpus "$CORE" \
    --poll "$side" --memory $((PAGES * 2 - 64)) --eal="--no-pci --huge-unlink --file-prefix=calico-$side" \
    --listen "punix:$dir/br.mgmt" --controller tcp:127.0.0.1:6653 --admin "$dir/admin.sock" --metrics 127.0.0.1:9651
  wait_for 20 connected "$side" || die "sluice-dataplane does not reach its controller: $(tail -n 3 "$LOGS/$side.log")"
  cat >"$dir/cni.conf" <<END
{"cniVersion": "1.1.0", "name": "sluice", "type": "sluice-cni", "timeout": 60,
 "adminSocket": "$dir/admin.sock", "controllerSocket": "$dir/controller.sock", "stateDir": "$dir/cni"}
END
  for entry in "${PODS[@]}"; do
    pod=${entry%:*}
    pod_namespace "calico-$side-$pod"
    CNI_COMMAND=ADD CNI_CONTAINERID=calico-$pod CNI_NETNS=/run/netns/calico-$side-$pod CNI_IFNAME=eth0 CNI_PATH=$BIN \
      CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=$pod" \
      timeout 90 ip netns exec "calico-$side-node" "$BIN/sluice-cni" <"$dir/cni.conf" >"$dir/$pod.json" ||
      die "$pod could not be attached: $(cat "$dir/$pod.json")"
  done
  servers_start "calico-$side" "$processors"
  sluice_level "$side" "$2" "$3"
}
sluice_level() { # SIDE RULES SERVICES
  wait_for 60 has_services "$1" "$3" || die "the controller did not install $3 Services: $(tail -n 3 "$LOGS/controller-$1.log")"
  ofctl del-flows "unix:$RUN/$1/br.mgmt" cookie=0/-1,table=80
  python3 bench/calico/policy_flows.py "$2" | ofctl --bundle add-flows "unix:$RUN/$1/br.mgmt" -
  wait_for 5 reaches "calico-$1" 10.16.0.21 || die "no way between the pods of $1"
}
sluice_down() { # SIDE
  local entry
  sluicectl "$1" drops >>"$LOGS/drops-$1.log" || true
  for entry in 1-7000 1-7001 2-7000 2-7001; do end "calico-$1-$entry"; done
  end "controller-$1"
  end "$1"
  for entry in "${PODS[@]}"; do ip netns del "calico-$1-${entry%:*}"; done
  ip netns del "calico-$1-node"
  rm -rf "${RUN:?}/$1"
}

# Turns -----------------------------------------------------------------------------------------------

has_side() { [[ " $SIDES " == *" $1 "* ]]; }
turn() { # SIDE LEVEL ROUND PART...
  local side=$1 level=$2 round=$3 processors=$ALL pid=-
  shift 3
  if [ "$side" != kernel ]; then
    pid=$(pid_of "$side")
    [ "$side" = adaptive ] || processors=$OTHERS
  fi
  taskset -c "$processors" python3 bench/calico/measure.py "$side" "calico-$side" "$level" "$round" "$RAW" \
    "$BIN/connect" "$SECONDS_EACH" "$pid" "$@"
}

begin=$SECONDS
say "worker on processor $CORE; pods: everywhere, but beside a busy worker on $OTHERS; iptables-$IPTABLES"
if has_side kernel; then kernel_up; fi
first=${LEVELS%% *} last=${LEVELS##* }
for level in $LEVELS; do
  rules=${level%,*} services=${level#*,}
  say "$rules policy rules, $services Services"
  parts="tcp1 tcp8 udp udp50k latency connect1 connect service"
  [ "$level" = "$first" ] || [ "$level" = "$last" ] || parts="connect service"
  python3 bench/calico/manifests.py "$services" "$RUN/manifests"
  if has_side kernel; then kernel_level "$rules" "$services"; fi
  if has_side adaptive; then
    if pid_of adaptive >/dev/null; then sluice_level adaptive "$rules" "$services"; else sluice_up adaptive "$rules" "$services"; fi
  fi
  for ((round = 1; round <= ROUNDS; round++)); do
    for side in $SIDES; do
      if [ "$side" = busy ]; then
        [ "$level" = "$first" ] || [ "$level" = "$last" ] || continue
        sluice_up busy "$rules" "$services"
      fi
      # shellcheck disable=SC2086 # a list
      turn "$side" "$rules $services" "$round" $parts
      [ "$side" != busy ] || sluice_down busy
    done
  done
done

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit=$commit-changed
mkdir -p bench/results
out=bench/results/$(date -u +%Y%m%d-%H%M%S)-$commit-calico
say "medians"
python3 bench/calico/report.py "$RAW" "$out" "$commit" "$ROUNDS" "$SECONDS_EACH" "$IPTABLES" "$CORE"
note "$out.json and .md, $((SECONDS - begin)) s"

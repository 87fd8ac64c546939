# shellcheck shell=bash
# The daemons and the pods of the demo. Sourced by demo.sh.

# shellcheck disable=SC2034 # for checks.sh
SERVICE_IP=10.96.0.10
# shellcheck disable=SC2034 # for checks.sh
UDP_SERVICE_IP=10.96.0.11
# shellcheck disable=SC2034 # for checks.sh
DUAL_SERVICE_IPS=(10.96.0.12 fd00:10:96::12)
# Where each pod runs, as the manifests say.
PODS=(teller-1:1 teller-2:2 teller-3:1 batch-out:1 batch-in:1 ledger:1 web-1:1 web-2:2 web-3:1 web-4:2
  rates-1:1 rates-2:2 trader:1)
# Those that serve.
BACKENDS=(web-1 web-2 web-3 web-4 rates-1 rates-2)

ctl() {
  local node=$1
  shift
  "$BIN/sluicectl" --admin "$RUN/node$node/admin.sock" "$@"
}

controller_start() {
  start controller ip netns exec sluice-ctl "$BIN/sluice-controller" --source "dir:$RUN/manifests" \
    --listen ptcp:6653:192.0.2.1 --socket "$RUN/controller.sock" --state "$RUN/state" \
    --metrics 127.0.0.1:9652
  wait_for 10 test -S "$RUN/controller.sock" || die "the controller did not start: $(tail -n 3 "$LOGS/controller.log")"
}

dataplane_start() {
  local n=$1 dir=$RUN/node$1 cpus
  cpus=$(nproc)
  mkdir -p "$dir"
  # On a node it has cores of its own; here it shares them with everything else.
  start "node$n" nice -n -10 ip netns exec "sluice-n$n" "$BIN/sluice-dataplane" \
    --name "node$n" --dpid "$n" --cpus $(((cpus - n % cpus) % cpus)) --poll adaptive --no-huge --memory 256 \
    --port uplink0,ofport=1,dev=net_af_packet0,iface=eth1 \
    --port geneve0,ofport=2,tunnel=geneve \
    --port sluice0,ofport=3,dev=tap \
    --vtep "172.30.0.$n/24,port=uplink0" \
    --listen "punix:$dir/br.mgmt" --controller tcp:192.0.2.1:6653 \
    --admin "$dir/admin.sock" --metrics 127.0.0.1:9651
  wait_for 20 ctl "$n" show || die "the dataplane of node$n did not start: $(tail -n 3 "$LOGS/node$n.log")"
  wait_for 10 connected "$n" || die "node$n does not reach the controller: $(tail -n 3 "$LOGS/node$n.log")"
  cat >"$dir/cni.conf" <<END
{"cniVersion": "1.1.0", "name": "sluice", "type": "sluice-cni", "timeout": 15,
 "adminSocket": "$dir/admin.sock", "controllerSocket": "$RUN/controller.sock", "stateDir": "$dir/cni"}
END
}

connected() { ctl "$1" --json show | jq -e 'any(.sessions[]; .state == "connected")'; }

in_pod() {
  local pod=$1
  shift
  ip netns exec "sluice-pod-$pod" "$@"
}

pod_ip() { jq -r '.ips[0].address | split("/")[0]' "$RUN/pods/$1.json"; }
pod_ip6() { jq -r '.ips[].address | split("/")[0] | select(contains(":"))' "$RUN/pods/$1.json"; }
pod_mac() { jq -r '.interfaces[0].mac' "$RUN/pods/$1.json"; }

# cni COMMAND NODE POD: calls the plugin as a container runtime does.
cni() {
  local command=$1 node=$2 pod=$3
  CNI_COMMAND=$command CNI_CONTAINERID=demo-$pod CNI_NETNS=/run/netns/sluice-pod-$pod CNI_IFNAME=eth0 \
    CNI_PATH=$BIN CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=bank;K8S_POD_NAME=$pod" \
    timeout 30 ip netns exec "sluice-n$node" "$BIN/sluice-cni" <"$RUN/node$node/cni.conf"
}

attach_pods() {
  local entry pod node
  mkdir -p "$RUN/pods"
  for entry in "${PODS[@]}"; do
    pod=${entry%:*} node=${entry#*:}
    ip netns add "sluice-pod-$pod"
    ip -n "sluice-pod-$pod" link set lo up
    cni ADD "$node" "$pod" >"$RUN/pods/$pod.json" ||
      die "$pod could not be attached: $(jq -r '.msg + ": " + (.details // "")' "$RUN/pods/$pod.json")"
    note "$(printf '%-10s node%s  %-14s %s' "$pod" "$node" "$(pod_ip "$pod")" "$(pod_mac "$pod")")"
  done
  for pod in "${BACKENDS[@]}"; do
    start "http-$pod" ip netns exec "sluice-pod-$pod" /usr/bin/python3 scripts/demo/backend.py "$pod" 8080 9090
  done
  for pod in "${BACKENDS[@]}"; do
    wait_for 10 in_pod "$pod" curl -sf -m 1 http://127.0.0.1:8080/ || die "$pod serves no HTTP: see $LOGS/http-$pod.log"
  done
}

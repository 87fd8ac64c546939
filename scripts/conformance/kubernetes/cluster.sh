# shellcheck shell=bash
# A control plane and two nodes for conformance.sh kubernetes: certificates, etcd, kube-apiserver,
# kube-controller-manager, kube-scheduler, all in the namespace $PREFIX-ctl; deploy/ as it stands; a
# dataplane and node.py for each node; sluice-controller with the rights of its own ServiceAccount.
#
# It wants KUBE_APISERVER, ETCD, KUBE_CONTROLLER_MANAGER and KUBE_SCHEDULER (paths), RUN, LOGS, PIDS, BIN.

SERVER=https://192.0.2.1:6443
NODE_ADDRESSES=("192.0.2.11,fd00:192:2::11" "192.0.2.12,fd00:192:2::12")
SERVICE_CIDRS=10.96.0.0/16,fd00:10:96::/112
# Pod prefixes, in any test: the kernels of the nodes route them to the dataplane.
POD_CIDRS=10.16.0.0/16,10.17.0.0/16,10.18.0.0/16,fd00:10:16::/48

k() { in_ns ctl kubectl --kubeconfig "$RUN/admin.kubeconfig" --cache-dir "$RUN/kubectl" "$@"; }
ctl() {
  local node=$1
  shift
  "$BIN/sluicectl" --admin "$RUN/node$node/admin.sock" "$@"
}

# certificate NAME SUBJECT [SUBJECT ALTERNATIVE NAMES]
certificate() {
  local name=$1 subject=$2 names=${3:-}
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$PKI/$name.key" \
    -subj "$subject" -out "$PKI/$name.csr" 2>/dev/null
  openssl x509 -req -in "$PKI/$name.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo "${names:+subjectAltName=$names}") -out "$PKI/$name.crt" 2>/dev/null
}

# kubeconfig FILE KEY VALUE...: how that user proves who it is.
kubeconfig() {
  local file=$1
  shift
  kubectl --kubeconfig "$file" config set-cluster it --server "$SERVER" \
    --certificate-authority "$PKI/ca.crt" --embed-certs >/dev/null
  kubectl --kubeconfig "$file" config set-credentials it "$@" >/dev/null
  kubectl --kubeconfig "$file" config set-context it --cluster it --user it >/dev/null
  kubectl --kubeconfig "$file" config use-context it >/dev/null
}

certified() { # NAME SUBJECT
  certificate "$1" "$2"
  kubeconfig "$RUN/$1.kubeconfig" --client-certificate "$PKI/$1.crt" --client-key "$PKI/$1.key" --embed-certs
}

certificates() {
  PKI=$RUN/pki
  mkdir -p "$PKI"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=conformance \
    -addext keyUsage=critical,keyCertSign -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
  openssl genrsa -out "$PKI/accounts.key" 2048 2>/dev/null
  openssl rsa -in "$PKI/accounts.key" -pubout -out "$PKI/accounts.pub" 2>/dev/null
  certificate apiserver /CN=kube-apiserver "IP:192.0.2.1,IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes.default.svc"
  certified admin /O=system:masters/CN=admin
  certified controller-manager /CN=system:kube-controller-manager
  certified scheduler /CN=system:kube-scheduler
  certified node1 /O=system:nodes/CN=system:node:node1
  certified node2 /O=system:nodes/CN=system:node:node2
}

etcd_start() {
  start etcd ip netns exec "$PREFIX-ctl" "$ETCD" --data-dir "$RUN/etcd" --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
}

apiserver_start() {
  cat >"$RUN/audit.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Request
    userGroups: ["system:serviceaccounts:sluice-system"]
  - level: None
END
  start apiserver ip netns exec "$PREFIX-ctl" "$KUBE_APISERVER" --etcd-servers http://127.0.0.1:2379 \
    --bind-address :: --secure-port 6443 --advertise-address 192.0.2.1 --cert-dir "$PKI" \
    --service-cluster-ip-range "$SERVICE_CIDRS" --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --allow-privileged --client-ca-file "$PKI/ca.crt" \
    --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$PKI/accounts.pub" \
    --service-account-signing-key-file "$PKI/accounts.key" \
    --audit-policy-file "$RUN/audit.yaml" --audit-log-path "$LOGS/audit.json" "${APISERVER_OPTIONS[@]}"
}

control_plane() {
  certificates
  etcd_start
  apiserver_start
  wait_for 90 k get --raw /readyz || die "kube-apiserver did not start: $(tail -n 3 "$LOGS/apiserver.log")"
  note "$("$KUBE_APISERVER" --version), $(k version -o json | jq -r .serverVersion.gitVersion) by its own account"
  start controller-manager ip netns exec "$PREFIX-ctl" "$KUBE_CONTROLLER_MANAGER" --kubeconfig "$RUN/controller-manager.kubeconfig" \
    --use-service-account-credentials --service-account-private-key-file "$PKI/accounts.key" \
    --root-ca-file "$PKI/ca.crt" --leader-elect=false --cert-dir "$PKI" --bind-address 127.0.0.1
  start scheduler ip netns exec "$PREFIX-ctl" "$KUBE_SCHEDULER" --kubeconfig "$RUN/scheduler.kubeconfig" --leader-elect=false \
    --bind-address 127.0.0.1 --cert-dir "$PKI"
}

# The node's second way out: addresses of both families on the management network.
management_addresses() {
  local n
  for n in 1 2; do
    in_ns "n$n" sysctl -qw net.ipv6.conf.mgmt0.disable_ipv6=0
    ip -n "$PREFIX-n$n" addr add "fd00:192:2::1$n/64" dev mgmt0 nodad
    in_ns ctl sysctl -qw "net.ipv6.conf.m-n$n.disable_ipv6=1"
  done
  ip -n "$PREFIX-ctl" addr add fd00:192:2::1/64 dev mgmt nodad
}

dataplane_start() {
  local n=$1 dir=$RUN/node$1 address=${NODE_ADDRESSES[$1 - 1]}
  mkdir -p "$dir"
  start "dataplane$n" ip netns exec "$PREFIX-n$n" "$BIN/sluice-dataplane" --name "node$n" --dpid "$n" --cpus $((n % $(nproc))) \
    --no-huge --memory 256 --port uplink0,ofport=1,dev=net_af_packet0,iface=eth1 \
    --port geneve0,ofport=2,tunnel=geneve --port sluice0,ofport=3,dev=tap --vtep "172.30.0.$n/24,port=uplink0" \
    --listen "punix:$dir/br.mgmt" --controller tcp:192.0.2.1:6653 --controller tcp:192.0.2.1:6654 \
    --admin "$dir/admin.sock" --metrics none
  wait_for 20 ctl "$n" show || die "the dataplane of node$n did not start: $(tail -n 3 "$LOGS/dataplane$n.log")"
  in_ns "n$n" scripts/host-network.sh up --node-ip "$address" --cidrs "$POD_CIDRS,$SERVICE_CIDRS"
}

node_start() {
  local n=$1 dir=$RUN/node$1
  jq -n --arg n "$n" --arg run "$RUN" --arg bin "$BIN" --arg prefix "$PREFIX" --arg addresses "${NODE_ADDRESSES[$1 - 1]}" '{
    name: ("node" + $n), addresses: ($addresses | split(",")), host: "192.0.2.1", port: 6443, prefix: $prefix,
    annotations: {"sluice.io/vtep": ("172.30.0." + $n)}, logs: ($run + "/logs"),
    labels: {"kubernetes.io/hostname": ("node" + $n), "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": ("zone-" + $n)},
    authority: ($run + "/pki/ca.crt"), certificate: ($run + "/pki/node" + $n + ".crt"), key: ($run + "/pki/node" + $n + ".key"),
    plugin: ($bin + "/sluice-cni"), cni: {cniVersion: "1.0.0", name: "sluice", type: "sluice-cni", timeout: 30,
      adminSocket: ($run + "/node" + $n + "/admin.sock"), kubeconfig: ($run + "/sluice-cni.kubeconfig"),
      stateDir: ($run + "/node" + $n + "/cni")}}' >"$dir/node.json"
  # Of the node's network only: the pods' namespaces shall be seen by everybody.
  start "node$n" nsenter --net="/run/netns/$PREFIX-n$n" /usr/bin/python3 scripts/conformance/kubernetes/node.py "$dir/node.json"
}

# controller_start N: the first or second replica, as its manifest would run it.
controller_start() {
  local n=$1
  start "controller$n" ip netns exec "$PREFIX-ctl" "$BIN/sluice-controller" --source kube --kubeconfig "$RUN/sluice-controller.kubeconfig" \
    --lease sluice-system/sluice-controller --listen "ptcp:$((6652 + n)):192.0.2.1" \
    --socket "$RUN/controller$n.sock" --metrics "127.0.0.1:$((9652 + n))"
}

# What a ServiceAccount of deploy/kubernetes may do, and no more.
account() {
  local token
  token=$(k create token "$1" -n sluice-system --duration 8h) || return 1
  kubeconfig "$RUN/$1.kubeconfig" --token "$token"
}

allowed() { k auth can-i "$@" -n sluice-system --as system:serviceaccount:sluice-system:sluice-controller; }
nodes_ready() { [ "$(k get nodes --no-headers 2>/dev/null | grep -c ' Ready ')" = 2 ]; }

cluster_up() {
  topology_up
  management_addresses
  control_plane
  k apply -f deploy/crds || die "deploy/crds is not accepted"
  k apply -f deploy/kubernetes/00-namespace.yaml -f deploy/kubernetes/rbac.yaml || die "deploy/kubernetes is not accepted"
  wait_for 30 account sluice-controller || die "no token for sluice-controller"
  account sluice-cni || die "no token for sluice-cni"
  # The server takes a moment to know of new rights.
  wait_for 30 allowed list pods && wait_for 30 allowed get leases
  controller_start 1
  local n
  for n in 1 2; do
    dataplane_start "$n"
    node_start "$n"
  done
  wait_for 60 nodes_ready || die "the nodes are not ready: $(tail -n 3 "$LOGS/node1.log")"
}

cluster_down() {
  end_all
  topology_down
  rm -rf "$RUN"
}

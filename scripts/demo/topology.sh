# shellcheck shell=bash
# The demo's network: two nodes, a fabric between them, a legacy server, a management network for
# the controller. Sourced by demo.sh and conformance.sh; everything it makes is called $PREFIX-*.
#
#   sluice-ctl  controller          192.0.2.1   --- management (a plain bridge)
#   sluice-n1   node1: eth1 ---.    192.0.2.11
#   sluice-n2   node2: eth1 ---+--- sluice-fab: VLAN-aware switch; untagged: tunnels, 100: tagged
#   sluice-leg  legacy: eth0 --'    access port of VLAN 100, knows nothing of us

PREFIX=${PREFIX:-sluice}
NETNS=("$PREFIX"-{fab,ctl,n1,n2,leg})
LEGACY_IP=10.100.0.200

in_ns() {
  local ns=$1
  shift
  ip netns exec "$PREFIX-$ns" "$@"
}

# A cable between two namespaces. Offloads are off: a wire carries whole frames with checksums.
cable() {
  local ns_a=$1 if_a=$2 ns_b=$3 if_b=$4
  ip link add "$if_a" netns "$PREFIX-$ns_a" type veth peer name "$if_b" netns "$PREFIX-$ns_b"
  local end ns if
  for end in "$ns_a $if_a" "$ns_b $if_b"; do
    read -r ns if <<<"$end"
    in_ns "$ns" ethtool -K "$if" tx off rx off sg off tso off gso off gro off >/dev/null 2>&1 || true
    # Nobody but us shall talk on it: no router solicitations, no link-local chatter.
    in_ns "$ns" sysctl -qw "net.ipv6.conf.$if.disable_ipv6=1"
    ip -n "$PREFIX-$ns" link set "$if" up
  done
}

topology_up() {
  local ns
  for ns in "${NETNS[@]}"; do
    ip netns add "$ns"
    ip -n "$ns" link set lo up
  done

  ip -n "$PREFIX"-ctl link add mgmt type bridge
  ip -n "$PREFIX"-ctl addr add 192.0.2.1/24 dev mgmt
  ip -n "$PREFIX"-ctl link set mgmt up
  cable ctl m-n1 n1 mgmt0
  cable ctl m-n2 n2 mgmt0
  ip -n "$PREFIX"-ctl link set m-n1 master mgmt
  ip -n "$PREFIX"-ctl link set m-n2 master mgmt
  ip -n "$PREFIX"-n1 addr add 192.0.2.11/24 dev mgmt0
  ip -n "$PREFIX"-n2 addr add 192.0.2.12/24 dev mgmt0

  cable fab port-n1 n1 eth1
  cable fab port-n2 n2 eth1
  cable fab port-leg leg eth0
  ip -n "$PREFIX"-leg addr add "$LEGACY_IP/24" dev eth0
  if ip -n "$PREFIX"-fab link add fabric type bridge vlan_filtering 1 vlan_default_pvid 1 2>/dev/null; then
    fabric_of_the_kernel
    note "fabric: the kernel's VLAN-aware bridge"
  else
    fabric_of_open_vswitch
    note "fabric: Open vSwitch in user space (this kernel has no VLAN filtering in its bridge)"
  fi
}

fabric_of_the_kernel() {
  local port
  for port in port-n1 port-n2 port-leg; do
    ip -n "$PREFIX"-fab link set "$port" master fabric
  done
  for port in port-n1 port-n2; do
    in_ns fab bridge vlan add dev "$port" vid 100
  done
  in_ns fab bridge vlan del dev port-leg vid 1
  in_ns fab bridge vlan add dev port-leg vid 100 pvid untagged
  ip -n "$PREFIX"-fab link set fabric up
}

fabric_of_open_vswitch() {
  local dir=$RUN/fabric
  start_ovs_database "$dir"
  start fabric ip netns exec "$PREFIX"-fab env OVS_RUNDIR="$dir" \
    ovs-vswitchd "$OVS_DB" --unixctl="$dir/switch.ctl" --no-chdir
  vsctl add-br fabric -- set bridge fabric datapath_type=netdev \
    -- add-port fabric port-n1 tag=1 vlan_mode=native-untagged trunks=1,100 \
    -- add-port fabric port-n2 tag=1 vlan_mode=native-untagged trunks=1,100 \
    -- add-port fabric port-leg tag=100 vlan_mode=access ||
    die "the fabric did not start: see $LOGS/fabric.log"
}

topology_down() {
  local ns pod
  for pod in $(ip netns list | awk -v pods="^$PREFIX-pod-" '$1 ~ pods {print $1}'); do
    ip netns del "$pod"
  done
  for ns in "${NETNS[@]}"; do
    ip netns del "$ns" 2>/dev/null || true
  done
}

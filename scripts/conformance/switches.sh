# shellcheck shell=bash
# Two switches side by side for conformance.sh: Open vSwitch in user space, and Sluice. Source it.
#
# Each lives in a network namespace of its own with the ports p1, p2 and p3 (ends of veth pairs)
# under the numbers 1, 2 and 3.

RUN=${RUN:-/run/sluice-conformance}
LOGS=$RUN/logs
# shellcheck disable=SC2034 # for lib.sh
PIDS=$RUN/pids
PEER_NS=conf-peer
OURS_NS=conf-ours

# namespace_with_ports NAME: p1..p3 inside, their other ends w1..w3 in the same namespace.
namespace_with_ports() {
  local at
  ip netns add "$1"
  ip -n "$1" link set lo up
  ip netns exec "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  for at in 1 2 3; do
    ip -n "$1" link add "p$at" type veth peer name "w$at"
    ip -n "$1" link set "p$at" up
    ip -n "$1" link set "w$at" up
  done
}

# start_ovs: the bridge `peer` with OpenFlow 1.0 to 1.5; OVS_TARGET is where ovs-ofctl finds it.
start_ovs() {
  local dir=$RUN/ovs
  namespace_with_ports "$PEER_NS"
  start_ovs_database "$dir"
  OVS_RUNDIR=$dir start ovs-vswitchd ip netns exec "$PEER_NS" ovs-vswitchd "$OVS_DB" --unixctl="$dir/switch.ctl" --no-chdir
  vsctl add-br peer -- set bridge peer datapath_type=netdev fail_mode=secure other-config:datapath-id=00000000000000d2 \
    "protocols=[OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15]" \
    -- add-port peer p1 -- set interface p1 ofport_request=1 \
    -- add-port peer p2 -- set interface p2 ofport_request=2 \
    -- add-port peer p3 -- set interface p3 ofport_request=3 || die "Open vSwitch does not start: see $LOGS/ovs-vswitchd.log"
  # shellcheck disable=SC2034 # for the caller
  OVS_TARGET=unix:$dir/peer.mgmt
}

# start_sluice: OURS_TARGET is where ovs-ofctl finds it.
start_sluice() {
  namespace_with_ports "$OURS_NS"
  start sluice-dataplane ip netns exec "$OURS_NS" "$BIN/sluice-dataplane" --dpid 1 --name ours --no-huge --memory 256 \
    --port p1,ofport=1,dev=veth,iface=p1 --port p2,ofport=2,dev=veth,iface=p2 --port p3,ofport=3,dev=veth,iface=p3 \
    --listen "punix:$RUN/ours.mgmt" --admin "$RUN/admin.sock" --metrics none --poll adaptive
  wait_for 30 test -S "$RUN/ours.mgmt" || die "sluice-dataplane does not start: see $LOGS/sluice-dataplane.log"
  # shellcheck disable=SC2034 # for the caller
  OURS_TARGET=unix:$RUN/ours.mgmt
}

stop_switches() {
  end_all
  ip netns del "$PEER_NS" 2>/dev/null || true
  ip netns del "$OURS_NS" 2>/dev/null || true
  rm -rf "$RUN"
}

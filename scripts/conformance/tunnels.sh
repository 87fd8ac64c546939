# shellcheck shell=bash
# Tunnels between Sluice and Open vSwitch in user space, for conformance.sh. Source it after switches.sh.
#
#   conf-pod1 10.9.0.1 --- conf-ours: sluice-dataplane, 172.31.0.1 and fd31::1
#                            | a veth pair, the underlay
#   conf-pod2 10.9.0.2 --- conf-peer: Open vSwitch (netdev datapath), 172.31.0.2 and fd31::2
#
# Geneve with an option that each side sets and matches, and VXLAN, over IPv4 and IPv6: pings in both
# families, TCP both ways, congestion marks, and the MTU that Sluice tells a sender.

TUNNEL_PODS=(conf-pod1 conf-pod2)
TUNNEL_FAULTS=0

# verdict CLAIM EVIDENCE COMMAND...
tunnel_verdict() {
  local claim=$1 evidence=$2 word=ok
  shift 2
  "$@" || { word=FAIL TUNNEL_FAULTS=$((TUNNEL_FAULTS + 1)); }
  printf '   %-4s  %-52s %s\n' "$word" "$claim" "$evidence"
}

tunnel_pod() { # NUMBER NAMESPACE_OF_ITS_SWITCH
  local ns=conf-pod$1
  ip netns add "$ns"
  ip link add eth0 netns "$ns" type veth peer name pod netns "$2"
  ip -n "$ns" link set lo up
  ip -n "$ns" link set eth0 up
  ip -n "$2" link set pod up
  ip -n "$ns" addr add "10.9.0.$1/24" dev eth0
  ip -n "$ns" addr add "fd09::$1/64" dev eth0 nodad
}

tunnels_up() {
  local ns
  for ns in "$OURS_NS" "$PEER_NS"; do
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    ip netns exec "$ns" sysctl -qw net.ipv6.conf.default.disable_ipv6="$([ "$ns" = "$OURS_NS" ] && echo 1 || echo 0)"
  done
  ip link add under netns "$OURS_NS" type veth peer name under netns "$PEER_NS"
  ip -n "$OURS_NS" link set under up
  ip -n "$PEER_NS" link set under up
  tunnel_pod 1 "$OURS_NS"
  tunnel_pod 2 "$PEER_NS"
  # Open vSwitch's user space takes frames as they are; Sluice takes large ones and open checksums.
  ip netns exec conf-pod2 ethtool -K eth0 tx off >/dev/null
  ip -n conf-pod2 link set eth0 mtu 1400

  start sluice-dataplane ip netns exec "$OURS_NS" "$BIN/sluice-dataplane" --dpid 1 --name ours --no-huge --memory 256 \
    --port under,ofport=1,dev=net_af_packet0,iface=under --port pod,ofport=9,dev=veth,iface=pod \
    --port gen,ofport=2,tunnel=geneve --port vx,ofport=3,tunnel=vxlan \
    --vtep 172.31.0.1/24,port=under --vtep fd31::1/64,port=under \
    --listen "punix:$RUN/ours.mgmt" --admin "$RUN/admin.sock" --metrics none --poll adaptive
  OURS_TARGET=unix:$RUN/ours.mgmt
  wait_for 30 test -S "$RUN/ours.mgmt" || die "sluice-dataplane does not start: see $LOGS/sluice-dataplane.log"

  local dir=$RUN/ovs
  start_ovs_database "$dir"
  OVS_RUNDIR=$dir start ovs-vswitchd ip netns exec "$PEER_NS" ovs-vswitchd "$OVS_DB" --unixctl="$dir/switch.ctl" --no-chdir
  vsctl add-br phy -- set bridge phy datapath_type=netdev -- add-port phy under \
    -- add-br int -- set bridge int datapath_type=netdev fail_mode=secure protocols=OpenFlow13 \
    -- add-port int pod -- set interface pod ofport_request=9 \
    -- add-port int gen -- set interface gen type=geneve options:remote_ip=flow options:key=flow ofport_request=2 \
    -- add-port int vx -- set interface vx type=vxlan options:remote_ip=flow options:key=flow ofport_request=3 ||
    die "Open vSwitch does not start: see $LOGS/ovs-vswitchd.log"
  ip -n "$PEER_NS" addr add 172.31.0.2/24 dev phy
  ip -n "$PEER_NS" addr add fd31::2/64 dev phy nodad
  ip -n "$PEER_NS" link set phy up
  OVS_TARGET=unix:$dir/int.mgmt
  local target
  for target in "$OURS_TARGET" "$OVS_TARGET"; do
    ovs-ofctl -O OpenFlow13 add-tlv-map "$target" "{class=0x102,type=0x1,len=4}->tun_metadata0" || return
  done
}

# tunnel_flows TARGET PORT REMOTE_FIELD OPTION_TO_SET OPTION_TO_MATCH: pod on port 9, network 77.
tunnel_flows() {
  local target=$1 port=$2 remote=$3 send=$4 match=$5
  ovs-ofctl -O OpenFlow13 del-flows "$target" &&
    ovs-ofctl -O OpenFlow13 add-flow "$target" "in_port=9,actions=set_field:77->tun_id,set_field:$remote,${send:+set_field:$send->tun_metadata0,}output:$port" &&
    ovs-ofctl -O OpenFlow13 add-flow "$target" "in_port=$port,tun_id=77${match:+,tun_metadata0=$match},actions=output:9"
}

tunnel_pings() { # ADDRESS OPTIONS...: "RECEIVED/SENT"
  ip netns exec "${FROM:-conf-pod1}" timeout 10 ping -q -i 0.02 -W 1 "${@:2}" "$1" 2>/dev/null |
    awk '/packets transmitted/ {print $4 "/" $1}'
}

tunnel_tcp() { # FROM TO ADDRESS: Mbit/s that arrived
  local log=$LOGS/iperf-$1.log
  rm -f "$log"
  start "iperf-$1" timeout 20 ip netns exec "$2" iperf3 -s -1 -J
  wait_for 5 tunnel_listens "$2" || true
  ip netns exec "$1" timeout 15 iperf3 -c "$3" -t 1 >>"$log.client" 2>&1 || true
  wait_for 5 tunnel_ended "iperf-$1" || true
  jq -r '.end.sum_received.bits_per_second / 1e6 | round' "$log" 2>/dev/null || echo 0
}
tunnel_listens() { ip netns exec "$1" ss -Hltn 'sport = :5201' | grep -q .; }
tunnel_ended() { ! pid_of "$1"; }
tunnel_some() { [ "${1:-0}" -ge 1 ]; }

# tunnel_variant gen|vx 4|6
tunnel_variant() {
  local kind=$1 family=$2 port=2 there here option1='' option2='' got name
  name="$([ "$kind" = gen ] && echo Geneve || echo VXLAN) over IPv$family"
  [ "$kind" = gen ] || port=3
  if [ "$family" = 4 ]; then
    there='172.31.0.2->tun_dst' here='172.31.0.1->tun_dst'
  else
    there='fd31::2->tun_ipv6_dst' here='fd31::1->tun_ipv6_dst'
  fi
  [ "$kind" = vx ] || option1=0x1111 option2=0x2222
  tunnel_flows "$OURS_TARGET" $port "$there" "$option1" "$option2" || return
  tunnel_flows "$OVS_TARGET" $port "$here" "$option2" "$option1" || return
  got=$(tunnel_pings 10.9.0.2 -c 1 -W 3) # next hops are found
  got=$(tunnel_pings 10.9.0.2 -c 10)
  tunnel_verdict "$name: ping" "$got" [ "$got" = 10/10 ]
  got=$(tunnel_pings fd09::2 -c 10)
  tunnel_verdict "$name: ping, IPv6 inside" "$got" [ "$got" = 10/10 ]
  got=$(tunnel_tcp conf-pod1 conf-pod2 10.9.0.2)
  tunnel_verdict "$name: TCP from Sluice" "$got Mbit/s" tunnel_some "$got"
  got=$(tunnel_tcp conf-pod2 conf-pod1 10.9.0.1)
  tunnel_verdict "$name: TCP from Open vSwitch" "$got Mbit/s" tunnel_some "$got"
  tunnel_mtu "$name" "$kind" "$family"
}

# 50 bytes of headers over IPv4, 70 over IPv6, and 8 of the option.
tunnel_mtu() {
  local expected=1450 told
  [ "$3" = 4 ] || expected=1430
  [ "$2" = vx ] || expected=$((expected - 8))
  ip netns exec conf-pod1 ip route flush cache
  told=$(ip netns exec conf-pod1 timeout 5 ping -c 1 -W 1 -M 'do' -s 1472 10.9.0.2 2>&1 | grep -o 'mtu = [0-9]*')
  tunnel_verdict "$1: a sender is told the MTU" "${told:-nothing}" [ "$told" = "mtu = $expected" ]
}

# Congestion marks on the underlay, both ways.
tunnel_marks() {
  local got
  start marks timeout 20 ip netns exec "$PEER_NS" tcpdump --immediate-mode -U -n -i under -w "$RUN/marks.pcap" 'udp port 6081 and ip[1] & 3 == 2'
  wait_for 5 grep -q 'listening on' "$LOGS/marks.log" || true
  tunnel_flows "$OURS_TARGET" 2 '172.31.0.2->tun_dst' 0x1111 0x2222
  tunnel_flows "$OVS_TARGET" 2 '172.31.0.1->tun_dst' 0x2222 0x1111
  tunnel_pings 10.9.0.2 -c 5 -Q 2 >/dev/null
  FROM=conf-pod2 tunnel_pings 10.9.0.1 -c 5 -Q 2 >/dev/null
  wait_for 5 tunnel_both_marked || true
  end -INT marks
  got="$(tunnel_marked 172.31.0.1) and $(tunnel_marked 172.31.0.2)"
  tunnel_verdict "ECT(0) inside is ECT(0) outside, from both" "$got packets" tunnel_both_marked
}

tunnel_marked() { tcpdump -nr "$RUN/marks.pcap" "src host $1" 2>/dev/null | wc -l; }
# Five requests each; replies may have the mark or not, as the kernel likes.
tunnel_both_marked() { [ "$(tunnel_marked 172.31.0.1)" -ge 5 ] && [ "$(tunnel_marked 172.31.0.2)" -ge 5 ]; }

tunnels() {
  local family kind dropped
  TUNNEL_FAULTS=0
  tunnels_down
  mkdir -p "$LOGS"
  tunnels_up || die "the tunnels were not set up"
  for family in 4 6; do
    for kind in gen vx; do tunnel_variant $kind $family || TUNNEL_FAULTS=$((TUNNEL_FAULTS + 1)); done
  done
  tunnel_marks
  # Without the option Open vSwitch's packets match no flow.
  tunnel_flows "$OVS_TARGET" 2 '172.31.0.1->tun_dst' 0x2223 0x1111
  dropped=$(tunnel_pings 10.9.0.2 -c 3)
  tunnel_verdict "another option is another flow" "$dropped" [ "$dropped" = 0/3 ]
  dropped=$("$BIN/sluicectl" --admin "$RUN/admin.sock" drops --json | jq -r '[.[] | select(.reason | startswith("tunnel_")) | .packets] | add // 0')
  tunnel_verdict "no tunnel packet was refused" "$dropped" [ "$dropped" = 0 ]
  [ "$TUNNEL_FAULTS" = 0 ] || cp -r "$LOGS" /tmp/sluice-tunnels-logs 2>/dev/null
  tunnels_down
  [ "$TUNNEL_FAULTS" = 0 ]
}

tunnels_down() {
  local ns
  stop_switches
  for ns in "${TUNNEL_PODS[@]}"; do ip netns del "$ns" 2>/dev/null || true; done
}

#!/usr/bin/env bash
# Connects a node's kernel with the pod network through the dataplane's port sluice0 (ADR 29).
# Run it as root on the node, after sluice-dataplane has started with --port sluice0,ofport=3,dev=tap,
# and again after every change of addresses or prefixes: it puts the same things in their place.
#
#   host-network.sh up --node-ip IP[,IP6] --cidrs PREFIX[,PREFIX...] [--gateway IP --prefix N]
#   host-network.sh down
#
#   --node-ip   the node's own address, as `kubectl get nodes` shows it; one of each family
#   --cidrs     the Subnets of the pods, the Service prefix, external addresses: what the kernel is to
#               send to the router
#   --prefix    only where the node's network interface belongs to the dataplane: sluice0 carries the
#               address, with this prefix length; --gateway is then the default gateway
#
# What it does, and nothing else: the address and MAC of sluice0, routes, six sysctls, and the table
# `sluice` of nftables. `down` removes the routes, the rules and the table.
set -euo pipefail

PORT=sluice0
ROUTER=169.254.83.1 ROUTER6=fe80::a5c:1
TRANSIT=169.254.83.2 TRANSIT6=fd53:4c43::2
NODE_PORTS=169.254.83.3 NODE_PORTS6=fd53:4c43::3
NODE_PORT_RANGE=30000-32767

die() {
  echo "host-network.sh: $*" >&2
  exit 2
}

usage() { sed -n '2,19s/^# \{0,1\}//p' "$0"; }

# The MAC address that flows expect of a node: 0a:5c: and its IPv4 address.
mac_of() {
  local a b c d
  IFS=. read -r a b c d <<<"$1"
  printf '0a:5c:%02x:%02x:%02x:%02x' "$a" "$b" "$c" "$d"
}

down() {
  nft delete table inet sluice 2>/dev/null || true
  ip route flush dev "$PORT" proto static 2>/dev/null || true
  ip -6 route flush dev "$PORT" proto static 2>/dev/null || true
}

up() {
  local ip4='' ip6='' address cidr
  for address in ${node_ip//,/ }; do
    case $address in
      *:*) ip6=$address ;;
      *) ip4=$address ;;
    esac
  done
  [ -n "$ip4" ] || [ -n "${mac:-}" ] || die "a node without an IPv4 address needs --mac: see sluicectl, or the controller's log"
  ip link show "$PORT" >/dev/null 2>&1 || die "there is no $PORT: start sluice-dataplane with --port $PORT,ofport=3,dev=tap"

  down
  ip link set "$PORT" address "${mac:-$(mac_of "$ip4")}"
  ip link set "$PORT" up
  if [ -n "$prefix" ]; then
    [ -z "$ip4" ] || ip address replace "$ip4/$prefix" dev "$PORT"
    [ -z "$gateway" ] || ip route replace default via "$gateway" dev "$PORT"
  fi

  sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  # Replies of Services come in with addresses of the node itself.
  sysctl -qw "net.ipv4.conf.$PORT.accept_local=1" "net.ipv4.conf.$PORT.rp_filter=0"
  sysctl -qw "net.ipv4.conf.$PORT.send_redirects=0" "net.ipv4.conf.$PORT.arp_ignore=1"

  if [ -n "$ip4" ]; then
    for cidr in ${cidrs//,/ } "$TRANSIT" "$NODE_PORTS"; do
      case $cidr in *:*) continue ;; esac
      ip route replace "$cidr" via "$ROUTER" dev "$PORT" onlink src "$ip4" proto static
    done
  fi
  if [ -n "$ip6" ]; then
    for cidr in ${cidrs//,/ } "$TRANSIT6" "$NODE_PORTS6"; do
      case $cidr in *:*) ;; *) continue ;; esac
      ip -6 route replace "$cidr" via "$ROUTER6" dev "$PORT" src "$ip6" proto static
    done
  fi

  # Node ports go to the tables, which know the Services; what the tables give back for the kernel to
  # send on leaves with the kernel's own address.
  nft -f - <<END
table inet sluice {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname != "$PORT" fib daddr type local meta nfproto ipv4 meta l4proto { tcp, udp, sctp } th dport $NODE_PORT_RANGE dnat ip to $NODE_PORTS
    iifname != "$PORT" fib daddr type local meta nfproto ipv6 meta l4proto { tcp, udp, sctp } th dport $NODE_PORT_RANGE dnat ip6 to $NODE_PORTS6
  }
  chain output {
    type nat hook output priority -100;
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto { tcp, udp, sctp } th dport $NODE_PORT_RANGE dnat ip to $NODE_PORTS
    ip6 daddr != ::1 fib daddr type local meta l4proto { tcp, udp, sctp } th dport $NODE_PORT_RANGE dnat ip6 to $NODE_PORTS6
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr $TRANSIT masquerade
    ip6 saddr $TRANSIT6 masquerade
  }
}
END
}

command=${1:-}
[ $# -eq 0 ] || shift
node_ip='' cidrs='' gateway='' prefix='' mac=''
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || die "$1 needs a value"
  case $1 in
    --node-ip) node_ip=$2 ;;
    --cidrs) cidrs=$2 ;;
    --gateway) gateway=$2 ;;
    --prefix) prefix=$2 ;;
    --mac) mac=$2 ;;
    *) die "$1 is no option; see $0 help" ;;
  esac
  shift 2
done
case $command in
  up)
    [ -n "$node_ip" ] || die "--node-ip is missing"
    [ -n "$cidrs" ] || die "--cidrs is missing"
    up
    ;;
  down) down ;;
  help | -h | --help) usage ;;
  *) die "say up or down; see $0 help" ;;
esac

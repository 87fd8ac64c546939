#!/usr/bin/env bash
# Runs the switch tester of os-ken 3.1.0 against the dataplane, as shipped: no pause between a barrier
# and the packet behind it.
#
#   sudo ./scripts/conformance/os-ken.sh [--timeout SECONDS] [--bin DIR] [--log DIR] [PATH...]
#
# PATH is a file or a directory of the tester's: of13/action, of14/match/00_IN_PORT.json; its first part
# is the version that the switch is tested in. Without any: of13/action of13/match.
# Prints a line per PATH and the cases that failed. Exit 0 if the tester ended by itself on every PATH.
#
# In a network namespace of its own: the dataplane (dpid 1, ports 1 to 3), Open vSwitch in user space as
# the tester's switch (dpid 2, ports 1 to 3), three cables between them, and the tester as the
# controller of both. All of it is gone afterwards. Takes about 5 minutes for of13/action and of13/match.
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

NS=sluice-osken-$$
RUN=$(mktemp -d /tmp/sluice-osken.XXXXXX)
LOGS=$RUN
PIDS=$RUN/pids
LIMIT=1800
KEEP_LOGS=

# shellcheck disable=SC2317 # the traps run it
finish() {
  local status=$?
  trap - EXIT
  end_all
  ip netns del "$NS" 2>/dev/null || true
  if [ -n "$KEEP_LOGS" ]; then
    mkdir -p "$KEEP_LOGS"
    cp "$RUN"/*.log "$KEEP_LOGS"
  fi
  rm -rf "$RUN"
  exit "$status"
}

here() { ip netns exec "$NS" "$@"; }

topology_up() {
  local n end
  ip netns add "$NS"
  ip -n "$NS" link set lo up
  for n in 1 2 3; do
    ip link add "target$n" netns "$NS" type veth peer name "tester$n"  netns "$NS"
    for end in "target$n" "tester$n"; do
      here ethtool -K "$end" tx off rx off sg off tso off gso off gro off txvlan off rxvlan off >/dev/null 2>&1 || true
      here sysctl -qw "net.ipv6.conf.$end.disable_ipv6=1"
      ip -n "$NS" link set "$end" up
    done
  done
}

# The tester's switch: an Open vSwitch of our own.
tester_start() {
  local dir=$RUN/ovs n ports=()
  start_ovs_database "$dir"
  # Not through a function: what is recorded must be the process itself.
  OVS_RUNDIR=$dir start vswitchd ip netns exec "$NS" ovs-vswitchd "$OVS_DB" --unixctl="$dir/switch.ctl" --no-chdir
  for n in 1 2 3; do
    ports+=(-- add-port tester "tester$n" -- set interface "tester$n" "ofport_request=$n")
  done
  # It answers barriers before its datapath has seen a change. Flows that are idle are dropped from there
  # at once, so that what a packet meets is never left from the case before.
  vsctl --no-wait set Open_vSwitch . other_config:max-idle=1
  vsctl add-br tester -- set bridge tester datapath_type=netdev fail_mode=secure \
    protocols=OpenFlow10,OpenFlow13,OpenFlow14 other-config:datapath-id=0000000000000002 \
    other-config:disable-in-band=true "${ports[@]}" \
    -- set-controller tester tcp:127.0.0.1:6653 -- set controller tester max_backoff=1000 ||
    die "Open vSwitch did not start"
}

dataplane_start() {
  local n ports=()
  for n in 1 2 3; do
    ports+=(--port "p$n,ofport=$n,dev=veth,iface=target$n")
  done
  start dataplane ip netns exec "$NS" "$BIN/sluice-dataplane" --name target --dpid 1 --no-huge --memory 128 --cpus 0 \
    "${ports[@]}" --controller tcp:127.0.0.1:6653 --admin "$RUN/admin.sock" --metrics 127.0.0.1:9651
  wait_for 20 test -S "$RUN/admin.sock" || die "the dataplane did not start: $(tail -n 3 "$RUN/dataplane.log")"
}

# run_tester NAME PATH: one run of the tester; its words go to $LOGS/NAME.log.
run_tester() {
  local name=$1 path=$2 tests version began=$SECONDS
  version=openflow${path:2:2}
  tests=$(echo "$OSKEN_VENV"/lib/python3*/site-packages/os_ken/tests/switch)
  [ -e "$tests/$path" ] || die "$path: the tester has no such file or directory; see $tests"
  start "$name" ip netns exec "$NS" "$OSKEN_VENV/bin/osken-manager" \
    --ofp-listen-host 127.0.0.1 --ofp-tcp-listen-port 6653 \
    --test-switch-target-version "$version" --test-switch-tester-version "$version" \
    --test-switch-dir "$tests/$path" "$tests/tester.py"
  # It ends by itself, unless a switch does not speak its version.
  while pid_of "$name" >/dev/null; do
    sleep 0.5
    [ $((SECONDS - began)) -lt "$LIMIT" ] || end "$name"
    ! grep -q 'no compatible version found' "$LOGS/$name.log" || end "$name"
  done
}

# Cases that no switch can pass: with SCTP ports set the tester expects a checksum over the text form of
# the bytes; and of14 has IPv6 addresses spelled with a zero too many, which it compares as text.
WRONG='set_field:.*->sctp_'
WRONG_OF14="$WRONG|ipv6_(src=10::0|dst=0::20)[(]mask"

# The tester's own words: a line that ends in OK or ERROR per case; after ERROR what was wrong.
summarise() {
  local path=$1 log=$2 seconds=$3 ok failed wrong impossible
  wrong=$WRONG
  [ "${path%%/*}" = of13 ] || wrong=$WRONG_OF14
  ok=$(grep -cE '[[:space:]]OK$' "$log" || true)
  failed=$(grep -cE '[[:space:]]ERROR$' "$log" || true)
  impossible=$(grep -cE "($wrong).*[[:space:]]ERROR\$" "$log" || true)
  printf '%-40s OK %4d   ERROR %4d   %4d s' "$path" "$ok" "$((failed - impossible))" "$seconds"
  [ "$impossible" = 0 ] || printf '   (and %d that the tester gets wrong)' "$impossible"
  printf '\n'
  awk -v wrong="$wrong" '
    /^(action|match|group|meter|set_field)[^ ]*: / { file = $0 }
    told { sub(/^[[:space:]]+/, ""); print "      " substr($0, 1, 300); told = 0 }
    /[[:space:]]ERROR$/ && $0 !~ wrong {
      gsub(/^[[:space:]]+|[[:space:]]+ERROR$/, "")
      print "   " file ": " $0
      told = 1
    }' "$log"
}

paths=()
while [ $# -gt 0 ]; do
  case "$1" in
    --timeout) LIMIT=$2 && shift ;;
    --bin) BIN=$(realpath "$2") && shift ;;
    --log) KEEP_LOGS=$2 && shift ;;
    -h | --help)
      sed -n '2,14s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    of1[34] | of1[34]/*) paths+=("$1") ;;
    *)
      sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
  shift
done
[ ${#paths[@]} -gt 0 ] || paths=(of13/action of13/match)

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
need_root
ensure_packages "${DEMO_PACKAGES[@]}"
install_os_ken
[ -n "${BIN:-}" ] || build_release
topology_up
tester_start
dataplane_start

unfinished=0
for path in "${paths[@]}"; do
  name=${path//\//-}
  log=$LOGS/$name.log
  began=$SECONDS
  run_tester "$name" "$path"
  summarise "$path" "$log" $((SECONDS - began))
  if ! grep -q '^OK(' "$log"; then
    note "the tester did not come to its end: $(tail -n 1 "$log")"
    unfinished=1
  fi
done
exit $unfinished

#!/usr/bin/env bash
# What public suites, Open vSwitch's own tools and a real API server make of it.
#
#   sudo ./scripts/conformance.sh [PART...]      without one: verbs tunnels vectors os-ken policies kubernetes, what continuous integration runs
#
#   verbs      every verb of ovs-ofctl, OpenFlow 1.3, 1.4 and 1.5, exits as against Open vSwitch; 1 minute
#   tunnels    Geneve and VXLAN over IPv4 and IPv6 to Open vSwitch and back; 20 seconds
#   vectors    os-ken's wire vectors of 1.3, 1.4 and 1.5 through the codec; a minute, and what building takes
#   os-ken     os-ken's switch tester, 1.3, actions and matches; 5 minutes
#   os-ken-14  the same in 1.4; 8 minutes
#   groups     os-ken's switch tester, 1.3, groups; 8 minutes
#   meters     os-ken's switch tester, 1.3, meters; 18 minutes
#   kubernetes two nodes on a control plane of yours; 5 minutes; skipped without:
#                --kube-apiserver PATH --etcd PATH --kube-controller-manager PATH --kube-scheduler PATH
#              --keep leaves it running, --down removes it; docs/kubernetes.md says more
#   policies   generated NetworkPolicy cases through sluice-controller and two sluice-dataplane, SLUICE_CASES of
#              them, or all (168); without it 8, half a minute
#
# One line PASS or FAIL for each part; exit 0 only if each reaches what it must.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/conformance/switches.sh
. scripts/conformance/switches.sh
# shellcheck source=scripts/conformance/tunnels.sh
. scripts/conformance/tunnels.sh
# shellcheck source=scripts/conformance/kubernetes.sh
. scripts/conformance/kubernetes.sh

usage() { sed -n '2,19s/^# \{0,1\}//p' "$0"; }
PARTS=()
KEEP=
while [ $# -gt 0 ]; do
  word=$1
  shift
  case $word in
    verbs | tunnels | vectors | os-ken | os-ken-14 | groups | meters | kubernetes | policies) PARTS+=("$word") ;;
    --kube-apiserver | --etcd | --kube-controller-manager | --kube-scheduler)
      [ -x "${1:-}" ] || die "$word needs the path of a program"
      declare "$(tr a-z- A-Z_ <<<"${word#--}")=$(realpath "$1")"
      shift
      ;;
    --keep) KEEP=yes ;;
    --down) KEEP=down ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done
[ ${#PARTS[@]} -gt 0 ] || PARTS=(verbs tunnels vectors os-ken policies kubernetes)
need_root
if [ "$KEEP" = down ]; then
  kubernetes_down
  exit 0
fi
ensure_packages ethtool iperf3 iproute2 iputils-ping jq openvswitch-switch procps python3 tcpdump
[ -n "${BIN:-}" ] || build_release

# VERBS_OPTIONS: more arguments for verbs.py, such as --show or --only.
verbs() {
  local status options
  read -ra options <<<"${VERBS_OPTIONS:-}"
  stop_switches
  mkdir -p "$LOGS"
  start_ovs
  start_sluice
  python3 scripts/conformance/verbs.py --peer "$OVS_TARGET" --ours "$OURS_TARGET" "${options[@]}"
  status=$?
  stop_switches
  return "$status"
}

vectors() {
  ensure_rust
  install_os_ken
  OS_KEN_PACKET_DATA=$(echo "$OSKEN_VENV"/lib/python3*/site-packages/os_ken/tests/packet_data) \
    cargo test --quiet --locked -p sluice-openflow --test os_ken -- --nocapture
}

policies() {
  local cases status
  ensure_rust
  cases=$(mktemp -d)
  SLUICE_CASES=${SLUICE_CASES:-8} SLUICE_CASES_TO=$cases \
    cargo test --quiet --locked --workspace --test policies -- --ignored cases_are_written >/dev/null &&
    python3 scripts/conformance/policies.py --bin "$BIN" --cases "$cases"
  status=$?
  rm -rf "$cases"
  return "$status"
}

# tester AT_LEAST PATH...: so many cases must be OK in all.
tester() {
  local least=$1 ok said
  shift
  said=$(mktemp)
  OSKEN_VENV=$OSKEN_VENV scripts/conformance/os-ken.sh --bin "$BIN" "$@" | tee "$said"
  ok=$(awk '{for (i = 1; i < NF; i++) if ($i == "OK") ok += $(i + 1)} END {print ok + 0}' "$said")
  rm -f "$said"
  note "$ok OK, at least $least wanted"
  [ "$ok" -ge "$least" ]
}

trap 'tunnels_down; kubernetes_end' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
FAILED=0
SKIPPED=77
for part in "${PARTS[@]}"; do
  say "$part"
  began=$SECONDS
  # The numbers are those of the cases that a correct switch can pass, less what a loaded machine costs.
  case $part in
    verbs) verbs ;;
    tunnels) tunnels ;;
    vectors) vectors ;;
    os-ken) tester 915 of13/action of13/match ;;
    os-ken-14) tester 857 of14/action of14/match ;;
    groups) tester 15 of13/group ;;
    meters) tester 24 of13/meter ;;
    kubernetes) kubernetes ;;
    policies) policies ;;
  esac
  status=$?
  if [ "$status" = "$SKIPPED" ]; then
    printf 'SKIP  conformance: %s\n' "$part"
  elif [ "$status" = 0 ]; then
    printf 'PASS  conformance: %s, %s s\n' "$part" $((SECONDS - began))
  else
    printf 'FAIL  conformance: %s\n' "$part"
    FAILED=1
  fi
done
exit $FAILED

#!/usr/bin/env bash
# What public suites and Open vSwitch's own tools make of the switch.
#
#   sudo ./scripts/conformance.sh [PART...]      without one: all of them
#
#   verbs      every verb of ovs-ofctl, OpenFlow 1.3, 1.4 and 1.5, exits as against Open vSwitch
#
# The last line of each part has its counts; exit 0 only if each part reaches what it must.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/conformance/switches.sh
. scripts/conformance/switches.sh

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }
PARTS=()
for word in "$@"; do
  case $word in
    verbs) PARTS+=("$word") ;;
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
[ ${#PARTS[@]} -gt 0 ] || PARTS=(verbs)
need_root
ensure_packages iproute2 openvswitch-switch procps python3
[ -n "${BIN:-}" ] || build_release

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

trap stop_switches EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
FAILED=0
for part in "${PARTS[@]}"; do
  say "$part"
  case $part in
    verbs) verbs || FAILED=1 ;;
  esac
done
exit $FAILED

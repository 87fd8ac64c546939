#!/usr/bin/env bash
# Everything that is tested, on a fresh Debian 12 or here: style, lints, tests, scripts, units, the demo, OpenFlow suites.
#
#   sudo ./scripts/test.sh              all of it
#        ./scripts/test.sh --no-demo    without the end-to-end parts (and without root: no namespaces)
#
# The last line is "N passed, N failed"; exit 0 only if none failed.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

DEMO=yes
case "${1:-}" in
  '') need_root ;;
  --no-demo) DEMO= ;;
  -h | --help)
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  *)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

PASSED=0
FAILED=0
FAILURES=()
OUT=$(mktemp -d)
trap 'rm -rf "$OUT"' EXIT

# step NAME COMMAND...: one test; its output is shown if it fails.
step() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$OUT/log" 2>&1; then
    PASSED=$((PASSED + 1))
    printf 'PASS  %s, %s s\n' "$name" $((SECONDS - start))
  else
    FAILED=$((FAILED + 1))
    FAILURES+=("$name")
    printf 'FAIL  %s\n' "$name"
    sed 's/^/      /' "$OUT/log" | tail -n 60
  fi
}

# add PASSED FAILED NAME: what another program counted.
add() {
  PASSED=$((PASSED + ${1:-0}))
  FAILED=$((FAILED + ${2:-0}))
  [ "${2:-0}" = 0 ] || FAILURES+=("$3")
}

ensure_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
ensure_rust

say "style and lints"
step "cargo fmt --check" cargo fmt --all --check
step "cargo clippy, warnings are errors" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
mapfile -t scripts < <(git ls-files '*.sh' .ci/run; git ls-files -o --exclude-standard '*.sh')
step "shellcheck of ${#scripts[@]} scripts" shellcheck -x "${scripts[@]}"
step "Pktgen's scripts against a stub of its API" bench/pktgen/check.sh

say "unit, property, packet-level and namespace tests"
cargo test --workspace --locked --no-fail-fast >"$OUT/tests" 2>&1
status=$?
read -r passed failed < <(awk '/^test result:/ {p += $4; f += $6} END {print p + 0, f + 0}' "$OUT/tests")
# A test program that does not build or dies has no result line.
[ "$status" = 0 ] || [ "$failed" -gt 0 ] || failed=1
add "$passed" "$failed" "cargo test"
grep -E '^(warning|error)|panicked at|^test .* FAILED|^    [a-z_:]+$' "$OUT/tests" | head -n 60
[ "$failed" = 0 ] || tail -n 60 "$OUT/tests"
# Which test, where and with what message, to be repeated at the very end.
PANICS=
[ "$failed" = 0 ] || PANICS=$(grep -h -A 3 'panicked at' "$OUT/tests" | grep -v '^stack backtrace\|^--$\|^note:' | head -n 80)
printf '%s tests passed, %s failed\n' "$passed" "$failed"
grep -c 'skipped: ' "$OUT/tests" | sed 's/^0$//; s/^\([0-9]\+\)$/\1 lines say "skipped": not everything could run here/'

step "the DPDK shim and bindings compile against 24.11" scripts/check-dpdk-24.11.sh

say "units and installation"
# The units are verified as installed, so that the programs they start exist.
installed() {
  local root=$OUT/root bin=$OUT/bin name
  rm -rf "$root" "$bin"
  mkdir -p "$bin"
  for name in sluice-dataplane sluice-controller sluice-cni sluicectl; do
    install -m 0755 /bin/true "$bin/$name" || return
  done
  scripts/install.sh --root "$root" --bin "$bin"
}
units_verify() {
  local root=$OUT/root said
  installed || return
  mkdir -p "$root/usr/lib/systemd" "$root/bin" "$root/usr/bin"
  cp -r /usr/lib/systemd/system "$root/usr/lib/systemd/"
  cp /bin/chgrp /bin/chmod "$root/bin/"
  said=$(systemd-analyze verify --man=no --root="$root" "$root"/etc/systemd/system/sluice-*.service 2>&1) && [ -z "$said" ] && return
  printf '%s\n' "$said"
  return 1
}
installs_twice_and_back() {
  installed || return
  (cd "$OUT/root" && find . -type f -exec sha256sum {} + | sort) >"$OUT/first"
  scripts/install.sh --root "$OUT/root" --bin "$OUT/bin" >"$OUT/again" || return
  (cd "$OUT/root" && find . -type f -exec sha256sum {} + | sort) >"$OUT/second"
  cmp "$OUT/first" "$OUT/second" || return
  echo "# changed" >>"$OUT/root/etc/sluice/dataplane.toml"
  scripts/install.sh --root "$OUT/root" --bin "$OUT/bin" || return
  grep -q '^# changed' "$OUT/root/etc/sluice/dataplane.toml" || { echo "a changed configuration was overwritten"; return 1; }
  scripts/install.sh --uninstall --root "$OUT/root" || return
  [ "$(find "$OUT/root" -type f)" = "$OUT/root/etc/sluice/dataplane.toml" ] || { find "$OUT/root" -type f; return 1; }
  scripts/install.sh --uninstall --purge --root "$OUT/root" || return
  [ -z "$(find "$OUT/root" -type f)" ]
}
step "systemd-analyze verify of both units" units_verify
step "install.sh: again, changed configuration, and back" installs_twice_and_back
step "the CNI configuration is JSON" jq -e .plugins deploy/cni/10-sluice.conflist
[ ! -d deploy/prometheus ] || step "promtool check rules" promtool check rules deploy/prometheus/*.rules.yaml

if [ -n "$DEMO" ]; then
  say "end to end: scripts/demo.sh"
  release() (build_release) # in a subshell: it ends it where it fails
  step "cargo build --release" release
  BIN=${CARGO_TARGET_DIR:-$ROOT/target}/release timeout -s INT 600 scripts/demo.sh 2>&1 | tee "$OUT/demo"
  status=${PIPESTATUS[0]}
  read -r passed failed < <(awk '/^PASS / {p++} /^FAIL / {f++} END {print p + 0, f + 0}' "$OUT/demo")
  [ "$status" = 0 ] || [ "$failed" -gt 0 ] || failed=1 # it did not come to an end
  add "$passed" "$failed" "scripts/demo.sh"

  say "OpenFlow conformance: scripts/conformance.sh"
  BIN=${CARGO_TARGET_DIR:-$ROOT/target}/release timeout -s INT 900 scripts/conformance.sh 2>&1 | tee "$OUT/conformance"
  status=${PIPESTATUS[0]}
  read -r passed failed < <(awk '/^PASS / {p++} /^FAIL / {f++} END {print p + 0, f + 0}' "$OUT/conformance")
  [ "$status" = 0 ] || [ "$failed" -gt 0 ] || failed=1
  add "$passed" "$failed" "scripts/conformance.sh"
fi

[ -z "$PANICS" ] || printf '\n%s\n' "$PANICS"
[ "$FAILED" = 0 ] || printf '\nfailed: %s\n' "$(printf '%s; ' "${FAILURES[@]}" | sed 's/; $//')"
printf '\n%s passed, %s failed\n' "$PASSED" "$FAILED"
[ "$FAILED" = 0 ]

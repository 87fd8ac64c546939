# shellcheck shell=bash
# What the other scripts share: words, packages, toolchain, build. Source it; it runs nothing.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "needs root (network namespaces, packages): run it with sudo"; }

# What building needs, what the demo and the tests need on top, what the benchmarks need on top.
BUILD_PACKAGES=(build-essential ca-certificates clang curl git libclang-dev libdpdk-dev pkg-config)
DEMO_PACKAGES=(curl ethtool iperf3 iproute2 iputils-ping jq nftables openvswitch-switch procps prometheus python3 tcpdump)
# shellcheck disable=SC2034 # for test.sh
TEST_PACKAGES=("${DEMO_PACKAGES[@]}" lua5.3 shellcheck systemd tshark)

# Installs those of the packages that are missing. Services that come with them are not started.
ensure_packages() {
  local package missing=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  need_root
  say "installing packages: ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d ours=
  if [ ! -e "$policy" ]; then
    # Debian's way of saying that no package may start its service now.
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    ours=yes
  fi
  local status=0
  {
    apt-get -qq update &&
      DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
  } || status=$?
  [ -z "$ours" ] || rm -f "$policy"
  [ $status = 0 ] || die "apt-get could not install ${missing[*]}: see above; is there a network?"
}

# The toolchain that rust-toolchain.toml names.
ensure_rust() {
  export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  if ! command -v cargo >/dev/null; then
    say "installing a Rust toolchain with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
      sh -s -- -y --no-modify-path --profile minimal --default-toolchain none >/dev/null ||
      die "rustup could not be installed: is there a network?"
  fi
  if command -v rustup >/dev/null; then
    # Reads rust-toolchain.toml; does nothing if it is there.
    (cd "$ROOT" && rustup -q toolchain install >/dev/null 2>&1) ||
      (cd "$ROOT" && rustup show active-toolchain >/dev/null) ||
      die "rustup could not install the toolchain of rust-toolchain.toml: is there a network?"
  fi
}

# Builds the release binaries; their directory is in BIN afterwards.
build_release() {
  ensure_packages "${BUILD_PACKAGES[@]}"
  ensure_rust
  say "building (cargo build --release)"
  local start=$SECONDS
  (cd "$ROOT" && cargo build --release --locked --quiet \
    -p sluice-dataplane -p sluice-controller -p sluice-cni -p sluicectl) || die "the build failed: see above"
  BIN=${CARGO_TARGET_DIR:-$ROOT/target}/release
  note "binaries in $BIN, $((SECONDS - start)) s"
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local limit=$1 start=$SECONDS
  shift
  until "$@" >/dev/null 2>&1; do
    [ $((SECONDS - start)) -lt "$limit" ] || return 1
    sleep 0.1
  done
}

# start_ovs_database DIR [COMMAND...]: an empty database of Open vSwitch in DIR, its server recorded as
# ovs-db and run by COMMAND (`taskset -c 0`, say). OVS_DB is where ovs-vswitchd finds it; vsctl speaks with it.
start_ovs_database() {
  local dir=$1
  shift
  OVS_DB=unix:$dir/db.sock
  mkdir -p "$dir"
  rm -f "$dir"/*
  ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
  start ovs-db "$@" ovsdb-server "$dir/conf.db" --remote="p$OVS_DB" --unixctl="$dir/db.ctl" --no-chdir
  wait_for 10 test -S "$dir/db.sock" || die "ovsdb-server did not start: $(tail -n 3 "$LOGS/ovs-db.log")"
  vsctl --no-wait init
}
vsctl() { ovs-vsctl --db="$OVS_DB" --timeout=30 "$@"; }

# install_os_ken: os-ken 3.1.0, the last with the switch tester that conformance.sh runs, in $OSKEN_VENV.
OSKEN_VENV=${OSKEN_VENV:-$ROOT/target/os-ken}
install_os_ken() {
  [ ! -x "$OSKEN_VENV/bin/osken-manager" ] || return 0
  ensure_packages python3-venv
  say "installing os-ken 3.1.0 in $OSKEN_VENV"
  python3 -m venv "$OSKEN_VENV" || die "python3-venv does not work"
  # Newer setuptools lack what its installation needs.
  "$OSKEN_VENV/bin/pip" install -q 'setuptools<81' os-ken==3.1.0 || die "os-ken could not be installed: is there a network?"
}

# Background processes are recorded as "PID START NAME" in $PIDS: the start time (in ticks, from
# /proc/PID/stat) tells ours from a later process that got the same number.
PIDS=/dev/null
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
record() { printf '%s %s %s\n' "$1" "$(started_at "$1")" "$2" >>"$PIDS"; }

# start NAME COMMAND...: in the background, output in $LOGS/NAME.log.
start() {
  local name=$1
  shift
  "$@" >>"$LOGS/$name.log" 2>&1 </dev/null 9>&- & # 9 is the lock of the script
  record $! "$name"
  disown $! # its end is no news
}

# pid_of NAME: of the last one started under that name that still runs.
pid_of() {
  local pid began name found=
  while read -r pid began name; do
    [ "$name" = "$1" ] && [ "$(started_at "$pid")" = "$began" ] && found=$pid
  done <"$PIDS"
  [ -n "$found" ] && printf '%s' "$found"
}

# end [-SIGNAL] NAME: and wait until it is gone, five seconds at most before it is made to.
end() {
  local signal=-TERM pid tries
  if [ "${1#-}" != "$1" ]; then
    signal=$1
    shift
  fi
  pid=$(pid_of "$1") || return 0
  kill "$signal" "$pid" 2>/dev/null || return 0
  for ((tries = 0; tries < 50; tries++)); do
    pid_of "$1" >/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

# Ends everything recorded, the last first.
end_all() {
  local pid began name
  [ -f "$PIDS" ] || return 0
  while read -r pid began name; do
    [ "$(started_at "$pid")" != "$began" ] || end "$name"
  done < <(tac "$PIDS")
  rm -f "$PIDS"
}

#!/usr/bin/env bash
# Takes a Debian node from the built binaries to enabled services, or back.
#
#   sudo ./scripts/install.sh [--hugepages N] [--no-start]    N pages of 2 MiB, default 512
#   sudo ./scripts/install.sh --uninstall [--purge]           --purge: changed configuration and state too
#        --root DIR    only places files below DIR (images, tests); needs no root
#        --bin DIR     where the built binaries are, default target/release
#
# Safe to run again: configuration that was changed stays.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

DIR=''
BIN=${CARGO_TARGET_DIR:-target}/release
HUGEPAGES=512
START=yes
ACTION=install
PURGE=
while [ $# -gt 0 ]; do
  case $1 in
    --uninstall) ACTION=uninstall ;;
    --purge) PURGE=yes ;;
    --no-start) START= ;;
    --root | --bin | --hugepages)
      [ $# -ge 2 ] || { echo "install.sh: $1 needs a value" >&2; exit 2; }
      case $1 in
        --root) DIR=${2%/} ;;
        --bin) BIN=$2 ;;
        --hugepages) HUGEPAGES=$2 ;;
      esac
      shift
      ;;
    -h | --help)
      sed -n '2,9s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      echo "install.sh: unknown argument $1; see --help" >&2
      exit 2
      ;;
  esac
  shift
done
[[ $HUGEPAGES =~ ^[0-9]+$ ]] || { echo "install.sh: --hugepages $HUGEPAGES is not a number" >&2; exit 2; }

UNITS=(sluice-dataplane.service sluice-controller.service)
# MODE SOURCE TARGET; ours alone, replaced at every run and removed by --uninstall.
FILES=(
  "0755 $BIN/sluice-dataplane /usr/local/bin/sluice-dataplane"
  "0755 $BIN/sluice-controller /usr/local/bin/sluice-controller"
  "0755 $BIN/sluicectl /usr/local/bin/sluicectl"
  "0755 $BIN/sluice-cni /opt/cni/bin/sluice-cni"
  "0644 deploy/systemd/sluice-dataplane.service /etc/systemd/system/sluice-dataplane.service"
  "0644 deploy/systemd/sluice-controller.service /etc/systemd/system/sluice-controller.service"
  "0644 deploy/systemd/sluice.sysusers /etc/sysusers.d/sluice.conf"
  "0644 deploy/systemd/sluice.tmpfiles /etc/tmpfiles.d/sluice.conf"
  "0644 deploy/systemd/60-sluice.rules /etc/udev/rules.d/60-sluice.rules"
)
# The operator's from then on: never overwritten, and kept by --uninstall if changed.
CONFIGURATION=(
  "0640 deploy/dataplane.toml /etc/sluice/dataplane.toml"
  "0640 deploy/controller.toml /etc/sluice/controller.toml"
  "0644 deploy/cni/10-sluice.conflist /etc/cni/net.d/10-sluice.conflist"
)
SYSCTL=/etc/sysctl.d/60-sluice-hugepages.conf

live() { [ -z "$DIR" ]; }
booted() { live && [ -d /run/systemd/system ]; }

place() { # MODE SOURCE TARGET
  local target=$DIR$3
  [ -f "$2" ] || die "$2 is missing: build first (cargo build --release), or say where with --bin"
  if cmp -s "$2" "$target"; then
    return
  fi
  install -D -m "$1" "$2" "$target.new"
  mv -f "$target.new" "$target" # at once: a running program keeps its old file
  note "$3"
}

# What the machine had before the first installation.
hugepages_before() { sed -n 's/.*Before: \([0-9]\+\)$/\1/p' "$DIR$SYSCTL" | grep . || echo 0; }

do_install() {
  local entry mode source target
  if live; then
    need_root
    if ldd "$BIN/sluice-dataplane" 2>/dev/null | grep -q 'librte_.*not found'; then
      ensure_packages dpdk
    fi
  fi

  say "files"
  for entry in "${FILES[@]}"; do
    read -r mode source target <<<"$entry"
    place "$mode" "$source" "$target"
  done
  for entry in "${CONFIGURATION[@]}"; do
    read -r mode source target <<<"$entry"
    if [ -e "$DIR$target" ]; then
      cmp -s "$source" "$DIR$target" || note "$target stays as it was changed"
    else
      place "$mode" "$source" "$target"
    fi
  done
  install -d -m 0755 "$DIR/etc/sluice/manifests"
  install -d -m 0750 "$DIR/var/lib/sluice"

  say "hugepages: $HUGEPAGES of 2 MiB"
  local before=0
  ! live || before=$(cat /proc/sys/vm/nr_hugepages)
  [ ! -e "$DIR$SYSCTL" ] || before=$(hugepages_before)
  install -d "$DIR${SYSCTL%/*}"
  printf '# Packet memory of sluice-dataplane, pages of 2 MiB. Before: %s\nvm.nr_hugepages = %s\n' \
    "$before" "$HUGEPAGES" >"$DIR$SYSCTL"
  if live; then
    sysctl -q -p "$SYSCTL"
    local got
    got=$(cat /proc/sys/vm/nr_hugepages)
    [ "$got" -ge "$HUGEPAGES" ] ||
      note "the kernel gave $got only, memory is fragmented: restart the machine, or set no-huge in /etc/sluice/dataplane.toml"
  fi

  if ! live; then
    note "placed below $DIR; user, hugepages and services are for the machine itself"
    return
  fi
  say "user and group sluice"
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers /etc/sysusers.d/sluice.conf
  else
    getent group sluice >/dev/null || groupadd --system sluice
    getent passwd sluice >/dev/null ||
      useradd --system --gid sluice --home-dir /var/lib/sluice --no-create-home --shell /usr/sbin/nologin sluice
  fi
  chown sluice:sluice /var/lib/sluice
  chgrp sluice /etc/sluice/*.toml
  if command -v systemd-tmpfiles >/dev/null; then
    systemd-tmpfiles --create /etc/tmpfiles.d/sluice.conf
  else
    install -d -m 0750 -o sluice -g sluice /run/sluice
    install -d -m 0700 /run/sluice/cni
  fi

  say "services"
  systemctl --quiet enable "${UNITS[@]}"
  if ! booted; then
    note "enabled; systemd does not run here, so they start with the machine"
    return
  fi
  udevadm control --reload 2>/dev/null || true
  systemctl daemon-reload
  if [ -n "$START" ]; then
    systemctl restart "${UNITS[@]}" || die "a service did not start: journalctl -u sluice-dataplane -u sluice-controller"
    note "running; ports and tunnel endpoint: /etc/sluice/dataplane.toml, manifests: /etc/sluice/manifests"
  else
    note "enabled, not started (--no-start)"
  fi
}

do_uninstall() {
  local entry mode source target
  if live; then
    need_root
    say "services"
    if booted; then
      systemctl --quiet disable --now "${UNITS[@]}" 2>/dev/null || true
    else
      systemctl --quiet disable "${UNITS[@]}" 2>/dev/null || true
    fi
  fi

  say "files"
  for entry in "${FILES[@]}"; do
    read -r mode source target <<<"$entry"
    [ ! -e "$DIR$target" ] || { rm -f "$DIR$target" && note "$target removed"; }
  done
  for entry in "${CONFIGURATION[@]}"; do
    read -r mode source target <<<"$entry"
    [ -e "$DIR$target" ] || continue
    if [ -n "$PURGE" ] || cmp -s "$source" "$DIR$target"; then
      rm -f "$DIR$target" && note "$target removed"
    else
      note "$target stays: it was changed (--purge removes it)"
    fi
  done
  if [ -e "$DIR$SYSCTL" ]; then
    local before
    before=$(hugepages_before)
    rm -f "$DIR$SYSCTL" && note "$SYSCTL removed"
    if live; then
      sysctl -q -w "vm.nr_hugepages=$before"
      note "hugepages back to $before"
    fi
  fi
  rm -rf "$DIR/run/sluice"
  if [ -n "$PURGE" ]; then
    rm -rf "$DIR/etc/sluice" "$DIR/var/lib/sluice"
  else
    rmdir "$DIR/etc/sluice/manifests" "$DIR/etc/sluice" "$DIR/var/lib/sluice" 2>/dev/null || true
    [ ! -e "$DIR/var/lib/sluice" ] || note "/var/lib/sluice stays: allocated addresses (--purge removes them)"
    [ ! -e "$DIR/etc/sluice" ] || note "/etc/sluice stays: what is in it was changed (--purge removes it)"
  fi

  live || return 0
  if booted; then
    systemctl daemon-reload
    udevadm control --reload 2>/dev/null || true
  fi
  if getent passwd sluice >/dev/null && [ ! -e /var/lib/sluice ]; then
    userdel sluice
    note "user sluice removed"
  fi
}

case $ACTION in
  install) do_install ;;
  uninstall) do_uninstall ;;
esac

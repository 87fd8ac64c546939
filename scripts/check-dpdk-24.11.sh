#!/usr/bin/env bash
# Compiles the DPDK shim and bindings against the headers of Debian 13 (DPDK 24.11).
#
# Headers only: nothing is installed and nothing is linked. The packages are unpacked below
# target/dpdk-24.11, from the archive that this machine's apt already uses.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/target/dpdk-24.11
mkdir -p "$work"/apt/{sources,state/lists/partial,cache/archives/partial}

if [ ! -e "$work/root/usr/include/dpdk/rte_ethdev.h" ]; then
    # shellcheck disable=SC2016 # the variable is apt's
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
    [ -n "$archive" ] || { echo "no Debian archive among this machine's apt sources" >&2; exit 1; }
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$archive" \
        >"$work/apt/sources/trixie.list"
    apt=(apt-get -qq
        -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/apt/sources"
        -o "Dir::State=$work/apt/state" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$work/apt/cache"
        -o "APT::Sandbox::User=root")
    "${apt[@]}" update
    (cd "$work" && "${apt[@]}" download libdpdk-dev)
    dpkg-deb -x "$work"/libdpdk-dev_*.deb "$work/root"
fi

# Only the headers are wanted: what libdpdk requires of others is found on this machine or left out.
pc=$work/root/usr/lib/x86_64-linux-gnu/pkgconfig
sed -i '/^Requires/d' "$pc"/libdpdk*.pc
sed -i 's/^Libs:.*/Libs:/' "$pc"/libdpdk*.pc
grep -q 'Requires: libdpdk-libs' "$pc/libdpdk.pc" || echo 'Requires: libdpdk-libs' >>"$pc/libdpdk.pc"

PKG_CONFIG_LIBDIR=$pc PKG_CONFIG_SYSROOT_DIR=$work/root CARGO_TARGET_DIR=$work/target \
    cargo check --locked -p sluice-dpdk-sys -p sluice-dpdk
echo "shim and bindings compile against DPDK $(sed -n 's/^Version: //p' "$pc/libdpdk.pc")"

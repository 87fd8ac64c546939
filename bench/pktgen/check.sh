#!/usr/bin/env bash
# The Lua scripts without Pktgen: syntax, and a run of each against a stub of its API.
#
#   ./bench/pktgen/check.sh
set -euo pipefail

folder=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$folder/../../scripts/lib.sh"
ensure_packages lua5.3 # the Lua that Pktgen is built with
luac5.3 -p "$folder"/*.lua "$folder"/stub/*.lua
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
cd "$there"
lua5.3 "$folder/stub/check.lua" "$folder"

#!/usr/bin/env bash
# What a lookup in a table costs, by template, number of rules and number of masks.
#
#   ./bench/run.sh classifier [--write] [CASE...]
#
# CASE is a part of a case's name: exact, "IPv4 prefixes", ACL, masks, ...; none: all of them.
# --write puts the table of all cases into docs/classifier.md. Needs nothing but Rust; less than a minute once it is built.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

WRITE=
usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; }
case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  --write) WRITE=1 && shift ;;
  -*)
    usage >&2
    exit 2
    ;;
esac

ensure_rust
say "What a lookup costs"
run() { cargo run --quiet --release -p sluice-tables --example classifier -- "$@"; }
if [ -z "$WRITE" ]; then
  run "$@"
  exit
fi
[ $# = 0 ] || die "--write is for all cases"
page=docs/classifier.md
table=$(run)
awk -v table="$table" '
  /<!-- end of figures -->/ { inside = 0 }
  !inside { print }
  /<!-- figures -->/ { inside = 1; print table }
' "$page" >"$page.new"
mv "$page.new" "$page"
note "written into $page"

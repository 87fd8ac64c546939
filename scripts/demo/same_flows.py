"""Compares two `sluicectl --json dump-flows`: prints how many flows stayed and how many were removed
and added again, that is, are younger or have counted less than before.  same_flows.py BEFORE AFTER"""

import json
import sys


def flows(path):
    with open(path) as file:
        return {(f["table"], f["priority"], f["match"], f["cookie"]): f for f in json.load(file)}


before, after = flows(sys.argv[1]), flows(sys.argv[2])
gone = [key for key in before if key not in after]
renewed = [
    key
    for key, flow in before.items()
    if key in after
    and (after[key]["duration_ns"] <= flow["duration_ns"] or after[key]["packets"] < flow["packets"])
]
for key in gone + renewed:
    print("not kept:", key, file=sys.stderr)
print(f"{len(before) - len(gone) - len(renewed)} flows kept, {len(gone) + len(renewed)} renewed")

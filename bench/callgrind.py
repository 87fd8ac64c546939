"""Instructions per packet by function: callgrind.py CASE SHORT LONG PACKETS

SHORT and LONG are callgrind's output of two runs that differ by PACKETS packets and nothing else.
"""

import re
import sys


def exclusive(path):
    """Instructions by function, callees not included."""
    names, costs, function, after_call = {}, {}, None, False
    with open(path) as file:
        for line in file:
            if match := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line):
                kind, number, name = match.groups()
                if name:
                    names[number] = name.strip()
                if kind == "fn":
                    function = number
            elif line.startswith("calls="):
                after_call = True
            elif line[:1].isdigit() or line[:1] in "+-*":
                if after_call:
                    after_call = False
                    continue
                cost = line.split()
                if len(cost) > 1:
                    costs[function] = costs.get(function, 0) + int(cost[1])
    found = {}
    for number, cost in costs.items():
        name = re.sub(r"::h[0-9a-f]{16}|'\d+", "", names.get(number, "?"))
        found[name] = found.get(name, 0) + cost
    return found


def main():
    case, short, long, packets = sys.argv[1:5]
    before, after, packets = exclusive(short), exclusive(long), int(packets)
    differences = {name: (cost - before.get(name, 0)) / packets for name, cost in after.items()}
    total = sum(differences.values())
    print(f"{case}: {total:.0f} instructions per packet, the port in memory included")
    for name, cost in sorted(differences.items(), key=lambda pair: -pair[1])[:12]:
        if cost >= 1:
            print(f"  {cost:7.1f}  {name}")


main()

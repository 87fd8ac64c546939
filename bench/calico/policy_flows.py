"""NetworkPolicy is not Sluice's yet, so these flows stand for it: policy_flows.py POLICY_RULES

The same rules as the kernel's chain has, in the table and of the shape that the controller's would be:
table 80, what the receiver's policies allow, which the first packet of a connection passes. What is let in
is committed in the zone of the pods, so that the rest of the connection does not come here.
"""

import sys

from layout import CLIENT, SERVERS, foreign

NEXT = "actions=ct(commit,zone=21249),goto_table:90"
if __name__ == "__main__":
    count = int(sys.argv[1])
    for server in SERVERS if count else []:
        for number in range(count):
            if number == count // 2:
                print(f"table=80,priority=100,ip,nw_dst={server},nw_src={CLIENT},{NEXT}")
            else:
                network, port = foreign(number)
                print(f"table=80,priority=100,tcp,nw_dst={server},nw_src={network},tp_dst={port},{NEXT}")
        print(f"table=80,priority=50,ip,nw_dst={server},actions=drop")

#!/usr/bin/env python3
"""Every verb of ovs-ofctl against two switches: exit statuses must be equal, outputs are compared.

    verbs.py --peer TARGET --ours TARGET [--versions 13,14,15] [--show]

PEER is Open vSwitch, whose exit status is what a user expects. Both switches have the ports p1, p2
and p3 with the numbers 1, 2 and 3. A line of output that differs after counters, times, addresses
and identifiers are taken out is printed with --show; it is information, not a failure.
Prints PASS or FAIL for each verb and version, and the counts; exit 1 if a status differs.
"""

import argparse
import difflib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

# Longer than any verb takes; a verb that hangs has the status of a killed one.
LIMIT = 20

FLOWS = """\
cookie=0x11,table=0,priority=100,in_port=1,ip,nw_dst=10.0.0.0/8 actions=goto_table:3
table=0,priority=90,in_port=2 actions=output:1
table=3,priority=10,tcp,tp_dst=80 actions=mod_dl_dst:02:00:00:00:00:01,output:2
table=3,priority=0 actions=drop
"""
MORE_FLOWS = """\
table=0,priority=90,in_port=2 actions=output:3
table=5,priority=7,arp,arp_op=1 actions=CONTROLLER:128
"""
BUNDLE = """\
flow add table=9,priority=1,in_port=1 actions=group:77
group add group_id=77,type=all,bucket=output:1,bucket=output:2
"""
BUNDLE_IN_ORDER = """\
group add group_id=77,type=all,bucket=output:1,bucket=output:2
flow add table=9,priority=1,in_port=1 actions=group:77
flow modify table=9,in_port=1 actions=output:3
packet-out in_port=1 packet=ffffffffffff0200000000010800000000000000000000000000000000000000000000000000000000000000 actions=output:2
"""
GROUPS = """\
group_id=21,type=all,bucket=output:1
group_id=22,type=indirect,bucket=output:2
"""
PACKET = "ffffffffffff02000000000108060001080006040001020000000001" "0a0000010000000000000a000002" + "00" * 18

ALL = (13, 14, 15)
# (versions, arguments; {sw} is the switch, {file:NAME} a file). State carries over from line to line.
VERBS = [
    (ALL, "probe {sw}"),
    (ALL, "-t 5 ping {sw} 64", "stop"),
    (ALL, "benchmark {sw} 64 100"),
    (ALL, "show {sw}"),
    (ALL, "dump-desc {sw}"),
    (ALL, "dump-tables {sw}"),
    (ALL, "dump-table-features {sw}"),
    (ALL, "dump-table-desc {sw}"),
    (ALL, "mod-table {sw} 3 evict"),
    (ALL, "mod-table {sw} 3 noevict"),
    (ALL, "mod-table {sw} 3 vacancy:20,80"),
    (ALL, "mod-table {sw} 3 novacancy"),
    (ALL, "mod-table {sw} 3 controller"),
    (ALL, "mod-table {sw} 250 evict"),
    (ALL, "get-frags {sw}"),
    (ALL, "set-frags {sw} normal"),
    (ALL, "set-frags {sw} drop"),
    (ALL, "get-frags {sw}"),
    (ALL, "set-frags {sw} reassemble"),
    (ALL, "set-frags {sw} nx-match"),
    (ALL, "set-frags {sw} normal"),
    (ALL, "dump-ports {sw}"),
    (ALL, "dump-ports {sw} 2"),
    (ALL, "dump-ports {sw} p3"),
    (ALL, "dump-ports {sw} 77"),
    (ALL, "dump-ports-desc {sw}"),
    (ALL, "dump-ports-desc {sw} 1"),
    (ALL, "dump-ports-desc {sw} 77"),
    (ALL, "mod-port {sw} p1 down"),
    (ALL, "mod-port {sw} p1 up"),
    (ALL, "mod-port {sw} 2 no-flood"),
    (ALL, "mod-port {sw} 2 flood"),
    (ALL, "mod-port {sw} 2 no-receive"),
    (ALL, "mod-port {sw} 2 receive"),
    (ALL, "mod-port {sw} 2 no-forward"),
    (ALL, "mod-port {sw} 2 forward"),
    (ALL, "mod-port {sw} 2 no-packet-in"),
    (ALL, "mod-port {sw} 2 packet-in"),
    (ALL, "mod-port {sw} 77 down"),
    (ALL, "add-flows {sw} {file:flows}"),
    (ALL, "dump-flows {sw}"),
    (ALL, "--names dump-flows {sw}"),
    (ALL, "--no-names dump-flows {sw}"),
    (ALL, "--sort dump-flows {sw}"),
    (ALL, "--rsort=priority dump-flows {sw}"),
    (ALL, "-m dump-flows {sw}"),
    (ALL, "dump-flows {sw} table=3"),
    (ALL, "dump-flows {sw} cookie=0x10/0xf0"),
    (ALL, "dump-flows {sw} out_port=1"),
    (ALL, "dump-flows {sw} table=3,tcp"),
    (ALL, "dump-aggregate {sw}"),
    (ALL, "dump-aggregate {sw} table=3"),
    (ALL, "add-flow {sw} priority=5,actions=NORMAL"),
    (ALL, "add-flow {sw} priority=6,in_port=3,actions=FLOOD"),
    (ALL, "add-flow {sw} priority=6,in_port=2,actions=ALL"),
    (ALL, "add-flow {sw} priority=7,in_port=1,actions=IN_PORT"),
    (ALL, "add-flow {sw} priority=7,in_port=2,actions=LOCAL"),
    (ALL, "add-flow {sw} priority=8,in_port=p2,actions=p1"),
    (ALL, "add-flow {sw} table=1,idle_timeout=10,hard_timeout=30,ip,actions=drop"),
    (ALL, "add-flow {sw} table=1,check_overlap,ip,nw_src=10.0.0.1,actions=drop"),
    (ALL, "add-flow {sw} table=1,check_overlap,dl_type=0x88b5,actions=drop"),
    (ALL, "add-flow {sw} table=1,importance=9,ipv6,actions=drop"),
    (ALL, "add-flow {sw} table=1,send_flow_rem,reset_counts,arp,actions=drop"),
    (ALL, "add-flow {sw} table=1,no_packet_counts,no_byte_counts,sctp,actions=drop"),
    (ALL, "add-flow {sw} priority=1,actions=goto_table:0"),
    (ALL, "add-flow {sw} priority=1,actions=group:999"),
    (ALL, "add-flow {sw} priority=1,actions=meter:999"),
    (ALL, "add-flow {sw} tcp_src=80,actions=drop"),
    (ALL, "add-flow {sw} tun_metadata0=1,actions=drop"),
    (ALL, "add-flow {sw} table=2,priority=9,actions=output:4294967"),
    (ALL, "mod-flows {sw} table=3,actions=output:3"),
    (ALL, "--strict mod-flows {sw} table=3,priority=0,actions=output:1"),
    (ALL, "del-flows {sw} cookie=0x11/-1"),
    (ALL, "--strict del-flows {sw} table=3,priority=0"),
    (ALL, "del-flows {sw} table=1,out_port=1"),
    (ALL, "del-flows {sw} out_group=77"),
    (ALL, "replace-flows {sw} {file:more}"),
    (ALL, "--readd replace-flows {sw} {file:more}"),
    (ALL, "diff-flows {sw} {file:more}"),
    (ALL, "diff-flows {sw} {file:flows}"),
    (ALL, "--bundle add-flows {sw} {file:flows}"),
    (ALL, "--bundle replace-flows {sw} {file:more}"),
    (ALL, "bundle {sw} {file:bundle}"),
    (ALL, "dump-flows {sw} table=9"),
    (ALL, "bundle {sw} {file:ordered}"),
    (ALL, "dump-flows {sw} table=9"),
    (ALL, "dump-groups {sw}"),
    (ALL, "del-flows {sw}"),
    (ALL, "del-groups {sw}"),
    # Actions as Open vSwitch spells them.
    (ALL, "add-flow {sw} table=20,priority=1,actions=resubmit(1,21)"),
    (ALL, "add-flow {sw} table=20,priority=2,actions=resubmit(,21)"),
    (ALL, "add-flow {sw} table=20,priority=3,ip,actions=resubmit(,21,ct)"),
    (ALL, "add-flow {sw} table=20,priority=4,actions=move:NXM_NX_REG0[0..15]->NXM_NX_REG1[16..31],load:0x5->NXM_NX_REG2[]"),
    (ALL, "add-flow {sw} table=20,priority=5,actions=push:NXM_NX_REG0[],pop:NXM_NX_REG1[]"),
    (ALL, "add-flow {sw} table=20,priority=6,ip,actions=ct(commit,force,zone=NXM_NX_REG0[0..15],table=22,exec(set_field:0x1->ct_mark))"),
    (ALL, "add-flow {sw} table=20,priority=7,tcp,actions=ct(commit,zone=3,nat(src=10.0.0.1-10.0.0.9:1000-2000,random))"),
    (ALL, "add-flow {sw} table=20,priority=8,tcp,actions=ct(commit,nat(dst=10.1.0.1:80,hash),table=21)"),
    (ALL, "add-flow {sw} table=20,priority=9,ip,actions=ct(nat,table=21)"),
    (ALL, "add-flow {sw} table=20,priority=10,actions=ct_clear"),
    (ALL, "add-flow {sw} table=20,priority=11,ct_state=+trk+est-new,ct_zone=5,ct_mark=0x1/0xf,ct_label=0x1,ip,ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=12,actions=learn(table=23,hard_timeout=10,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],output:NXM_OF_IN_PORT[])"),
    (ALL, "add-flow {sw} table=20,priority=13,actions=learn(table=23,limit=3,result_dst=NXM_NX_REG0[0],delete_learned,cookie=0x7,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])"),
    (ALL, "add-flow {sw} table=20,priority=14,ip,nw_src=10.0.0.1,actions=conjunction(5,1/2)"),
    (ALL, "add-flow {sw} table=20,priority=14,ip,nw_dst=10.0.0.2,actions=conjunction(5,2/2)"),
    (ALL, "add-flow {sw} table=20,priority=14,conj_id=5,ip,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=14,ip,nw_dst=10.0.0.3,actions=conjunction(5,2/2),drop"),
    (ALL, "add-flow {sw} table=20,priority=15,actions=note:00.11.22,output:1"),
    (ALL, "add-flow {sw} table=20,priority=16,actions=clone(output:1,output:2),output:3"),
    (ALL, "add-flow {sw} table=20,priority=17,actions=controller(reason=action,max_len=100,id=5,userdata=01.02,pause)"),
    (ALL, "add-flow {sw} table=20,priority=18,actions=check_pkt_larger(1500)->NXM_NX_REG0[0]"),
    (ALL, "add-flow {sw} table=20,priority=19,ip,actions=multipath(eth_src,50,modulo_n,2,0,NXM_NX_REG0[0..3])"),
    (ALL, "add-flow {sw} table=20,priority=20,actions=bundle(eth_src,0,active_backup,ofport,members:1,2)"),
    (ALL, "add-flow {sw} table=20,priority=21,actions=bundle_load(eth_src,0,hrw,ofport,NXM_NX_REG0[],members:1,2)"),
    (ALL, "add-flow {sw} table=20,priority=22,tcp,actions=fin_timeout(idle_timeout=5,hard_timeout=9)"),
    (ALL, "add-flow {sw} table=20,priority=23,actions=sample(probability=100,collector_set_id=1,obs_domain_id=2,obs_point_id=3)"),
    (ALL, "add-flow {sw} table=20,priority=24,ip,actions=dec_ttl(1,2)"),
    (ALL, "add-flow {sw} table=20,priority=25,actions=exit"),
    (ALL, "add-flow {sw} table=20,priority=26,actions=output:NXM_NX_REG0[0..15]"),
    (ALL, "add-flow {sw} table=20,priority=27,actions=output(port=1,max_len=64)"),
    (ALL, "add-flow {sw} table=20,priority=28,actions=set_tunnel:5,set_tunnel64:6,set_field:10.0.0.9->tun_dst,output:1"),
    (ALL, "add-flow {sw} table=20,priority=29,actions=set_queue:3,output:1,pop_queue"),
    (ALL, "add-flow {sw} table=20,priority=30,actions=enqueue(1,2)"),
    (ALL, "add-flow {sw} table=20,priority=31,actions=push_vlan:0x8100,set_field:4196->vlan_vid,output:1"),
    (ALL, "add-flow {sw} table=20,priority=32,ip,actions=push_mpls:0x8847,set_field:99->mpls_label,output:1"),
    (ALL, "add-flow {sw} table=20,priority=33,mpls,actions=pop_mpls:0x0800,output:1"),
    (ALL, "add-flow {sw} table=20,priority=34,mpls,actions=set_mpls_label:5,set_mpls_tc:1,set_mpls_ttl:9,dec_mpls_ttl,output:1"),
    (ALL, "add-flow {sw} table=20,priority=35,ip,actions=mod_nw_src:1.2.3.4,mod_nw_dst:5.6.7.8,mod_nw_tos:8,mod_nw_ttl:3,output:1"),
    (ALL, "add-flow {sw} table=20,priority=36,tcp,actions=mod_tp_src:5,mod_tp_dst:6,output:1"),
    (ALL, "add-flow {sw} table=20,priority=37,actions=write_metadata:0x5/0xff,goto_table:21"),
    (ALL, "add-flow {sw} table=20,priority=38,actions=clear_actions,write_actions(output:1),goto_table:21"),
    (ALL, "add-flow {sw} table=20,priority=39,reg0=5,reg15=0x1/0xf,xreg3=7,xxreg1=9,metadata=0x1/0x1,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=40,tcp,tcp_flags=+syn-ack,nw_frag=no,nw_ttl=5,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=41,icmp6,icmp_type=135,nd_target=fe80::1,nd_sll=02:00:00:00:00:01,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=42,pkt_mark=1,vlan_tci=0x1005/0x1fff,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=43,actions=decap"),
    (ALL, "add-flow {sw} table=20,priority=44,actions=delete_field:tun_metadata0"),
    (ALL, "add-flow {sw} table=20,priority=45,actions=strip_vlan,mod_vlan_vid:5,mod_vlan_pcp:3,output:1"),
    (ALL, "add-flow {sw} table=20,priority=46,rarp,arp_op=3,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=47,tun_id=0x5/0xff,tun_src=1.2.3.4,tun_flags=oam,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=48,in_port=77777777777,actions=drop"),
    (ALL, "add-flow {sw} table=20,priority=49,actions=nosuch:1"),
    (ALL, "--no-names dump-flows {sw} table=20"),
    (ALL, "del-flows {sw}"),
    # Groups.
    (ALL, "add-group {sw} group_id=1,type=all,bucket=output:1,bucket=output:2"),
    (ALL, "add-group {sw} group_id=1,type=all,bucket=output:1"),
    (ALL, "add-groups {sw} {file:groups}"),
    (ALL, "add-group {sw} group_id=2,type=select,bucket=weight:10,actions=output:1,bucket=weight:20,actions=output:2"),
    (ALL, "add-group {sw} group_id=3,type=ff,bucket=watch_port:1,actions=output:1,bucket=watch_port:2,actions=output:2"),
    (ALL, "add-group {sw} group_id=4,type=select,selection_method=hash,fields(ip_src,ip_dst),bucket=output:1"),
    (ALL, "add-group {sw} group_id=5,type=select,selection_method=dp_hash,bucket=bucket_id:7,weight:3,actions=output:1"),
    (ALL, "add-group {sw} group_id=6,type=all,bucket=group:6"),
    (ALL, "mod-group {sw} group_id=1,type=all,bucket=output:3"),
    (ALL, "mod-group {sw} group_id=99,type=all,bucket=output:3"),
    (ALL, "--may-create mod-group {sw} group_id=98,type=all,bucket=output:3"),
    (ALL, "insert-buckets {sw} group_id=1,command_bucket_id=last,bucket=bucket_id:9,actions=output:2"),
    (ALL, "insert-buckets {sw} group_id=1,command_bucket_id=first,bucket=bucket_id:9,actions=output:2"),
    (ALL, "remove-buckets {sw} group_id=1,command_bucket_id=9"),
    (ALL, "remove-buckets {sw} group_id=1,command_bucket_id=55"),
    (ALL, "remove-buckets {sw} group_id=1,command_bucket_id=all"),
    (ALL, "add-flow {sw} priority=60,actions=group:2"),
    (ALL, "dump-groups {sw}"),
    (ALL, "dump-groups {sw} 2"),
    (ALL, "dump-group-stats {sw}"),
    (ALL, "dump-group-stats {sw} group_id=2"),
    (ALL, "dump-group-features {sw}"),
    (ALL, "del-groups {sw} group_id=2"),
    (ALL, "dump-flows {sw}"),
    (ALL, "del-groups {sw}"),
    # Meters.
    (ALL, "add-meter {sw} meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100"),
    (ALL, "add-meter {sw} meter=1,kbps,bands=type=drop,rate=1000"),
    (ALL, "add-meter {sw} meter=2,pktps,bands=type=drop,rate=500"),
    (ALL, "mod-meter {sw} meter=1,kbps,bands=type=drop,rate=2000"),
    (ALL, "mod-meter {sw} meter=77,kbps,bands=type=drop,rate=2000"),
    (ALL, "dump-meters {sw}"),
    (ALL, "dump-meter {sw} meter=1"),
    (ALL, "meter-stats {sw}"),
    (ALL, "meter-stats {sw} meter=1"),
    (ALL, "meter-features {sw}"),
    (ALL, "add-flow {sw} priority=61,actions=meter:1,output:1"),
    (ALL, "dump-flows {sw}"),
    (ALL, "del-meters {sw} meter=1"),
    (ALL, "dump-flows {sw}"),
    (ALL, "del-meters {sw}"),
    # Queues.
    (ALL, "queue-stats {sw}"),
    (ALL, "queue-stats {sw} 1"),
    (ALL, "queue-stats {sw} 1 5"),
    (ALL, "queue-get-config {sw}"),
    (ALL, "queue-get-config {sw} 1"),
    (ALL, "queue-get-config {sw} 1 5"),
    # Packets, connections, tunnels.
    (ALL, "packet-out {sw} 1 output:2 " + PACKET),
    (ALL, "packet-out {sw} CONTROLLER TABLE " + PACKET),
    (ALL, "packet-out {sw} in_port=1,packet=" + PACKET + ",actions=output:2"),
    (ALL, "packet-out {sw} in_port=77,packet=" + PACKET + ",actions=output:2"),
    (ALL, "packet-out {sw} 1 group:999 " + PACKET),
    (ALL, "add-tlv-map {sw} {class=0x102,type=0x80,len=4}->tun_metadata0"),
    (ALL, "add-tlv-map {sw} {class=0x102,type=0x80,len=4}->tun_metadata0"),
    (ALL, "dump-tlv-map {sw}"),
    (ALL, "add-flow {sw} table=1,priority=70,tun_metadata0=0x5/0xff,actions=set_field:0x9->tun_metadata0,output:1"),
    (ALL, "dump-flows {sw} table=1"),
    (ALL, "del-flows {sw}"),
    (ALL, "del-tlv-map {sw} {class=0x102,type=0x80,len=4}->tun_metadata0"),
    (ALL, "del-tlv-map {sw}"),
    (ALL, "ct-flush-zone {sw} 5"),
    (ALL, "ct-flush {sw}"),
    (ALL, "ct-flush {sw} zone=5"),
    (ALL, "ct-flush {sw} zone=5 ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_nw_proto=6,ct_tp_src=1,ct_tp_dst=2"),
    (ALL, "ct-flush {sw} ct_nw_src=10.0.0.1,ct_nw_proto=17"),
    (ALL, "dump-ipfix-bridge {sw}"),
    (ALL, "dump-ipfix-flow {sw}"),
    (ALL, "monitor {sw} 128", "stop"),
    (ALL, "monitor {sw} 128 invalid_ttl", "stop"),
    (ALL, "monitor {sw} watch:", "stop"),
    (ALL, "monitor {sw} watch:!initial,table=3", "stop"),
    (ALL, "-P nxt_packet_in2 monitor {sw} 65534", "stop"),
    (ALL, "-P standard monitor {sw} 65534", "stop"),
]

# Where Sluice's status is another on purpose: the verb, the status of ours, the reason.
ON_PURPOSE = {
    "add-group {sw} group_id=6,type=all,bucket=group:6": (1, "a group in itself is a loop (OpenFlow 1.3.5, 6.5: OFPGMFC_LOOP)"),
}

# What differs between two switches, or two runs, without meaning anything.
VARIES = [
    (r"\(xid=0x[0-9a-f]+\)", "(xid)"),
    (r"(duration|idle_age|hard_age|duration_sec|duration_nsec)[=:][0-9.]+s?", r"\1"),
    (r"\b(n_bytes|n_packets|bytes|pkts|packet_count|byte_count|lookup|matched|active)[=:]\s*\d+", r"\1"),
    (r"(addr|hw_addr):[0-9a-f:]{17}", r"\1"),
    (r"dpid:[0-9a-f]{16}", "dpid"),
    (r"\d+(\.\d+)? ?ms", "ms"),
    (r"unix:[^ :]+|tcp:[^ ]+", "switch"),
    (r"[0-9TZ:.-]+\|\d+\|", ""),
    (r"in [0-9.]+ ms", ""),
    (r"\([0-9]+ (packets|bytes)/s\)", "rate"),
]


def run(target, version, arguments, files, way):
    words = [w.replace("{sw}", target) for w in arguments.split(" ")]
    words = [re.sub(r"\{file:(\w+)\}", lambda m: files[m.group(1)], w) for w in words]
    command = ["ovs-ofctl", "-O", f"OpenFlow{version}", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    killed = False
    try:
        # A verb that goes on for ever is told to stop after it had time to fail.
        output, _ = process.communicate(timeout=0.7 if way == "stop" else LIMIT)
    except subprocess.TimeoutExpired:
        killed = True
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    status = "runs" if killed and way == "stop" else "hangs" if killed else process.returncode
    return status, output.decode(errors="replace")


def plain(text):
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    # Neither switch promises an order of flows and groups.
    return sorted(line.rstrip() for line in text.splitlines())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--versions", default="13,14,15")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--only", default="", help="regular expression of verbs to run")
    options = parser.parse_args()
    passed = failed = same = 0
    on_purpose = {}
    with tempfile.TemporaryDirectory() as directory:
        files = {}
        contents = {"flows": FLOWS, "more": MORE_FLOWS, "bundle": BUNDLE, "ordered": BUNDLE_IN_ORDER, "groups": GROUPS}
        for name, text in contents.items():
            files[name] = os.path.join(directory, name)
            with open(files[name], "w", encoding="utf-8") as file:
                file.write(text)
        for version in (int(v) for v in options.versions.split(",")):
            for versions, arguments, *way in VERBS:
                if version not in versions or not re.search(options.only, arguments):
                    continue
                way = way[0] if way else ""
                theirs, their_text = run(options.peer, version, arguments, files, way)
                ours, our_text = run(options.ours, version, arguments, files, way)
                equal = plain(their_text) == plain(our_text)
                same += equal
                if theirs == ours:
                    passed += 1
                elif arguments in ON_PURPOSE and ON_PURPOSE[arguments][0] == ours:
                    passed += 1
                    on_purpose[arguments] = ON_PURPOSE[arguments][1]
                else:
                    failed += 1
                    print(f"FAIL  {version} {arguments}: Open vSwitch {theirs}, Sluice {ours}")
                    for who, text in (("Open vSwitch", their_text), ("Sluice", our_text)):
                        print("".join(f"      {who}: {line}\n" for line in text.splitlines()[:4]), end="")
                if options.show and theirs == ours and not equal:
                    print(f"differs  {version} {arguments}")
                    for line in list(difflib.unified_diff(plain(their_text), plain(our_text), "ovs", "sluice", lineterm="", n=0))[2:14]:
                        print(f"      {line}")
                sys.stdout.flush()
    for arguments, reason in on_purpose.items():
        print(f"on purpose not as Open vSwitch: {arguments}: {reason}")
    total = passed + failed
    print(f"verbs: {passed} of {total} exit as with Open vSwitch or as said above, {failed} do not; output equal in {same}")
    return 1 if failed else 0


if __name__ == "__main__":
    started = time.monotonic()
    status = main()
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(status)

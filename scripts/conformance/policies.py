#!/usr/bin/env python3
"""Generated NetworkPolicy cases through the real programs.

    policies.py --bin DIR --cases DIR

Two sluice-dataplane and a sluice-controller run in a network namespace of their own; every port is a
tap, and this program is the wire between them and the machine on the VLAN. Each case is a file that
`cargo test -p sluice-controller --test policies -- --ignored cases_are_written` has written: manifests,
first packets of connections, the answers to them, and what the specification says becomes of them.
Exit 0 only if all of it became so.
"""

import argparse
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

NODES = ("node1", "node2")
PODS = [f"{ns}/p{n}" for ns in ("red", "green", "grey") for n in range(3)]
QUIET = 0.1  # seconds without a frame, after which it is looked whether all came that should
PATIENCE = 5.0  # seconds for those that should
PART = 64  # packets sent at once
VLAN = 100
OUTSIDE = bytes.fromhex("02ee00000001")
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
ETH_P_ALL = 3


def run(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


class Tap:
    """The kernel's end of a port."""

    def __init__(self, name):
        run("ip", "link", "set", name, "up")
        self.name = name
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.bind((name, ETH_P_ALL))
        self.socket.setblocking(False)

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        """The next frame that the dataplane sent; the kernel has taken its tag off."""
        while True:
            try:
                frame, more, _, address = self.socket.recvmsg(65536, 256)
            except BlockingIOError:
                return None
            if address[2] == PACKET_OUTGOING:
                continue
            for level, kind, data in more:
                if level == SOL_PACKET and kind == PACKET_AUXDATA:
                    status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", data[:20])
                    if status & 0x10:
                        frame = frame[:12] + struct.pack("!HH", 0x8100, tci) + frame[12:]
            return frame


class Bed:
    def __init__(self, binaries, folder):
        self.binaries, self.folder = binaries, folder
        self.processes, self.controller = [], None
        self.taps = {}
        self.port = 6653
        # Which case a pod is on which node in differs, so each node has a port for each pod.
        self.names = {}

    def dataplane(self, number, ports):
        node = NODES[number - 1]
        command = [
            f"{self.binaries}/sluice-dataplane", "--name", node, "--dpid", str(number),
            "--cpus", str((number - 1) % os.cpu_count()), "--no-huge", "--memory", "128",
            "--metrics", "none", "--admin", f"{self.folder}/{node}.sock",
            "--port", f"uplink0,ofport=1,dev=tap,iface=u{number}",
            "--port", "geneve0,ofport=2,tunnel=geneve",
            "--vtep", f"172.30.0.{number}/24,port=uplink0,mac=02:00:ac:1e:00:0{number}",
            "--controller", f"tcp:127.0.0.1:{self.port}",
        ]
        for index, port in enumerate(ports):
            command += ["--port", f"{port},ofport={index + 4},closed=true,dev=tap,iface=p{number}x{index}"]
        log = open(f"{self.folder}/{node}.log", "w")
        self.processes.append(subprocess.Popen(command, stderr=log, stdout=log))

    def start(self, ports):
        """Ports: the name of each pod's port."""
        for number in (1, 2):
            self.dataplane(number, ports)
        wanted = {f"u{n}": (NODES[n - 1], "uplink0") for n in (1, 2)}
        for number in (1, 2):
            for index, port in enumerate(ports):
                wanted[f"p{number}x{index}"] = (NODES[number - 1], port)
        until = time.monotonic() + 30
        while not set(wanted) <= {name for _, name in socket.if_nameindex()}:
            if time.monotonic() > until:
                raise SystemExit(f"the dataplanes did not start: see {self.folder}")
            time.sleep(0.05)
        for name, place in wanted.items():
            self.taps[place] = Tap(name)
        while not all(port["link_up"] for node in NODES for port in self.ports(node).values()):
            if time.monotonic() > until:
                raise SystemExit(f"ports are down: see {self.folder}")
            self.carry(0.1)
        # Only so many packets wait while a tunnel endpoint is asked for its MAC address.
        for number in (1, 2):
            address, mac = f"172.30.0.{3 - number}", f"02:00:ac:1e:00:0{3 - number}"
            self.ctl(NODES[number - 1], "neighbor", "set", address, mac)

    def ctl(self, node, *command):
        admin = f"{self.folder}/{node}.sock"
        said = subprocess.run([f"{self.binaries}/sluicectl", "--admin", admin, *command],
                              capture_output=True, text=True, check=True)
        return said.stdout

    def ports(self, node):
        return {port["name"]: port for port in json.loads(self.ctl(node, "--json", "show"))["ports"]}

    def apply(self, manifests):
        """Another cluster: a controller that finds the flows of the one before."""
        self.stop_controller()
        folder = f"{self.folder}/manifests"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(f"{self.folder}/state", ignore_errors=True)
        os.makedirs(folder)
        with open(f"{folder}/all.yaml", "w") as file:
            file.write("".join(f"---\n{json.dumps(manifest)}\n" for manifest in manifests))
        log = open(f"{self.folder}/controller.log", "w")
        self.controller = subprocess.Popen(
            [
                f"{self.binaries}/sluice-controller", "--source", f"dir:{folder}",
                "--listen", f"ptcp:{self.port}", "--metrics", "none",
                "--state", f"{self.folder}/state", "--socket", f"{self.folder}/controller.sock",
                "--log", "info,session=debug",
            ],
            stderr=log, stdout=log,
        )

    def stop_controller(self):
        if self.controller:
            self.controller.terminate()
            self.controller.wait()
            self.controller = None

    def wait_until_in_force(self, pods):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with open(f"{self.folder}/controller.log") as file:
                said = file.read()
            told = all(re.search(rf"Node {node}: \d+ changes sent", said) for node in NODES)
            if told and self.are_open(pods):
                return
            self.carry(0.02)
        raise SystemExit(f"the flows did not come into force: see {self.folder}")

    def are_open(self, pods):
        for node in NODES:
            ports = self.ports(node)
            for pod in pods.values():
                if pod["node"] == node and is_closed(ports[pod["port"]]):
                    return False
        return True

    def carry(self, quiet=QUIET):
        """Until nothing moves; gives what came to pods and to the machine outside."""
        got = []
        sockets = {tap.socket: place for place, tap in self.taps.items()}
        until = time.monotonic() + quiet
        while time.monotonic() < until:
            ready, _, _ = select.select(list(sockets), [], [], max(0, until - time.monotonic()))
            for one in ready:
                node, port = place = sockets[one]
                while (frame := self.taps[place].receive()) is not None:
                    until = time.monotonic() + quiet
                    if port != "uplink0":
                        got.append((place, frame))
                    elif frame[:6] == OUTSIDE and frame[12:14] == b"\x81\x00":
                        got.append((None, frame[:12] + frame[16:]))
                    else:
                        other = NODES[1 - NODES.index(node)]
                        self.taps[(other, "uplink0")].send(frame)
        return got

    def send(self, place, frame):
        if place is not None:
            self.taps[place].send(frame)
            return
        tagged = frame[:12] + struct.pack("!HH", 0x8100, VLAN) + frame[12:]
        for node in NODES:
            self.taps[(node, "uplink0")].send(tagged)

    def stop(self):
        self.stop_controller()
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(10)


def is_closed(port):
    """OFPPC_NO_RECV or OFPPC_NO_FWD."""
    return port["config"] & (1 << 2 | 1 << 5) != 0


def connections(got):
    """Which connections, by the two ports in their packets, came to whom."""
    found = {}
    for place, frame in got:
        kind = frame[12:14]
        if kind == b"\x08\x00":
            protocol, l4 = frame[23], frame[14 + (frame[14] & 15) * 4:]
        elif kind == b"\x86\xdd":
            protocol, l4 = frame[20], frame[54:]
        else:
            continue
        if protocol in (6, 17, 132) and len(l4) >= 4:
            found.setdefault((protocol, *struct.unpack("!HH", l4[:4])), []).append(place)
    return found


NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}


def judge(bed, case):
    """Sends every first packet, then the answers to those that came; gives what was wrong, and how
    many came."""
    def place(pod):
        return pod and (case["pods"][pod]["node"], case["pods"][pod]["port"])

    def key(attempt, answer):
        ports = (attempt["source"], attempt["port"])
        return (NUMBERS[attempt["protocol"]], *(ports[::-1] if answer else ports))

    # Over the whole case, so that what comes late where nothing may come is seen too.
    came = {}
    for answer in (False, True):
        allowed = [attempt for attempt in case["tries"] if attempt["allowed"]]
        attempts = allowed if answer else case["tries"]
        for at in range(0, len(attempts), PART):
            part = attempts[at:at + PART]
            for attempt in part:
                sender = attempt["to"] if answer else attempt["from"]
                bed.send(place(sender), bytes.fromhex(attempt["back" if answer else "there"]))
            wanted = {key(attempt, answer) for attempt in part if attempt["allowed"]}
            until = time.monotonic() + PATIENCE
            while True:
                for connection, places in connections(bed.carry()).items():
                    came.setdefault(connection, []).extend(places)
                if wanted <= set(came) or time.monotonic() > until:
                    break
    wrong, through = [], 0
    for attempt in case["tries"]:
        for answer, receiver in ((False, "to"), (True, "from")):
            got = came.get(key(attempt, answer), [])
            expected = [place(attempt[receiver])] if attempt["allowed"] else []
            if got != expected:
                wrong.append((attempt, "the answer" if answer else "the first packet", got))
        through += key(attempt, False) in came
    return wrong, through


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--cases", required=True)
    options = parser.parse_args()
    files = sorted(os.listdir(options.cases))
    cases = [json.load(open(os.path.join(options.cases, file))) for file in files]
    # A network namespace that goes with this process.
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):
        raise SystemExit("needs root: a network namespace could not be made")
    run("ip", "link", "set", "lo", "up")
    for which in ("all", "default"):
        with open(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6", "w") as file:
            file.write("1")
    folder = tempfile.mkdtemp(prefix="sluice-policies-")
    ports = sorted({pod["port"] for case in cases for pod in case["pods"].values()})
    bed = Bed(os.path.abspath(options.bin), folder)
    failed, tried, through = 0, 0, 0
    try:
        bed.apply(cases[0]["manifests"])
        bed.start(ports)
        for case in cases:
            if case is not cases[0]:
                bed.apply(case["manifests"])
            bed.wait_until_in_force(case["pods"])
            bed.carry()
            wrong, came = judge(bed, case)
            tried, through, failed = tried + len(case["tries"]), through + came, failed + len(wrong)
            for attempt, what, got in wrong[:5]:
                ends = {key: attempt[key] for key in ("from", "to", "addresses", "protocol", "port", "allowed")}
                print(f"case {case['seed']}: {what} of {ends} came to {got}")
            if wrong:
                print(f"case {case['seed']}: {len(wrong)} of {len(case['tries'])} wrong")
    finally:
        bed.stop()
    print(f"{len(cases)} clusters, {tried} connections, {through} came through, {failed} wrong")
    if failed:
        sys.exit(f"logs: {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

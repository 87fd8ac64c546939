"""One turn of one side: measure.py SIDE PREFIX LEVEL ROUND RAW CONNECT SECONDS PID|- PART...

Runs the tools between the namespaces PREFIX-client and PREFIX-server-1, appends a line of JSON per part to
RAW, and prints it. PID is the dataplane's, whose processor time is also shown by itself.

The processor time of everything is what all processors were not idle: work in the kernel that no process is
charged for (interrupts, softirqs) is in it, and so is whatever else runs on the machine.
"""

import json
import os
import re
import subprocess
import sys
import time

from layout import MEASURED, POD_PORT, SERVERS, SERVICE_PORT

side, prefix, level, turn, raw_path, connect, seconds, pid = sys.argv[1:9]
parts = sys.argv[9:]
seconds = float(seconds)
SERVER = SERVERS[0]
TICK = os.sysconf("SC_CLK_TCK")


def inside(pod, *command):
    return ["ip", "netns", "exec", f"{prefix}-{pod}", *command]


def busy():
    """Seconds that the processors were not idle, so far."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) / TICK, (idle + iowait) / TICK, steal / TICK


def used_by(process):
    if process == "-":
        return 0.0
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Clock:
    """Processor time between two moments."""

    def __enter__(self):
        self.begin, self.idle, self.steal, self.own = time.monotonic(), busy()[1], busy()[2], used_by(pid)
        return self

    def __exit__(self, *_):
        _, idle, steal = busy()
        self.wall = time.monotonic() - self.begin
        self.stolen = steal - self.steal
        self.all = max(0.0, self.wall * os.cpu_count() - (idle - self.idle) - self.stolen)
        self.dataplane = used_by(pid) - self.own


def run(command, limit):
    return subprocess.run(command, capture_output=True, text=True, timeout=limit)


def wait_for_listener(kind, port):
    for _ in range(100):
        if run(inside("server-1", "ss", "-Hln" + kind, f"sport = :{port}"), 5).stdout:
            return
        time.sleep(0.05)
    raise SystemExit(f"measure.py: nobody listens on port {port} of {prefix}-server-1")


def iperf(*arguments):
    """What the server counted, and the processor time; the client's time includes its start."""
    server = subprocess.Popen(inside("server-1", "iperf3", "-s", "-1", "-J"), stdout=subprocess.PIPE, text=True)
    try:
        wait_for_listener("t", 5201)
        with Clock() as clock:
            client = run(inside("client", "iperf3", "-c", SERVER, "-J", "-t", str(seconds), *arguments), seconds + 20)
        told = json.loads(server.communicate(timeout=10)[0])
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise SystemExit(f"measure.py: iperf3 between the pods of {prefix} failed: {error}") from error
    finally:
        server.kill()
        server.wait()
    if client.returncode != 0:
        raise SystemExit(f"measure.py: iperf3: {client.stdout} {client.stderr}")
    return told["end"], json.loads(client.stdout)["end"], clock


def tcp(streams):
    told, _, clock = iperf("-P", str(streams))
    gbit = told["sum_received"]["bytes"] * 8 / 1e9
    return {"gbit_per_second": gbit / told["sum_received"]["seconds"], "cpu_per_gbit": clock.all / gbit}, clock


def udp(*arguments):
    # 18 bytes of data: 60 bytes as software sees a frame, 64 on a wire.
    told, sent, clock = iperf("-u", "-l", "18", *arguments)
    # The sender's count: the receiver does not miss what came after its last packet.
    packets = sent["sum"]["packets"]
    received = told["sum"]["packets"] - told["sum"]["lost_packets"]
    return {
        "packets_per_second": received / told["sum"]["seconds"],
        "lost_percent": 100 * max(0, packets - received) / max(1, packets),
        "cpu_us_per_packet": clock.all / max(1, received) * 1e6,
    }, clock


def latency():
    port = 11111
    server = subprocess.Popen(
        inside("server-1", "sockperf", "server", "-i", SERVER, "-p", str(port)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_listener("u", port)
        command = ["sockperf", "ping-pong", "-i", SERVER, "-p", str(port), "-m", "64", "-t", str(max(1, round(seconds)))]
        with Clock() as clock:
            text = run(inside("client", *command), seconds + 20).stdout
    finally:
        server.kill()
        server.wait()

    def find(pattern):
        found = re.search(pattern, text)
        if not found:
            raise SystemExit(f"measure.py: sockperf said nothing of {pattern}: {text[-300:]}")
        return float(found.group(1))

    requests = find(r"Total Run\].*ReceivedMessages=(\d+)")
    return {
        "p50_us": find(r"percentile 50\.000 = *([\d.]+)"),
        "p99_us": find(r"percentile 99\.000 = *([\d.]+)"),
        "cpu_us_per_request": clock.all / max(1, requests) * 1e6,
    }, clock


def connections(target, *arguments):
    with Clock() as clock:
        done = run(inside("client", connect, *arguments, "ask", target, "--seconds", str(seconds)), seconds + 20)
    if done.returncode != 0:
        raise SystemExit(f"measure.py: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    return {
        "per_second": told["per_second"],
        "p50_us": told["p50_us"],
        "p99_us": told["p99_us"],
        "failed": told["failed"],
        "cpu_us_per_connection": clock.all / max(1, told["connections"]) * 1e6,
    }, clock


PARTS = {
    "tcp1": lambda: tcp(1),
    "tcp8": lambda: tcp(8),
    "udp": lambda: udp("-b", "0"),
    # The same work for everybody: 50,000 packets/s.
    "udp50k": lambda: udp("-b", str(50_000 * 18 * 8)),
    "latency": latency,
    "connect1": lambda: connections(f"{SERVER}:{POD_PORT}", "--threads", "1"),
    "connect": lambda: connections(f"{SERVER}:{POD_PORT}"),
    "service": lambda: connections(f"{MEASURED}:{SERVICE_PORT}"),
}

with open(raw_path, "a") as raw:
    for part in parts:
        values, clock = PARTS[part]()
        values["cpus"] = clock.all / clock.wall
        values["dataplane_cpus"] = clock.dataplane / clock.wall
        values["stolen_percent"] = 100 * clock.stolen / clock.wall / os.cpu_count()
        raw.write(json.dumps({"level": level, "round": int(turn), "side": side, "part": part, **values}) + "\n")
        shown = "  ".join(f"{key} {value:,.1f}" for key, value in values.items() if value and key != "stolen_percent")
        print(f"   {level:>10}  {turn}  {side:<15} {part:<9} {shown}", flush=True)

"""The switches: how each is started, told its flows, asked for its counters, and ended."""

import json
import os
import re
import signal
import subprocess
import time

import cases
import traffic


# ovs-ofctl dump-ports: a port's name or number, packets received, lost before that, and sent.
PORT = re.compile(r"port +(\"?[\w-]+\"?): rx pkts=(\d+), bytes=\d+, drop=(\d+|\?).*?tx pkts=(\d+)", re.S)


class Failed(Exception):
    """What went wrong, in one line."""


# Prefix of the name of the thread that forwards.
TESTPMD_WORKER = "rte-worker"


class Place:
    """Where and on what is measured."""

    def __init__(self, run, binaries, core, other, netns, memory):
        self.run, self.binaries, self.core, self.other, self.netns, self.memory = run, binaries, core, other, netns, memory
        os.makedirs(f"{run}/logs", exist_ok=True)

    def log(self, name):
        return open(f"{self.run}/logs/{name}.log", "ab")


def run(command, text=None, timeout=120):
    """A command's output; Failed with its last line if it fails."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)[:200]}: no answer in {timeout} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise Failed(f"{' '.join(command)[:200]}: {said}")
    return done.stdout


def wait_for(seconds, condition, what):
    """Until the condition gives something true; that."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = condition()
        except Failed as why:
            found, what = None, f"{what} ({why})"
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(what)
        time.sleep(0.05)


def seconds_on_processor(pid, name):
    """Time that the threads of a process whose names begin so have run, all together."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/comm") as file:
                if file.read().startswith(name):
                    with open(f"/proc/{pid}/task/{thread}/schedstat") as times:
                        total += int(times.read().split()[0])
        except FileNotFoundError:
            pass  # it has ended
    if not total:
        raise Failed(f"process {pid} has no thread {name}")
    return total / 1e9


class Switch:
    """What both have in common: OpenFlow."""

    name, target, processes = "", "", ()
    # Packets that a new port receives before the switch knows what to do with it.
    lost_at_first = 0

    def ofctl(self, *arguments, text=None):
        return run(["ovs-ofctl", "-O", "OpenFlow13", "-vconsole:off", *arguments], text)

    def start_process(self, place, name, command, environment=None):
        with place.log(name) as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        self.processes = (*self.processes, process)
        return process

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = ()

    def started(self, begin):
        """Runs what starts it; what has started is ended if that fails."""
        try:
            begin()
        except BaseException:
            self.stop()
            raise

    def alive(self):
        for process in self.processes:
            if process.poll() is not None:
                raise Failed(f"{self.name} ended with status {process.returncode}")

    def install(self, case):
        """Empties tables and connections, then installs the case's flows."""
        self.ofctl("del-flows", self.target)
        self.ofctl("del-groups", self.target)
        self.ofctl("del-meters", self.target)
        self.flush()
        for meter in case.meters:
            self.ofctl("add-meter", self.target, meter)
        if case.groups:
            self.ofctl("add-groups", self.target, "-", text="\n".join(case.groups) + "\n")
        self.ofctl("--bundle", "add-flows", self.target, "-", text="\n".join(case.flows + self.own_flows(case)) + "\n")

    def own_flows(self, case):
        return []

    def counters(self):
        """By port: packets received and sent, and those lost before they were received."""
        ports = {}
        text = self.ofctl("dump-ports", self.target)
        for port, rx, lost, tx in PORT.findall(text):
            ports[port.strip('"')] = int(rx), int(tx), int(lost.replace("?", "0"))
        return ports

    def sent(self):
        return self.count(2)[1]

    def count(self, port):
        counters = self.counters()
        for name in (str(port), {1: "rx", 2: "tx", 3: "gnv", 4: "replies"}.get(port, "")):
            if name in counters:
                return counters[name]
        return 0, 0, 0

    def worked(self):
        """Seconds that the worker's thread has run on its processor."""
        return seconds_on_processor(self.process.pid, self.thread)

    def counters_at(self):
        """Packets received by port 1 and sent by port 2, and when that was, in seconds of the worker's own
        time: what else the machine did on that processor is not in it."""
        before = self.worked()
        text = self.ofctl("dump-ports", self.target)
        when = (before + self.worked()) / 2
        numbers = {port.strip('"'): (int(rx), int(tx)) for port, rx, _, tx in PORT.findall(text)}
        return (numbers.get("rx", numbers.get("1", (0, 0)))[0], numbers.get("tx", numbers.get("2", (0, 0)))[1]), when

    def matched(self, cookie):
        """Packets that matched flows of a cookie."""
        text = self.ofctl("dump-flows", self.target, f"cookie={cookie}/-1")
        return sum(int(n) for n in re.findall(r"n_packets=(\d+)", text))


class Sluice(Switch):
    """sluice-dataplane with one worker on one core."""

    name, thread = "sluice", "worker"

    def __init__(self, place, rx="net_null0,no-rx=1", tx="net_null1,no-rx=1", more=(), ports=()):
        self.place, self.target = place, f"unix:{place.run}/sluice.mgmt"
        self.admin, self.metrics_address = f"{place.run}/admin.sock", "127.0.0.1:9659"
        command = ["taskset", "-c", f"{place.other},{place.core}", f"{place.binaries}/sluice-dataplane"]
        command += ["--name", "bench", "--dpid", "1", "--cpus", str(place.core), "--poll", "busy", "--memory", str(place.memory)]
        command += ["--eal=--no-pci --huge-unlink --file-prefix=sluice-bench", "--admin", self.admin]
        command += ["--metrics", self.metrics_address, "--listen", f"p{self.target}"]
        command += ["--port", f"tx,ofport=2,dev={tx}", "--port", "gnv,ofport=3,tunnel=geneve"]
        command += ["--vtep", f"{cases.LOCAL}/24,port=tx"]
        for port in ports:
            command += ["--port", port]
        if rx:
            command += ["--port", f"rx,ofport=1,dev={rx}"]
        self.command = [*command, *more]
        self.process = self.start_process(place, "sluice", ["ip", "netns", "exec", place.netns, *self.command])
        self.started(self.begin)

    @staticmethod
    def known(place, options):
        """The options, FLAG VALUE and so on, as far as this dataplane has them."""
        text = run([f"{place.binaries}/sluice-dataplane", "--help"])
        pairs = zip(options[::2], options[1::2])
        return [word for flag, value in pairs if f"{flag} " in text for word in (flag, value)]

    def begin(self):
        wait_for(30, lambda: self.alive() or self.ofctl("show", self.target), "sluice-dataplane did not start")
        self.ctl("neighbor", "set", cases.REMOTE, cases.REMOTE_MAC)

    def ctl(self, *arguments):
        return run([f"{self.place.binaries}/sluicectl", "--admin", self.admin, *arguments])

    def add_port(self, name, number, device):
        self.ctl("port", "add", f"{name},ofport={number},dev={device}")

    def del_port(self, name):
        self.ctl("port", "del", name)

    def flush(self):
        self.ctl("ct", "flush")

    def connections(self):
        """The reply direction of every connection."""
        found = json.loads(self.ctl("--json", "ct"))
        return [replies_of(connection) for connection in found]

    def drops(self):
        return {drop["reason"]: drop["packets"] for drop in json.loads(self.ctl("--json", "drops")) if drop["packets"]}

    def metrics(self):
        command = ["ip", "netns", "exec", self.place.netns, "curl", "-s", f"http://{self.metrics_address}/metrics"]
        return run(command)

    def pid(self):
        """Of the dataplane itself: what was started becomes it."""
        return self.process.pid

    def resident(self):
        """Bytes of memory in use, hugepages included."""
        with open(f"/proc/{self.pid()}/status") as file:
            status = dict(line.split(":", 1) for line in file if ":" in line)
        return sum(int(status.get(key, "0 kB").split()[0]) * 1024 for key in ("VmRSS", "HugetlbPages"))


def replies_of(connection):
    """From sluicectl's JSON."""
    reply = connection["reply"]
    source, destination = (int(traffic.ipaddress.IPv4Address(reply[key])) for key in ("src", "dst"))
    return source, destination, reply["sport"], reply["dport"]


class Ovs(Switch):
    """Open vSwitch with DPDK, one PMD thread on one core, as Debian has it."""

    name, thread = "ovs", "pmd-c"
    lost_at_first = 400_000
    vswitchd = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"

    def __init__(self, place, rx="net_null0,no-rx=1", tx="net_null1,no-rx=1"):
        self.place = place
        self.started(lambda: self.begin(place, rx, tx))

    def begin(self, place, rx, tx):
        self.dir = f"{place.run}/ovs"
        os.makedirs(self.dir, exist_ok=True)
        for name in os.listdir(self.dir):
            os.remove(f"{self.dir}/{name}")
        self.target, self.ctl_path, self.db = f"unix:{self.dir}/br0.mgmt", f"{self.dir}/switch.ctl", f"unix:{self.dir}/db.sock"
        run(["ovsdb-tool", "create", f"{self.dir}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema"])
        pin = ["taskset", "-c", str(place.other)]
        server = ["ovsdb-server", f"{self.dir}/conf.db", f"--remote=p{self.db}", f"--unixctl={self.dir}/db.ctl", "--no-chdir"]
        self.start_process(place, "ovs-db", [*pin, *server])
        wait_for(10, lambda: os.path.exists(f"{self.dir}/db.sock"), "ovsdb-server did not start")
        self.vsctl("--no-wait", "init")
        self.vsctl(
            "--no-wait", "set", "open_vswitch", ".", "other_config:dpdk-init=true",
            f"other_config:dpdk-lcore-mask={1 << place.other:#x}", f"other_config:pmd-cpu-mask={1 << place.core:#x}",
            f"other_config:dpdk-socket-mem={place.memory}",
            'other_config:dpdk-extra="--no-pci --huge-unlink --file-prefix=ovs-bench"',
        )  # fmt: skip
        self.command = ["taskset", "-c", f"{place.other},{place.core}", self.vswitchd, self.db, f"--unixctl={self.ctl_path}", "--no-chdir"]
        self.process = self.start_process(
            place, "ovs", ["ip", "netns", "exec", place.netns, *self.command], {"OVS_RUNDIR": self.dir}
        )
        self.vsctl(
            "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "protocols=OpenFlow13", "fail-mode=secure",
            "--", "add-port", "br0", "gnv", "--", "set", "interface", "gnv", "type=geneve", "ofport_request=3",
            "options:remote_ip=flow", "options:key=flow",
        )  # fmt: skip
        self.add_port("tx", 2, tx)
        if rx:
            self.add_port("rx", 1, rx)
        inside = ["ip", "-n", place.netns]
        run([*inside, "addr", "replace", f"{cases.LOCAL}/24", "dev", "br0"])
        run([*inside, "link", "set", "br0", "up"])
        # It reads the kernel's routes when it is told of them.
        wait_for(10, lambda: cases.LOCAL in self.appctl("ovs/route/show"), "Open vSwitch has no route to the tunnel's end")
        self.appctl("tnl/neigh/set", "br0", cases.REMOTE, cases.REMOTE_MAC)

    def stop(self):
        super().stop()
        # It leaves its taps behind.
        for tap in ("br0", "ovs-netdev"):
            subprocess.run(["ip", "-n", self.place.netns, "link", "del", tap], stderr=subprocess.DEVNULL)

    def vsctl(self, *arguments):
        return run(["ovs-vsctl", f"--db={self.db}", "--timeout=30", *arguments])

    def appctl(self, *arguments):
        return run(["ovs-appctl", "-t", self.ctl_path, *arguments])

    def add_port(self, name, number, device):
        self.vsctl(
            "add-port", "br0", name, "--", "set", "interface", name, "type=dpdk",
            f"options:dpdk-devargs={device}", f"ofport_request={number}",
        )  # fmt: skip
        error = self.vsctl("get", "interface", name, "error").strip()
        if error not in ("[]", '""'):
            raise Failed(f"Open vSwitch: port {name}: {error}")

    def del_port(self, name):
        device = self.vsctl("get", "interface", name, "options:dpdk-devargs").strip().strip('"').split(",")[0]
        self.vsctl("del-port", "br0", name)
        try:
            self.appctl("netdev-dpdk/detach", device)
        except Failed:
            pass  # gone with the port

    def own_flows(self, case):
        """What comes out of the tunnel goes to the wire; its endpoint is the bridge's own port."""
        return ["table=0,priority=1000,in_port=LOCAL,actions=output:2"] if "output:3" in "".join(case.flows) else []

    def flush(self):
        self.appctl("dpctl/flush-conntrack")

    def connections(self):
        text = self.appctl("dpctl/dump-conntrack")
        found = []
        for src, dst, sport, dport in re.findall(r"reply=\(src=([\d.]+),dst=([\d.]+),sport=(\d+),dport=(\d+)\)", text):
            address = traffic.ipaddress.IPv4Address
            found.append((int(address(src)), int(address(dst)), int(sport), int(dport)))
        return found

    def drops(self):
        return {}


def testpmd(place, rx, tx, seconds):
    """Packets per second of its own time that testpmd forwards between the same ports, rewriting MACs, and the
    share of the processor that it had."""
    command = ["dpdk-testpmd", "-l", f"{place.other},{place.core}", "--no-pci", "--huge-unlink", "--file-prefix=testpmd-bench"]
    command += [f"--socket-mem={place.memory}", "--vdev", rx, "--vdev", tx]
    command += ["--", "--forward-mode=mac", "--nb-cores=1", "--total-num-mbufs=262144", "--auto-start", "--stats-period=1"]
    path = f"{place.run}/logs/testpmd.log"
    with open(path, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def rates():
        """One for each second, of wall clock."""
        found, port = [], None
        with open(path, errors="replace") as file:
            for line in file:
                if match := re.search(r"NIC statistics for port (\d)", line):
                    port = match[1]
                elif (match := re.search(r"Tx-pps: +(\d+)", line)) and port == "1" and int(match[1]):
                    found.append(int(match[1]))
        return found

    try:
        # The first value belongs to a second that was not whole.
        wait_for(40, rates, "testpmd forwarded nothing")
        worked, begun = seconds_on_processor(process.pid, TESTPMD_WORKER), time.monotonic()
        wait_for(40, lambda: len(rates()) > int(seconds + 0.999), "testpmd forwarded nothing")
        share = (seconds_on_processor(process.pid, TESTPMD_WORKER) - worked) / (time.monotonic() - begun)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    found = sorted(rates()[1:])
    return found[len(found) // 2] / share, share

"""Before anything is measured: the packets arrive at the other port, changed as asked, the same from both.

The same sample goes through both switches with the same flows, before and after its connections are
established, into pcap files, and the frames are compared byte by byte. What may differ, and is taken out before:

- Geneve: source port of the outer UDP (each switch's own hash), outer source MAC (each its own), and the
  outer IPv4 identification; lengths, addresses, VNI and the inner frame must be equal.
- Service: which backend was chosen. It must be one of the backends, the same for every packet of a flow, and
  most of the backends must have been chosen.
- Order between flows, and how often the sample was played.
"""

import collections
import os
import struct
import time

import cases
import traffic
from switches import Failed, Ovs, Sluice, wait_for

SAMPLE = 96


def frames_of(case, count=SAMPLE):
    return [traffic.udp(case.frames(flow)) for flow in range(count)]


def play(switch, place, name, number, frames, until):
    """Plays frames again and again into a port that exists until the condition holds.

    Open vSwitch drops what a new port receives before it is ready, so once would not do."""
    path = f"{place.run}/{name}.pcap"
    traffic.write(path, frames)
    play.runs += 1
    switch.add_port(name, number, f"net_pcap{play.runs + 10},rx_pcap={path},infinite_rx=1")
    try:
        time.sleep(0.2)
        begun = switch.count(number)[0]
        wait_for(20, lambda: switch.count(number)[0] >= begun + 2 * len(frames), f"{switch.name}: port {name} receives nothing")
        wait_for(20, until, f"{switch.name}: not all packets of port {name} came through; drops: {switch.drops()}")
    finally:
        switch.del_port(name)


play.runs = 0


def play_once(switch, place, name, number, frames):
    """Plays frames once, after those that are lost before the port is ready."""
    path = f"{place.run}/{name}.pcap"
    traffic.write(path, frames, switch.lost_at_first)
    play.runs += 1
    switch.add_port(name, number, f"net_pcap{play.runs + 10},rx_pcap={path}")
    try:
        total = switch.lost_at_first + len(frames)
        wait_for(30, lambda: switch.count(number)[0] >= total, f"{switch.name}: port {name} receives nothing")
        time.sleep(0.1)
    finally:
        switch.del_port(name)


def establish(switch, place, count):
    """Waits for that many connections and plays a reply to each."""

    def all_there():
        replies = switch.connections()
        return replies if len(replies) >= count else None

    replies = wait_for(30, all_there, f"{switch.name} tracks fewer than {count} connections")
    play_once(switch, place, "replies", 4, [traffic.udp(reply, reply=True) for reply in replies])


def outputs(switch, place, out, case):
    """Different frames that leave by port 2: of the sample, and once more when its connections are established."""
    frames, passes = frames_of(case), []
    switch.install(case)
    for again in (False, True) if case.connections else (False,):
        if again:
            establish(switch, place, len(frames))
            time.sleep(0.2)
        start = os.path.getsize(out)
        new = switch.matched("0xf") if again else 0
        play(switch, place, "rx", 1, frames, lambda: os.path.getsize(out) > start + 200 * len(frames))
        passes.append(traffic.read(out, start, 40 * len(frames)))
        if again and switch.matched("0xf") > new:
            raise Failed(f"{switch.name}: {case.name}: packets of established connections were taken for new ones")
    return passes


def check_ip(frame, at):
    if traffic.checksum(frame[at : at + 20]):
        raise Failed(f"an IPv4 checksum is wrong: {frame.hex()}")


def inner_of(frame):
    """Where the IPv4 header of the packet itself begins, through VLAN or Geneve, whose headers are checked."""
    kind = frame[12:14]
    if kind == b"\x81\x00":
        return 18
    if frame[23] == 17 and frame[36:38] == struct.pack("!H", 6081):
        check_ip(frame, 14)
        return 14 + 20 + 8 + 8 + 14
    return 14


def normal(case, frame, chosen):
    """A frame without what may differ."""
    frame, at = bytearray(frame), inner_of(frame)
    check_ip(frame, at)
    if at == 64:
        frame[6:12] = bytes(6)
        frame[18:20] = frame[24:26] = frame[34:36] = bytes(2)
    address = struct.unpack_from("!I", frame, at + 16)[0]
    if case.nat and address >> 16 == 0x0A01:
        backend, port = struct.unpack_from("!I", frame, at + 16)[0], struct.unpack_from("!H", frame, at + 22)[0]
        if backend not in traffic.BACKENDS or port != traffic.BACKEND_PORT:
            raise Failed(f"{case.name}: {backend:#x}:{port} is no backend")
        chosen[bytes(frame[at + 12 : at + 16]) + bytes(frame[at + 20 : at + 22])].add(backend)
        frame[at + 16 : at + 20], frame[at + 10 : at + 12] = bytes(4), bytes(2)
    return bytes(frame)


def compare(case, by_switch):
    """Fails if the switches disagree; says in a sentence what was equal."""
    seen = {}
    for name, passes in by_switch.items():
        chosen = collections.defaultdict(set)
        seen[name] = [{normal(case, frame, chosen) for frame in frames} for frames in passes]
        if case.nat:
            if any(len(backends) != 1 for backends in chosen.values()):
                raise Failed(f"{name}: {case.name}: a flow went to two backends")
            used = len(set().union(*chosen.values()))
            if used < 12:
                raise Failed(f"{name}: {case.name}: only {used} of 16 backends were chosen")
    (first, one), *others = seen.items()
    for second, two in others:
        for turn, (a, b) in enumerate(zip(one, two)):
            if a != b:
                left, right = sorted(a - b), sorted(b - a)
                raise Failed(
                    f"{case.name}, pass {turn + 1}: {len(left)} and {len(right)} frames have no equal; {first}: {left[0].hex() if left else '-'}; "
                    f"{second}: {right[0].hex() if right else '-'}"
                )
    sample = frames_of(case)
    if not case.name == "l2" and set(one[0]) & set(sample):
        raise Failed(f"{case.name}: frames were not changed")
    if any(len(found) != len(sample) for found in one):
        raise Failed(f"{case.name}: {[len(found) for found in one]} different frames of {len(sample)} flows")
    return sum(len(found) for found in one)


def check(place, names, switches, results):
    """Every case through every switch; a sentence for each case that is as it should be."""
    found, said = collections.defaultdict(dict), {}
    for kind in (Sluice, Ovs):
        if kind.name not in switches:
            continue
        out = f"{place.run}/out-{kind.name}.pcap"
        switch = kind(place, rx=None, tx=f"net_pcap1,tx_pcap={out}")
        try:
            for name in names:
                try:
                    found[name][kind.name] = outputs(switch, place, out, cases.TABLE[name]())
                except Failed as why:
                    results.fail(f"{kind.name}: {name}: {why}")
                    found[name][kind.name] = None
        finally:
            switch.stop()
            os.remove(out)
    for name, by_switch in found.items():
        if None in by_switch.values():
            continue
        try:
            packets = compare(cases.TABLE[name](), by_switch)
        except Failed as why:
            results.fail(str(why))
            continue
        said[name] = f"{packets} frames equal" if len(by_switch) > 1 else f"{packets} frames, nothing to compare with"
        results.say(f"{name}: {said[name]}")
    return said

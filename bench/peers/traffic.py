"""Packets: flows by number, frames, and pcap files of them. The same in every run."""

import ipaddress
import itertools
import random
import struct

CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
# Workloads are 10.1.0.0/24 to 10.1.249.0/24, clients 10.0.0.0/16.
WORKLOADS = 250
VIP, VIP_PORT = int(ipaddress.IPv4Address("10.96.0.10")), 80
BACKENDS, BACKEND_PORT = [int(ipaddress.IPv4Address("10.1.0.0")) + 256 * n + 10 for n in range(16)], 8080


def ports_of(workload):
    """The ports that clients of the lower and of the upper half of 10.0.0.0/16 may use there."""
    return 1000 + workload * 7 % 64, 2000 + workload * 5 % 64


def plain(flow):
    """A client's flow to one of the workloads: source, destination, source port, destination port."""
    workload, host = flow * 7919 % WORKLOADS, flow * 40503 % 256
    source = flow % 65536
    port = ports_of(workload)[source >= 32768]
    return 0x0A000000 + source, 0x0A010000 + workload * 256 + host, 1024 + flow % 60000, port


def to_service(flow, services=1):
    """A client's flow to a Service's address; Services follow each other from VIP on."""
    return 0x0A000000 + flow % 65536, VIP + flow * 40503 % services, 1024 + flow % 60000, VIP_PORT


def checksum(header):
    total = sum(struct.unpack("!%dH" % (len(header) // 2), header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp(flow, reply=False, size=60):
    """A frame of `size` bytes; UDP checksum 0 is "none" (RFC 768)."""
    source, destination, source_port, destination_port = flow
    length = size - 14
    head = struct.pack("!BBHHHBBHII", 0x45, 0, length, 0, 0x4000, 64, 17, 0, source, destination)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    macs = CLIENT_MAC + SERVER_MAC if reply else SERVER_MAC + CLIENT_MAC
    transport = struct.pack("!HHHH", source_port, destination_port, length - 20, 0)
    return macs + b"\x08\x00" + head + transport + bytes(size - 42)


# An Ethernet frame of a type that no flow asks for (IEEE 802, local experimental).
NOTHING = SERVER_MAC + CLIENT_MAC + b"\x88\xb5" + bytes(46)


def write(path, frames, nothing=0):
    """A pcap file of frames, behind so many that no flow asks for."""
    with open(path, "wb", buffering=1 << 20) as file:
        file.write(struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        file.write((struct.pack("!IIII", 0, 0, len(NOTHING), len(NOTHING)) + NOTHING) * nothing)
        for frame in frames:
            file.write(struct.pack("!IIII", 0, 0, len(frame), len(frame)) + frame)


def read(path, start=24, most=1 << 62):
    """At most so many frames of a pcap file of this machine's byte order, from a place in it."""
    with open(path, "rb") as file:
        file.seek(max(start, 24))
        data = file.read(most * 2000 if most < 1 << 40 else -1)
    frames, at = [], 0
    while at + 16 <= len(data) and len(frames) < most:
        length = struct.unpack_from("=I", data, at + 8)[0]
        if at + 16 + length > len(data):
            break
        frames.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return frames


def shuffled(count, seed=1):
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


def zipf(flows, draws, exponent=1.1, seed=1):
    """Flow numbers drawn from a Zipf distribution."""
    weights = list(itertools.accumulate(rank**-exponent for rank in range(1, flows + 1)))
    numbers = shuffled(flows, seed)
    return random.Random(seed).choices(numbers, cum_weights=weights, k=draws)

"""Writes a pcap of COUNT 60-byte UDP packets, each a flow of its own: flows_pcap.py COUNT FILE

Addresses, ports and order are the same at every run. MACs 02:00:00:00:00:01 to ...:02, sources
10.0.0.0/16, destinations 10.1.0.0/16.
"""

import random
import struct
import sys

SRC_MAC, DST_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def checksum(header):
    total = sum(struct.unpack("!%dH" % (len(header) // 2), header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def packet(flow):
    # 18 bytes of data make 60; UDP checksum 0 is "none" (RFC 768).
    udp = struct.pack("!HHHH", 1024 + flow % 60000, 4791, 26, 0) + bytes(18)
    source = struct.pack("!BBH", 10, 0, flow % 65536)
    destination = struct.pack("!BBH", 10, 1, flow * 40503 % 65536)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0)
    total = checksum(head + source + destination)
    ip = head[:10] + struct.pack("!H", total) + source + destination
    return DST_MAC + SRC_MAC + b"\x08\x00" + ip + udp


def main():
    count, path = int(sys.argv[1]), sys.argv[2]
    order = list(range(count))
    random.Random(1).shuffle(order)
    with open(path, "wb") as file:
        file.write(struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for flow in order:
            data = packet(flow)
            file.write(struct.pack("!IIII", 0, 0, len(data), len(data)) + data)


main()

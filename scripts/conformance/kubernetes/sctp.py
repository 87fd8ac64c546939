"""The first two messages of SCTP (RFC 9260) over raw sockets, for kernels that have no SCTP: a server answers
INIT with INIT ACK, a client asks so. Enough to see who gets where."""

import os
import socket
import struct
import time

PROTOCOL = 132
INIT, INIT_ACK = 1, 2
TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def checksum(data):
    """CRC32c (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def packet(source, destination, tag, kind, name=b""):
    """An INIT or INIT ACK, the name behind it as a parameter that nobody has to know."""
    name = struct.pack("!HH", 0x8007, 4 + len(name)) + name + bytes(-len(name) % 4)
    chunk = struct.pack("!BBHIIHHI", kind, 0, 20 + len(name), 0x5C5C5C5C, 65536, 1, 1, 1) + name
    head = struct.pack("!HHI", source, destination, tag)
    return head + checksum(head + bytes(4) + chunk) + chunk


def read(data, family):
    """(source port, destination port, tag of the sender, kind, name), or nothing."""
    data = data[(data[0] & 15) * 4 :] if family == socket.AF_INET else data
    if len(data) < 36 or checksum(data[:8] + bytes(4) + data[12:]) != data[8:12]:
        return None
    source, destination = struct.unpack_from("!HH", data)
    length = struct.unpack_from("!H", data, 34)[0] if len(data) > 36 else 4
    return source, destination, struct.unpack_from("!I", data, 16)[0], data[12], data[36 : 32 + length]


def serve(family, ports, answer):
    raw = socket.socket(family, socket.SOCK_RAW, PROTOCOL)
    while True:
        data, peer = raw.recvfrom(2048)
        asked = read(data, family)
        if asked and asked[1] in ports and asked[3] == INIT:
            raw.sendto(packet(asked[1], asked[0], asked[2], INIT_ACK, answer(peer)), peer)


def ask(host, port, wait):
    """What the server is called, or nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, PROTOCOL) as raw:
        raw.connect((host, 0))
        source = 32768 + int.from_bytes(os.urandom(2)) // 4
        raw.send(packet(source, port, 0, INIT))
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            raw.settimeout(left)
            answer = read(raw.recv(2048), family)
            if answer and answer[:2] == (port, source) and answer[3] == INIT_ACK:
                return answer[4].decode()
    return None

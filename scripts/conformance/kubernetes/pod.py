"""What runs in a pod: pod.py NAME [tcp:PORT|udp:PORT|sctp:PORT ...]. Every port answers with the name and
the client's address, a line; a TCP client's further lines get the name again, each, until it closes."""

import socket
import sys
import threading

import sctp

NAME = sys.argv[1]


def told(peer):
    return f"{NAME} {peer[0].removeprefix('::ffff:')}\n".encode()


def serve(client, peer):
    with client:
        try:
            client.sendall(told(peer))
            while client.recv(4096):
                client.sendall(told(peer))
        except OSError:
            pass


def stream(port):
    server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", port))
    server.listen(128)
    while True:
        threading.Thread(target=serve, args=server.accept(), daemon=True).start()


def datagrams(port):
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.bind(("::", port))
    while True:
        _, peer = server.recvfrom(2048)
        try:
            server.sendto(told(peer), peer)
        except OSError:
            pass


def begin(target, *rest):
    threading.Thread(target=target, args=rest, daemon=True).start()


ports = [(kind, int(port)) for kind, port in (argument.split(":") for argument in sys.argv[2:])]
for kind, port in ports:
    if kind != "sctp":
        begin({"tcp": stream, "udp": datagrams}[kind], port)
if associations := {port for kind, port in ports if kind == "sctp"}:
    for family in (socket.AF_INET, socket.AF_INET6):
        begin(sctp.serve, family, associations, told)
threading.Event().wait()

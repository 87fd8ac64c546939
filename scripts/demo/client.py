"""Asks a Service COUNT times, each time as a new client, and prints who answered how often:
`web-1 101 web-2 99 ...`, and `failed N` if some did not.  client.py http|udp HOST PORT COUNT
With `held` it asks COUNT times over one connection, four times a second, and says who answers at once."""

import collections
import http.client
import socket
import sys
import time

kind, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def over_http():
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def over_udp():
    # Connected: the kernel takes an answer from the Service's address and port only.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((host, port))
        client.send(b"?")
        return client.recv(100).decode()


def over_one_connection():
    connection = http.client.HTTPConnection(host, port, timeout=3)
    connection.auto_open = False
    connection.connect()
    for _ in range(count):
        connection.request("GET", "/")
        yield connection.getresponse().read().decode().strip()
        time.sleep(0.25)


if kind == "held":
    try:
        for name in over_one_connection():
            print(name, flush=True)
    except (OSError, http.client.HTTPException) as error:
        print("failed", error, flush=True)
    sys.exit()

answers = collections.Counter()
for _ in range(count):
    try:
        answers[over_http() if kind == "http" else over_udp()] += 1
    except OSError:
        answers["failed"] += 1
print(" ".join(f"{name} {answers[name]}" for name in sorted(answers)))

"""Asks pods from where it runs: probe.py [--count N] [--wait SECONDS] PROTOCOL:HOST:PORT ...
One line for each, in their order: how often who answered, `web-1 3 web-2 2`, or `none 5`.
With --held SECONDS one TCP connection to the first target stays and asks four times a second; says who answers."""

import argparse
import collections
import concurrent.futures
import socket
import time

import sctp

parser = argparse.ArgumentParser()
parser.add_argument("--count", type=int, default=1)
parser.add_argument("--wait", type=float, default=1.5)
parser.add_argument("--held", type=float)
parser.add_argument("--peer", action="store_true", help="say whom the pod saw, too")
parser.add_argument("targets", nargs="+")
args = parser.parse_args()


def parts(target):
    protocol, rest = target.split(":", 1)
    host, port = rest.rsplit(":", 1)
    return protocol, host.strip("[]"), int(port)


def connection(protocol, host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    client = socket.socket(family, kind)
    client.settimeout(args.wait)
    client.connect((host, port))
    return client


def ask(target):
    protocol, host, port = parts(target)
    try:
        if protocol == "sctp":
            words = (sctp.ask(host, port, args.wait) or "none").split()
            return " ".join(words) if args.peer else words[0]
        with connection(protocol, host, port) as client:
            if protocol == "udp":
                client.send(b"?")
            words = client.recv(200).decode().split()
            return " ".join(words) if args.peer else words[0]
    except ConnectionRefusedError:
        return "refused"
    except (OSError, IndexError):
        return "none"


def held(target):
    with connection(*parts(target)) as client:
        ends = time.monotonic() + args.held
        print(client.recv(200).decode().split()[0], flush=True)
        while time.monotonic() < ends:
            client.sendall(b"?\n")
            print(client.recv(200).decode().split()[0], flush=True)
            time.sleep(0.25)


if args.held:
    try:
        held(args.targets[0])
    except (OSError, IndexError) as error:
        print("broken", error, flush=True)
    raise SystemExit

with concurrent.futures.ThreadPoolExecutor(32) as pool:
    asked = [[pool.submit(ask, target) for _ in range(args.count)] for target in args.targets]
    for answers in asked:
        counts = collections.Counter(answer.result() for answer in answers)
        print(" ".join(f"{name} {number}" for name, number in sorted(counts.items())), flush=True)

"""Fetches http://HOST/ COUNT times, each over a connection of its own, and prints who answered how
often: `web-1 101`, one line each, and `failed N` if some did not.  http_client.py HOST COUNT"""

import collections
import http.client
import sys

host, count = sys.argv[1], int(sys.argv[2])
answers = collections.Counter()
for _ in range(count):
    connection = http.client.HTTPConnection(host, 80, timeout=3)
    try:
        connection.request("GET", "/")
        answers[connection.getresponse().read().decode().strip()] += 1
    except OSError:
        answers["failed"] += 1
    finally:
        connection.close()
for name in sorted(answers):
    print(name, answers[name])

"""A backend of the demo's Services: answers every GET, and every UDP datagram, with its own name.

backend.py NAME TCP_PORT UDP_PORT
"""

import http.server
import socket
import sys
import threading

NAME, TCP_PORT, UDP_PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6  # and IPv4 with it
    request_queue_size = 128


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (NAME + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def answer_datagrams():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", UDP_PORT))
    while True:
        _, client = server.recvfrom(2048)
        server.sendto(NAME.encode(), client)


threading.Thread(target=answer_datagrams, daemon=True).start()
Server(("::", TCP_PORT), Handler).serve_forever()

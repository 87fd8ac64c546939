"""A client of an API server, just enough for node.py: requests, and watches that never end."""

import http.client
import json
import ssl
import time

APPLY = "application/strategic-merge-patch+json"


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:300]}")
        self.status = status


class Client:
    def __init__(self, host, port, authority, certificate, key):
        self.host, self.port = host, port
        self.tls = ssl.create_default_context(cafile=authority)
        self.tls.load_cert_chain(certificate, key)

    def connect(self, timeout):
        return http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=timeout)

    def call(self, method, path, body=None, kind="application/json"):
        connection = self.connect(10)
        try:
            headers = {"Content-Type": kind, "User-Agent": "node.py"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Refused(answer.status, text)
        return json.loads(text)

    def follow(self, path, changed):
        """Lists, then watches, for ever: changed(kind of change, object), and (None, names) after a list."""
        joint = "&" if "?" in path else "?"
        while True:
            try:
                listed = self.call("GET", path)
                for item in listed.get("items", []):
                    changed("ADDED", item)
                changed(None, listed.get("items", []))
                self.watch(f"{path}{joint}watch=1&resourceVersion={listed['metadata']['resourceVersion']}", changed)
            except (OSError, http.client.HTTPException, Refused, ValueError):
                time.sleep(0.5)

    def watch(self, path, changed):
        connection = self.connect(3600)
        try:
            connection.request("GET", path, headers={"User-Agent": "node.py"})
            answer = connection.getresponse()
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                changed(event["type"], event["object"])
        finally:
            connection.close()

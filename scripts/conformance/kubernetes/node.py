"""Plays the kubelet of a node: makes the Node, keeps it alive, attaches the pods that are bound to it
with sluice-cni, runs pod.py in each and reports them, and takes them down as the kubelet does.

node.py CONFIGURATION, JSON: name, addresses, annotations, labels, host, port, authority, certificate, key,
cni (configuration of sluice-cni), plugin (its path), prefix (of network namespaces), logs,
schedule (this one binds pods to nodes, too)."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone

from api import APPLY, Client, Refused

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = json.load(open(sys.argv[1]))
NODE = CONFIG["name"]
API = Client(*(CONFIG[key] for key in ("host", "port", "authority", "certificate", "key")))
LOCK = threading.Lock()
PODS = {}  # uid: Pod


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def say(*words):
    print(now(), *words, flush=True)


def condition(name, true, reason=""):
    status = "True" if true else "False"
    return {"type": name, "status": status, "reason": reason or name, "lastTransitionTime": now()}


def node_status():
    beat = condition("Ready", True, "KubeletReady") | {"lastHeartbeatTime": now()}
    room = {"cpu": "64", "memory": "256Gi", "pods": "250"}
    addresses = [{"type": "InternalIP", "address": a} for a in CONFIG["addresses"]]
    addresses.append({"type": "Hostname", "address": NODE})
    return {"addresses": addresses, "capacity": room, "allocatable": room, "conditions": [beat]}


def live():
    """The node's heartbeat."""
    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    while True:
        try:
            metadata = {"name": NODE, "labels": CONFIG["labels"], "annotations": CONFIG["annotations"]}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
            try:
                API.call("GET", f"/api/v1/nodes/{NODE}")
            except Refused as refused:
                if refused.status != 404:
                    raise
                API.call("POST", "/api/v1/nodes", node | {"status": node_status()})
            status = node_status()
            # The merge key of addresses is their type, which two of them share.
            status["addresses"].insert(0, {"$patch": "replace"})
            API.call("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, APPLY)
            renewed = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            spec = {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": renewed}
            try:
                API.call("PATCH", f"{lease}/{NODE}", {"spec": spec}, "application/merge-patch+json")
            except Refused as refused:
                if refused.status != 404:
                    raise
                body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE}}
                API.call("POST", lease, body | {"spec": spec})
        except (OSError, Refused) as error:
            say("heartbeat:", error)
            time.sleep(0.5)
            continue
        time.sleep(8)


def served(container):
    """Its ports, also those that only the arguments or variables of agnhost name, the image of Kubernetes' tests."""
    for port in container.get("ports", []):
        yield f"{port.get('protocol', 'TCP').lower()}:{port['containerPort']}"
    words = " ".join(container.get("command", []) + container.get("args", []))
    for port in re.findall(r"--port[ =](\d+)", words):
        yield f"{'udp' if '--udp' in words else 'tcp'}:{port}"
    for variable in container.get("env", []):
        if port := re.fullmatch(r"SERVE_(SCTP|TCP|UDP)_PORT_(\d+)", variable["name"]):
            yield f"{port[1].lower()}:{port[2]}"


class Pod:
    """One pod, by a thread of its own."""

    def __init__(self, object):
        self.object = object
        meta = object["metadata"]
        self.namespace, self.name, self.uid = meta["namespace"], meta["name"], meta["uid"]
        self.netns = f"{CONFIG['prefix']}-pod-{self.namespace}.{self.name}"
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.process, self.addresses, self.reported = None, None, None
        self.awake, self.gone = threading.Event(), False
        threading.Thread(target=self.run, daemon=True).start()

    def changed(self, object, gone):
        self.object, self.gone = object, gone
        self.awake.set()

    def host(self):
        return self.object["spec"].get("hostNetwork", False)

    def run(self):
        since = None
        while True:
            self.awake.clear()
            try:
                if self.gone or "deletionTimestamp" in self.object["metadata"]:
                    since = since or time.monotonic()
                    if self.gone or time.monotonic() >= since + self.lingers():
                        self.stop()
                        return
                elif self.addresses is None:
                    self.begin()
                if self.addresses is not None:
                    self.report()
            except (OSError, Refused, subprocess.SubprocessError, ValueError) as error:
                say(self.namespace, self.name, error)
                self.awake.wait(0.3)
            self.awake.wait(0.2 if since else 3600 if self.addresses else 1)

    def lingers(self):
        """Seconds that a preStop hook of the kind `sleep` asks for."""
        hooks = [c.get("lifecycle", {}).get("preStop", {}) for c in self.object["spec"]["containers"]]
        return max(hook.get("sleep", {}).get("seconds", 0) for hook in hooks)

    def cni(self, command):
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.uid,
            "CNI_NETNS": f"/run/netns/{self.netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": os.path.dirname(CONFIG["plugin"]),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={self.namespace};K8S_POD_NAME={self.name}"
            f";K8S_POD_INFRA_CONTAINER_ID={self.uid};K8S_POD_UID={self.uid}",
        }
        text = json.dumps(CONFIG["cni"])
        done = subprocess.run([CONFIG["plugin"]], input=text, env=env, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise ValueError(f"CNI {command}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def begin(self):
        if self.host():
            addresses = CONFIG["addresses"]
        else:
            subprocess.run(["ip", "netns", "add", self.netns], capture_output=True)
            subprocess.run(["ip", "-n", self.netns, "link", "set", "lo", "up"], check=True)
            addresses = [ip["address"].split("/")[0] for ip in self.cni("ADD")["ips"]]
        ports = sorted({port for container in self.object["spec"]["containers"] for port in served(container)})
        inside = [] if self.host() else ["ip", "netns", "exec", self.netns]
        log = open(f"{CONFIG['logs']}/pods.log", "a")
        command = [*inside, sys.executable, f"{HERE}/pod.py", self.name, *ports]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        time.sleep(0.2 if ports else 0)
        self.addresses = addresses

    def report(self):
        """As the kubelet: ready when the containers are and every readiness gate is."""
        status, spec = self.object.get("status", {}), self.object["spec"]
        true = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
        gates = {gate["conditionType"] for gate in spec.get("readinessGates", [])}
        annotated = self.object["metadata"].get("annotations", {}).get("test/ready", "true") == "true"
        ready = annotated and gates <= true and "deletionTimestamp" not in self.object["metadata"]
        if self.reported == ready:
            return
        states = [
            {"name": c["name"], "image": c["image"], "imageID": "", "restartCount": 0, "ready": annotated,
             "started": True, "state": {"running": {"startedAt": now()}}}
            for c in spec["containers"]
        ]
        conditions = [condition(t, True) for t in ("PodScheduled", "Initialized")]
        conditions += [condition("ContainersReady", annotated), condition("Ready", ready)]
        body = {"phase": "Running", "conditions": conditions, "containerStatuses": states}
        body |= {"podIP": self.addresses[0], "podIPs": [{"ip": a} for a in self.addresses]}
        body |= {"hostIP": CONFIG["addresses"][0], "hostIPs": [{"ip": a} for a in CONFIG["addresses"]]}
        try:
            API.call("PATCH", f"{self.path}/status", {"metadata": {"uid": self.uid}, "status": body}, APPLY)
        except Refused as refused:
            if refused.status != 404:
                raise
        self.reported = ready

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        if not self.host():
            self.cni("DEL")
            subprocess.run(["ip", "netns", "del", self.netns], capture_output=True)
        if not self.gone:
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            try:
                API.call("DELETE", self.path, body)
            except Refused as refused:
                if refused.status not in (404, 409):
                    raise
        with LOCK:
            PODS.pop(self.uid, None)


def follow_pods():
    def changed(kind, object):
        with LOCK:
            if kind is None:
                there = {item["metadata"]["uid"] for item in object}
                for uid, pod in PODS.items():
                    if uid not in there:
                        pod.changed(pod.object, True)
                return
            uid = object["metadata"]["uid"]
            if kind != "BOOKMARK":
                if uid in PODS:
                    PODS[uid].changed(object, kind == "DELETED")
                elif kind != "DELETED":
                    PODS[uid] = Pod(object)

    API.follow(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}", changed)


threading.Thread(target=live, daemon=True).start()
follow_pods()

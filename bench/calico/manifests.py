"""The same pods and Services as manifests for Sluice's controller: manifests.py SERVICES FOLDER"""

import os
import sys

from layout import CLIENT, CLUSTER, PODS, SERVICE_PORT, TARGET_PORT, service_address

NETWORK = f"""apiVersion: v1
kind: Namespace
metadata: {{name: bench}}
---
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {{name: pods}}
spec: {{protocol: IPv4, cidrBlock: {CLUSTER}, gateway: 10.16.0.1, excludeIps: [10.16.0.1], namespaces: [bench]}}
---
apiVersion: v1
kind: Node
metadata: {{name: node1}}
status: {{addresses: [{{type: InternalIP, address: 172.30.0.1}}, {{type: Hostname, address: node1}}]}}
"""


def pod(name, address):
    label = "client" if address == CLIENT else "server"
    return f"""---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: bench
  labels: {{app: {label}}}
  annotations: {{ovn.kubernetes.io/ip_address: {address}}}
spec: {{nodeName: node1, containers: [{{name: main, image: registry.example/tools}}]}}
"""


def service(number, count):
    return f"""---
apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: bench}}
spec:
  clusterIP: {service_address(number, count)}
  selector: {{app: server}}
  ports: [{{name: tcp, port: {SERVICE_PORT}, targetPort: {TARGET_PORT}}}]
"""


def write(folder, name, text):
    """At once: the controller watches the folder."""
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


if __name__ == "__main__":
    count, folder = int(sys.argv[1]), sys.argv[2]
    write(folder, "network.yaml", NETWORK + "".join(pod(*entry) for entry in PODS))
    write(folder, "services.yaml", "".join(service(number, count) for number in range(count)))

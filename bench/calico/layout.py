"""Who is where: the same addresses and ports for both sides of the comparison."""

CLUSTER = "10.16.0.0/16"
CLIENT = "10.16.0.10"
SERVERS = ["10.16.0.21", "10.16.0.22"]
# The pods, as namespaces are named, with their addresses.
PODS = [("client", CLIENT)] + [(f"server-{i + 1}", address) for i, address in enumerate(SERVERS)]
# The node's ends of their veths.
NODE_INTERFACES = [(f"cali{name.replace('-', '')}", address) for name, address in PODS]
# Connections straight to a pod and through a Service end at different ports: both come from the client's
# address, and a port of it that waits in TIME_WAIT for one is refused to the other (timestamps go back).
POD_PORT, TARGET_PORT = 7000, 7001
SERVICE_PORT = 80
# The Service that is measured, always the same one, in the middle of the others.
MEASURED = "10.96.0.10"


def service_address(number, count):
    if number == count // 2:
        return MEASURED
    return f"10.96.{1 + number // 250}.{1 + number % 250}"


def foreign(number):
    """Whom a policy rule lets in that is not our client: a network, and the port."""
    return f"172.{20 + number // 256}.{number % 256}.0/24", 8000 + number

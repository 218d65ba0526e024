"""FTPS on a server: who finds its passive ports open, how many at once, and what passes beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import product

import pytest
from lab.ftp import OPERATIONS, SECONDS, WAYS, Site, curl, transfers
from lab.hosts import Host
from lab.topologies import SERVER, TOPOLOGIES, GatewayLab
from peers import HOLD, OTHER, OWN, scan, start

LAB = GatewayLab()
TOPOLOGY = next(topology for topology in TOPOLOGIES if topology.name == "server, FTPS")
INPUTS = {**TOPOLOGY.role_inputs, "ftp_control_ports": ["21", "990", "2121"]}

LISTEN = """
import resource, select, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
listeners = [socket.create_server(("::", int(port)), family=socket.AF_INET6, backlog=4096, dualstack_ipv6=True)
             for port in sys.argv[1:]]
kept = []
while True:
    for listener in select.select(listeners, [], [])[0]:
        connection = listener.accept()[0]
        if listener is listeners[0]:
            kept.append(connection)
"""

# Each client has an address of its own and keeps its control connection.
CROWD = """
import ipaddress, json, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
target, network, count = sys.argv[1], ipaddress.ip_network(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if network.version == 6 else socket.AF_INET

def connect(number, port, seconds):
    connection = socket.socket(family)
    if family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
    connection.bind((str(network[number]), 0))
    connection.settimeout(seconds)
    try:
        connection.connect((target, port))
    except OSError:
        return None
    return connection if port == 2121 else True

start = time.monotonic()
control = [connect(number, 2121, 20) for number in range(1, count + 1)]
middle = time.monotonic()
data = [connect(number, 50050, 2) for number in range(1, count + 1)]
end = time.monotonic()
others = [connect(number, 50050, 0.05) for number in range(count + 1, count + 101)]
print(json.dumps({
    "control": sum(map(bool, control)), "data": sum(map(bool, data)), "others": sum(map(bool, others)),
    "seconds of control": round(middle - start, 1), "seconds of data": round(end - middle, 1),
}))
"""


# Senders that do not exist: each sends a SYN to port 21, and then it once more, or an ACK with random numbers.
FORGE = """
import ipaddress, json, random, socket, struct, sys, time
target, network, count, second = sys.argv[1], ipaddress.ip_network(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
version, first_source, there = network.version, int(network[0]), ipaddress.ip_address(target)
family, level, option = (socket.AF_INET, 0, 3) if version == 4 else (socket.AF_INET6, 41, 36)  # HDRINCL
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(level, option, 1)
raw.connect((target, 0))
own_port = random.randrange(1024, 65536)
size = 4 if version == 4 else 16
if version == 4:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0)
else:
    header = struct.pack("!IHBB", 6 << 28, 20, 6, 64)

def send(number, flags, sequence, acknowledgment):
    source = first_source + number
    # Sums of 16 bits and multiples of 65,535 do not differ.
    total = source + int(there) + 26 + own_port + 21 + sequence + acknowledgment + (5 << 12 | flags) + 8192
    raw.send(header + source.to_bytes(size, "big") + there.packed + struct.pack(
        "!HHIIHHHH", own_port, 21, sequence, acknowledgment, 5 << 12 | flags, 8192, ~(total % 65535) & 0xFFFF, 0
    ))

start = time.monotonic()
for first in range(1, count + 1, 500):
    block = range(first, min(first + 500, count + 1))
    for number in block:
        send(number, 2, 1, 0)
    time.sleep(0.002)
    for number in block:
        send(number, *((2, 1, 0) if second == "SYN" else (16, random.getrandbits(32), random.getrandbits(32))))
    time.sleep(0.002)
print(time.monotonic() - start)
"""


@pytest.fixture(scope="module")
def server() -> Host:
    """A server with FTPS on several ports."""
    host = LAB.firewall(TOPOLOGY)
    host.role(**INPUTS)
    return host


def answers(source: dict[int, str]) -> dict[int, set[str]]:
    """Return how the ports of the passive range answer to an address, over IPv4 and IPv6."""
    return {version: set(scan(LAB.client, source[version], SERVER[version]).values()) for version in (4, 6)}


def test_range_is_open_to_live_control_connections_only(server: Host) -> None:
    closed: dict[int, set[str]] = {4: set(), 6: set()}
    reached = {4: {"ECONNREFUSED"}, 6: {"ECONNREFUSED"}}
    assert answers(OWN) == closed
    control = [start(LAB.client, HOLD, OWN[version], SERVER[version]) for version in (4, 6)]
    LAB.client.check_output("until test $(grep -c 220 /tmp/out) = 1; do sleep 0.1; done; sleep 1")
    assert answers(OWN) == reached
    assert answers(OTHER) == closed
    assert server.role(**INPUTS).changed == 0
    assert answers(OWN) == reached, "the second run has forgotten who is live"
    LAB.client.check_output(f"kill {' '.join(control)}")
    lists = server.shell.check_output("ipset list FTP-LIVE-IPV4; ipset list FTP-LIVE-IPV6")
    timeouts = {address: int(seconds) for address, seconds in re.findall(r"^(\S+) timeout (\d+)", lists, re.MULTILINE)}
    assert set(timeouts) == set(OWN.values())
    assert max(timeouts.values()) <= 60
    server.shell.check_output(f"sleep {max(timeouts.values()) + 2}")
    assert answers(OWN) == closed


@pytest.fixture
def listener(server: Host) -> Iterator[None]:
    """Listen on another control port and on a passive port."""
    process = start(server.shell, LISTEN, 2121, 50050)
    server.shell.check_output("until ss -Htln 'sport = :50050' | grep 50050; do sleep 0.1; done")
    yield
    server.shell.check_output(f"kill {process}; while ss -Htln 'sport = :50050' | grep 50050; do sleep 0.1; done")


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("version", [4, 6])
def test_ten_thousand_clients_at_once(server: Host, version: int) -> None:
    network = "198.18.0.0/16" if version == 4 else "2001:db8:ffff::/112"
    gateway, client = ("203.0.113.1", "198.51.100.2") if version == 4 else ("2001:db8:1::1", "2001:db8::2")
    LAB.client.check_output(f"ip route replace local {network} dev lo")
    LAB.gateway.check_output(f"ip route replace {network} via {client}")
    server.shell.check_output(f"ip route replace {network} via {gateway}")
    found = json.loads(LAB.client.check_output(f"python3 -c %s {SERVER[version]} {network} 10000", CROWD))
    header = server.shell.check_output(f"ipset -terse list FTP-LIVE-IPV{version}")
    print(f"IPv{version}: {found}\n{header}")
    assert (found["control"], found["data"], found["others"]) == (10000, 10000, 0)


FORGED = {4: "100.64.0.0/10", 6: "2001:db8:fffe::/112"}


@pytest.fixture
def nowhere(server: Host) -> None:
    """What the server answers to forged senders is lost."""
    for version, gateway in ((4, "203.0.113.1"), (6, "2001:db8:1::1")):
        LAB.gateway.check_output(f"ip route replace blackhole {FORGED[version]}")
        server.shell.check_output(f"ip route replace {FORGED[version]} via {gateway}")


def forge(version: int, count: int, second: str) -> float:
    """Send from forged senders; return the seconds that it took."""
    return float(LAB.client.check_output(f"python3 -c %s {SERVER[version]} {FORGED[version]} {count} {second}", FORGE))


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("second", ["SYN", "ACK"])
@pytest.mark.parametrize("version", [4, 6])
def test_no_forged_sender_is_live(server: Host, version: int, second: str) -> None:
    name = f"FTP-LIVE-IPV{version}"
    server.shell.check_output(f"ipset flush {name}")
    forge(version, 100, second)
    forged = ip_network(FORGED[version])
    listed = re.findall(r"^(\S+) timeout ", server.shell.check_output(f"ipset list {name}"), re.MULTILINE)
    assert [address for address in listed if ip_address(address) in forged] == []


@pytest.mark.usefixtures("nowhere")
def test_honest_client_gets_in_beside_75000_forged_senders(server: Host) -> None:
    seconds = forge(4, 75000, "SYN")
    assert seconds < 60, "the first ones are no longer in the set"
    found = LAB.attempts(TOPOLOGY, SECONDS, [way for way in WAYS if way.ip_version == 4])
    print(f"75000 senders in {seconds:.1f} s\n{server.shell.check_output('ipset -terse list')}")
    assert set(found.values()) == {None}, found


def test_plain_ftp_passes_beside_it(server: Host) -> None:
    found = transfers(LAB.client, server.shell, product(WAYS, OPERATIONS), SECONDS, Site(SERVER))
    assert set(found.values()) == {None}, found


def test_implicit_ftps_passes(server: Host) -> None:
    server.shell.check_output(
        "sed 's/^ssl_enable=.*/&\\nimplicit_ssl=YES\\nlisten_port=990/' /etc/vsftpd.conf > /etc/implicit.conf "
        "&& (ss -Htln 'sport = :990' | grep 990 || vsftpd /etc/implicit.conf)"
    )
    for version, host in ((4, SERVER[4]), (6, f"[{SERVER[6]}]")):
        result = curl(LAB.client, SECONDS, "--insecure", "--output", "/dev/null", f"ftps://{host}:990/five-megabytes")
        assert result.rc == 0, (version, result.stderr)

"""A server that announces a public address, as in a cloud, where the gateway translates it one to one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.ftp import SECONDS, Site, configure
from lab.hosts import Host
from lab.topologies import GATEWAY, SERVER, GatewayLab, Topology
from peers import HOLD, OTHER, OWN, scan, start

LAB = GatewayLab()
PUBLIC = GATEWAY[4]
TOPOLOGY = Topology("server, public address", "server", Site({4: PUBLIC, 6: SERVER[6]}))
# The gateway's table nat.
ONE_TO_ONE = (
    f"-A PREROUTING -i eth0 -d {PUBLIC} -p tcp -j DNAT --to-destination {SERVER[4]}",
    f"-A POSTROUTING -s {SERVER[4]} -o eth0 -j SNAT --to-source {PUBLIC}",
)


@pytest.fixture(scope="module")
def server() -> Iterator[Host]:
    """A server that announces the gateway's address, which topologies for it."""
    host = LAB.firewall(TOPOLOGY)
    for rule in ONE_TO_ONE:
        LAB.gateway.check_output(f"iptables -t nat {rule}")
    configure(host.shell, pasv_address=PUBLIC)
    yield host
    configure(host.shell)


def test_every_mode_passes_and_strangers_find_the_range_closed(server: Host) -> None:
    assert server.role(ftp_passive_ports="auto").changed > 0
    found = LAB.attempts(TOPOLOGY, SECONDS)
    assert {key: reason for key, reason in found.items() if reason is not None} == {}
    assert scan(LAB.client, OTHER[4], PUBLIC) == {}
    control = start(LAB.client, HOLD, OWN[4], PUBLIC)
    LAB.client.check_output("until grep -q 220 /tmp/out; do sleep 0.1; done; sleep 1")
    assert "ECONNREFUSED" in scan(LAB.client, OWN[4], PUBLIC).values()
    LAB.client.check_output(f"kill {control}")
    assert server.role(ftp_passive_ports="auto").changed == 0


def test_wide_range_is_refused_before_anything_changes(server: Host) -> None:
    server.role(ftp_state="absent")
    before = server.rules()
    run = server.attempt(ftp_passive_ports="1024:65535")
    assert run.error.startswith(f"ftp_public_address: the server announces {PUBLIC}, which is no address of this host")
    assert server.rules() == before

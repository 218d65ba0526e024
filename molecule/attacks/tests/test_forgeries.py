"""What strangers send in the name of a client or of a server: it neither ends transfers nor begins any."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from aims import ACK, FIN, RST, forged_reply
from lab.ftp import WAYS, Way
from saved import rules
from sessions import (
    ESTABLISHED,
    REFUSED_SECONDS,
    SECONDS,
    SITES,
    TOPOLOGIES,
    Session,
    Site,
    Topology,
    client,
    gateway,
    high_ports,
    other_client,
    other_server,
    server,
    volley,
)

EXTENDED = [way for way in WAYS if way.command in ("EPRT", "EPSV")]
PORTS = (1, 65535)
# To each port twice, and once.
SEGMENTS = {FIN | ACK: 150_000, RST: 65_535}


def transfers(sessions: list[Session]) -> list[bool]:
    """Use each control connection, and tell which data connections come about."""
    shots = [session.opens(next(high_ports)) for session in sessions]
    for session, shot in zip(sessions, shots):
        session.command("NOOP\r\n")
        session.announce(shot.target, shot.port)
    return volley(shots, SECONDS)


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
def test_stranger_who_knows_the_addresses_ends_no_transfer(topology: Topology) -> None:
    topology.machine.guard(rules(topology, ESTABLISHED))
    sessions = [Session(way).greet() for way in EXTENDED]
    assert all(transfers(sessions))
    for ip_version, flags in product((4, 6), (FIN | ACK, RST)):
        ends = [machine.address(ip_version) for machine in (client, server)]
        # To a client they come in the server's name, else in the client's.
        if topology.side == "client":
            seconds = other_server.call("flood", ends[1], (21, 21), ends[0], PORTS, flags, SEGMENTS[flags])
        else:
            seconds = other_client.call("flood", ends[0], PORTS, ends[1], (21, 21), flags, SEGMENTS[flags])
        print(f"IPv{ip_version}: {SEGMENTS[flags]} segments in {seconds:.1f} s")
    assert all(transfers(sessions)), "a forged segment closed what the control connection opens"
    for session in sessions:
        session.close(client, reset=True)


@pytest.fixture
def rp_filter(request: pytest.FixtureRequest) -> Iterator[int]:
    """How the gateway checks where packets of IPv4 come from (0: not, 1: strictly, 2: loosely)."""
    value: int = request.param
    gateway.call("sysctl", "ipv4/conf/eth0/rp_filter", str(value))
    yield value
    gateway.call("sysctl", "ipv4/conf/eth0/rp_filter", "0")


TOPOLOGY = next(topology for topology in TOPOLOGIES if topology.machine is gateway)
# IPv6 has no such filter.
FILTERS = [
    (way, value) for way in WAYS if way.mode == "passive" for value in (0, 1, 2) if way.ip_version == 4 or not value
]


@pytest.mark.parametrize("site", SITES, ids=str)
@pytest.mark.parametrize(("way", "rp_filter"), FILTERS, indirect=["rp_filter"], ids=str)
def test_client_announces_no_port_in_the_servers_name(way: Way, rp_filter: int, site: Site) -> None:
    gateway.guard(rules(TOPOLOGY, site))
    with Session(way) as session:
        shot = forged_reply(session)
        assert shot.to not in TOPOLOGY.expectations()
        assert not shot.hits(REFUSED_SECONDS)
        # The forged line has not reached the client, either: the connection goes on.
        assert transfers([session]) == [True], rp_filter

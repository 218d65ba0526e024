"""A gateway that passes FTP on to one server (DNAT): port 21 of no other host behind it is reached."""

from __future__ import annotations

from saved import firewall, planned, rules, text
from sessions import (
    ADDRESSES,
    GATEWAY,
    REFUSED_SECONDS,
    SECONDS,
    STRICT,
    TOPOLOGIES,
    client,
    gateway,
    other_server,
    server,
)

TOPOLOGY = next(topology for topology in TOPOLOGIES if topology.machine is gateway)
IP_VERSIONS = (4, 6)


def reached(ip_version: int, address: str, seconds: float) -> bool:
    """Tell whether the client reaches port 21 of an address."""
    shot = client.address(ip_version), 0, address, 21
    return bool(client.call("volley", [shot], seconds)[0])


def translate() -> None:
    """Pass what comes to the gateway's port 21 on to the server."""
    for ip_version in IP_VERSIONS:
        target = f"--dport 21 -j DNAT --to-destination {server.address(ip_version)}"
        gateway.add([f"nat -I PREROUTING -i eth0 -d {GATEWAY['client'][ip_version]} -p tcp {target}"], [ip_version])
        for machine in (server, other_server):
            machine.control(ip_version)


def test_servers_that_are_named_are_reached_and_no_others() -> None:
    inputs = {"ftp_nat": True, "ftp_server_addresses": list(ADDRESSES["server"].values())}
    gateway.guard(text(planned(firewall(STRICT), TOPOLOGY, **inputs)))
    translate()
    for ip_version in IP_VERSIONS:
        assert reached(ip_version, GATEWAY["client"][ip_version], SECONDS)
        assert not reached(ip_version, other_server.address(ip_version), REFUSED_SECONDS)


def test_all_servers_are_reached_where_none_is_named() -> None:
    gateway.guard(rules(TOPOLOGY, STRICT))
    translate()
    for ip_version in IP_VERSIONS:
        assert reached(ip_version, GATEWAY["client"][ip_version], SECONDS)
        assert reached(ip_version, other_server.address(ip_version), SECONDS)

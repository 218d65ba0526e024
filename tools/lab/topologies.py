"""Where the firewall and the role can stand between a client and a server, in the scenario topologies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from lab import kinds
from lab.ftp import OPERATIONS, WAYS, Site, Way, transfers
from lab.hosts import Host, Lab

SERVER = kinds.FAR
GATEWAY = {4: "198.51.100.1", 6: "2001:db8::1"}


@dataclass(frozen=True)
class Topology:
    """One place of the firewall and the role.

    - host: V(server), V(client) or V(gateway)
    - inputs: the role's, without their C(ftp_)
    - nat: how the gateway's firewall translates addresses (lab.kinds.Firewall)
    """

    name: str
    host: str
    site: Site
    inputs: dict[str, Any] = field(default_factory=dict)
    nat: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def role_inputs(self) -> dict[str, Any]:
        """The inputs by the names that the role has for them."""
        return {f"ftp_{name}": value for name, value in self.inputs.items()}


FTPS = {"tls": True, "passive_ports": "50000:50099"}
ROUTED = {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"]}
TWO_PORTS = {"control_ports": ["21", "2121"]}
TOPOLOGIES = (
    Topology("server", "server", Site(SERVER)),
    Topology("server, FTPS", "server", Site(SERVER, tls=True), FTPS),
    Topology("client", "client", Site(SERVER), {"side": "client"}),
    Topology(
        "client, FTPS",
        "client",
        Site(SERVER, tls=True),
        {"side": "client", **FTPS, "allowed_addresses": ["203.0.113.0/24", "2001:db8:1::/64"]},
    ),
    Topology("gateway, routed", "gateway", Site(SERVER), ROUTED),
    Topology(
        "gateway, masqueraded",
        "gateway",
        Site(SERVER),
        {**ROUTED, "nat": True},
        "masquerade",
    ),
    Topology(
        "gateway, DNAT to another port",
        "gateway",
        Site(GATEWAY, port=2121),
        {**ROUTED, **TWO_PORTS, "nat": True},
        "DNAT",
    ),
    Topology(
        "gateway, FTPS",
        "gateway",
        Site(SERVER, tls=True),
        {**ROUTED, **FTPS, "allowed_addresses": ["198.51.100.0/24", "2001:db8::/64"]},
    ),
)


class GatewayLab(Lab):
    """A client, a gateway and a server."""

    def __init__(self, scenario: str = "", *hosts: str) -> None:
        super().__init__(scenario, *hosts)
        self.hosts = {name: self.host(name) for name in ("client", "gateway", "server")}
        self.client, self.gateway, self.server = (host.shell for host in self.hosts.values())

    def firewall(self, topology: Topology, kind: str = "iptables") -> Host:
        """Put a firewall of a kind on the topology's host, without the role; return that host."""
        for host in self.hosts.values():
            kinds.clear(host)
        host = self.hosts[topology.host]
        kinds.KINDS[kind](host, kinds.Firewall("ESTABLISHED" if topology.site.tls else "", topology.nat))
        return host

    def attempts(
        self, topology: Topology, seconds: int, ways: Iterable[Way] = WAYS
    ) -> dict[tuple[Way, str], str | None]:
        """Try every operation in every way, all at once; return why it failed, or None where it passed."""
        return transfers(self.client, self.server, product(ways, OPERATIONS), seconds, topology.site)

"""Where the firewall and the role can stand between a client and a server, in the scenario topologies."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ftp import OPERATIONS, WAYS, Site, Way, transfers
from role import OTHERS, PROGRAMS, Host

SERVER = {4: "203.0.113.2", 6: "2001:db8:1::2"}
GATEWAY = {4: "198.51.100.1", 6: "2001:db8::1"}
OPEN = [f"*{table}\nCOMMIT\n" for table in ("raw", "mangle", "nat", "filter")]


@dataclass(frozen=True)
class Topology:
    """One place of the firewall and the role.

    - host: V(server), V(client) or V(gateway)
    - inputs: the role's, without their C(ftp_)
    - nat: the gateway's rules of table nat for IPv4 and IPv6
    """

    name: str
    host: str
    site: Site
    inputs: dict[str, Any] = field(default_factory=dict)
    nat: tuple[str, str] = ("", "")

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
        ("-A POSTROUTING -o eth1 -j MASQUERADE",) * 2,
    ),
    Topology(
        "gateway, DNAT to another port",
        "gateway",
        Site(GATEWAY, port=2121),
        {**ROUTED, **TWO_PORTS, "nat": True},
        (
            "-A PREROUTING -i eth0 -p tcp --dport 2121 -j DNAT --to-destination 203.0.113.2:21",
            "-A PREROUTING -i eth0 -p tcp --dport 2121 -j DNAT --to-destination [2001:db8:1::2]:21",
        ),
    ),
    Topology(
        "gateway, FTPS",
        "gateway",
        Site(SERVER, tls=True),
        {**ROUTED, **FTPS, "allowed_addresses": ["198.51.100.0/24", "2001:db8::/64"]},
    ),
)


class Hosts:
    """The client, the gateway and the server of the scenario topologies."""

    def __init__(self) -> None:
        self.hosts = {name: Host(f"topologies-{name}") for name in ("client", "gateway", "server")}
        self.client = self.hosts["client"].shell
        self.server = self.hosts["server"].shell
        self.gateway = self.hosts["gateway"].shell

    def firewall(self, topology: Topology) -> Host:
        """Put the site's firewall on the topology's host, without the role; return that host."""
        for host in self.hosts.values():
            for program in PROGRAMS:
                host.shell.check_output(f"printf %s {shlex.quote(''.join(OPEN))} | {program}-restore")
            # The kernel lets go of a set some time after the last rule that uses it.
            host.shell.check_output("until ipset destroy; do sleep 0.1; done")
        host = self.hosts[topology.host]
        host.load(OTHERS)
        if topology.site.tls:  # as nearly every firewall has it
            for program, chain in product(PROGRAMS, ("INPUT", "OUTPUT", "FORWARD")):
                host.shell.check_output(f"{program} -I {chain} -m conntrack --ctstate ESTABLISHED -j ACCEPT")
        for program, rule in zip(PROGRAMS, topology.nat):
            if rule:
                self.gateway.check_output(f"{program} -t nat {rule}")
        return host

    def attempts(
        self, topology: Topology, seconds: int, ways: Iterable[Way] = WAYS
    ) -> dict[tuple[Way, str], str | None]:
        """Try every operation in every way, all at once; return why it failed, or None where it passed."""
        return transfers(self.client, self.server, product(ways, OPERATIONS), seconds, topology.site)

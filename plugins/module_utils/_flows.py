# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the options to the rules.

Everything follows from the flows of FTP (RFC 959, section 3.2; RFC 2428 for IPv6)
and from where the host stands. Inside the chains made here every rule accepts or
jumps, so their order never matters.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.hostfw.conntrack.plugins.module_utils._options import Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._rule import Rule

# Begins the comment of every rule, and tells our rules from those of others.
MARK = "hostfw.conntrack: "

HELPER = "ftp"
UNPRIVILEGED = "1024:65535"
ICMP = {"ipv4": "icmp", "ipv6": "ipv6-icmp"}


@dataclass(frozen=True)
class Flow:
    """One kind of connection between an FTP client and an FTP server.

    - opened_by: V(client) or V(server)
    - opening: the conntrack state of the packet that opens it
    - server_port, client_port: a port or range; None for any
    """

    words: str
    opened_by: str
    opening: str
    server_port: str | None
    client_port: str | None


@dataclass(frozen=True)
class Chains:
    """The names of the chains of one instance."""

    prefix: str

    @property
    def helper(self) -> str:
        """The chain of table raw that assigns the helper."""
        return f"{self.prefix}-HELPER"

    def control(self, direction: str) -> str:
        """Return the chain in which the packets of one direction (V(IN) or V(OUT)) enter."""
        return f"{self.prefix}-{direction}"

    def data(self, direction: str) -> str:
        """Return the chain for the packets of data connections."""
        return f"{self.prefix}-DATA-{direction}"

    def all(self) -> tuple[tuple[str, str], ...]:
        """All chains as (table, name), each after those that jump to it."""
        return (
            ("raw", self.helper),
            ("filter", self.control("IN")),
            ("filter", self.control("OUT")),
            ("filter", self.data("IN")),
            ("filter", self.data("OUT")),
        )


def control_flows(options: Options) -> list[Flow]:
    """Return the control connections, one for each port."""
    return [Flow(f"control connection to port {port}", "client", "NEW", port, None) for port in options.control_ports]


def data_flows(options: Options) -> list[Flow]:
    """Return the data connections of the modes asked for."""
    flows = []
    if options.active:
        port = options.data_port
        words = f"active data connection from {f'port {port}' if port else 'any port'}"
        flows.append(Flow(words, "server", "RELATED", port, UNPRIVILEGED))
    if options.passive:
        ports = options.passive_ports
        words = f"passive data connection to port{'s' if ':' in ports else ''} {ports.replace(':', '-')}"
        flows.append(Flow(words, "client", "RELATED", ports, UNPRIVILEGED))
    return flows


def accept(flow: Flow, sender: str, chain: str, source: str | None = None, destination: str | None = None) -> Rule:
    """Return the rule that accepts a flow's packets from one end, V(client) or V(server)."""
    opens = sender == flow.opened_by
    from_client = sender == "client"
    return Rule(
        table="filter",
        chain=chain,
        jump="ACCEPT",
        protocol="tcp",
        source=source,
        destination=destination,
        source_port=flow.client_port if from_client else flow.server_port,
        destination_port=flow.server_port if from_client else flow.client_port,
        ctstate=(flow.opening, "ESTABLISHED") if opens else ("ESTABLISHED",),
        comment=f"{MARK}{flow.words}: {sender} {'opens' if opens else 'answers'}",
    )


def rules(options: Options, ip_version: str) -> list[Rule]:
    """Return the rules inside our chains, for a server."""
    chains = Chains(options.prefix)
    peers = options.peers.get(ip_version, ())
    found: list[Rule] = []
    if options.state == "absent" or not peers:
        return found
    for flow in control_flows(options):
        for peer in peers:
            found += [
                Rule(
                    table="raw",
                    chain=chains.helper,
                    jump="CT",
                    helper=HELPER,
                    protocol="tcp",
                    source=peer,
                    destination_port=flow.server_port,
                    # What the host only forwards keeps the treatment that it had.
                    destination_type="LOCAL",
                    comment=f"{MARK}{flow.words}: gets the {HELPER} helper",
                ),
                accept(flow, "client", chains.control("IN"), source=peer),
                accept(flow, "server", chains.control("OUT"), destination=peer),
            ]
    for flow in data_flows(options):
        found += [accept(flow, "client", chains.data("IN")), accept(flow, "server", chains.data("OUT"))]
    found.append(
        Rule(
            table="filter",
            chain=chains.data("IN"),
            jump="ACCEPT",
            protocol=ICMP[ip_version],
            ctstate=("RELATED",),
            comment=f"{MARK}ICMP errors of data connections (path MTU)",
        )
    )
    for direction in ("IN", "OUT"):
        found += [
            Rule(
                table="filter",
                chain=chains.control(direction),
                jump=chains.data(direction),
                helper=HELPER,
                source=peer if direction == "IN" else None,
                destination=peer if direction == "OUT" else None,
                comment=f"{MARK}data connections of the {HELPER} helper",
            )
            for peer in peers
        ]
    return found


def jumps(options: Options, ip_version: str) -> list[Rule]:
    """Return the jumps from the built-in chains into ours."""
    chains = Chains(options.prefix)
    found: list[Rule] = []
    if options.state == "absent" or not options.peers.get(ip_version):
        return found
    for interface in options.interfaces:
        comment = f"{MARK}FTP on {interface or 'any interface'}"
        found += [
            Rule("raw", "PREROUTING", chains.helper, comment=comment, in_interface=interface),
            Rule("filter", "INPUT", chains.control("IN"), comment=comment, in_interface=interface),
            Rule("filter", "OUTPUT", chains.control("OUT"), comment=comment, out_interface=interface),
        ]
    return found

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the options to the rules.

Everything follows from the flows of FTP (RFC 959, section 3.2; RFC 2428 for IPv6)
and from where the host stands. Inside the chains made here every rule accepts or
jumps, so their order never matters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.hostfw.conntrack.plugins.module_utils._options import Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._rule import Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._ruleset import Packet

# Begins the comment of every rule, and tells our rules from those of others.
MARK = "hostfw.conntrack: "

HELPER = "ftp"
# A bit of the connection's mark that says that a control connection has closed. A data connection has the mark
# that its control connection had when it was made (init_conntrack in the kernel's nf_conntrack_core.c).
CLOSED = "0x20000000/0x20000000"
UNPRIVILEGED = "1024:65535"
ICMP = {"ipv4": "icmp", "ipv6": "ipv6-icmp"}
# Whose packets come in, and whose go out; a gateway's clients stand on its incoming side.
SENDERS = {"server": ("client", "server"), "client": ("server", "client"), "gateway": ("client", "server")}


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

    @property
    def watch(self) -> str:
        """The chain of table mangle that notes which control connections are live and which have closed.

        Packets get there even where a rule of others accepts all that is ESTABLISHED.
        """
        return f"{self.prefix}-CONTROL"

    def control(self, direction: str) -> str:
        """Return the chain in which the packets of one direction (V(IN) or V(OUT)) enter."""
        return f"{self.prefix}-{direction}"

    def data(self, direction: str) -> str:
        """Return the chain for the packets of data connections."""
        return f"{self.prefix}-DATA-{direction}"

    @property
    def icmp(self) -> str:
        """The chain for the ICMP errors of FTP's connections."""
        return f"{self.prefix}-ICMP"

    def live(self, ip_version: str) -> str:
        """Return the name of the set of the addresses that hold a control connection."""
        return f"{self.prefix}-LIVE-{ip_version.upper()}"

    def all(self) -> tuple[tuple[str, str], ...]:
        """All chains as (table, name), each after those that jump to it."""
        return (
            ("raw", self.helper),
            ("mangle", self.watch),
            ("filter", self.control("IN")),
            ("filter", self.control("OUT")),
            ("filter", self.data("IN")),
            ("filter", self.data("OUT")),
            ("filter", self.icmp),
        )


def control_flows(options: Options) -> list[Flow]:
    """Return the control connections, one for each port."""
    return [Flow(f"control connection to port {port}", "client", "NEW", port, None) for port in options.control_ports]


def data_flows(options: Options) -> list[Flow]:
    """Return the data connections of the modes asked for, as the helper announces them."""
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


def tls_flows(options: Options) -> list[Flow]:
    """Return the data connections of FTPS, which no helper announces."""
    if not options.tls:
        return []
    return [replace(flow, words=f"FTPS {flow.words}", opening="NEW") for flow in data_flows(options)]


def direction(options: Options, sender: str) -> str:
    """Return the direction of the packets from one end, V(IN) or V(OUT)."""
    return "IN" if sender == SENDERS[options.side][0] else "OUT"


def accept(options: Options, flow: Flow, sender: str, *, data: bool = False, peer: str | None = None) -> Rule:
    """Return the rule that accepts a flow's packets from one end, V(client) or V(server)."""
    opens = sender == flow.opened_by
    from_client = sender == "client"
    way = direction(options, sender)
    chains = Chains(options.prefix)
    return Rule(
        table="filter",
        chain=chains.data(way) if data else chains.control(way),
        jump="ACCEPT",
        protocol="tcp",
        source=peer if way == "IN" else None,
        destination=peer if way == "OUT" else None,
        source_port=flow.client_port if from_client else flow.server_port,
        destination_port=flow.server_port if from_client else flow.client_port,
        ctstate=(flow.opening, "ESTABLISHED") if opens else ("ESTABLISHED",),
        comment=f"{MARK}{flow.words}: {sender} {'opens' if opens else 'answers'}",
    )


def rules(options: Options, ip_version: str) -> list[Rule]:
    """Return the rules inside our chains."""
    peers = options.peers.get(ip_version, ())
    if options.state == "absent" or not peers:
        return []
    found: list[Rule] = []
    for flow in control_flows(options):
        for peer in peers:
            found += _control(options, flow, peer)
    for flow in data_flows(options):
        found += [accept(options, flow, sender, data=True) for sender in ("client", "server")]
    chains = Chains(options.prefix)
    for way in ("IN", "OUT"):
        found += [
            Rule(
                table="filter",
                chain=chains.control(way),
                jump=chains.data(way),
                helper=HELPER,
                # The kernel expects a data connection for up to two minutes after the control connection has closed.
                connmark=CLOSED,
                source=peer if way == "IN" else None,
                destination=peer if way == "OUT" else None,
                comment=f"{MARK}data connections of the {HELPER} helper",
            )
            for peer in peers
        ]
    for flow in tls_flows(options):
        found += _tls(options, flow, ip_version)
    return [*found, *_icmp(options, ip_version), *_watch(options, ip_version)]


def _control(options: Options, flow: Flow, peer: str | None) -> list[Rule]:
    """Return the rules of a control connection."""
    chains = Chains(options.prefix)
    return [
        Rule(
            table="raw",
            chain=chains.helper,
            jump="CT",
            helper=HELPER,
            protocol="tcp",
            source=None if options.side == "client" else peer,
            destination=peer if options.side == "client" else None,
            destination_port=flow.server_port,
            # What a server only forwards keeps the treatment that it had. On a gateway, an
            # address of its own may be that of a server behind it (DNAT).
            destination_type="LOCAL" if options.side == "server" else None,
            comment=f"{MARK}{flow.words}: gets the {HELPER} helper",
        ),
        accept(options, flow, "client", peer=peer),
        accept(options, flow, "server", peer=peer),
    ]


def _watch(options: Options, ip_version: str) -> list[Rule]:
    """Return the rules that note which control connections are live and which have closed."""
    chains = Chains(options.prefix)
    found = []
    for flow in control_flows(options):
        for sender in ("client", "server"):
            packet = replace(
                accept(options, flow, sender), table="mangle", chain=chains.watch, ctstate=("ESTABLISHED",)
            )
            words = f"{MARK}{flow.words}: {sender}"
            found.append(replace(packet, jump="CONNMARK", closing=True, connmark=CLOSED, comment=f"{words} closes"))
            if options.tls and direction(options, sender) == "IN":
                # Not NEW: the sender of a lone SYN may be forged.
                found += [
                    replace(
                        packet,
                        jump="SET",
                        source=peer,
                        connmark=CLOSED,
                        live_set=chains.live(ip_version),
                        comment=f"{words} is live",
                    )
                    for peer in options.peers[ip_version]
                ]
    return found


def _tls(options: Options, flow: Flow, ip_version: str) -> list[Rule]:
    """Return the rules of a data connection of FTPS: opened only where there is a live control connection."""
    both = [accept(options, flow, sender) for sender in ("client", "server")]
    opens, answers = both if flow.opened_by == "client" else reversed(both)
    way = direction(options, flow.opened_by)
    return [
        replace(
            opens,
            ctstate=(flow.opening,),
            live_set=Chains(options.prefix).live(ip_version),
            live_end="src" if way == "IN" else "dst",
        ),
        # It may go on for longer than the control connection is quiet.
        replace(opens, ctstate=("ESTABLISHED",), comment=f"{MARK}{flow.words}: {flow.opened_by} goes on"),
        answers,
    ]


def _icmp(options: Options, ip_version: str) -> list[Rule]:
    """Return the rules that accept the ICMP errors of FTP's connections and of no others."""
    chains = Chains(options.prefix)

    def accepted(words: str) -> Rule:
        return Rule("filter", chains.icmp, "ACCEPT", comment=f"{MARK}ICMP errors of {words}")

    found = [
        Rule(
            table="filter",
            chain=chains.control(way),
            jump=chains.icmp,
            protocol=ICMP[ip_version],
            ctstate=("RELATED",),
            comment=f"{MARK}ICMP errors (path MTU)",
        )
        for way in (("IN", "OUT") if options.side == "gateway" else ("IN",))
    ]
    found.append(replace(accepted(f"data connections of the {HELPER} helper"), helper=HELPER))
    for flow in control_flows(options) + tls_flows(options):
        ports = flow.client_port, flow.server_port
        opener, opened = ports if flow.opened_by == "client" else reversed(ports)
        found.append(replace(accepted(flow.words), opener_port=opener, opened_port=opened))
    return found


def jumps(options: Options, ip_version: str) -> list[Rule]:
    """Return the jumps from the built-in chains into ours."""
    if options.state == "absent" or not options.peers.get(ip_version):
        return []
    chains = Chains(options.prefix)
    if options.side == "gateway":
        return _gateway_jumps(options, chains, ICMP[ip_version])
    found: list[Rule] = []
    for interface in options.interfaces:
        comment = f"{MARK}FTP on {interface or 'any interface'}"
        into = Rule("filter", "INPUT", chains.control("IN"), comment=comment, in_interface=interface)
        out = Rule("filter", "OUTPUT", chains.control("OUT"), comment=comment, out_interface=interface)
        found += [
            _of_control(options, replace(out, table="raw", jump=chains.helper), "client")
            if options.side == "client"
            else _of_control(options, replace(into, table="raw", chain="PREROUTING", jump=chains.helper), "client"),
            _of_control(options, replace(into, table="mangle", jump=chains.watch), SENDERS[options.side][0]),
            _of_control(options, replace(out, table="mangle", jump=chains.watch), SENDERS[options.side][1]),
            into,
            out,
        ]
    return found


def _of_control(options: Options, jump: Rule, sender: str) -> Rule:
    """Return a jump narrowed to one end's packets of the control connection, which spares others the rules behind it.

    Several ports make no condition that ansible.builtin.iptables can say of both ends.
    """
    if len(options.control_ports) > 1:
        return jump
    (flow,) = control_flows(options)
    rule = accept(options, flow, sender)
    return replace(jump, protocol=rule.protocol, source_port=rule.source_port, destination_port=rule.destination_port)


def _gateway_jumps(options: Options, chains: Chains, icmp: str) -> list[Rule]:
    found: list[Rule] = []
    for interface in options.interfaces:
        comment = f"{MARK}FTP from {interface or 'any interface'}"
        jump = Rule("raw", "PREROUTING", chains.helper, comment=comment, in_interface=interface)
        found.append(_of_control(options, jump, "client"))
        for out in options.out_interfaces:
            comment = f"{MARK}FTP from {interface or 'any interface'} to {out or 'any interface'}"
            client = Rule(
                "filter",
                "FORWARD",
                chains.control("IN"),
                f"{comment}: client",
                in_interface=interface,
                out_interface=out,
            )
            server = Rule(
                "filter",
                "FORWARD",
                chains.control("OUT"),
                f"{comment}: server",
                in_interface=out,
                out_interface=interface,
            )
            found += [client, server]
            found += [
                _of_control(options, replace(jump, table="mangle", jump=chains.watch), sender)
                for sender, jump in (("client", client), ("server", server))
            ]
    # Where the narrow link is the gateway's own, the ICMP error is too.
    return found + [
        Rule(
            "filter",
            "OUTPUT",
            chains.icmp,
            comment=f"{MARK}ICMP errors (path MTU) on {interface or 'any interface'}",
            protocol=icmp,
            out_interface=interface,
            ctstate=("RELATED",),
        )
        for interface in dict.fromkeys(options.interfaces + options.out_interfaces)
    ]


def packets(options: Options, jump: Rule) -> Packet:
    """Return the packets that a jump is for."""
    states = {"RELATED", "ESTABLISHED"}
    opening = Chains(options.prefix).control(direction(options, "client"))
    if jump.table != "filter" or jump.jump == opening or options.tls:
        states.add("NEW")
    return Packet(
        protocol=jump.protocol or "tcp",
        states=frozenset(jump.ctstate or states),
        in_interface=jump.in_interface,
        out_interface=jump.out_interface,
    )

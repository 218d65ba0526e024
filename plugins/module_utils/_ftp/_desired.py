# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an instance is to have on a host: its rules and sets, computed once from its options.

In the chains of table filter every rule accepts or jumps, so their order never matters; in
those of table mangle it does.

The guard stands in table mangle, whose drop is final whatever table filter accepts. It
rests on two bits of the connection's mark, which a data connection has from its control
connection (init_conntrack in the kernel's nf_conntrack_core.c):

- control: a control connection of ours, or a data connection of one that has not been
  let in yet
- control and closed: the same, and the control connection has closed
- closed: a data connection that was let in
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _flows
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._flows import (
    ANY,
    FTP_DATA,
    HELPER,
    SENDERS,
    UNPRIVILEGED,
    Ends,
    Flow,
    Flows,
    direction,
    other,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import IP_VERSIONS, Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import ANY_PORT, ANYWHERE, Packet
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import (
    LIVE_SECONDS,
    LIVE_SIZE,
    Rule,
    comment_of,
)

# Begins the comment of every rule, and tells our rules from foreign ones.
OURS = "hostfw.conntrack: "

TABLES = ("raw", "mangle", "filter")
# The chains that all instances share, by the built-in chain of table mangle that jumps to them.
GUARD = {"INPUT": "HOSTFW-INPUT", "OUTPUT": "HOSTFW-OUTPUT", "FORWARD": "HOSTFW-FORWARD"}
# The timeout, in seconds, is renewed by each packet of the control connection; a client opens its data connection
# right after one. The kernel does not enlarge a set from a packet's path: its hash has room for all from the start.
_ROOM = ("hashsize", "32768", "maxelem", str(LIVE_SIZE), "timeout", str(LIVE_SECONDS))
LIVE_SET = {"ipv4": ("hash:ip", "family", "inet", *_ROOM), "ipv6": ("hash:ip", "family", "inet6", *_ROOM)}
# An honest end of a control connection has lowered conntrack's timeout to this by then; a forged one has not
# (nf_conntrack_tcp_timeout_fin_wait and its like, in seconds).
CLOSING_SECONDS = "0:120"
# The packets by which each end begins a connection, SYN and its answer.
HANDSHAKES = {"client": "FIN,SYN,RST,ACK SYN", "server": "SYN,ACK SYN,ACK"}
# What the match multiport holds; a range takes two of them (XT_MULTI_PORTS in the kernel's xt_multiport.h).
MULTIPORT_SLOTS = 15
ICMP = {"ipv4": "icmp", "ipv6": "ipv6-icmp"}
# The built-in chains that packets pass, by that of table filter.
PASSES = {
    "INPUT": ("PREROUTING", "INPUT"),
    "OUTPUT": ("OUTPUT", "POSTROUTING"),
    "FORWARD": ("PREROUTING", "FORWARD", "POSTROUTING"),
}


@dataclass(frozen=True)
class Marks:
    """What the guard asks of a connection's mark, and makes of it, each a value with its mask."""

    control_bit: int
    closed_bit: int

    def _of(self, value: int, mask: int) -> str:
        return f"{value:#x}/{mask:#x}"

    @property
    def both(self) -> int:
        """The mask of both bits."""
        return self.control_bit | self.closed_bit

    @property
    def control(self) -> str:
        """A control connection, or a data connection that was not let in."""
        return self._of(self.control_bit, self.control_bit)

    @property
    def live(self) -> str:
        """A control connection that has not closed."""
        return self._of(self.control_bit, self.both)

    @property
    def closed(self) -> str:
        """A control connection that has closed; a data connection that was let in has this bit, too."""
        return self._of(self.closed_bit, self.closed_bit)

    @property
    def let_in(self) -> str:
        """A data connection that was let in."""
        return self._of(self.closed_bit, self.both)

    @property
    def none(self) -> str:
        """A connection that is not ours."""
        return self._of(0, self.both)


def marks(options: Options) -> Marks:
    """Return the marks of an instance."""
    return Marks(options.control_bit, options.closed_bit)


@dataclass(frozen=True)
class Chains:
    """The names of the chains of one instance."""

    prefix: str

    @property
    def helper(self) -> str:
        """The chain of table raw that assigns the helper."""
        return f"{self.prefix}-HELPER"

    @property
    def marking(self) -> str:
        """The chain of table mangle that marks control connections, live and closed, and knows forged packets.

        Packets get there even where a foreign rule accepts all that is ESTABLISHED.
        """
        return f"{self.prefix}-CONTROL"

    def entry(self, end: str) -> str:
        """Return a gateway's chain of table mangle that drops what does not come in where one end is."""
        return f"{self.prefix}-{end.upper()}"

    def control(self, direction: str) -> str:
        """Return the chain in which the packets of one direction (V(IN) or V(OUT)) enter."""
        return f"{self.prefix}-{direction}"

    def data(self, direction: str) -> str:
        """Return the chain for the packets of data connections: in mangle it lets them in, in filter it accepts."""
        return f"{self.prefix}-DATA-{direction}"

    def live(self, ip_version: str) -> str:
        """Return the name of the set of the addresses that hold a control connection."""
        return f"{self.prefix}-LIVE-{ip_version.upper()}"

    def all(self) -> tuple[tuple[str, str], ...]:
        """All chains as (table, name), each after those that jump to it."""
        return (
            ("raw", self.helper),
            ("mangle", self.marking),
            ("mangle", self.entry("client")),
            ("mangle", self.entry("server")),
            ("mangle", self.data("IN")),
            ("mangle", self.data("OUT")),
            ("filter", self.control("IN")),
            ("filter", self.control("OUT")),
            ("filter", self.data("IN")),
            ("filter", self.data("OUT")),
            # Release 1.0.0 had it.
            ("filter", f"{self.prefix}-ICMP"),
        )


@dataclass(frozen=True)
class Rules:
    """The rules of an instance over one IP version; none where FTP is not asked for.

    - inside: those in the chains that are its alone
    - guard: those in the chains that all instances share: the jumps to its chains, and, last in each, the drop
    - jumps: those from the built-in chains into both
    """

    inside: tuple[Rule, ...] = ()
    guard: tuple[Rule, ...] = ()
    jumps: tuple[Rule, ...] = ()

    @property
    def all(self) -> tuple[Rule, ...]:
        """All of them."""
        return self.inside + self.guard + self.jumps


@dataclass(frozen=True)
class Desired:
    """What an instance is to have on a host.

    - flows: what is to pass, by IP version
    - rules: by IP version
    """

    options: Options
    flows: Mapping[str, Flows]
    rules: Mapping[str, Rules]

    @property
    def any(self) -> bool:
        """Whether there is anything that it is to have."""
        return any(rules.jumps for rules in self.rules.values())

    @property
    def chains(self) -> Chains:
        """The names of its chains."""
        return Chains(self.options.prefix)

    @property
    def marks(self) -> Marks:
        """Its marks."""
        return marks(self.options)

    @property
    def live_sets(self) -> dict[str, str]:
        """The names of the sets of live addresses, for each IP version that wants one."""
        asked = [name for name, rules in self.rules.items() if any(rule.live_set for rule in rules.inside)]
        return {ip_version: self.chains.live(ip_version) for ip_version in asked}

    def position(self, jump: Rule) -> str:
        """Return the position of a jump; that which is asked for counts in table filter."""
        return self.options.position if jump.table == "filter" else "auto"

    def opened(self, ip_version: str) -> list[tuple[Flow, Ends]]:
        """Return the connections that no helper announces, each with between whom, for a gate that asks for no more."""
        flows = self.flows[ip_version]
        return list(product(flows.control + flows.live, flows.between))

    def with_open_ports(self) -> Desired:
        """Return the same where a gate cannot tell who is live: the guard drops the data connections of others."""
        return of(self.options, open_ports=True)


def of(options: Options, *, open_ports: bool = False) -> Desired:
    """Return what an instance is to have; of what is absent, nothing.

    :arg open_ports: whether a gate accepts the data connections that no helper announces from anybody, as it cannot
        tell who is live; the guard then drops those of others
    """
    passing = {ip_version: _flows.of(options, ip_version) for ip_version in IP_VERSIONS}
    rules = {ip_version: Rules() for ip_version in IP_VERSIONS}
    for ip_version in rules:
        flows = passing[ip_version]
        if flows.between:
            parts = (
                _inside(options, flows, ip_version, open_ports=open_ports),
                _guard(options, flows),
                _jumps(options, flows, ip_version),
            )
            rules[ip_version] = Rules(*map(tuple, parts))
    return Desired(options, passing, rules)


def sent(rule: Rule, ends: Ends, sender: str) -> Rule:
    """Return a rule narrowed to what one end sends."""
    networks = ends.client, ends.server
    source, destination = networks if sender == "client" else reversed(networks)
    return replace(rule, source=source, destination=destination)


def accept(options: Options, flow: Flow, sender: str, *, data: bool = False, ends: Ends = ANY) -> Rule:
    """Return the rule that accepts a flow's packets from one end, V(client) or V(server)."""
    opens = sender == flow.opened_by
    from_client = sender == "client"
    way = direction(options, sender)
    chains = Chains(options.prefix)
    rule = Rule(
        table="filter",
        chain=chains.data(way) if data else chains.control(way),
        jump="ACCEPT",
        protocol="tcp",
        source_port=flow.client_port if from_client else flow.server_port,
        destination_port=flow.server_port if from_client else flow.client_port,
        ctstate=(flow.opening, "ESTABLISHED") if opens else ("ESTABLISHED",),
        comment=f"{OURS}{flow.words}: {sender} {'opens' if opens else 'answers'}",
    )
    return sent(rule, ends, sender)


def _inside(options: Options, flows: Flows, ip_version: str, *, open_ports: bool) -> list[Rule]:
    """Return the rules inside the chains that are ours alone."""
    found: list[Rule] = []
    for flow in flows.control:
        found += [_assign(options, flow, each) for each in flows.between]
        for each in flows.between:
            found += [accept(options, flow, sender, ends=each) for sender in ("client", "server")]
    for flow in flows.data:
        found += [accept(options, flow, sender, data=True) for sender in ("client", "server")]
    chains = Chains(options.prefix)
    for sender in SENDERS[options.side]:
        way = direction(options, sender)
        jump = Rule(
            table="filter",
            chain=chains.control(way),
            jump=chains.data(way),
            helper=HELPER,
            comment=f"{OURS}data connections of the {HELPER} helper",
        )
        found += [sent(jump, each, sender) for each in flows.between]
    for flow in flows.live:
        found += _live(options, flow, ip_version)
    found += _icmp(options, ip_version)
    found += _marking(options, flows, ip_version)
    found += _closing(options, flows, everywhere=open_ports)
    found += _let_in(options, flows)
    return list(dict.fromkeys(found))


def _assign(options: Options, flow: Flow, ends: Ends) -> Rule:
    """Return the rule that assigns the helper to a control connection."""
    # Before DNAT, the server's address is the gateway's.
    known = replace(ends, server=None) if options.nat else ends
    rule = Rule(
        table="raw",
        chain=Chains(options.prefix).helper,
        jump="CT",
        helper=HELPER,
        protocol="tcp",
        destination_port=flow.server_port,
        # What a server only forwards keeps the treatment that it had. On a gateway, an
        # address of its own may be that of a server behind it (DNAT).
        destination_type="LOCAL" if options.side == "server" else None,
        comment=f"{OURS}{flow.words}: gets the {HELPER} helper",
    )
    return sent(rule, known, "client")


def _marking(options: Options, flows: Flows, ip_version: str) -> list[Rule]:
    """Return the rules that mark our control connections, and the data connections that no helper announces."""
    chains, mark = Chains(options.prefix), marks(options)
    found = []
    if options.live_over(ip_version):
        words = f"{OURS}{'FTPS' if options.tls else 'public address:'} data connections that were let in"
        found.append(Rule("mangle", chains.marking, "RETURN", words, connmark=mark.let_in))
    for ports in groups(options.control_ports):
        found += _marking_control(options, flows, ip_version, ports)
    for flow in flows.live:
        senders = flow.opened_by, flow.opened_by, other(flow.opened_by)
        for rule, sender in zip(_live(options, flow, ip_version), senders):
            let_in = replace(rule, table="mangle", chain=chains.marking, jump="CONNMARK", set_connmark=mark.let_in)
            # Not a control connection, whose port may be among the passive ports.
            found += [sent(replace(let_in, connmark=mark.none), each, sender) for each in flows.between]
    return [*found, *_entry(options, "client"), *_entry(options, "server")]


def _closing(options: Options, flows: Flows, *, everywhere: bool) -> list[Rule]:
    """Return the rules that drop the data connections which only live peers may open, of all others.

    :arg everywhere: whether a gate accepts them from anybody; else they are those alone that NAT publishes, which
        docker and its like accept from anybody
    """
    places = [(None, None)] if everywhere else _pairs(options) if options.nat else []
    found = []
    for flow, (interface, out) in product(flows.live, places):
        if direction(options, flow.opened_by) == "IN":
            opens = replace(accept(options, flow, flow.opened_by), table="mangle", chain=Chains(options.prefix).marking)
            drop = replace(opens, jump="DROP", ctstate=(flow.opening,), connmark=marks(options).none)
            drop = replace(drop, in_interface=interface, out_interface=out, dnat=not everywhere)
            found.append(replace(drop, comment=f"{OURS}{flow.words}: nobody who is live"))
    return found


def _marking_control(options: Options, flows: Flows, ip_version: str, ports: str) -> list[Rule]:
    """Return the rules that mark the control connections to some ports: ours, then closed or live."""
    chains, mark = Chains(options.prefix), marks(options)
    words = f"{OURS}control connection to port{'s' if ',' in ports else ''} {ports.replace(',', ', ')}"
    packet = Rule("mangle", chains.marking, "CONNMARK", protocol="tcp", ctstate=("ESTABLISHED",))
    packets = {"client": replace(packet, destination_port=ports), "server": replace(packet, source_port=ports)}
    found = []
    for (end, packet), way in zip(packets.items(), ("ORIGINAL", "REPLY")):
        if _entry(options, end):
            jump = replace(packet, jump=chains.entry(end), ctstate=(), ctdir=way, connmark=mark.control)
            found.append(replace(jump, comment=f"{words}: from where the {end} is"))
    for each in flows.between:
        for interface, out in _pairs(options):
            there = replace(packets["client"], in_interface=interface, out_interface=out, set_connmark=mark.control)
            back = replace(packets["server"], in_interface=out, out_interface=interface, set_connmark=mark.control)
            rules = {"client": there, "server": back}
            opens = replace(there, ctstate=("NEW",), set_connmark=mark.live, comment=f"{words}: client opens")
            found.append(sent(opens, each, "client"))
            if options.side in rules:
                # To conntrack, one with the ports of one that the server has reset is the old one. Only the handshake
                # of the host itself is believed.
                anew = replace(rules[options.side], tcp_flags=HANDSHAKES[options.side], set_connmark=mark.live)
                anew = replace(anew, comment=f"{words}: {options.side} begins anew")
                found.append(sent(anew, each, options.side))
            for end, rule in rules.items():
                found.append(sent(replace(rule, comment=f"{words}: {end} goes on"), each, end))
    for end, packet in packets.items():
        closes = replace(packet, ctexpire=CLOSING_SECONDS, connmark=mark.live, set_connmark=mark.closed)
        found.append(replace(closes, tcp_flags="!FIN,RST NONE", comment=f"{words}: {end} closes"))
        if options.live_over(ip_version) and direction(options, end) == "IN":
            # Whoever forges its address has no ASSURED connection.
            live = replace(packet, jump="SET", ctstatus="ASSURED", connmark=mark.live)
            found.append(replace(live, live_set=chains.live(ip_version), comment=f"{words}: {end} is live"))
    return found


def _entry(options: Options, end: str) -> list[Rule]:
    """Return the rules of a gateway's chain that drops what comes in elsewhere than from an end, in its name."""
    if options.side != "gateway":
        return []
    own, others = options.interfaces, options.out_interfaces
    if end == "server":
        own, others = others, own
    chain = Rule("mangle", Chains(options.prefix).entry(end), "DROP")
    forged = f"{OURS}forged packets of the {end}"
    if None not in own:
        words = f"{OURS}from where the {end}s are"
        return [
            *(replace(chain, jump="RETURN", in_interface=interface, comment=words) for interface in own),
            replace(chain, comment=forged),
        ]
    return [replace(chain, in_interface=interface, comment=forged) for interface in others if interface is not None]


def _pairs(options: Options) -> list[tuple[str | None, str | None]]:
    """Return the interfaces in and out of a gateway; elsewhere, the jumps name the interface."""
    if options.side != "gateway":
        return [(None, None)]
    return [(interface, out) for interface in options.interfaces for out in options.out_interfaces]


def _let_in(options: Options, flows: Flows) -> list[Rule]:
    """Return the rules that let in what the helper announced, unless the control connection has closed."""
    mark = marks(options)
    return [
        replace(
            accept(options, flow, sender, data=True),
            table="mangle",
            jump="CONNMARK",
            connmark=f"!{mark.closed}",
            set_connmark=mark.let_in,
        )
        for flow in flows.data
        for sender in ("client", "server")
    ]


def _guard(options: Options, flows: Flows) -> list[Rule]:
    """Return the rules in the chains that all instances share: the jumps to ours, and, last in each, the drop."""
    found: dict[str, list[Rule]] = {}
    chains, mark = Chains(options.prefix), marks(options)
    for each in flows.between:
        for hook, sender, interface, out in _ways(options):
            words = f"{OURS}FTP {_where(options, interface, out)}: data connections, {sender}"
            jump = Rule("mangle", GUARD[hook], chains.data(direction(options, sender)), words)
            jump = replace(jump, in_interface=interface, out_interface=out)
            found.setdefault(hook, []).append(sent(jump, each, sender))
    for hook, entries in found.items():
        words = f"{OURS}data connections that nothing lets in"
        entries.append(Rule("mangle", GUARD[hook], "DROP", words, connmark=mark.control))
    return [rule for entries in found.values() for rule in entries]


def _ways(options: Options) -> list[tuple[str, str, str | None, str | None]]:
    """Return where the packets of each end pass: the built-in chain, the end, the interfaces in and out."""
    incoming, outgoing = SENDERS[options.side]
    if options.side == "gateway":
        found = []
        for interface, out in _pairs(options):
            found += [("FORWARD", incoming, interface, out), ("FORWARD", outgoing, out, interface)]
        return found
    found = [("INPUT", incoming, interface, None) for interface in options.interfaces]
    return found + [("OUTPUT", outgoing, None, interface) for interface in options.interfaces]


def _where(options: Options, interface: str | None, out: str | None) -> str:
    """Say where packets pass."""
    if options.side == "gateway":
        return f"from {interface or 'any interface'} to {out or 'any interface'}"
    return f"on {interface or out or 'any interface'}"


def groups(ports: Iterable[str]) -> list[str]:
    """Return the ports in as few groups as the match multiport can hold."""
    found: list[list[str]] = []
    for port in ports:
        slots = sum(1 + (":" in other) for other in found[-1]) if found else MULTIPORT_SLOTS
        if slots + 1 + (":" in port) > MULTIPORT_SLOTS:
            found.append([])
        found[-1].append(port)
    return [",".join(group) for group in found]


def server_ports(options: Options, flows: Flows) -> list[str | None]:
    """Return the ports, in groups, that the server's end of all that the rules of mangle mark has; None is any."""
    ports = [*options.control_ports]
    for flow in flows.live:
        if flow.server_port is None:
            return [None]
        ports.append(flow.server_port)
    return [*groups(ports)]


def _live(options: Options, flow: Flow, ip_version: str) -> list[Rule]:
    """Return the rules of a data connection that is opened only where there is a live control connection."""
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
        replace(opens, ctstate=("ESTABLISHED",), comment=f"{OURS}{flow.words}: {flow.opened_by} goes on"),
        answers,
    ]


def _icmp(options: Options, ip_version: str) -> list[Rule]:
    """Return the rules that accept ICMP errors; only those of our connections get there."""
    chains = Chains(options.prefix)
    return [
        Rule(
            table="filter",
            chain=chains.control(way),
            jump="ACCEPT",
            protocol=ICMP[ip_version],
            ctstate=("RELATED",),
            comment=f"{OURS}ICMP errors (path MTU)",
        )
        for way in (("IN", "OUT") if options.side == "gateway" else ("IN",))
    ]


def _jumps(options: Options, flows: Flows, ip_version: str) -> list[Rule]:
    """Return the jumps from the built-in chains into ours and those that all instances share."""
    chains, ours = Chains(options.prefix), f"!{marks(options).none}"
    raw: dict[Rule, None] = {}
    marked: dict[Rule, None] = {}
    accepting: list[Rule] = []
    client_comes_in = direction(options, "client") == "IN"
    for hook, sender, interface, out in _ways(options):
        words = f"{OURS}FTP {_where(options, interface, out)}"
        if options.side == "gateway":
            words += f": {sender}"
        way = direction(options, sender)
        jump = Rule("filter", hook, chains.control(way), words, in_interface=interface, out_interface=out)
        accepting.append(replace(jump, connmark=ours))
        if sender == "client":
            for control_ports in groups(options.control_ports):
                assign = replace(jump, table="raw", jump=chains.helper, protocol="tcp", destination_port=control_ports)
                if client_comes_in:
                    words = f"{OURS}FTP {'from' if options.side == 'gateway' else 'on'} {interface or 'any interface'}"
                    assign = replace(assign, chain="PREROUTING", out_interface=None, comment=words)
                raw[assign] = None
        for ports in server_ports(options, flows):
            mark = replace(jump, table="mangle", jump=chains.marking, protocol="tcp")
            if options.side == "gateway":
                # One for both ends and all interfaces, which the rules behind it tell apart.
                mark = replace(mark, in_interface=None, out_interface=None, port=ports, comment=f"{OURS}FTP")
            elif sender == "client":
                mark = replace(mark, destination_port=ports)
            else:
                mark = replace(mark, source_port=ports)
            marked[mark] = None
    guarded = [
        Rule(
            "mangle",
            hook,
            GUARD[hook],
            f"{OURS}data connections of the {HELPER} helper: guard",
            connmark=f"!{marks(options).let_in}",
            helper=HELPER,
        )
        for hook in dict.fromkeys(hook for hook, *_rest in _ways(options))
    ]
    return [*raw, *marked, *guarded, *accepting, *_own_icmp(options, ip_version)]


def _own_icmp(options: Options, ip_version: str) -> list[Rule]:
    """Return a gateway's jumps for its own ICMP errors, where the narrow link is its own."""
    if options.side != "gateway":
        return []
    return [
        Rule(
            "filter",
            "OUTPUT",
            Chains(options.prefix).control("OUT"),
            comment=f"{OURS}ICMP errors (path MTU) on {interface or 'any interface'}",
            protocol=ICMP[ip_version],
            out_interface=interface,
            ctstate=("RELATED",),
            connmark=f"!{marks(options).none}",
        )
        for interface in dict.fromkeys(options.interfaces + options.out_interfaces)
    ]


def packets(
    desired: Desired, ip_version: str, table: str, chain: str, some_of: Callable[[str], Sequence[int]]
) -> list[Packet]:
    """Return the packets of FTP that pass a built-in chain, one for each kind.

    :arg some_of: returns some ports of a range, one that is like most of them first
    """
    options, jumps, flows = desired.options, desired.rules[ip_version].jumps, desired.flows[ip_version]
    found: dict[Packet, None] = {}
    for hook, sender, interface, out in _ways(options) if jumps else ():
        if chain not in PASSES[hook]:
            continue
        translated = options.nat and chain == "PREROUTING"
        for flow in flows.control + flows.data + flows.live:
            opens = sender == flow.opened_by
            packet = Packet(
                protocol="tcp",
                state="ESTABLISHED",
                reply=not opens,
                in_interface=None if chain == "POSTROUTING" else interface,
                out_interface=None if chain == "PREROUTING" else out,
                source=_networks(options, ip_version, sender),
                # Where NAT publishes the server, its address is only known behind the tables that come before routing.
                destination=ANYWHERE if translated else _networks(options, ip_version, other(sender)),
                helper=flow.opening == "RELATED",
            )
            kinds = [(flow.opening if opens else "ESTABLISHED", "SYN" if opens else "SYN,ACK")]
            kinds += [("ESTABLISHED", flags) for flags in ("ACK", "PSH,ACK", "FIN,ACK")]
            if table == "mangle" and flow in flows.control:  # where the guard must see it
                kinds += [("ESTABLISHED", flags) for flags in ("RST", "RST,ACK")]
            for server_port, client_port, likely in _some_ports(flow, some_of):
                source, destination = (client_port, server_port) if sender == "client" else (server_port, client_port)
                for state, flags in kinds:
                    each = packet._replace(
                        # Before connections are tracked, no packet has a state.
                        state="INVALID" if table == "raw" else state,
                        flags=flags,
                        source_port=source,
                        destination_port=destination,
                        likely=likely,
                    )
                    found[each] = None
    for jump in jumps:
        if (jump.chain, jump.protocol) == (chain, ICMP[ip_version]):
            found[Packet(str(jump.protocol), "RELATED", out_interface=jump.out_interface, destination=(None,))] = None
    return list(found)


def guarded(chain: str) -> list[Packet]:
    """Return the packets that the guard may have to drop in a built-in chain, whatever FTP is let through.

    These are the first of any data connection, and those of a control connection that come in on the wrong side.
    """
    packet = Packet(
        protocol="tcp",
        state="RELATED",
        source_port=ANY_PORT,
        destination_port=ANY_PORT,
        source=() if chain == "OUTPUT" else (None,),
        destination=() if chain == "INPUT" else (None,),
        helper=True,
    )
    control = [packet._replace(state="ESTABLISHED", reply=reply, helper=False) for reply in (False, True)]
    flags = ("SYN", "ACK", "PSH,ACK", "FIN,ACK", "RST", "RST,ACK")
    return [of._replace(flags=each) for of in (packet, *control) for each in flags]


def marked(line: str) -> bool:
    """Tell whether a rule that iptables-save has printed is the role's, by the beginning of its comment."""
    return OURS in line and (comment_of(line) or "").startswith(OURS)


def takes(jump: Rule, packet: Packet) -> bool:
    """Tell whether a jump is for a packet of its chain."""
    return (
        (jump.protocol or "tcp") == packet.protocol
        and jump.in_interface in (None, packet.in_interface)
        and jump.out_interface in (None, packet.out_interface)
        and (jump.table != "raw" or str(packet.destination_port) in str(jump.destination_port).split(","))
    )


def _networks(options: Options, ip_version: str, end: str) -> tuple[str | None, ...]:
    """Return the networks that an end may be in; none where it is the host itself."""
    if end == options.side:
        return ()
    of = options.servers if options.side == "gateway" and end == "server" else options.peers
    return of.get(ip_version, ())


def _some_ports(flow: Flow, some_of: Callable[[str], Sequence[int]]) -> list[tuple[int, int, bool]]:
    """Return some ports of the server and of the client, and whether most connections are like theirs.

    Where a server may open them from any port, RFC 959's is as likely as the others.
    """
    server, client = (some_of(ports or UNPRIVILEGED) for ports in (flow.server_port, flow.client_port))
    found = [(server[0], client[0], True)]
    if flow.opened_by == "server" and not flow.server_port:
        found.append((FTP_DATA, client[0], True))
    found += [(port, client[0], False) for port in server[1:]]
    return found + [(server[0], port, False) for port in client[1:]]

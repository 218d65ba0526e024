# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iptables-save printed, and what its rules do to FTP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.hostfw.conntrack.plugins.module_utils._rule import Clause, clauses, target_of

ALL_STATES = {"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED"}

# The targets after which a packet never reaches a jump further down. In table raw the
# first CT decides (xt_CT leaves a packet alone that has a connection or template), and
# an ACCEPT keeps the packet from our helper; in mangle, from what notes the end of a connection.
FINAL = {
    "mangle": {"DROP", "ACCEPT"},
    "filter": {"DROP", "REJECT"},
    "raw": {"DROP", "ACCEPT", "CT", "NOTRACK"},
}


# What --syn is printed as.
SYN = Clause("--tcp-flags", ("FIN,SYN,RST,ACK", "SYN"))
# The conditions that can be told to be false for a packet.
KNOWN = {"-p", "-i", "-o", "--ctstate", "--state", "--icmpv6-type"}


@dataclass(frozen=True)
class Packet:
    """The packets that a question is about.

    - protocol: as iptables prints it
    - states: the connection states that they have; all are needed
    - in_interface, out_interface: names or wildcards; None is any
    - icmp_type: as iptables prints it
    """

    protocol: str
    states: frozenset[str]
    in_interface: str | None = None
    out_interface: str | None = None
    icmp_type: str | None = None


@dataclass
class Ruleset:
    """The tables of one IP version, each a mapping of chains to their printed rules (C(-A CHAIN ...)).

    Policies are V(-) for a chain that is not built in.
    """

    tables: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    policies: dict[tuple[str, str], str] = field(default_factory=dict)
    incompatible: list[str] = field(default_factory=list)

    def chain(self, table: str, chain: str) -> list[str]:
        """Return the rules of a chain; none where it does not exist."""
        return self.tables.get(table, {}).get(chain, [])

    def has(self, table: str, chain: str) -> bool:
        """Tell whether a chain exists."""
        return chain in self.tables.get(table, {})


def parse(text: str, tables: Sequence[str]) -> Ruleset:
    """Read some tables of what iptables-save prints, with or without counters.

    :raises ValueError: for a line that it does not know
    """
    ruleset = Ruleset()
    table = ""
    for line in text.split("\n"):
        if line.startswith("#"):
            # Printed for a table that native nftables rules have made unreadable.
            found = re.search(r"[Tt]able [`'](\w+)' is incompatible", line)
            if found and found.group(1) in tables:
                ruleset.incompatible.append(found.group(1))
        elif line.startswith("*"):
            table = line[1:]
            if table in tables:
                ruleset.tables.setdefault(table, {})
        elif table not in tables or line in ("", "COMMIT"):
            continue
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            ruleset.tables[table].setdefault(name, [])
            ruleset.policies[(table, name)] = policy
        else:
            rule = re.sub(r"^\[\d+:\d+\] ", "", line)
            if not rule.startswith("-A "):
                raise ValueError(f"iptables-save printed a line that is no rule: {line}")
            ruleset.tables[table].setdefault(rule.split()[1], []).append(rule)
    return ruleset


def stops(ruleset: Ruleset, table: str, line: str, packet: Packet) -> bool:
    """Tell whether a printed rule keeps some kind of the packets, from wherever they are, from going on behind it."""
    return _stops(ruleset, table, line, packet, frozenset())


def _stops(ruleset: Ruleset, table: str, line: str, packet: Packet, callers: frozenset[str]) -> bool:
    if not _surely(line, packet):
        return False
    name = target_of(line)
    if name is None:
        return False
    if name in FINAL[table]:
        return True
    return name not in callers and _chain_stops(ruleset, table, name, packet, callers | {name})


def _chain_stops(ruleset: Ruleset, table: str, chain: str, packet: Packet, callers: frozenset[str]) -> bool:
    for line in ruleset.chain(table, chain):
        if _stops(ruleset, table, line, packet, callers):
            return True
        if target_of(line) == "RETURN" and _maybe(line, packet):
            return False  # what returns here may be FTP
    return False


def may_pass(ruleset: Ruleset, chain: str, packet: Packet) -> bool:
    """Tell whether some of the packets may pass a built-in chain of table filter."""
    verdict = _may_pass(ruleset, chain, packet, frozenset())
    return ruleset.policies.get(("filter", chain)) != "DROP" if verdict is None else verdict


def _may_pass(ruleset: Ruleset, chain: str, packet: Packet, callers: frozenset[str]) -> bool | None:
    """Return what becomes of the packets in a chain; None where they leave it at its end."""
    for line in ruleset.chain("filter", chain):
        if not _maybe(line, packet):
            continue
        name = target_of(line)
        if name == "ACCEPT":
            return True
        verdict = None
        if name in FINAL["filter"]:
            verdict = False
        elif name == "RETURN" and _surely(line, packet):
            return None
        elif name is not None and name not in callers:
            verdict = _may_pass(ruleset, name, packet, callers | {name})
        if verdict or (verdict is False and _surely(line, packet)):
            return verdict
    return None


def _surely(line: str, packet: Packet) -> bool:
    """Tell whether a rule is for some kind of the packets, from wherever they are."""
    return all(_certain(clause, packet) for clause in clauses(line))


def _maybe(line: str, packet: Packet) -> bool:
    """Tell whether a rule may be for some of the packets."""
    return all(clause.option not in KNOWN or _certain(clause, packet) for clause in clauses(line))


def _certain(clause: Clause, packet: Packet) -> bool:
    """Tell whether a condition is true for some kind of the packets, from wherever they are."""
    if clause.option in ("--comment", "-j", "-g"):
        return True
    if clause.option in ("-p", "--icmpv6-type"):
        known = packet.protocol if clause.option == "-p" else packet.icmp_type
        return (clause.values[0] == known) is not clause.negated
    if clause.option in ("-i", "-o"):
        interface = packet.in_interface if clause.option == "-i" else packet.out_interface
        return covers(clause.values[0], interface, negated=clause.negated)
    if clause.option in ("--ctstate", "--state"):
        states = set(clause.values[0].split(","))
        return bool(packet.states & (ALL_STATES - states if clause.negated else states))
    return clause == SYN


def covers(condition: str, interface: str | None, *, negated: bool) -> bool:
    """Tell whether C(-i condition) is true on an interface, or on one of those that a wildcard stands for."""
    name = condition.rstrip("+")
    wild = condition.endswith("+")
    if interface is None:
        return True
    own = interface.rstrip("+")
    if interface.endswith("+"):
        within = wild and own.startswith(name)
        overlaps = within or (own.startswith(name) and wild) or name.startswith(own)
    else:
        within = overlaps = own.startswith(name) if wild else own == name
    return not within if negated else overlaps

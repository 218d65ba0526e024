# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iptables-save printed, and what its rules do to FTP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.hostfw.conntrack.plugins.module_utils._rule import Clause, clauses, target_of

# The states of the packets of FTP that a built-in chain has to let through.
STATES = {
    "PREROUTING": {"NEW", "RELATED", "ESTABLISHED"},
    "INPUT": {"NEW", "RELATED", "ESTABLISHED"},
    "OUTPUT": {"RELATED", "ESTABLISHED"},
}
ALL_STATES = {"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED"}

# The targets after which a packet never reaches a jump further down. In table raw the
# first CT decides (xt_CT leaves a packet alone that has a connection or template), and
# an ACCEPT keeps the packet from our helper.
FINAL = {
    "filter": {"DROP", "REJECT"},
    "raw": {"DROP", "ACCEPT", "CT", "NOTRACK"},
}


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


def stops(ruleset: Ruleset, table: str, chain: str, line: str, interface: str | None) -> bool:
    """Tell whether a printed rule keeps everything that our jump is for from going on to it.

    :arg chain: the built-in chain that the rule stands in
    :arg interface: the interface of the jump; None for any
    """
    return _stops(ruleset, table, chain, line, interface, frozenset())


def _stops(ruleset: Ruleset, table: str, hook: str, line: str, interface: str | None, callers: frozenset[str]) -> bool:
    target: Clause | None = None
    for clause in clauses(line):
        if clause.option in ("-j", "-g"):
            target = clause
        elif not _certain(clause, hook, interface):
            return False
    if target is None:
        return False
    name = target.values[0]
    if name in FINAL[table]:
        return True
    return name not in callers and _chain_stops(ruleset, table, hook, name, interface, callers | {name})


def _chain_stops(
    ruleset: Ruleset, table: str, hook: str, chain: str, interface: str | None, callers: frozenset[str]
) -> bool:
    for line in ruleset.chain(table, chain):
        if _stops(ruleset, table, hook, line, interface, callers):
            return True
        if target_of(line) == "RETURN" and all(_possible(clause, hook, interface) for clause in clauses(line)):
            return False  # what returns here may be FTP
    return False


def _possible(clause: Clause, hook: str, interface: str | None) -> bool:
    """Tell whether a condition can be true for a packet of FTP."""
    if clause.option == "-p":
        return (clause.values == ("tcp",)) is not clause.negated
    if clause.option in ("-i", "-o", "--ctstate", "--state"):
        return _certain(clause, hook, interface)
    return True


def _certain(clause: Clause, hook: str, interface: str | None) -> bool:
    """Tell whether a condition lets through everything on one of the interfaces of the jump."""
    if clause.option == "--comment":
        return True
    if clause.option == "-p":
        return clause.values == ("tcp",) and not clause.negated
    if clause.option in ("-i", "-o"):
        return covers(clause.values[0], interface, negated=clause.negated)
    if clause.option in ("--ctstate", "--state"):
        states = set(clause.values[0].split(","))
        return bool(STATES[hook] & (ALL_STATES - states if clause.negated else states))
    if clause.option == "--tcp-flags":
        return clause.values == ("FIN,SYN,RST,ACK", "SYN") and not clause.negated
    return False


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

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iptables-save printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


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

    def copy(self) -> Ruleset:
        """Return a ruleset of its own with the same rules."""
        tables = {table: {name: list(lines) for name, lines in chains.items()} for table, chains in self.tables.items()}
        return Ruleset(tables, dict(self.policies), list(self.incompatible))


def parse(text: str, tables: Sequence[str]) -> Ruleset:
    """Read some tables of what iptables-save prints, with or without counters.

    :raises ValueError: for a line that it does not know
    """
    ruleset = Ruleset()
    table = ""
    lines = iter(text.split("\n"))
    for line in lines:
        chains = ruleset.tables.get(table)
        if line.startswith(("-A ", "[")):
            rule = line if line[0] == "-" else line.partition(" ")[2]
            while '"' in rule and _open(rule):  # a comment may hold line feeds
                rule += "\n" + next(lines, '"')
            if chains is not None:
                name = rule.split(" ", 2)[1]
                if name not in chains:
                    chains[name] = []
                chains[name].append(rule)
        elif line.startswith("*"):
            table = line[1:]
            if table in tables:
                ruleset.tables.setdefault(table, {})
        elif line.startswith("#"):
            # Printed for a table that native nftables rules have made unreadable.
            found = re.search(r"[Tt]able [`'](\w+)' is incompatible", line)
            ruleset.incompatible += [name for name in found.groups() if name in tables] if found else []
        elif chains is not None:
            _head(ruleset, table, line)
    return ruleset


def sets_of(lines: Iterable[str]) -> list[str]:
    """Return the names of the ipsets that rules name, each once."""
    names = (
        name for line in lines if "-set " in line for name in re.findall(r" --(?:match|add|del|map)-set (\S+)", line)
    )
    return list(dict.fromkeys(names))


def _head(ruleset: Ruleset, table: str, line: str) -> None:
    """Read a line of a table that is no rule."""
    if line.startswith(":"):
        name, policy = line[1:].split()[:2]
        ruleset.tables[table].setdefault(name, [])
        ruleset.policies[(table, name)] = policy
    elif line not in ("", "COMMIT"):
        raise ValueError(f"iptables-save printed a line that is no rule: {line}")


def _open(rule: str) -> bool:
    """Tell whether a quote is open at the end of a rule."""
    return re.sub(r"\\.", "", rule, flags=re.DOTALL).count('"') % 2 == 1


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

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of an instance's own, one for each IP version: helper and guard, where iptables does not filter.

They say what the rules of iptables' tables raw and mangle say. Each instance has its own: what the chains at the first
priority let in, no chain at the second drops, whosever it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import Desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._flows import HELPER
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import IP_VERSIONS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import LIVE_SECONDS, LIVE_SIZE, Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import (
    ADDRESSES,
    statements,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import (
    Chain,
    Listed,
    Table,
    Tables,
    table_of,
)

# Behind conntrack (-200), which must know the connection, and before NAT (-100), after which the kernel no longer
# adjusts the sequence numbers of a connection that gets a helper (NF_IP_PRI in the kernel's netfilter_ipv4.h).
PRIORITY = -150
HOOKS = {"PREROUTING": "prerouting", "INPUT": "input", "FORWARD": "forward", "OUTPUT": "output"}
ELEMENTS = {"ipv4": "ipv4_addr", "ipv6": "ipv6_addr"}
BEGINNING = "hostfw-"


def name(prefix: str) -> str:
    """Return the name of the tables of an instance."""
    return f"{BEGINNING}{prefix}"


def is_own(table: str) -> bool:
    """Tell whether a table is one of an instance's own, by its name."""
    return table.startswith(BEGINNING)


def tables(desired: Desired) -> Tables:
    """Return the tables that an instance is to have."""
    found: Tables = {}
    for ip_version in IP_VERSIONS:
        rules = desired.rules[ip_version]
        if not rules.jumps:
            continue
        table = found[ADDRESSES[ip_version], name(desired.options.prefix)] = Table(helpers={HELPER: HELPER})
        live = desired.live_sets.get(ip_version)
        if live:
            kind = {"type": ELEMENTS[ip_version], "size": LIVE_SIZE, "timeout": LIVE_SECONDS}
            table.sets[live] = kind
        inside = [rule for rule in rules.inside if rule.table != "filter"]
        guard = [rule for rule in rules.guard if rule.jump != "DROP"]
        for rule in [*inside, *guard]:
            _add(table, rule, ip_version)
        # The helper comes first, as table raw does.
        jumps = sorted((rule for rule in rules.jumps if rule.table != "filter"), key=lambda rule: rule.table != "raw")
        for jump in jumps:
            table.chains.setdefault(jump.chain, Chain(HOOKS[jump.chain], PRIORITY, "accept"))
            _add(table, jump, ip_version)
        hooks = {rule.jump: rule.chain for rule in jumps}
        for drop in (rule for rule in rules.guard if rule.jump == "DROP"):
            chain = f"{hooks[drop.chain]}-DROP"
            table.chains[chain] = Chain(HOOKS[hooks[drop.chain]], PRIORITY + 1, "accept")
            _add(table, replace(drop, chain=chain, helper=HELPER), ip_version)
    return found


def _add(table: Table, rule: Rule, ip_version: str) -> None:
    chain = table.chains.setdefault(rule.chain, Chain())
    chain.rules += [Listed(each, rule.comment) for each in statements(rule, ip_version)]


def snapshot(prefix: str, current: Tables) -> dict[str, Any]:
    """Return the tables of an instance in JSON's terms, by family."""
    here = {family: current.get((family, name(prefix))) for family in ADDRESSES.values()}
    return {family: asdict(table) for family, table in here.items() if table}


def of_snapshot(prefix: str, snapshot: Mapping[str, Any]) -> Tables:
    """Return the tables of which snapshot() has made JSON's terms."""
    return {(family, name(prefix)): table_of(**table) for family, table in snapshot.items()}


def same(one: Table | None, other: Table | None) -> bool:
    """Tell whether two tables say the same."""
    return _said(one) == _said(other)


def _said(table: Table | None) -> object:
    if table is None:
        return None
    return (
        {name: [of.get(key) for key in ("type", "size", "timeout")] for name, of in table.sets.items()},
        table.helpers,
        {
            name: (chain.hook, chain.priority, chain.policy, [(rule.statements, rule.comment) for rule in chain.rules])
            for name, chain in table.chains.items()
        },
    )


def commands(current: Tables, desired: Tables, prefix: str) -> list[str]:
    """Return the lines of one transaction after which the tables of an instance are as desired.

    A table that differs is made anew. No packet meets half of it; addresses of live peers come back with their next
    packet.
    """
    lines: list[str] = []
    for family in ADDRESSES.values():
        key = family, name(prefix)
        if not same(current.get(key), desired.get(key)):
            lines += [f"delete table {family} {key[1]}"] if key in current else []
            lines += listing(family, key[1], desired[key]) if key in desired else []
    return lines


def listing(family: str, name: str, table: Table) -> list[str]:
    """Return a table in the words that C(nft --file) reads, a line each."""
    lines = [f"table {family} {name} {{"]
    lines += [f'\tct helper {helper} {{ type "{kind}" protocol tcp; }}' for helper, kind in table.helpers.items()]
    for live, of in table.sets.items():
        flags = f"flags dynamic, timeout; timeout {of.get('timeout')}s; size {of.get('size')};"
        lines.append(f"\tset {live} {{ type {of['type']}; {flags} }}")
    for chain_name in _callees_first(table):
        chain = table.chains[chain_name]
        lines.append(f"\tchain {chain_name} {{")
        if chain.hook:
            lines.append(f"\t\ttype filter hook {chain.hook} priority {chain.priority}; policy {chain.policy};")
        lines += [f"\t\t{rule.text}" for rule in chain.rules]
        lines.append("\t}")
    return [*lines, "}"]


def _callees_first(table: Table) -> Iterable[str]:
    """Return the names of chains, those first to which others jump."""
    return sorted(table.chains, key=lambda chain: table.chains[chain].hook is not None)

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the standing rules of an instance say of it, and which instances may stand side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import Chains, Desired, marked
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import SIDES, Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Clause, clauses, target_of
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import text
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Tables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _own
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._plan import ours

# A chain of a gateway's, and where its rules let packets of a control connection come in: interfaces and verdicts.
Entries = dict[str, set[tuple[Any, Any]]]


def interfaces(prefix: str, texts: Iterable[str]) -> list[str]:
    """Return the interfaces and wildcards that the jumps of an instance name.

    :arg texts: what iptables-save prints, or what is stored for the boot, in the same form
    """
    chains = Chains(prefix)
    names = [name for _table, name in chains.all()]
    found = [
        clause.values[0]
        for text in texts
        for line in text.split("\n")
        if line.startswith("-A ") and line.rpartition(" -j ")[2] in names and _ours(line, chains)
        for clause in clauses(line)
        if clause.option in ("-i", "-o") and not clause.negated
    ]
    return sorted(set(found))


def _ours(line: str, chains: Chains) -> bool:
    try:
        return ours(line, chains)
    except ValueError:  # the end of a foreign comment that holds a line feed
        return False


def sides(prefix: str, current: Mapping[str, Ruleset]) -> list[str]:
    """Return the sides whose rules an instance has on the host; more than one where a run was killed half-way.

    :arg current: the rules of each IP version
    """
    chains = Chains(prefix)
    # From where the chains are entered that all sides have. A gateway gives the helper where a server does.
    places = {
        (table, chain)
        for ruleset in current.values()
        for table, name in (("raw", chains.helper), ("filter", chains.control("IN")))
        for chain, lines in ruleset.tables.get(table, {}).items()
        for line in lines
        if target_of(line) == name and ours(line, chains)
    }
    shows = {
        "server": ("raw", "PREROUTING") in places and ("filter", "FORWARD") not in places,
        "client": ("raw", "OUTPUT") in places,
        "gateway": ("filter", "FORWARD") in places,
    }
    return [side for side in SIDES if shows[side]]


def together(earlier: Mapping[str, str], options: Options) -> dict[str, str]:
    """Return the sides of the instances that a run of Ansible has asked for on a host, by their prefixes.

    :arg earlier: those before this one
    :raises ValueError: where this one would take the place of another side
    """
    others = {prefix: side for prefix, side in earlier.items() if prefix != options.prefix}
    if options.state == "absent":
        return others
    side = earlier.get(options.prefix, options.side)
    if side != options.side:
        raise ValueError(
            f"ftp_chain_prefix: must be another one for each side of a host, got {options.prefix} for ftp_side "
            f"{options.side}, after ftp_side {side} in the same run of Ansible: each would remove the other's rules; "
            "set ftp_chain_prefix for one of them"
        )
    return {**others, options.prefix: side}


def warnings(desired: Desired, current: Mapping[str, Ruleset], tables: Tables) -> list[Finding]:
    """Return a warning for each other gateway that takes the control connections of this one for forged.

    :arg current: the rules of each IP version
    :arg tables: those of nftables
    """
    inside = [rule for rules in desired.rules.values() for rule in rules.inside]
    own = {
        end: {(rule.in_interface, rule.jump) for rule in inside if rule.chain == desired.chains.entry(end)}
        for end in ("client", "server")
    }
    found: dict[str, list[str]] = {}
    for prefix, ports, entries in [*_gateways(current), *_native_gateways(tables)] if any(own.values()) else ():
        shared = [port for port in desired.options.control_ports if port in ports]
        others = {end: entries.get(Chains(prefix).entry(end), set()) for end in own}
        if prefix != desired.options.prefix and shared and others != own:
            found[prefix] = shared
    return [
        Finding("gateways-differ", prefix=desired.options.prefix, other=prefix, ports=", ".join(ports))
        for prefix, ports in found.items()
    ]


def _gateways(current: Mapping[str, Ruleset]) -> Iterator[tuple[str, set[str], Entries]]:
    """Return the gateways of iptables: their prefixes, control ports and entries."""
    for ruleset in current.values():
        chains = {
            name: [clauses(line) for line in lines if marked(line)]
            for name, lines in ruleset.tables.get("mangle", {}).items()
        }
        for prefix in _prefixes(chains):
            ports = [
                clause.values[0].split(",")
                for conditions in chains[Chains(prefix).marking]
                for clause in conditions
                if clause.option in ("--dport", "--dports", "--sport", "--sports") and _enters(prefix, conditions[-1])
            ]
            entries: Entries = {
                name: {
                    (next((clause.values[0] for clause in of if clause.option == "-i"), None), of[-1].values[0])
                    for of in chains.get(name, [])
                }
                for name in map(Chains(prefix).entry, ("client", "server"))
            }
            yield prefix, {port for some in ports for port in some}, entries


def _native_gateways(tables: Tables) -> Iterator[tuple[str, set[str], Entries]]:
    """Return the gateways of nftables, in tables of their own."""
    for (_family, name), table in tables.items():
        chains = {
            chain_name: [text(rule.statements) for rule in chain.rules] for chain_name, chain in table.chains.items()
        }
        for prefix in _prefixes(chains) if _own.is_own(name) else ():
            ports = {
                port
                for words in chains[Chains(prefix).marking]
                if re.search(rf" jump {re.escape(prefix)}-(?:CLIENT|SERVER)$", words)
                for port in re.findall(r"\d+", re.findall(r"tcp [ds]port (\{[^}]*\}|\d+)", words)[0])
            }
            entries: Entries = {}
            for end in ("client", "server"):
                entries[Chains(prefix).entry(end)] = {
                    (interface.replace("*", "+") or None, verdict.upper())
                    for words in chains.get(Chains(prefix).entry(end), [])
                    for interface, verdict in re.findall(r'^(?:iifname "([^"]+)" )?counter (\w+)', words)
                }
            yield prefix, ports, entries


def _prefixes(chains: Iterable[str]) -> list[str]:
    """Return the prefixes of the instances of which chains mark control connections."""
    ending = Chains("").marking
    return [name[: -len(ending)] for name in chains if name.endswith(ending)]


def _enters(prefix: str, clause: Clause) -> bool:
    return clause.values[:1] in [(Chains(prefix).entry(end),) for end in ("client", "server")]

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the standing rules of an instance say of it, and which instances may stand side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import Chains
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import SIDES, Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import clauses, target_of
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._plan import ours


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

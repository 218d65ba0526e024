# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the standing rules of an instance say of it."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.hostfw.conntrack.plugins.module_utils._flows import Chains
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import ours
from ansible_collections.hostfw.conntrack.plugins.module_utils._rule import clauses


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

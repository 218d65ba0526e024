# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nftables ruleset of a host, as C(nft --json list ruleset) prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import Statement, listed, normal, text

# What iptables-nft makes; iptables-save shows what is in them, but no other base chains of the same tables.
OF_IPTABLES = ("raw", "mangle", "nat", "filter", "security")
BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
# Of other families, no packet of FTP comes.
FAMILIES = {"ip": ("ipv4",), "ip6": ("ipv6",), "inet": ("ipv4", "ipv6")}


@dataclass(frozen=True)
class Listed:
    """A rule with the handle by which nft knows it."""

    statements: list[Statement]
    comment: str | None = None
    handle: int = 0

    @property
    def text(self) -> str:
        """The rule in the words that C(nft --file) reads."""
        return text(self.statements, self.comment)


@dataclass
class Chain:
    """A chain; a base chain has a hook.

    - hook: that of a chain that filters
    - nat: that of a chain that translates addresses
    """

    hook: str | None = None
    priority: int = 0
    policy: str | None = None
    rules: list[Listed] = field(default_factory=list)
    nat: str | None = None


@dataclass
class Table:
    """A table: its chains, and the sets, maps and helpers in it, each as nft prints it."""

    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    helpers: dict[str, str] = field(default_factory=dict)


def table_of(chains: Mapping[str, Any], sets: Mapping[str, Any], helpers: Mapping[str, str]) -> Table:
    """Return a table of its parts in JSON's terms, as dataclasses.asdict() makes them."""
    made = {
        name: Chain(**{**chain, "rules": [Listed(**rule) for rule in chain["rules"]]}) for name, chain in chains.items()
    }
    return Table(made, dict(sets), dict(helpers))


# By family and name.
Tables = dict[tuple[str, str], Table]


def items(printed: str) -> list[dict[str, Any]]:
    """Return all that nft prints in JSON, in its own terms."""
    return list(json.loads(printed)["nftables"]) if printed.strip() else []


def parse(printed: str) -> Tables:
    """Read the tables of all families that packets of FTP come by.

    :arg printed: what C(nft --json list ruleset) prints; empty where there is no nft
    """
    found: Tables = {}
    for item in items(printed):
        (kind, of), *_rest = item.items()
        if kind == "metainfo" or of["family"] not in FAMILIES:
            continue
        table = found.setdefault((of["family"], of["name"] if kind == "table" else of["table"]), Table())
        if kind == "chain":
            chain = table.chains[of["name"]] = Chain(None, of.get("prio", 0), of.get("policy"))
            if of.get("type") in ("filter", "route"):
                chain.hook = of["hook"]
            elif of.get("type") == "nat":
                chain.nat = of["hook"]
        elif kind == "rule":
            rule = Listed(normal(of["expr"]), of.get("comment"), of.get("handle", 0))
            table.chains[of["chain"]].rules.append(rule)
        elif kind in ("set", "map"):
            table.sets[of["name"]] = {**of, "flags": listed(of["flags"])} if "flags" in of else of
        elif kind == "ct helper":
            table.helpers[of["name"]] = of["type"]
    return found


def base_chains(tables: Tables) -> Iterator[tuple[str, str, str, Chain]]:
    """Return the base chains that filter, each with family, table and name, but not those of iptables-nft."""
    for (family, name), table in tables.items():
        for chain_name, chain in table.chains.items():
            own = family != "inet" and name in OF_IPTABLES and chain_name in BUILT_IN
            if chain.hook and not own:
                yield family, name, chain_name, chain


def of_iptables(tables: Tables, ip_version: str) -> bool:
    """Tell whether a table has the name of one that iptables-nft makes, so that iptables-save may print rules."""
    return any(name in OF_IPTABLES and FAMILIES[family] == (ip_version,) for family, name in tables)

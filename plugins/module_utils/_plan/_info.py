# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be seen of FTP on a host: who else makes rules, and what our rules have counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import GUARD, OURS, Chains
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import comment_of, target_of
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import normal, text
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _own

# How the names of their chains begin.
TOOLS = {
    "ufw": "ufw-",
    "docker": "DOCKER",
    "fail2ban": "f2b-",
    "libvirt": "LIBVIRT_",
    "kube-proxy": "KUBE-",
    "firewalld": "INPUT_ZONES",
}
# What loads rules at boot, by the file of the rules.
STORES = {
    "netfilter-persistent": "etc/iptables/rules.v4",
    "iptables-services": "etc/sysconfig/iptables",
}


def tools(current: Mapping[str, Ruleset], nft: str, *, firewalld_runs: bool, root: str = "/") -> list[str]:
    """Return who else makes rules of the firewall.

    :arg nft: what C(nft --json --terse list ruleset) prints; empty where there is no nft
    """
    chains = {chain for ruleset in current.values() for table in ruleset.tables.values() for chain in table}
    found = [tool for tool, start in TOOLS.items() if any(chain.startswith(start) for chain in chains)]
    if firewalld_runs and "firewalld" not in found:
        found.append("firewalld")
    native = [(family, table) for family, table, _name, _chain in _ruleset.base_chains(_ruleset.parse(nft))]
    found += [
        f"nftables {family} {table}" for family, table in native if table != "firewalld" and not _own.is_own(table)
    ]
    found += [name for name, path in STORES.items() if Path(root, path).is_file()]
    return list(dict.fromkeys(found))


def assigns(rule: str) -> bool:
    """Tell whether a rule assigns the helper, as iptables or nft prints it."""
    return " -j CT --helper " in rule or " ct helper set " in rule


def native_counters(printed: str, prefix: str) -> list[dict[str, Any]]:
    """Return our rules in nftables with what they have counted, in the same form.

    One that is for both IP versions has C(both).

    :arg printed: what C(nft --json list ruleset) prints
    """
    names = [name for _table, name in Chains(prefix).all()]
    found = []
    for of in (item["rule"] for item in _ruleset.items(printed) if "rule" in item):
        own = of["table"] == _own.name(prefix)
        part = of["chain"] in names or any(name in str(of["expr"]) for name in names)
        counted = next((each["counter"] for each in of["expr"] if "counter" in each), None)
        if not (of.get("comment") or "").startswith(OURS) or not counted or not (own or part):
            continue
        said = text(normal(of["expr"]), of["comment"])
        only = [version for version, word in (("ipv4", "ip "), ("ipv6", "ip6 ")) if f" {word}" in f" {said}"]
        only += [version for version in ("ipv4", "ipv6") if f"meta nfproto {version}" in said]
        of_family = _ruleset.FAMILIES[of["family"]]
        found.append(
            {
                "ip_version": of_family[0] if len(of_family) == 1 else only[0] if only else "both",
                "table": f"{of['family']} {of['table']}",
                "chain": of["chain"],
                "words": of["comment"].removeprefix(OURS),
                "rule": said,
                "packets": counted["packets"],
                "bytes": counted["bytes"],
            }
        )
    return found


def counters(saved: str, ip_version: str, prefix: str) -> list[dict[str, Any]]:
    """Return our rules with what they have counted.

    :arg saved: what C(iptables-save --counters) prints
    """
    found = []
    table = ""
    for line in saved.split("\n"):
        if line.startswith("*"):
            table = line[1:]
        counted = re.match(r"\[(\d+):(\d+)\] (-A (\S+) .*)", line)
        if not counted:
            continue
        packets, size, rule, chain = counted.groups()
        comment = comment_of(rule) or ""
        target = target_of(rule) or ""
        ours = any(name.startswith(f"{prefix}-") or name in GUARD.values() for name in (chain, target))
        if comment.startswith(OURS) and ours:
            found.append(
                {
                    "ip_version": ip_version,
                    "table": table,
                    "chain": chain,
                    "words": comment.removeprefix(OURS),
                    "rule": rule,
                    "packets": int(packets),
                    "bytes": int(size),
                }
            )
    return found
